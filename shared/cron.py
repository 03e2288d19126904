"""When cron text next fires in a zone, across the changes of its clock. Values in, values out.

croniter reckons from one wall time to the next; across a change of the clock, with the zone handed to it, it fires a
daily job twice in spring (08:00 and 09:00), an hour late in autumn, and leaves out an hour of an hourly one. So it is
handed wall times without a zone, and the zone is reckoned here, as cron does: a job of certain hours fires once a day,
after the gap if its time falls into it and the first time if its time comes twice; one of every hour goes on by the
time that passes.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  wall time, which has no zone
_SECOND = timedelta(seconds=1)


def next_time(pattern: str, zone: ZoneInfo, after: int) -> int:
    """The first time later than ``after``, both in Unix ms.

    Raises:
        CroniterError: no cron text, or one that never fires.
    """
    hours = pattern.split()[-4]
    return _next_of_every_hour(pattern, zone, after) if "*" in hours else _next_of_the_day(pattern, zone, after)


def _next_of_the_day(pattern: str, zone: ZoneInfo, after: int) -> int:
    times = croniter(pattern, _wall(after, zone), second_at_beginning=True)
    while True:
        # A wall time that comes twice is taken for the first of the two, one in the gap for as much after it.
        found: int = round(times.get_next(datetime).replace(tzinfo=zone).timestamp() * 1000)
        if found > after:
            return found


def _next_of_every_hour(pattern: str, zone: ZoneInfo, after: int) -> int:
    wall, offset = _wall(after, zone), _offset(after, zone)
    while True:
        found = _ms(croniter(pattern, wall, second_at_beginning=True).get_next(datetime), offset)
        if _offset(found, zone) == offset:
            return found
        changed = _change(after, found, zone)
        offset = _offset(changed, zone)
        wall, after = _wall(changed, zone) - _SECOND, changed


def _change(after: int, until: int, zone: ZoneInfo) -> int:
    """The second in which the zone's clock is changed, of a span that holds a change."""
    low, high, before = after // 1000, -(-until // 1000), _offset(after, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle * 1000, zone) == before else (low, middle)
    return high * 1000


def _wall(time: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(time / 1000, zone).replace(tzinfo=None)


def _offset(time: int, zone: ZoneInfo) -> timedelta:
    return datetime.fromtimestamp(time / 1000, zone).utcoffset() or timedelta(0)


def _ms(wall: datetime, offset: timedelta) -> int:
    return round((wall - offset - _EPOCH) / timedelta(milliseconds=1))
