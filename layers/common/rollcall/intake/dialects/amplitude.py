"""Amplitude.

https://amplitude.com/docs/apis/analytics/http-v2
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from rollcall.core.events import InvalidEvent
from rollcall.intake.bodies import UnreadableBody
from rollcall.intake.dialects.dialect import (
    Answer,
    Dialect,
    Item,
    Outcome,
    Reading,
    Refusal,
    Sent,
    credential_in,
    event_id_of,
    first_of,
    from_epoch,
    json_answer,
    listed,
    rfc_3339,
)
from rollcall.intake.intake import Rejection

_MILLISECOND = timedelta(milliseconds=1)
# Where the properties of an event are. Those of all other types are `event_properties`.
_PROPERTIES = {"$identify": "user_properties", "$groupidentify": "group_properties"}


class Amplitude(Dialect):
    """Many events as `events`.

    The SDKs read the number `code` of an answer and not its status. After a 400 they send those events again that the
    answer does not name as bad, up to twelve times each; so every answer that cannot become another one names all.
    """

    name = "amplitude"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {"/2/httpapi": ("POST",), "/batch": ("POST",)}
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "insert_id",
        "occurred_at": "time",
        "user_id": "user_id or device_id",
        "event_type": "event_type",
        "properties": "event_properties",
    }

    def speaks(self, sent: Sent) -> bool:
        """See `Dialect.speaks`."""
        if sent.route != "/batch":
            return True
        document = sent.document
        return isinstance(document, dict) and "api_key" in document and "events" in document

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`."""
        document = sent.document
        if not isinstance(document, dict):
            raise UnreadableBody("not_an_object", "the body has to be an object")
        now = rfc_3339(sent.received)
        items = [Item(each, _raw(each, now)) for each in listed(document.get("events"), "events")]
        return Reading(items, credential_in(document.get("api_key")))

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:
        """See `Dialect.taken`. The events that were taken are sent again with a 400, and are the same then."""
        if outcome.rejected:
            first = outcome.rejected[0]
            bad = f"{len(outcome.rejected)} of {len(outcome.items)}"
            message = f"bad events: {bad}; event {first.index}: {first.message}"
            return _bad_events(message, outcome.rejected)
        answer = {
            "code": 200,
            "events_ingested": len(outcome.items),
            "payload_size_bytes": len(sent.body),
            "server_upload_time": int(sent.received.timestamp() * 1000),
        }
        return json_answer(200, answer)

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:
        """See `Dialect.refused`."""
        if refusal.rejected:
            return _bad_events(refusal.message, refusal.rejected)
        body: dict[str, Any] = {"code": refusal.status, "error": refusal.message, "message": refusal.message}
        if refusal.status == 400:
            body["missing_field"] = "events"
        elif refusal.status == 429:
            # The SDKs send these again in half a minute, and any others at once.
            body["throttled_events"] = list(range(len(self.read(sent).items)))
        elif refusal.status < 500 and refusal.status != 413:
            # After nothing else do the SDKs give up the whole request.
            body["error"] = f"Invalid API key: {refusal.message}"
        return json_answer(refusal.status, body)


def _bad_events(message: str, rejected: Sequence[Rejection]) -> Answer:
    """A 400 that names the bad events by their fields and places."""
    missing: dict[str, list[int]] = defaultdict(list)
    invalid: dict[str, list[int]] = defaultdict(list)
    for each in rejected:
        found = missing if each.code == "missing_field" else invalid
        found[_field_of(each)].append(each.index)
    body = {
        "code": 400,
        "error": message,
        "message": message,
        "events_with_invalid_fields": invalid,
        "events_with_missing_fields": missing,
    }
    return json_answer(400, body, frozenset(each.index for each in rejected))


def _field_of(rejection: Rejection) -> str:
    known = (name for name in Amplitude.fields.values() if rejection.message.startswith(name))
    return next(known, "event").partition(" ")[0]


def _raw(item: Any, now: str) -> object:
    if not isinstance(item, dict):
        return item
    time = item.get("time")
    try:
        event_id = event_id_of("amplitude", item.get("insert_id"), item, timed=time is not None, called="insert_id")
        occurred_at = now if time is None else from_epoch(time, _MILLISECOND)
    except InvalidEvent as error:
        return error
    event_type = item.get("event_type")
    place = _PROPERTIES.get(event_type, "event_properties") if isinstance(event_type, str) else "event_properties"
    return {
        "event_id": event_id,
        "occurred_at": occurred_at,
        "user_id": _user_of(item),
        "event_type": event_type,
        "properties": item.get(place),
    }


def _user_of(item: dict[str, Any]) -> object:
    user_id = first_of(item, ("user_id", "device_id"))
    groups = item.get("groups")
    if user_id is None and item.get("event_type") == "$groupidentify" and isinstance(groups, dict):
        # It is about a group, and SDKs of servers need not say who made it known.
        user_id = next((f"{name}:{value}" for name, value in groups.items() if isinstance(value, str) and value), None)
    return user_id
