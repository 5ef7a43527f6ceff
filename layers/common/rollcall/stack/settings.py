"""Settings of the functions, read from the environment. A function with a bad setting fails at start and names it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from rollcall.core.days import EVER, LONGEST_WAY_DAYS, WEEK_DAYS, Calendar, parse_day
from rollcall.core.limits import Limit
from rollcall.stack.keys import Tables

# What the paths of the API's routes begin with. template.yaml forbids them as a prefix, too.
FIRST_SEGMENTS = frozenset(
    (
        *("2", "a", "accounts", "alias", "api", "assets", "auth", "b", "batch", "batches", "beacon"),
        *("capture", "cloudevents"),
        *("docs", "e", "engage", "events", "g", "group", "groups", "health", "healthz", "i", "identify", "import"),
        *("imports", "keys", "live"),
        *("meta", "metrics", "p", "page", "projects", "rejects", "s", "screen", "shares", "stats", "t", "track", "v1"),
    )
)
# A host of letters, digits, dots and hyphens: nothing that would end it in a header.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?", re.ASCII)
_Choice = TypeVar("_Choice")


class BadSetting(ValueError):
    """A setting is missing or has an unusable value; the text names it."""


@dataclass(frozen=True)
class IngestSettings:
    """Settings of the function that takes in events over HTTP."""

    queue_url: str
    calendar: Calendar
    upload_bucket: str
    hot_days: int
    """Days during which an event id is known as taken; 0 means for ever."""
    import_limit: Limit
    """For all requests of one key or account that begin an import."""
    max_upload_bytes: int
    """Of one file."""
    prefix: str
    """Under which the routes are as well, with a slash before it; empty for none."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "IngestSettings":
        """Raises `BadSetting`."""
        return cls(
            queue_url=_text(environment, "QUEUE_URL"),
            calendar=_calendar(environment, first_day=True),
            upload_bucket=_text(environment, "UPLOAD_BUCKET"),
            hot_days=_hot_days(environment),
            import_limit=_limit(environment, "IMPORTS_PER_MINUTE", "IMPORT_BURST", seconds=60),
            max_upload_bytes=_megabytes(environment, "MAX_UPLOAD_MEGABYTES"),
            prefix=path_prefix(environment, "INGEST_PREFIX"),
        )


@dataclass(frozen=True)
class PlanSettings:
    """Settings of the function that cuts uploaded files."""

    import_queue_url: str
    calendar: Calendar
    stats_table: str
    most_bytes: int
    """Of a file once it is expanded."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "PlanSettings":
        """Raises `BadSetting`."""
        return cls(
            import_queue_url=_text(environment, "IMPORT_QUEUE_URL"),
            calendar=_calendar(environment),
            stats_table=_text(environment, "STATS_TABLE"),
            most_bytes=_megabytes(environment, "MAX_EXPANDED_MEGABYTES"),
        )


@dataclass(frozen=True)
class ImportSettings:
    """Settings of the function that takes in the parts of uploaded files."""

    queue_url: str
    calendar: Calendar
    stats_table: str
    most_bytes: int
    """Of a file once it is expanded."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "ImportSettings":
        """Raises `BadSetting`."""
        return cls(
            queue_url=_text(environment, "QUEUE_URL"),
            calendar=_calendar(environment, first_day=True),
            stats_table=_text(environment, "STATS_TABLE"),
            most_bytes=_megabytes(environment, "MAX_EXPANDED_MEGABYTES"),
        )


@dataclass(frozen=True)
class ConsumerSettings:
    """Settings of the consumer."""

    tables: Tables
    calendar: Calendar
    dead_letter_queue_url: str
    remembered_user_days: int
    archive_bucket: str | None
    """None if the stack keeps no archive."""
    compact_function: str | None
    """The function that bundles and compacts the archive; None if the stack keeps none."""
    hot_days: int
    """Days after which an event leaves the events table; 0 means never."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "ConsumerSettings":
        """Raises `BadSetting`."""
        archived, hot_days = _is_archived(environment), _hot_days(environment)
        if hot_days and not archived:
            raise BadSetting(f"HOT_DAYS is {hot_days} and ARCHIVE is false: events that expire would be nowhere")
        return cls(
            tables=_tables(environment),
            calendar=_calendar(environment),
            dead_letter_queue_url=_text(environment, "DEAD_LETTER_QUEUE_URL"),
            remembered_user_days=_integer(environment, "REMEMBERED_USER_DAYS", least=0),
            archive_bucket=_text(environment, "ARCHIVE_BUCKET") if archived else None,
            compact_function=_text(environment, "COMPACT_FUNCTION") if archived else None,
            hot_days=hot_days,
        )


@dataclass(frozen=True)
class StatsSettings:
    """Settings of the functions that read the counters: stats and retention."""

    tables: Tables
    calendar: Calendar

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "StatsSettings":
        """Raises `BadSetting`."""
        return cls(tables=_tables(environment), calendar=_calendar(environment))


@dataclass(frozen=True)
class RejectsSettings:
    """Settings of the functions that keep and list the events of other services' SDKs that were not accepted."""

    bucket: str
    """The archive's, whether or not the stack keeps an archive."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "RejectsSettings":
        """Raises `BadSetting`."""
        return cls(_text(environment, "ARCHIVE_BUCKET"))


@dataclass(frozen=True)
class TopEventsSettings:
    """Settings of top events."""

    named_types: int
    """Counters of event types to read for an answer, beyond those in the days' own items."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "TopEventsSettings":
        """Raises `BadSetting`."""
        return cls(_integer(environment, "NAMED_TYPES", least=1))


