"""Mixpanel.

https://docs.mixpanel.com/reference/track-event and https://docs.mixpanel.com/reference/import-events
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, ClassVar

from rollcall.core.events import InvalidEvent
from rollcall.intake.bodies import UnreadableBody, parse_document, parse_events
from rollcall.intake.dialects.dialect import (
    Answer,
    Dialect,
    Item,
    Outcome,
    Reading,
    Refusal,
    Sent,
    brings_credential,
    credential_in,
    decode_base64,
    event_id_of,
    first_of,
    from_epoch,
    json_answer,
    listed,
    pixel_answer,
    read_form,
    rfc_3339,
    text_of,
)
from rollcall.intake.intake import Rejection

# Of a number below, the unit is a second: as milliseconds it would be before 1973, as seconds after the year 5000.
_FIRST_MILLISECOND = 10**11
# Profile calls among tracks. SDKs give them neither an id nor a time.
_PROFILE_CALLS = frozenset({"$identify", "$create_alias", "$merge"})
# What stands at the top of Segment's events. Those of Mixpanel have nothing there but a name and properties.
_OF_SEGMENT = frozenset({"type", "messageId", "writeKey", "userId", "anonymousId"})
_MAPPED = frozenset({"token", "distinct_id", "time", "$insert_id"})
_MAPPED_OF_PROFILES = frozenset({"$token", "$distinct_id", "$time", "$insert_id"})
_USERS = ("distinct_id", "$user_id", "$device_id")
_VERBOSE = re.compile(rb"(?:^|&)verbose=1(?:&|$)")
_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*{")
_IMAGE = re.compile(r"(?:^|&)img=1(?:&|$)")
_FORM = "application/x-www-form-urlencoded"


class Mixpanel(Dialect):
    """One event, or an array, as JSON or in the field `data` of a form or a query.

    What SDKs send is in `data`. All that they take for success is `1`, or a status of 1 where they ask for `verbose`.
    The document that /import answers to JSON names the bad events.
    """

    name = "mixpanel"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(
        ("/track", "/engage", "/groups", "/import"), ("POST", "GET")
    )
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "$insert_id",
        "occurred_at": "time",
        "user_id": "distinct_id",
        "event_type": "event",
    }

    def speaks(self, sent: Sent) -> bool:
        """See `Dialect.speaks`. On /track, Segment's events are single objects. They may have a property `token`.

        On /import, Segment's are a `batch`.
        """
        if sent.route == "/import":
            return not _is_segments_batch(sent)
        if sent.route != "/track" or _is_form(sent):
            return True
        document = sent.document
        if isinstance(document, dict):
            properties = document.get("properties")
            return isinstance(properties, dict) and "token" in properties and _OF_SEGMENT.isdisjoint(document)
        return isinstance(document, list)

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`. SDKs that import send the key as `api_key` too, all others in each event."""
        form: Mapping[str, str] = {}
        if not _is_form(sent):
            found = parse_events(sent.body) if sent.route == "/import" else sent.document
        else:
            form = _form_of(sent)
            found = _document_of(form.get("data", ""))
        found = [found] if isinstance(found, dict) else listed(found, "what is no event")
        credential = credential_in(form.get("api_key") or (sent.query and sent.parameters.get("api_key")))
        keyed = credential is not None or brings_credential(sent)
        items = []
        for each in found:
            key, shown = _key_of(each, sent.route)
            if credential is None:
                credential = key
            if keyed or key is None or key == credential:
                raw = _raw(each, sent)
            else:
                raw = InvalidEvent("other_key", "token is not that of the first event")
            items.append(Item(shown, raw, _insert_id(each)))
        return Reading(items, credential)

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:
        """See `Dialect.taken`."""
        if not _answers_import(sent):
            if sent.method == "GET" and _IMAGE.search(sent.query):
                return pixel_answer()
            return _VERBOSE_SUCCESS if _is_verbose(sent) else _SUCCESS
        imported = len(outcome.items) - len(outcome.rejected)
        if outcome.rejected and "strict=0" not in sent.query.split("&"):
            return _failed(imported, outcome.rejected, outcome.items)
        return json_answer(200, {"code": 200, "num_records_imported": imported, "status": "OK"})

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:
        """See `Dialect.refused`. SDKs look for `status` and `error` in it, whether they asked for `verbose` or not."""
        if not _answers_import(sent):
            told = {"status": 0, "error": refusal.message, "code": refusal.code, "message": refusal.message}
            return json_answer(refusal.status, told)
        if refusal.rejected:
            return _failed(0, refusal.rejected, self.read(sent).items)
        phrase = HTTPStatus(refusal.status).phrase
        told = {"code": refusal.status, "error": refusal.message, "status": phrase, "num_records_imported": 0}
        return json_answer(refusal.status, {**told, "message": refusal.message, "reason": refusal.code})


_SUCCESS = json_answer(200, 1)
_VERBOSE_SUCCESS = json_answer(200, {"status": 1, "error": None})


def _is_segments_batch(sent: Sent) -> bool:
    # Events of Mixpanel's, which may be many lines, are not parsed once more.
    if not _OBJECT.match(sent.body) or b'"batch"' not in sent.body:
        return False
    try:
        document = sent.document
    except UnreadableBody:
        return False
    return isinstance(document, dict) and "batch" in document


def _answers_import(sent: Sent) -> bool:
    return sent.route == "/import" and not _is_form(sent)


