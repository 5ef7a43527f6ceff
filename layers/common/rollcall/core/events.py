"""Events: which are accepted, the canonical form in which they are kept, and why others are refused."""

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from rollcall.core.characters import holds_hidden
from rollcall.core.days import Calendar
from rollcall.core.nesting import is_deeper
from rollcall.core.numbers import may_differ, with_canonical_numbers
from rollcall.core.projects import SEPARATOR as PROJECT_SEPARATOR

MAX_EVENT_BYTES = 32 * 1024
MAX_EVENT_ID_CHARACTERS = 128
MAX_USER_ID_BYTES = 256
MAX_EVENT_TYPE_CHARACTERS = 128
MAX_DEPTH = 128
# What answers call the types that they do not count by name. No event has it as its type.
OTHER_TYPES = "$other"
# The types of profile calls, which tell who a user is and not what a user did. They are stored, and in no number.
PROFILE_TYPES = frozenset(
    {
        "$identify",
        "$alias",
        "$group",
        "$set",
        "$set_once",
        "$unset",
        "$create_alias",
        "$merge_dangerously",
        "$groupidentify",
        "$engage",
        "$groups",
    }
)
CLOCK_SKEW = timedelta(minutes=5)
# In some timezones, times outside of these fall before the year 1 or after the year 9999.
EARLIEST = datetime(1, 1, 3, tzinfo=UTC)
LATEST = datetime(9999, 12, 29, tzinfo=UTC)
# What clients send when they do not know the user.
PLACEHOLDER_USER_IDS = frozenset({"null", "(null)", "none", "nil", "nan", "undefined", "[object object]"})

_EARLIEST_SECOND = "0001-01-03T00:00:00Z"
# The minutes and seconds of most times, which are looked up sooner than a time is parsed.
_SIXTY = frozenset(f":{number:02}" for number in range(60))
# With dashes, braces and `urn:uuid:`, or without.
_UUID_LENGTHS = frozenset((32, 34, 36, 38, 41, 43, 45, 47))

# `isinstance` is much faster for a dict than for an abstract Mapping, so the dict comes first.
_OBJECT = (dict, Mapping)
# `JSONEncoder.encode` makes one of these for each value, which takes as long as to write the properties of an event.
# It looks for no circular references, since decoded JSON and MessagePack hold none; it sorts names, skips none, and
# refuses numbers that are not finite.
_canonical_parts = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
    None, json.JSONEncoder().default, json.encoder.encode_basestring, None, ":", ",", True, False, False
)

_RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d):(\d\d)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
# Of the digits of a fraction, those that are kept.
_FRACTION = re.compile(r"\.(\d{1,6})\d*", re.ASCII)
_NO_FRACTION = frozenset("0" * digits for digits in range(1, 7))
_CANONICAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", re.ASCII)
# What most clients send. It is canonical already.
_CANONICAL_SECOND = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII)
_WHOLE_HOUR = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):00:00[+-](?:[01]\d|2[0-3]):00", re.ASCII)
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_SPELLINGS = re.compile(
    r"(?:urn:uuid:)?(\{)?[0-9a-f]{8}(-?)[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{4}\2[0-9a-f]{12}(?(1)\})",
    re.ASCII | re.IGNORECASE,
)