@dataclass(frozen=True)
class WeekSettings:
    """The settings of weeks."""

    start: int
    """The day that weeks begin on, 0 for Monday."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "WeekSettings":
        """Raises `BadSetting`."""
        return cls(_choice(environment, "WEEK_START", {day: number for number, day in enumerate(WEEK_DAYS)}))


@dataclass(frozen=True)
class RetentionSettings:
    """Settings of the retention function, which keeps the users of large days in a bucket."""

    stats: StatsSettings
    bucket: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "RetentionSettings":
        """Raises `BadSetting`."""
        return cls(stats=StatsSettings.read(environment), bucket=_text(environment, "UPLOAD_BUCKET"))


@dataclass(frozen=True)
class ArchiveSettings:
    """Settings of the functions that read the archive: compact and segments."""

    bucket: str
    stats_table: str
    memory_megabytes: int
    """Memory of the function."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "ArchiveSettings":
        """Raises `BadSetting`."""
        return cls(
            bucket=_text(environment, "ARCHIVE_BUCKET"),
            stats_table=_text(environment, "STATS_TABLE"),
            memory_megabytes=_integer(environment, "MEMORY_MEGABYTES", least=512),
        )


@dataclass(frozen=True)
class SegmentsSettings:
    """Settings of the function that answers from the archive."""

    archive: ArchiveSettings
    storage_megabytes: int
    """Size of the function's disk, on which it keeps files of the archive."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "SegmentsSettings":
        """Raises `BadSetting`."""
        return cls(
            archive=ArchiveSettings.read(environment),
            storage_megabytes=_integer(environment, "STORAGE_MEGABYTES", least=512),
        )


@dataclass(frozen=True)
class AskSettings:
    """Settings of the functions that ask the segments function."""

    segments_function: str | None
    """None if the stack keeps no archive."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "AskSettings":
        """Raises `BadSetting`."""
        return cls(_text(environment, "SEGMENTS_FUNCTION") if _is_archived(environment) else None)


@dataclass(frozen=True)
class HealthSettings:
    """Settings of the health check."""

    tables: Tables
    access_table: str
    queue_url: str
    dead_letter_queue_url: str
    upload_bucket: str
    archive_bucket: str | None
    """None if the stack keeps no archive."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "HealthSettings":
        """Raises `BadSetting`."""
        return cls(
            tables=_tables(environment),
            access_table=_text(environment, "ACCESS_TABLE"),
            queue_url=_text(environment, "QUEUE_URL"),
            dead_letter_queue_url=_text(environment, "DEAD_LETTER_QUEUE_URL"),
            upload_bucket=_text(environment, "UPLOAD_BUCKET"),
            archive_bucket=_text(environment, "ARCHIVE_BUCKET") if _is_archived(environment) else None,
        )


@dataclass(frozen=True)
class AccessSettings:
    """Settings of the gate: who may call, how fast, and from which web pages."""

    table: str
    signing_key_parameter: str
    limit: Limit
    long_requests: int
    """Functions that a caller may keep busy for long at once. A question with a segment needs two."""
    cors_origins: tuple[str, ...]

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "AccessSettings":
        """Raises `BadSetting`."""
        return cls(
            table=_text(environment, "ACCESS_TABLE"),
            signing_key_parameter=_text(environment, "SIGNING_KEY_PARAMETER"),
            limit=Limit(_positive(environment, "KEY_RATE"), _integer(environment, "KEY_BURST", least=1)),
            long_requests=_integer(environment, "LONG_REQUESTS_PER_KEY", least=2),
            cors_origins=web_origins(environment, "CORS_ORIGINS"),
        )


@dataclass(frozen=True)
class AccountSettings:
    """Settings of registration and login."""

    open_registration: bool
    address_limit: Limit
    """For all requests without a credential from one address."""
    login_limit: Limit
    """For attempts to log in to one account from one address."""
    account_limit: Limit
    """For attempts to log in to one account from all addresses together."""
    session_days: int
    """Days that a session lives at most."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "AccountSettings":
        """Raises `BadSetting`."""
        return cls(
            open_registration=_choice(environment, "OPEN_REGISTRATION", {"true": True, "false": False}),
            address_limit=_limit(environment, "ADDRESS_REQUESTS_PER_MINUTE", "ADDRESS_BURST", seconds=60),
            login_limit=_limit(environment, "LOGINS_PER_MINUTE", "LOGIN_BURST", seconds=60),
            account_limit=_limit(environment, "ACCOUNT_LOGINS_PER_HOUR", "ACCOUNT_LOGIN_BURST", seconds=3_600),
            session_days=_integer(environment, "SESSION_DAYS", least=1),
        )


