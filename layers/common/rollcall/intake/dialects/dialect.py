"""The contract of a dialect, and what dialects share: ids, times and the credential."""

import base64
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl

from rollcall.core.events import MAX_EVENT_ID_CHARACTERS, Event, InvalidEvent, is_uuid, moment_of
from rollcall.intake.bodies import UnreadableBody, check_count, parse_document
from rollcall.intake.intake import Rejection

JSON = "application/json"
# Less than this, a difference between two clocks is the time that a request takes, or waits to be sent.
TRUSTED_SKEW = timedelta(hours=1)
MAX_QUERY_FIELDS = 1_000
# What pages load as an image.
PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")

_ONE_ALPHABET = str.maketrans(" -_", "++/")

# Of what Python reads as a number, that which other languages write: no underscores, no digits of other scripts.
_NUMERAL = re.compile(r"\s*[\d.eE+-]+\s*", re.ASCII)
_FIELD = re.compile(rf"({'|'.join(Event._fields)})\b")


@dataclass(frozen=True)
class Sent:
    """A request."""

    method: str
    route: str
    """One of `Dialect.routes`."""
    path: str
    """The route with its parameters filled in."""
    headers: Mapping[str, str]
    """By names in small letters."""
    query: str
    body: bytes
    """Expanded."""
    received: datetime
    """In UTC."""

    @cached_property
    def document(self) -> Any:
        """The body as JSON; raises `UnreadableBody` or `BodyTooLarge`."""
        return parse_document(self.body)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query, decoded. Of a parameter that comes twice, the last one stands. Raises `UnreadableBody`."""
        return read_form(self.query)


class Item(NamedTuple):
    """An event of a request."""

    sent: object
    """As it was sent: decoded JSON."""
    raw: object
    """A raw event of the native form, or an `InvalidEvent`."""
    name: str | None = None
    """The id by which an answer of the dialect names the event."""


class Reading(NamedTuple):
    """What a request holds."""

    items: Sequence[Item]
    credential: str | None = None
    """The key, where the body or the query has it."""


class Refusal(NamedTuple):
    """Why nothing of a request was taken."""

    status: int
    code: str
    message: str
    rejected: Sequence[Rejection] = ()
    """The events, where all that is wrong is these."""


class Answer(NamedTuple):
    """What a request is answered with. Retry-After is added to those that ask for a retry."""

    status: int
    body: bytes
    media_type: str = JSON
    named: frozenset[int] = frozenset()
    """The places of the rejected events that the body names."""


@dataclass(frozen=True)
class Outcome:
    """What became of a request of which at least one event was taken, or that has none."""

    items: Sequence[Item]
    rejected: Sequence[Rejection] = field(default_factory=list)
    """Sorted by `index`, which is a place in `items`. The messages name the fields as the dialect does."""


class Dialect(ABC):
    """How the SDKs of a service speak. An instance keeps no state."""

    name: ClassVar[str]
    """What stands before ids that are no UUIDs."""
    routes: ClassVar[Mapping[str, tuple[str, ...]]]
    """The methods of each route. They are served with `/v1` and a last slash as well."""
    fields: ClassVar[Mapping[str, str]] = {}
    """What the dialect calls the fields of a native event."""
    tells_retry: ClassVar[bool] = False
    """Whether answers name the events that have to be sent again."""

    def speaks(self, sent: Sent) -> bool:  # noqa: ARG002
        """Whether a request to one of the routes is in this dialect; raises `UnreadableBody` or `BodyTooLarge`."""
        return True

    @abstractmethod
    def read(self, sent: Sent) -> Reading:
        """The events of a request and its key; raises `UnreadableBody` or `BodyTooLarge`."""

    @abstractmethod
    def taken(self, sent: Sent, outcome: Outcome) -> Answer:
        """The answer to a request of which events were taken."""

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:  # noqa: ARG002
        """The answer to a request of which nothing was taken, with the status of the refusal."""
        return json_answer(refusal.status, {"code": refusal.code, "message": refusal.message})

    def in_words(self, rejection: Rejection) -> Rejection:
        """A rejection whose message begins with the dialect's name of the field."""
        found = _FIELD.match(rejection.message)
        if not found:
            return rejection
        return replace(rejection, message=f"{self.fields.get(found[0], found[0])}{rejection.message[found.end() :]}")


def pixel_answer() -> Answer:
    """A transparent image of one pixel."""
    return Answer(200, PIXEL, "image/gif")


def json_answer(status: int, document: object, named: frozenset[int] = frozenset()) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(document, separators=(",", ":")).encode(), JSON, named)


def listed(document: object, what: str) -> list[Any]:
    """A list of events; raises `UnreadableBody` for anything else, and `BodyTooLarge` for too many of them."""
    if not isinstance(document, list):
        raise UnreadableBody("not_a_list", f"{what} has to be an array")
    # Here, so that no more are mapped for somebody whose key is not known yet.
    check_count(document)
    return document


