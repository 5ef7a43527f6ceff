"""Calendar days: the day of an event, and ranges of days. A day is ISO 8601 text such as `2025-08-01`."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

# Longer than an event can take from a door to its counters, with its time in the dead-letter queue and one redrive.
LONGEST_WAY_DAYS = 40
# By their numbers in Python's calendar.
WEEK_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The first day that Python's calendar has.
EVER = "0001-01-01"

# What a machine may have besides the timezones of the IANA: its own local time, and clocks that count leap seconds.
_OF_MACHINES = re.compile(r"(?:posix|right)/.*|localtime|posixrules")
_ISO_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Calendar:
    """The days of one timezone, from `first_day` on.

    `name` is the timezone's IANA name; raises `ValueError` if there is no such timezone.
    """

    def __init__(self, name: str, first_day: str = EVER) -> None:
        try:
            if _OF_MACHINES.fullmatch(name):
                raise KeyError(name)
            self._zone = ZoneInfo(name)
        except (OSError, KeyError, ValueError):
            raise ValueError(f"{name!r} is not an IANA timezone") from None
        self.name = name
        self.first_day = first_day
        self._is_utc = name in ("UTC", "Etc/UTC")

    def day_of(self, occurred_at: str) -> str:
        """The day of an event, from its canonical `occurred_at`."""
        if self._is_utc:
            return occurred_at[:10]
        return datetime.fromisoformat(occurred_at).astimezone(self._zone).date().isoformat()

    def is_day(self, day: str) -> bool:
        """Whether the timezone had this day. Where clocks went over the date line, they skipped one."""
        if self._is_utc:
            return True
        of_day = date.fromisoformat(day)
        # In a gap, the offset of `fold=1` is the one after it, and larger. Anywhere else it is the same or smaller.
        return any(
            moment.replace(fold=1).utcoffset() <= moment.utcoffset()  # type: ignore[operator]
            for moment in (datetime.combine(of_day, clock, self._zone) for clock in (time.min, time.max))
        )

    def days_from(self, first: str, count: int) -> list[str]:
        """The next `count` days that the timezone had, starting with `first` if it had that.

        Raises `OverflowError` past the year 9999.
        """
        days = days_from(first, count)
        found = [day for day in days if self.is_day(day)]
        while len(found) < count:
            days = days_from(add_days(days[-1], 1), count - len(found))
            found += filter(self.is_day, days)
        return found

    def start_of(self, day: str) -> datetime:
        """The moment, in UTC, at which a day begins; raises `OverflowError` outside of the years 1 to 9999."""
        return datetime.combine(date.fromisoformat(day), time(), self._zone).astimezone(UTC)

    def seconds_of(self, day: str) -> int:
        """The length of a day, which is not 24 hours where clocks change. Raises as `start_of` does."""
        if self._is_utc:
            return 86_400
        return int((self.start_of(add_days(day, 1)) - self.start_of(day)).total_seconds())

    def has(self, occurred_at: str) -> bool:
        """Whether the day of an event is `first_day` or a later one."""
        # No timezone is a whole day behind UTC.
        return occurred_at[:10] > self.first_day or self.day_of(occurred_at) >= self.first_day

    def today(self, now: datetime) -> str:
        """The day of `now`, an aware datetime."""
        return now.astimezone(UTC).astimezone(self._zone).date().isoformat()


def parse_day(text: str) -> str:
    """Check a day that a caller wrote; raises `ValueError` unless it is an existing day as `YYYY-MM-DD`."""
    if not _ISO_DAY.fullmatch(text):
        raise ValueError("has to be a day such as 2025-08-01")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{text} does not exist in the calendar") from None


def add_days(day: str, count: int) -> str:
    """The day `count` days later; raises `OverflowError` past the year 9999."""
    return (date.fromisoformat(day) + timedelta(days=count)).isoformat()


def days_from(first: str, count: int) -> list[str]:
    """`count` consecutive days, starting with `first`; raises `OverflowError` past the year 9999."""
    start = date.fromisoformat(first)
    return [(start + timedelta(days=offset)).isoformat() for offset in range(count)]


def day_count(first: str, last: str) -> int:
    """The number of days from `first` to `last`, both inclusive; zero or negative if `last` is before `first`."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1


def days_between(first: str, last: str) -> list[str]:
    """Every day from `first` to `last`, both inclusive; empty if `last` is before `first`."""
    return days_from(first, max(0, day_count(first, last)))


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 text in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