@dataclass(frozen=True)
class ProjectSettings:
    """Settings of the function that makes and changes projects."""

    stats_table: str
    calendar: Calendar
    """The days of the default project."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "ProjectSettings":
        """Raises `BadSetting`."""
        return cls(stats_table=_text(environment, "STATS_TABLE"), calendar=_calendar(environment))


@dataclass(frozen=True)
class DocsSettings:
    """Settings of the API's description of itself."""

    shown: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "DocsSettings":
        """Raises `BadSetting`."""
        return cls(_choice(environment, "DOCS", {"true": True, "false": False}))


@dataclass(frozen=True)
class PageSettings:
    """Settings of the page that browsers show."""

    shown: bool
    upload_origins: tuple[str, ...]
    """Where the presigned URLs of uploads are. An emulator's are where the API is, or at its own endpoint."""
    frame_ancestors: tuple[str, ...]
    """The origins whose pages may embed the page; none for no page at all."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "PageSettings":
        """Raises `BadSetting`."""
        return cls(
            shown=_choice(environment, "PAGE", {"true": True, "false": False}),
            upload_origins=_origins(environment, "UPLOAD_ORIGINS"),
            frame_ancestors=_origins(environment, "FRAME_ANCESTORS"),
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


def _positive(environment: Mapping[str, str], name: str) -> float:
    value = _text(environment, name)
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII) or not float(value):
        raise BadSetting(f"{name} has to be a number above 0, not {value!r}")
    return float(value)


def _limit(environment: Mapping[str, str], rate: str, burst: str, seconds: int) -> Limit:
    """A bucket to which the setting `rate` says how many tokens are added in so many seconds."""
    return Limit(_positive(environment, rate) / seconds, _integer(environment, burst, least=1))


def _megabytes(environment: Mapping[str, str], name: str) -> int:
    return _integer(environment, name, least=1) * 1_000_000


def _choice(environment: Mapping[str, str], name: str, choices: Mapping[str, _Choice]) -> _Choice:
    value = _text(environment, name)
    if value not in choices:
        raise BadSetting(f"{name} has to be {' or '.join(choices)}, not {value!r}")
    return choices[value]


def _is_archived(environment: Mapping[str, str]) -> bool:
    return _choice(environment, "ARCHIVE", {"true": True, "false": False})


def _hot_days(environment: Mapping[str, str]) -> int:
    days = _integer(environment, "HOT_DAYS", least=0)
    if 0 < days < LONGEST_WAY_DAYS:
        raise BadSetting(f"HOT_DAYS has to be 0 or at least {LONGEST_WAY_DAYS}: so late a batch may come again")
    return days


def web_origins(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Web origins, separated by commas; none if the setting is empty. Raises `BadSetting`."""
    origins = tuple(origin.strip() for origin in environment.get(name, "").split(",") if origin.strip())
    for origin in origins:
        if origin != "*" and not re.fullmatch(_ORIGIN, origin):
            raise BadSetting(f"{name} has to list origins such as https://app.example.com, or *; not {origin!r}")
    if "*" in origins and len(origins) > 1:
        raise BadSetting(f"{name} has to be * alone, or a list of origins")
    return origins


def _origins(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Web origins, separated by commas or spaces, in a form that a policy may name. Raises `BadSetting`."""
    origins = tuple(environment.get(name, "").replace(",", " ").split())
    for origin in origins:
        if not re.fullmatch(_ORIGIN, origin):
            raise BadSetting(f"{name} has to list origins such as https://app.example.com, not {origin!r}")
    return origins


def path_prefix(environment: Mapping[str, str], name: str) -> str:
    """A prefix of paths such as /t9, or nothing. Raises `BadSetting`, also for one that paths of routes begin with."""
    prefix = environment.get(name, "")
    if not re.fullmatch(r"(/[a-z0-9][a-z0-9_-]{0,31})?", prefix, re.ASCII):
        raise BadSetting(
            f"{name} has to be a slash and up to 32 of a to z, 0 to 9, _ and -, such as /t9, or empty; not {prefix!r}"
        )
    if prefix.removeprefix("/") in FIRST_SEGMENTS:
        raise BadSetting(f"{name} is {prefix}, which paths of the API begin with; take another one")
    return prefix


def _calendar(environment: Mapping[str, str], *, first_day: bool = False) -> Calendar:
    """The days of the stack; with `first_day`, from the day on from which events are taken in."""
    name = _text(environment, "REPORTING_TIMEZONE")
    first = _text(environment, "FIRST_DAY") if first_day else EVER
    try:
        parse_day(first)
    except ValueError as error:
        raise BadSetting(f"FIRST_DAY {error}") from None
    try:
        return Calendar(name, first)
    except ValueError as error:
        raise BadSetting(f"REPORTING_TIMEZONE: {error}") from None


def _tables(environment: Mapping[str, str]) -> Tables:
    return Tables(
        events=_text(environment, "EVENTS_TABLE"),
        stats=_text(environment, "STATS_TABLE"),
        user_shards=_integer(environment, "USER_SHARDS", least=1),
        counter_shards=_integer(environment, "COUNTER_SHARDS", least=1),
    )