def _is_form(sent: Sent) -> bool:
    """Whether the events are in a field of a form or of the query. The headers tell only of a body that is not read."""
    if sent.method == "GET":
        return True
    if body := sent.body:
        return body.startswith(b"data=") or (not _JSON.match(body) and b"&data=" in body)
    return "data=" in sent.query or sent.headers.get("content-type", "").startswith(_FORM)


def _is_verbose(sent: Sent) -> bool:
    return bool(_VERBOSE.search(sent.query.encode()) or (_is_form(sent) and _VERBOSE.search(sent.body)))


def _form_of(sent: Sent) -> dict[str, str]:
    if sent.method == "GET" or not sent.body:
        return sent.parameters
    try:
        return read_form(sent.body.decode())
    except UnicodeDecodeError:
        raise UnreadableBody("invalid_form", "the form is not UTF-8") from None


def _document_of(data: str) -> Any:
    if not data:
        raise UnreadableBody("missing_field", "data is missing")
    if data.lstrip().startswith(("{", "[")):
        return parse_document(data.encode())
    try:
        return parse_document(decode_base64(data))
    except UnreadableBody:
        raise
    except ValueError:
        raise UnreadableBody("invalid_base64", "data is neither JSON nor base64") from None


def _key_of(item: Any, route: str) -> tuple[str | None, object]:
    """The key in an event, and the event without it."""
    if not isinstance(item, dict):
        return None, item
    if route in ("/engage", "/groups"):
        return credential_in(item.get("$token")), {name: item[name] for name in item if name != "$token"}
    properties = item.get("properties")
    if not isinstance(properties, dict):
        return None, item
    shown = {name: properties[name] for name in properties if name != "token"}
    return credential_in(properties.get("token")), {**item, "properties": shown}


def _insert_id(item: Any) -> str | None:
    properties = item.get("properties") if isinstance(item, dict) else None
    return text_of(properties.get("$insert_id")) if isinstance(properties, dict) else None


def _raw(item: Any, sent: Sent) -> object:
    if not isinstance(item, dict):
        return item
    try:
        return _event(item, sent) if sent.route in ("/track", "/import") else _profile(item, sent)
    except InvalidEvent as error:
        return error


def _event(item: dict[str, Any], sent: Sent) -> object:
    properties = item.get("properties")
    if isinstance(properties, InvalidEvent):
        return properties
    if not isinstance(properties, dict):
        return InvalidEvent("invalid_properties", "properties has to be an object")
    kept = {name: value for name, value in properties.items() if name not in _MAPPED}
    event, time = item.get("event"), properties.get("time")
    user_id = first_of(properties, _USERS)
    # What SDKs send by GET they never send again. So it needs no id by which it could be told from another event.
    once = sent.method == "GET" or (isinstance(event, str) and event in _PROFILE_CALLS)
    if event == "$merge":
        # It is about several people, and no person more than another.
        event, people = "$alias", properties.get("$distinct_ids")
        user_id = people[0] if isinstance(people, list) and people else None
    content: object = [event, user_id, time, kept]
    if time is None and once:
        content = [content, sent.received.isoformat()]
    event_id = event_id_of(
        "mixpanel", properties.get("$insert_id"), content, timed=time is not None or once, called="$insert_id"
    )
    return {
        "event_id": event_id,
        "occurred_at": _time(time, sent),
        "user_id": user_id,
        "event_type": event,
        "properties": kept,
    }


def _profile(item: dict[str, Any], sent: Sent) -> object:
    kept = {name: value for name, value in item.items() if name not in _MAPPED_OF_PROFILES}
    user_id, time = item.get("$distinct_id"), item.get("$time")
    if sent.route == "/groups":
        key, value = item.get("$group_key"), item.get("$group_id")
        if not text_of(key) or value is None or value == "" or isinstance(value, bool | dict | list | InvalidEvent):
            raise InvalidEvent("missing_field", "$group_key or $group_id is missing")
        user_id = f"{key}:{value}"
    # Without a time, each call is one of its own, as each changes a profile: to what it was before, perhaps.
    content = [user_id, kept, sent.received.isoformat() if time is None else time]
    return {
        "event_id": event_id_of("mixpanel", item.get("$insert_id"), content, timed=True, called="$insert_id"),
        "occurred_at": _time(time, sent),
        "user_id": user_id,
        "event_type": f"${sent.route[1:]}",
        "properties": kept,
    }


def _time(value: object, sent: Sent) -> str:
    """A time in seconds or milliseconds, or that of the receipt; raises `InvalidEvent`."""
    if value is None:
        return rfc_3339(sent.received)
    try:
        large = isinstance(value, str | int | float) and abs(float(value)) >= _FIRST_MILLISECOND
    except (ValueError, OverflowError):
        large = False
    return from_epoch(value, timedelta(milliseconds=1) if large else timedelta(seconds=1))


def _failed(imported: int, rejected: Sequence[Rejection], items: Sequence[Item]) -> Answer:
    """The document that names the events which were not imported."""
    records = [
        {
            "index": each.index,
            "insert_id": items[each.index].name or "",
            "field": _field_of(each.message),
            "message": each.message,
            "code": each.code,
        }
        for each in rejected
    ]
    error = "some data points in the request failed validation"
    told = {"code": 400, "error": error, "status": "Bad Request", "message": error, "num_records_imported": imported}
    return json_answer(400, {**told, "failed_records": records}, frozenset(each.index for each in rejected))


def _field_of(message: str) -> str:
    """The field that a message begins with, as Mixpanel names it; empty where it is about the event."""
    first = message.partition(" ")[0]
    if first in ("event", "properties"):
        return first
    return f"properties.{first}" if first in _MAPPED else ""
