"""compose.yaml and the Dockerfile, as far as they can be judged without a container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobcast.shared.settings import load
from tests.conftest import StartJobcast
from tests.support.processes import REPOSITORY

COMPOSE = REPOSITORY / "compose.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
OURS = ("gateway", "worker")

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def schema_errors(file: Path) -> str:
    """Return what the official Compose schema, which check-jsonschema carries, has against the file."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr


def test_the_file_is_what_the_compose_specification_says() -> None:
    assert schema_errors(COMPOSE) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("healthcheck:", "health_check:"),
        ("read_only: true", "read_only: [1]"),
        ("interval: 5s", "interval: [5]"),
    ],
)
def test_the_schema_would_tell_a_mistake(tmp_path: Path, right: str, wrong: str) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(COMPOSE.read_text(encoding="utf-8").replace(right, wrong, 1), encoding="utf-8")
    assert schema_errors(file) != ""


def test_redis_the_gateway_and_the_worker_are_services_of_their_own() -> None:
    assert set(SERVICES) == {"redis", "gateway", "worker"}
    assert SERVICES["gateway"]["image"] == SERVICES["worker"]["image"]


@each_service
def test_no_service_runs_as_root_or_can_become_it(name: str) -> None:
    user, _, group = SERVICES[name]["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@each_service
def test_a_service_writes_only_to_its_volumes_and_tmp(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    targets = [volume.split(":")[1] for volume in SERVICES[name].get("volumes", [])]
    assert set(targets) <= {"/data"}


@each_service
def test_every_service_has_a_health_check_that_ends(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_of_ours
def test_a_health_check_in_python_is_python(name: str) -> None:
    interpreter, flag, program = SERVICES[name]["healthcheck"]["test"][1:]
    assert (interpreter, flag) == ("python", "-c")
    compile(program, name, "exec")


@each_of_ours
def test_ours_wait_for_a_healthy_redis(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}


@each_of_ours
async def test_the_command_is_one_the_cli_knows(name: str, start_jobcast: StartJobcast) -> None:
    child = start_jobcast(*SERVICES[name]["command"], "--help")
    assert await child.exited() == 0, child.report


@each_of_ours
def test_the_environment_is_one_the_settings_know(name: str) -> None:
    settings = load(SERVICES[name]["environment"])
    assert settings.redis_url == "redis://redis:6379/0"


@each_of_ours
def test_a_service_that_drains_is_given_longer_than_that(name: str) -> None:
    grace = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert grace > load(SERVICES[name]["environment"]).drain + 1


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"gateway"}
    assert SERVICES["gateway"]["ports"] == ["127.0.0.1:8080:8080"]
    settings = load(SERVICES["gateway"]["environment"])
    assert (settings.host, settings.port) == ("0.0.0.0", 8080)


def test_the_services_redis_keeps_its_data_and_never_evicts() -> None:
    program, *arguments = SERVICES["redis"]["command"]
    assert program == "redis-server"
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert options == {"--appendonly": "yes", "--maxmemory-policy": "noeviction"}


def test_the_image_runs_as_the_user_the_services_name() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == [SERVICES["gateway"]["user"]]
    assert f"--uid {SERVICES['gateway']['user'].split(':')[0]} " in DOCKERFILE


def test_the_image_copies_only_what_its_context_holds() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    allowed = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").split()
    assert names == {line.removeprefix("!") for line in allowed if line.startswith("!")}


def test_every_base_image_names_its_version() -> None:
    images = [*re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE), SERVICES["redis"]["image"]]
    assert all(re.search(r":\d", image) for image in images)
