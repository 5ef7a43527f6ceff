"""PostHog, in the form that most of its SDKs send (v0) and in the one that answers for each event (v1).

https://posthog.com/docs/api/capture
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from rollcall.core.events import InvalidEvent
from rollcall.intake.bodies import UnreadableBody, expand, parse_document
from rollcall.intake.dialects.dialect import (
    Answer,
    Dialect,
    Item,
    Outcome,
    Reading,
    Refusal,
    Sent,
    corrected,
    credential_in,
    credentials_in_headers,
    event_id_of,
    from_epoch,
    json_answer,
    listed,
    read_form,
    rfc_3339,
    skew_of,
    text_of,
)
from rollcall.intake.intake import Rejection

_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_FORM = re.compile(rb"\s*[A-Za-z_]+=")
_KEY_FIELDS = ("api_key", "token")
# What v1 has beside the properties, and v0 among them.
_LIFTED = {"session_id": "$session_id", "window_id": "$window_id"}
_OPTIONS = {
    "cookieless_mode": "$cookieless_mode",
    "disable_skew_correction": "$ignore_sent_at",
    "product_tour_id": "$product_tour_id",
    "process_person_profile": "$process_person_profile",
}
# A result for each of 5,000 events stays below what a function may answer.
_MAX_NAME_CHARACTERS = 64


class PostHog(Dialect):
    """One event at the top, many as `batch`, or an array. All answers are the same, so that bad events are kept."""

    name = "posthog"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys(("/batch", "/e", "/capture", "/i/v0/e"), ("POST",)),
    }
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "uuid",
        "occurred_at": "timestamp",
        "user_id": "distinct_id",
        "event_type": "event",
    }

    def speaks(self, sent: Sent) -> bool:
        """See `Dialect.speaks`."""
        if sent.route != "/batch":
            return True
        document = sent.document
        return isinstance(document, dict) and "batch" in document and any(name in document for name in _KEY_FIELDS)

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`. Without a key at the top, events have it: posthog-js puts it into their properties."""
        document = _document(sent)
        top = document if isinstance(document, dict) else {}
        if "batch" in top:
            events = listed(top["batch"], "batch")
        else:
            events = [top] if isinstance(document, dict) else listed(document, "a body that is no object")
        keys = _keys_of(top)
        credential = keys[0] if keys else next((key for each in events for key in _keys_in(each)), None)
        keys = [*keys, *credentials_in_headers(sent)]
        skew = skew_of(self._sent_at(sent, top), sent.received)
        now = rfc_3339(sent.received)
        items = []
        for each in events:
            event = _without_keys(each, keys)
            own = () if keys else _keys_in(each)
            if own and credential not in own:
                raw: object = InvalidEvent("other_key", "token is not that of the first event")
            else:
                raw = self._raw(event, sent, skew, now)
            items.append(Item(event, raw, _name_of(event)))
        return Reading(items, credential)

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:  # noqa: ARG002
        """See `Dialect.taken`."""
        return _SUCCESS

    def _sent_at(self, sent: Sent, top: Mapping[str, Any]) -> object:
        """The time of sending by the sender's clock, if the request tells it."""
        if "sent_at" in top:
            return top["sent_at"]
        told = sent.parameters.get("sent_at") or sent.parameters.get("_") or ""
        # As posthog-js writes it. A time that cannot be read corrects nothing.
        return from_epoch(told, _MILLISECOND) if told.isascii() and told.isdecimal() and len(told) == 13 else told

    def _raw(self, item: Any, sent: Sent, skew: timedelta, now: str) -> object:
        if not isinstance(item, dict):
            return item
        content = {name: value for name, value in item.items() if name != "sent_at"}
        try:
            time = _time_of(item, sent.received)
            event_id = event_id_of(self.name, item.get("uuid"), content, timed=time is not None, called="uuid")
        except InvalidEvent as error:
            return error
        properties = _properties(item)
        user_id, place = _user_of(item, properties)
        if isinstance(properties, dict):
            if place is not None:
                properties.pop(place, None)
            if _is_true(properties.get("$ignore_sent_at")):
                skew = timedelta()
            elif not skew:
                skew = skew_of(item.get("sent_at"), sent.received)
        return {
            "event_id": event_id,
            "occurred_at": now if time is None else corrected(time, skew) if skew else time,
            "user_id": user_id,
            "event_type": item.get("event"),
            "properties": properties,
        }


class PostHogV1(PostHog):
    """Events as `batch`. An answer has the result of each event by its `uuid`."""

    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {"/i/v1/analytics/events": ("POST",)}
    tells_retry = True

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:  # noqa: ARG002
        """See `Dialect.taken`."""
        return _results(outcome.items, outcome.rejected)

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:
        """See `Dialect.refused`. Where only the events are wrong, the request is good and each one is told why."""
        if refusal.rejected:
            return _results(self.read(sent).items, refusal.rejected)
        return super().refused(sent, refusal)

    def _sent_at(self, sent: Sent, top: Mapping[str, Any]) -> object:  # noqa: ARG002
        # `created_at` is the time of the first try, which a clock cannot be read from.
        return sent.headers.get("posthog-request-timestamp")


