"""Segment, and what speaks as it does: RudderStack and Jitsu.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
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
    corrected,
    credential_in,
    event_id_of,
    json_answer,
    listed,
    rfc_3339,
    skew_of,
    text_of,
)

# What each call is as an event type. A track has a type of its own.
_TYPES = {
    "track": "",
    "page": "$page",
    "screen": "$screen",
    "identify": "$identify",
    "group": "$group",
    "alias": "$alias",
}
# The routes of one event, by the call that they are for. Those of one letter are the browser SDK's.
_CALLS = {f"/{call}": call for call in _TYPES} | {f"/{call[0]}": call for call in _TYPES}
_BEACON = "/beacon/v1/batch"
# What an event at the top has beside its content. It is not the same each time that the event is sent.
_AROUND = frozenset({"sentAt", "writeKey"})


class Segment(Dialect):
    """One event at the top, or many as `batch`. All answers are the same, so that bad events are kept.

    Segment's SDKs for Ruby, Java and .NET send their batches to /import. RudderStack's for browsers sends beacons.
    """

    name = "segment"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys(("/batch", "/b", "/import", _BEACON, *_CALLS, "/api/s/{type}", "/api/s/s2s/{type}"), ("POST",)),
    }
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "messageId",
        "occurred_at": "timestamp",
        "user_id": "userId or anonymousId",
        "event_type": "event",
    }

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`. Browsers send `writeKey` in the body as well as a header; beacons in the query."""
        document = sent.document
        if not isinstance(document, dict):
            raise UnreadableBody("not_an_object", "the body has to be an object")
        one = "batch" not in document
        sent_items = [document] if one else listed(document["batch"], "batch")
        sent_at, received = document.get("sentAt"), sent.received
        # A beacon tells it in each event alone.
        skew = None if sent_at is None else skew_of(sent_at, received)
        call = _CALLS.get(sent.route) or sent.path.rpartition("/")[2]
        now = rfc_3339(received)
        items = [
            Item(each, _raw(each, call if one else None, _own_skew(each, received) if skew is None else skew, now))
            for each in sent_items
        ]
        credential = credential_in(document.get("writeKey"))
        if credential is None and sent.route == _BEACON:
            credential = credential_in(sent.parameters.get("writeKey"))
        return Reading(items, credential)

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:  # noqa: ARG002
        """See `Dialect.taken`. Jitsu reads `ok`, nobody else reads anything."""
        return _SUCCESS

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:
        """See `Dialect.refused`. A batch too large to be read may be Amplitude's, whose SDKs read a number."""
        if sent.route == "/batch" and refusal.status == 413:
            told = {"code": 413, "error": refusal.message, "message": refusal.message}
            return json_answer(413, told)
        return super().refused(sent, refusal)


_SUCCESS = json_answer(200, {"success": True, "ok": True})


def _own_skew(item: Any, received: datetime) -> timedelta:
    return skew_of(item.get("sentAt"), received) if isinstance(item, dict) else timedelta()


def _raw(item: Any, call: str | None, skew: timedelta, now: str) -> object:
    if not isinstance(item, dict):
        return item
    call = item.get("type", call)
    if not isinstance(call, str) or call not in _TYPES:
        return InvalidEvent("invalid_type", f"type has to be one of {', '.join(_TYPES)}")
    time = item.get("timestamp") or item.get("originalTimestamp")
    try:
        own_id = item.get("messageId")
        content = item if own_id else {**{name: item[name] for name in item if name not in _AROUND}, "type": call}
        event_id = event_id_of("segment", own_id, content, timed=time is not None, called="messageId")
    except InvalidEvent as error:
        return error
    user_id = item.get("userId")
    return {
        "event_id": event_id,
        "occurred_at": now if time is None else corrected(time, skew) if skew else time,
        "user_id": item.get("anonymousId") if user_id is None or user_id == "" else user_id,
        "event_type": _TYPES[call] or item.get("event"),
        "properties": item.get("properties") if call == "track" else _properties(call, item),
    }


def _properties(call: str, item: dict[str, Any]) -> object:
    """What the properties of other calls than a track are made of."""
    if call in ("page", "screen"):
        properties = item.get("properties")
        if properties is not None and not isinstance(properties, dict):
            return properties
        named = {name: item[name] for name in ("name", "category") if text_of(item.get(name))}
        return {**named, **(properties or {})}
    if call == "alias":
        return {"previousId": item.get("previousId")}
    context = item.get("context")
    traits = item.get("traits")
    if traits is None and isinstance(context, dict):
        # Where RudderStack's SDK for Python puts them.
        traits = context.get("traits")
    if call == "identify" or (traits is not None and not isinstance(traits, dict)):
        return traits
    return {"groupId": item.get("groupId"), **(traits or {})}
