"""Settings: every variable is known, of its kind and within reason, or named in an error."""

from pathlib import Path

import pytest

from jobcast.shared.errors import BadSettings
from jobcast.shared.redis import connect, connect_for_bullmq, without_secrets
from jobcast.shared.settings import Settings, load

FIELDS = Settings.__struct_fields__


def test_an_empty_environment_gives_what_the_protocol_says() -> None:
    settings = load({})
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.url == "http://127.0.0.1:8080"
    assert (settings.key_prefix, settings.history, settings.life) == ("jobcast", 256, 86400.0)


def test_variables_of_others_are_not_looked_at() -> None:
    assert load({"PATH": "/bin", "PORT": "1", "XJOBCAST_PORT": "2", "JOBCAST_REQUIRE_ALL": "1"}) == load({})


def test_a_variable_is_read_as_its_kind() -> None:
    settings = load({"JOBCAST_PORT": "9000", "JOBCAST_LIFE": "12.5", "JOBCAST_HOST": "::", "JOBCAST_DRAIN": "0"})
    assert (settings.port, settings.life, settings.host, settings.drain) == (9000, 12.5, "::", 0)


@pytest.mark.parametrize("field", FIELDS)
def test_each_misspelt_setting_is_named_with_the_one_that_was_meant(field: str) -> None:
    name = f"JOBCAST_{field.upper()}"
    with pytest.raises(BadSettings, match=f"{name}X is no setting of jobcast; did you mean {name}\\?"):
        load({f"{name}X": "1"})


def test_a_setting_like_no_other_is_named_without_a_suggestion() -> None:
    with pytest.raises(BadSettings, match=r"^JOBCAST_ZZZQQQ is no setting of jobcast$"):
        load({"JOBCAST_ZZZQQQ": "1"})


NUMBERS = [name for name in FIELDS if isinstance(getattr(Settings(), name), int | float)]


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", ["", "x", "-1", "nan", "inf", "-inf", "1e400", "9" * 5000, "0x10", "1_0", "١"])
def test_a_number_that_is_none_or_out_of_reason_is_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"JOBCAST_{field.upper()}"):
        load({f"JOBCAST_{field.upper()}": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "65536"), ("HISTORY", "0"), ("LIFE", "0"), ("LOG_LEVEL", "loud"), ("LOG_FORMAT", "xml")],
)
def test_a_value_out_of_its_range_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"expected JOBCAST_{name}"):
        load({f"JOBCAST_{name}": value})


@pytest.mark.parametrize("url", ["http://", "http://:80", "http://h:port", "http://h:70000", "http://[::1", "ftp://h"])
def test_an_address_for_alerts_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadSettings, match="expected JOBCAST_ALERT_URL as an http") as caught:
        load({"JOBCAST_ALERT_URL": url, "JOBCAST_ALERT_SECRET": "s"})
    assert url not in str(caught.value)
    assert load({"JOBCAST_ALERT_URL": "https://h:8/t", "JOBCAST_ALERT_SECRET": "s"}).alert_url == "https://h:8/t"


def test_roots_are_a_path_list() -> None:
    assert load({"JOBCAST_FILE_ROOTS": "/a:/b::"}).roots == (Path("/a"), Path("/b"))


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@h:1/0", f"redis://u:{SECRET}@h:1/0", f"rediss://u:p@{SECRET}@h", f"redis://u:x/{SECRET}@h",
        f"redis://h:1/0?password={SECRET}", f"redis://h:1/0#{SECRET}", f"redis://{SECRET}@h",
        f"redis://u:{SECRET}/x@h:1/0", f"redis://u:a#{SECRET}@h", f"redis://u:a?{SECRET}@h",
        f"unix://u:{SECRET}@/tmp/s?db=1",
    ],
)  # fmt: skip
def test_a_url_shown_has_no_secret(url: str) -> None:
    assert SECRET not in without_secrets(url)


def test_a_url_shown_still_says_where() -> None:
    assert without_secrets("rediss://u:p@example.org:6380/2?x=y") == "rediss://example.org:6380/2"
    assert without_secrets("unix:///tmp/redis.sock?db=1") == "unix:///tmp/redis.sock"


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@h:1/0", f"redis://:{SECRET}/x@h:1/0", f"redis://u:{SECRET}@h:port/0", SECRET,
        f"redis://h:1/0?db={SECRET}", f"redis://u:{SECRET}@[::1/0", f"redis://u:{SECRET}@h:99999999/0",
        f"u:{SECRET}@h:6379",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_understood_is_refused_without_its_secret(url: str) -> None:
    for make in (connect, connect_for_bullmq):
        with pytest.raises(BadSettings, match="expected JOBCAST_REDIS_URL") as caught:
            make(url, name="x")
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
