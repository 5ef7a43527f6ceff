"""Settings of the functions, read from their environment. A bad one fails at start, with its name."""

from collections.abc import Mapping
from dataclasses import dataclass

from rollcall.days import Calendar
from rollcall.keys import Tables


class BadSetting(ValueError):
    """A setting that is missing or cannot be used; the text names it."""


@dataclass(frozen=True)
class IngestSettings:
    """Of the doors: ingest and import."""

    queue_url: str
    calendar: Calendar

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "IngestSettings":
        """Raises `BadSetting`."""
        return cls(queue_url=_text(environment, "QUEUE_URL"), calendar=_calendar(environment))


@dataclass(frozen=True)
class ConsumerSettings:
    """Of the consumer."""

    tables: Tables
    calendar: Calendar
    dead_letter_queue_url: str
    remembered_user_days: int

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "ConsumerSettings":
        """Raises `BadSetting`."""
        return cls(
            tables=_tables(environment),
            calendar=_calendar(environment),
            dead_letter_queue_url=_text(environment, "DEAD_LETTER_QUEUE_URL"),
            remembered_user_days=_integer(environment, "REMEMBERED_USER_DAYS", least=0),
        )


@dataclass(frozen=True)
class StatsSettings:
    """Of the readers: stats and retention."""

    tables: Tables
    calendar: Calendar

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "StatsSettings":
        """Raises `BadSetting`."""
        return cls(tables=_tables(environment), calendar=_calendar(environment))


@dataclass(frozen=True)
class HealthSettings:
    """Of the dependency check."""

    tables: Tables
    queue_url: str
    dead_letter_queue_url: str
    bucket: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "HealthSettings":
        """Raises `BadSetting`."""
        return cls(
            tables=_tables(environment),
            queue_url=_text(environment, "QUEUE_URL"),
            dead_letter_queue_url=_text(environment, "DEAD_LETTER_QUEUE_URL"),
            bucket=_text(environment, "UPLOAD_BUCKET"),
        )


def _text(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise BadSetting(f"{name} is not set")
    return value


def _integer(environment: Mapping[str, str], name: str, least: int) -> int:
    value = _text(environment, name)
    if not value.isdecimal() or int(value) < least:
        raise BadSetting(f"{name} has to be a whole number of at least {least}, not {value!r}")
    return int(value)


def _calendar(environment: Mapping[str, str]) -> Calendar:
    try:
        return Calendar(_text(environment, "REPORTING_TIMEZONE"))
    except ValueError as error:
        raise BadSetting(f"REPORTING_TIMEZONE: {error}") from None


def _tables(environment: Mapping[str, str]) -> Tables:
    return Tables(
        events=_text(environment, "EVENTS_TABLE"),
        stats=_text(environment, "STATS_TABLE"),
        user_shards=_integer(environment, "USER_SHARDS", least=1),
        counter_shards=_integer(environment, "COUNTER_SHARDS", least=1),
    )