class Event(NamedTuple):
    """An accepted event in canonical form. Every door turns what it takes in into these."""

    event_id: str
    occurred_at: str
    """RFC 3339 in UTC with `Z`. Has a fraction, of six digits, only if that is not zero."""
    user_id: str
    event_type: str
    properties: str
    """A JSON object as text, with sorted keys, no spaces and one form of equal numbers."""

    def fingerprint(self) -> str:
        """The first 8 bytes, in hex, of the SHA-256 of all fields but the id. Tells a duplicate from a conflict."""
        # Fields may hold any character, so lengths separate them where no separator could.
        text = (
            f"{self.occurred_at}{len(self.user_id)}:{self.user_id}"
            f"{len(self.event_type)}:{self.event_type}{self.properties}"
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class InvalidEvent(ValueError):
    """An event that is refused. `code` is for programs; `message` names the field and the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse_event(raw: object, now: datetime, calendar: Calendar | None = None) -> Event:
    """Check one event as a client sent it and bring it into canonical form; raises `InvalidEvent`.

    `raw` is decoded JSON or MessagePack, or the `InvalidEvent` that a decoder put in the place of an event that it
    could not read; that one is raised. `now` is an aware datetime: an event more than `CLOCK_SKEW` after `now` is
    refused, and one before the first day of `calendar`. Unknown fields are ignored.
    """
    event = _plain_event(raw, now) if type(raw) is dict else None
    if event is None:
        event = _event(raw, now)
    if calendar is not None and not calendar.has(event.occurred_at):
        raise InvalidEvent("too_old", f"occurred_at is before {calendar.first_day}, the first day that is taken in")
    return event


def _plain_event(raw: dict[Any, Any], now: datetime) -> Event | None:
    """What `_event` makes of an event of the most common form, in a third of the time; None for all others."""
    try:
        event_id, occurred_at, user_id = raw["event_id"], raw["occurred_at"], raw["user_id"]
        event_type = raw["event_type"]
        names = "".join((event_id, user_id, event_type))
        offset, fraction = occurred_at[19:], ""
        if offset[:1] == "." and (found := _FRACTION.match(offset)):
            offset = offset[found.end() :]
            fraction = "" if found[1] in _NO_FRACTION else f".{found[1]:0<6}"
        hour = _hour_in_utc(occurred_at[:13] + offset)
        second = f"{hour}{occurred_at[13:19]}Z"
    except (KeyError, TypeError):
        return None
    if not (
        names.isascii()
        and names.isprintable()
        and 0 < len(event_id) <= MAX_EVENT_ID_CHARACTERS
        # Of the spellings of UUIDs, those in 36 small letters are as they stay.
        and (len(event_id) not in _UUID_LENGTHS or (len(event_id) == 36 and event_id == event_id.lower()))
        and 0 < len(user_id) <= MAX_USER_ID_BYTES
        # No placeholder begins with a digit.
        and (user_id[0].isdigit() or not (user_id.isspace() or user_id.strip().lower() in PLACEHOLDER_USER_IDS))
        and 0 < len(event_type) <= MAX_EVENT_TYPE_CHARACTERS
        and event_type != OTHER_TYPES
        and occurred_at[13:16] in _SIXTY
        and occurred_at[16:19] in _SIXTY
        and hour
        and _EARLIEST_SECOND <= second <= _latest_second(now)
        and not (fraction and second == _latest_second(now))
    ):
        return None
    if fraction:
        second = f"{second[:-1]}{fraction}Z"
    properties = _properties(raw.get("properties"))
    try:
        size = len(names) + len(second) + len(properties if properties.isascii() else properties.encode())
    except UnicodeEncodeError:
        return None
    if size > MAX_EVENT_BYTES:
        return None
    # `Event(...)` is a call of Python code, which does this.
    return tuple.__new__(Event, (event_id, second, user_id, event_type, properties))


def _event(raw: object, now: datetime) -> Event:
    if isinstance(raw, InvalidEvent):
        raise raw
    if not isinstance(raw, _OBJECT):
        raise InvalidEvent("not_an_object", f"an event has to be an object, not {_kind(raw)}")
    event = Event(
        canonical_event_id(_text(raw, "event_id")),
        _occurred_at(_text(raw, "occurred_at"), now),
        _user_id(raw),
        _event_type(_text(raw, "event_type")),
        _properties(raw.get("properties")),
    )
    try:
        size = len("".join(event).encode())
    except UnicodeEncodeError:
        raise InvalidEvent("invalid_unicode", f"{_broken_field(event)} is not valid Unicode") from None
    if _is_longer(event.user_id, MAX_USER_ID_BYTES):
        raise InvalidEvent("invalid_user_id", f"user_id is longer than {MAX_USER_ID_BYTES} bytes")
    if size > MAX_EVENT_BYTES:
        raise InvalidEvent("event_too_large", f"the event has {size} bytes, {MAX_EVENT_BYTES} are allowed")
    return event


def canonical_event_id(value: str) -> str:
    """The form in which an event's id is kept; raises `InvalidEvent`."""
    if _CANONICAL_UUID.fullmatch(value):
        return value
    if not 1 <= len(value) <= MAX_EVENT_ID_CHARACTERS:
        raise InvalidEvent(
            "invalid_event_id", f"event_id has {len(value)} characters, 1 to {MAX_EVENT_ID_CHARACTERS} are allowed"
        )
    if _UUID_SPELLINGS.fullmatch(value):
        return str(uuid.UUID(value.lower()))
    if holds_hidden(value) and not _has_surrogates(value):
        raise InvalidEvent("invalid_event_id", "event_id holds control characters or others that cannot be seen")
    return value


def is_profile_call(event_type: str) -> bool:
    """Whether events of a type are profile calls: stored like all others, and counted in no number."""
    return event_type in PROFILE_TYPES


def is_uuid(text: str) -> bool:
    """Whether an id is a UUID in any spelling. Such an id is the same event in each of them."""
    return len(text) in _UUID_LENGTHS and _UUID_SPELLINGS.fullmatch(text) is not None


def moment_of(text: str) -> datetime | None:
    """The time that text says which an event may have as `occurred_at`; None for other text, or if there is no such."""
    parts = _RFC_3339.fullmatch(text)
    try:
        return _moment(parts) if parts else None
    except (ValueError, OverflowError):
        return None


def flaw(event: Event) -> str | None:
    """Why the consumer cannot store and count an event from the queue, or None if it can.

    Checks less than `parse_event`: only what would break a key, a day or the bounds of memory.
    """
    if not event.event_id or _is_longer(event.event_id, 4 * MAX_EVENT_ID_CHARACTERS):
        return "event_id is empty or too long"
    if PROJECT_SEPARATOR in event.event_id:
        return "event_id holds U+001F, which tells a project's events from another's"
    if not event.user_id or _is_longer(event.user_id, MAX_USER_ID_BYTES):
        return "user_id is empty or too long"
    if not 1 <= len(event.event_type) <= MAX_EVENT_TYPE_CHARACTERS:
        return "event_type is empty or too long"
    if sum(map(len, event)) > MAX_EVENT_BYTES or _is_longer("".join(event), MAX_EVENT_BYTES):
        return f"the event has more than {MAX_EVENT_BYTES} bytes"
    try:
        known = _CANONICAL_TIME.fullmatch(event.occurred_at) is not None
        known = known and EARLIEST <= datetime.fromisoformat(event.occurred_at) <= LATEST
    except ValueError:
        known = False
    return None if known else "occurred_at is not a canonical time"


def _is_longer(text: str, most: int) -> bool:
    """Whether a text has more than `most` bytes in UTF-8. Encodes it only if its characters could take that many."""
    return 4 * len(text) > most and len(text.encode(errors="replace")) > most


def _text(raw: Mapping[Any, Any], field: str, kinds: str = "a string") -> str:
    value = raw.get(field)
    if isinstance(value, str):
        return value
    if value is None:
        raise InvalidEvent("missing_field", f"{field} is missing")
    raise InvalidEvent(f"invalid_{field}", f"{field} has to be {kinds}, not {_kind(value)}")


def _occurred_at(value: str, now: datetime) -> str:
    canonical = _CANONICAL_SECOND.fullmatch(value) is not None
    parts = None if canonical else _RFC_3339.fullmatch(value)
    if parts is None and not canonical:
        raise InvalidEvent(
            "invalid_occurred_at", "occurred_at has to be RFC 3339 with an offset, such as 2025-08-01T09:30:00+03:00"
        )
    try:
        moment = _moment(parts) if parts else datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        why = "; second 60 is at 23:59 UTC on June 30 and December 31 alone" if parts and parts[3] == "60" else ""
        raise InvalidEvent("invalid_occurred_at", f"occurred_at is not a time that exists{why}") from None
    if moment < EARLIEST:
        raise InvalidEvent("invalid_occurred_at", f"occurred_at is before {EARLIEST.date()}")
    if moment > now + CLOCK_SKEW:
        minutes = int(CLOCK_SKEW.total_seconds() // 60)
        raise InvalidEvent("occurred_in_future", f"occurred_at is more than {minutes} minutes in the future")
    return value if canonical else moment.isoformat().removesuffix("+00:00") + "Z"


@lru_cache(20_000)
def _hour_in_utc(hour: str) -> str:
    """The day and hour in UTC of those with an offset of whole hours behind them; empty where there are none."""
    shown = f"{hour[:13]}:00:00{hour[13:].replace('Z', '+00:00')}"
    try:
        return datetime.fromisoformat(shown).astimezone(UTC).isoformat()[:13] if _WHOLE_HOUR.fullmatch(shown) else ""
    except (ValueError, OverflowError):
        return ""


@lru_cache(1)
def _latest_second(now: datetime) -> str:
    return (now + CLOCK_SKEW).astimezone(UTC).isoformat()[:19] + "Z"


def _moment(parts: re.Match[str]) -> datetime:
    """The time of an `_RFC_3339` match, in UTC; raises `ValueError` or `OverflowError` if it does not exist."""
    date, minute, second, fraction, offset = parts.groups()
    # POSIX time has no leap seconds. A leap second stays in its own minute, and so in its own day.
    shown_second = "59" if second == "60" else second
    moment = datetime.fromisoformat(f"{date}T{minute}:{shown_second}{(fraction or '')[:7]}{offset.upper()}")
    moment = moment.astimezone(UTC)
    # Where RFC 3339 section 5.7 has one: at the end of a June or a December, by UTC.
    if second == "60" and f"{moment:%m-%dT%H:%M}" not in ("06-30T23:59", "12-31T23:59"):
        raise ValueError("there is no leap second")
    return moment


def _user_id(raw: Mapping[Any, Any]) -> str:
    number = raw.get("user_id")
    if isinstance(number, int) and not isinstance(number, bool):
        try:
            return str(number)
        except ValueError:
            raise InvalidEvent("invalid_user_id", f"user_id is longer than {MAX_USER_ID_BYTES} bytes") from None
    value = _text(raw, "user_id", "a string or an integer")
    if not value or value.isspace():
        raise InvalidEvent("invalid_user_id", "user_id is empty")
    if value.strip().lower() in PLACEHOLDER_USER_IDS:
        raise InvalidEvent("invalid_user_id", "user_id is a placeholder, not a user")
    return value


def _event_type(value: str) -> str:
    if not 1 <= len(value) <= MAX_EVENT_TYPE_CHARACTERS:
        raise InvalidEvent(
            "invalid_event_type",
            f"event_type has {len(value)} characters, 1 to {MAX_EVENT_TYPE_CHARACTERS} are allowed",
        )
    if value == OTHER_TYPES:
        raise InvalidEvent("invalid_event_type", f"event_type {OTHER_TYPES} is what answers call all other types")
    return value


def _properties(value: object) -> str:
    if value is None:
        return "{}"
    if not isinstance(value, dict):
        if isinstance(value, InvalidEvent):
            raise value
        raise InvalidEvent("invalid_properties", f"properties has to be an object, not {_kind(value)}")
    try:
        text = "".join(_canonical_parts(value, 0))
    except (TypeError, ValueError, RecursionError):
        # MessagePack may hold bytes and names that are not text, JSON may hold 1e400.
        # Both may nest too deep and name a field twice.
        raise InvalidEvent(
            "invalid_properties",
            "properties holds what JSON cannot: a number that is not finite, bytes, a name twice, or too deep",
        ) from None
    # Each level takes two brackets. Text that is too long is refused for its length.
    if 2 * MAX_DEPTH < len(text) <= MAX_EVENT_BYTES and is_deeper(text, MAX_DEPTH):
        raise InvalidEvent("invalid_properties", f"properties nests deeper than {MAX_DEPTH} levels")
    return with_canonical_numbers(text) if may_differ(value) else text


def _broken_field(event: Event) -> str:
    return next(name for name, value in zip(Event._fields, event, strict=True) if _has_surrogates(value))


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, Mapping | InvalidEvent):
        return "an object"
    return type(value).__name__