_SUCCESS = json_answer(200, {"status": 1})


def _results(items: Sequence[Item], rejected: Iterable[Rejection]) -> Answer:
    """What became of each event. Of events with one name, the one that matters most to its SDK has the result."""
    reasons = {each.index: each for each in rejected}
    results: dict[str, tuple[int, int, dict[str, str]]] = {}
    for place, item in enumerate(items):
        if item.name is None:
            continue
        reason = reasons.get(place)
        if reason is None:
            result = (0, place, {"result": "ok"})
        else:
            retried = reason.code == "retry"
            result = (1 + retried, place, {"result": "retry" if retried else "drop", "details": reason.message})
        if item.name not in results or results[item.name][0] < result[0]:
            results[item.name] = result
    named = frozenset(place for rank, place, _ in results.values() if rank == 1)
    return json_answer(200, {"results": {name: result for name, (_, _, result) in results.items()}}, named)


def _document(sent: Sent) -> object:
    body = sent.body
    if not _FORM.match(body):
        return sent.document
    try:
        data = read_form(body.decode()).get("data", "")
        if data.lstrip()[:1] in ("{", "["):
            return parse_document(data.encode())
        # A `+` that was not encoded was read as a space.
        decoded = base64.b64decode(data.replace(" ", "+"), validate=True)
    except UnreadableBody:
        raise
    except ValueError:
        raise UnreadableBody("invalid_form", "data is neither JSON nor base64") from None
    return parse_document(expand(decoded))


def _keys_of(fields: Mapping[str, Any]) -> list[str]:
    return [key for name in _KEY_FIELDS if (key := credential_in(fields.get(name)))]


def _keys_in(item: Any) -> list[str]:
    """The keys of an event: its own, then those in its properties."""
    if not isinstance(item, dict):
        return []
    properties = item.get("properties")
    return [*_keys_of(item), *(_keys_of(properties) if isinstance(properties, dict) else [])]


def _without_keys(item: Any, keys: Sequence[str]) -> Any:
    """An event without the key. A `token` that is not the request's key is a property like others."""
    if not isinstance(item, dict):
        return item
    item = {name: value for name, value in item.items() if name not in _KEY_FIELDS}
    properties = item.get("properties")
    if isinstance(properties, dict) and any(name in properties for name in _KEY_FIELDS):
        item["properties"] = {
            name: value
            for name, value in properties.items()
            if name not in _KEY_FIELDS or (keys and credential_in(value) not in keys)
        }
    return item


def _name_of(item: Any) -> str | None:
    name = text_of(item.get("uuid")) if isinstance(item, dict) else None
    return name if name and len(name) <= _MAX_NAME_CHARACTERS else None


def _properties(item: Mapping[str, Any]) -> object:
    """A copy of the properties with those that stand beside them."""
    properties = item.get("properties")
    if properties is not None and not isinstance(properties, dict):
        return properties
    found = dict(properties or {})
    for name in ("$set", "$set_once"):
        if item.get(name) is not None:
            mine, beside = found.get(name), item[name]
            both = isinstance(mine, dict) and isinstance(beside, dict)
            found[name] = mine | beside if both else beside
    options = item.get("options")
    for names, fields in ((_LIFTED, item), (_OPTIONS, options)):
        if isinstance(fields, dict):
            found.update({names[name]: fields[name] for name in names if fields.get(name) is not None})
    return found


def _time_of(item: Mapping[str, Any], received: datetime) -> object:
    """The time of an event as it was sent, or None; raises `InvalidEvent`.

    Older versions of posthog-js send in its place the milliseconds that had passed since, as `offset`.
    """
    time, offset = item.get("timestamp"), item.get("offset")
    if time is not None and time != "":
        return time
    if not isinstance(offset, int | float) or isinstance(offset, bool):
        return None
    properties = item.get("properties")
    told = properties if isinstance(properties, dict) else {}
    own = None if _is_true(told.get("$event_time_override_provided")) else told.get("$time")
    if isinstance(own, int | float) and not isinstance(own, bool):
        # The same time, and it stays the same when the event is sent again.
        return from_epoch(own, _SECOND)
    try:
        return rfc_3339(received - timedelta(milliseconds=offset))
    except OverflowError:
        raise InvalidEvent("invalid_occurred_at", "offset leads to no time that exists") from None


def _user_of(item: Mapping[str, Any], properties: object) -> tuple[object, str | None]:
    """The user, and the name of the property that is it, if one is."""
    for name in ("distinct_id", "$distinct_id"):
        if item.get(name) is not None and item[name] != "":
            return item[name], None
    return (properties.get("distinct_id") if isinstance(properties, dict) else None), "distinct_id"


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "1"))