def read_form(text: str) -> dict[str, str]:
    """The fields of a query or of a form, percent-encoded, with `+` for a space; raises `UnreadableBody`."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS))
    except UnicodeDecodeError:
        raise UnreadableBody("invalid_form", "a field is not UTF-8") from None
    except ValueError:
        raise UnreadableBody("invalid_form", f"there are more than {MAX_QUERY_FIELDS} fields") from None


def text_of(value: object) -> str | None:
    """A string that says something, else None."""
    return value if isinstance(value, str) and value else None


def credential_in(value: object) -> str | None:
    """The key in a field. What follows a colon is no part of it."""
    return value.partition(":")[0] if isinstance(value, str) and value else None


def brings_credential(sent: Sent) -> bool:
    """Whether the headers hold a credential, so that what stands in the place of a key in an event is none."""
    return bool(credentials_in_headers(sent))


def credentials_in_headers(sent: Sent) -> list[str]:
    """The keys in the headers, at the places where the route looks for one."""
    scheme, _, told = sent.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        told = _user_name(told)
    elif scheme.lower() != "bearer":
        told = ""
    values = (sent.headers.get("x-api-key"), told.strip(), sent.headers.get("x-write-key"))
    return [key for value in values if (key := credential_in(value))]


def _user_name(basic: str) -> str:
    try:
        return base64.b64decode(basic).decode("ascii").partition(":")[0]
    except ValueError:
        return ""


def decode_base64(text: str) -> bytes:
    """What base64 says, of either alphabet, padded or not; raises `ValueError`.

    A space is a `+` that was sent in a form without percent-encoding.
    """
    text = text.translate(_ONE_ALPHABET).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def first_of(fields: Mapping[str, Any], names: Sequence[str]) -> object:
    """The first of some fields that is there and not empty; None if there is none."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def event_id_of(dialect: str, value: object, item: object, *, timed: bool, called: str) -> str:
    """The native id of an event; raises `InvalidEvent`.

    `value` is the dialect's id: a UUID stays, and anything else gets the dialect's name before it. An event without one
    gets an id made from its content, so that it is the same event when it is sent again. That needs a time in it, or
    two events could not be told apart: `timed` says whether it has one, and `called` what the dialect calls its id.
    """
    if value is None or value == "":
        if not timed:
            message = f"the event has neither {called} nor a time, so that a retry could not be told from a new event"
            raise InvalidEvent("missing_field", message)
        if isinstance(item, dict):
            item = {name: item[name] for name in item if name != called}
        text = json.dumps(item, sort_keys=True, separators=(",", ":"), default=repr)
        return f"{dialect}:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidEvent("invalid_event_id", "event_id has to be a string")
    if is_uuid(value):
        return value
    named = f"{dialect}:{value}"
    if len(named) <= MAX_EVENT_ID_CHARACTERS:
        return named
    return f"{dialect}:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()[:32]}"


def from_epoch(value: object, unit: timedelta) -> str:
    """A number of `unit` since the epoch, or its text, as RFC 3339; raises `InvalidEvent`."""
    number = value
    if isinstance(value, str):
        if not _NUMERAL.fullmatch(value):
            raise InvalidEvent("invalid_occurred_at", "occurred_at has to be a number")
        try:
            number = int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else float(value)
        except ValueError:
            number = None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidEvent("invalid_occurred_at", "occurred_at has to be a number")
    try:
        # Of whole numbers, so that no fraction of a binary number moves the time.
        micros = round(number * (unit // timedelta(microseconds=1)))
        return rfc_3339(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
    except (OverflowError, ValueError):
        raise InvalidEvent("invalid_occurred_at", "occurred_at is not a time that exists") from None


def rfc_3339(moment: datetime) -> str:
    """A time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def skew_of(sent_at: object, received: datetime) -> timedelta:
    """How far the clock of a sender is behind that of this service; zero below an hour.

    In whole minutes, so that an event has the same time when it is sent again.
    """
    moment = moment_of(sent_at) if isinstance(sent_at, str) else None
    if moment is None:
        return timedelta()
    skew = received - moment
    return timedelta(minutes=round(skew / timedelta(minutes=1))) if abs(skew) > TRUSTED_SKEW else timedelta()


def corrected(occurred_at: object, skew: timedelta) -> object:
    """A time of a sender's clock. One that cannot be read stays as it is: the check of events says what is wrong."""
    moment = moment_of(occurred_at) if skew and isinstance(occurred_at, str) else None
    try:
        return occurred_at if moment is None else rfc_3339(moment + skew)
    except OverflowError:
        return occurred_at
