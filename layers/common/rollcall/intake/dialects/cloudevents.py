"""CloudEvents 1.0 over HTTP in JSON: one event in the body, one in the headers, or a batch.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, ClassVar
from urllib.parse import unquote

from rollcall.core.characters import holds_hidden, shown
from rollcall.core.events import Event, InvalidEvent
from rollcall.core.strict_json import parse_part
from rollcall.intake.bodies import UnreadableBody, parse_document
from rollcall.intake.dialects.dialect import (
    Answer,
    Dialect,
    Item,
    Outcome,
    Reading,
    Refusal,
    Sent,
    event_id_of,
    json_answer,
    listed,
    rfc_3339,
)

VERSION = "1.0"

_PREFIX = "ce-"
_MEDIA_TYPE = "application/cloudevents"
# Each of them says that a request without the media type has the event's attributes in its headers.
_REQUIRED_HEADERS = frozenset(_PREFIX + name for name in ("specversion", "id", "source", "type"))
_NATIVE_FIELDS = frozenset(Event._fields)
_JSON_TYPE = re.compile(r"[^/;]+/(?:[^/;]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class CloudEvents(Dialect):
    """One event or many. The answer lists the bad ones as `POST /events` does."""

    name = "cloudevents"
    routes: ClassVar[Mapping[str, tuple[str, ...]]] = {"/cloudevents": ("POST",)}
    fields: ClassVar[Mapping[str, str]] = {
        "event_id": "id",
        "occurred_at": "time",
        "user_id": "userid or subject",
        "event_type": "type",
        "properties": "data",
    }

    def read(self, sent: Sent) -> Reading:
        """See `Dialect.read`. The key is in a header."""
        received = rfc_3339(sent.received)
        if not _is_binary(sent.headers):
            document = parse_document(sent.body)
            if not isinstance(document, dict | list):
                raise UnreadableBody("not_an_object", "the body has to be a CloudEvent or an array of them")
            events = listed(document if isinstance(document, list) else [document], "the body")
            return Reading([Item(each, native_of(each, received)) for each in events])
        attributes: dict[str, Any] = {"datacontenttype": sent.headers.get("content-type")}
        data = {"data": sent.body.decode(errors="replace")}
        try:
            for name, value in sent.headers.items():
                if name.startswith(_PREFIX):
                    attributes[name.removeprefix(_PREFIX)] = _decoded(name, value)
        except InvalidEvent as error:
            return Reading([Item({**attributes, **data}, error)])
        properties = _properties_of_bytes(sent.body, attributes["datacontenttype"])
        return Reading([Item({**attributes, **data}, _native(attributes, properties, received))])

    def taken(self, sent: Sent, outcome: Outcome) -> Answer:  # noqa: ARG002
        """200, with the bad events."""
        accepted = len(outcome.items) - len(outcome.rejected)
        document = {"accepted": accepted, "rejected": [asdict(each) for each in outcome.rejected]}
        return json_answer(200, document, frozenset(each.index for each in outcome.rejected))

    def refused(self, sent: Sent, refusal: Refusal) -> Answer:  # noqa: ARG002
        """The reason, with the bad events where these are all that is wrong."""
        rejected: dict[str, Any] = {"rejected": [asdict(each) for each in refusal.rejected]} if refusal.rejected else {}
        named = frozenset(each.index for each in refusal.rejected)
        return json_answer(refusal.status, {"code": refusal.code, "message": refusal.message, **rejected}, named)


def announced(headers: Mapping[str, str]) -> bool:
    """Whether the headers of a request, by names in small letters, say that it holds CloudEvents."""
    return f"{_PREFIX}specversion" in headers or _is_structured(headers)


def is_cloud_event(raw: object) -> bool:
    """Whether an event that `POST /events` takes is a CloudEvent, and no event of the native form."""
    return isinstance(raw, dict) and "specversion" in raw and _NATIVE_FIELDS.isdisjoint(raw)


def native_of(event: object, received: str) -> object:
    """A CloudEvent in JSON as a raw event of the native form, or an `InvalidEvent`.

    `received` is the time that it has if it says none.
    """
    return _native(event, _properties(event), received) if isinstance(event, dict) else event


def content_of(headers: Mapping[str, str], body: bytes) -> bytes:
    """What tells one request from another: the body, with the headers if the event's attributes are in these."""
    if not _is_binary(headers):
        return body
    told = [f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith(_PREFIX)]
    told.append(f"content-type:{headers.get('content-type')}\n\n")
    return "".join(told).encode() + body


def _is_structured(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").lstrip().lower().startswith(_MEDIA_TYPE)


def _is_binary(headers: Mapping[str, str]) -> bool:
    return not _REQUIRED_HEADERS.isdisjoint(headers) and not _is_structured(headers)


def _native(attributes: Mapping[str, Any], properties: object, received: str) -> object:
    try:
        version = _text(attributes, "specversion", "invalid_attribute")
        if version != VERSION:
            raise InvalidEvent("invalid_attribute", f"specversion has to be {VERSION}")
        source, own_id = _text(attributes, "source", "invalid_attribute"), _text(attributes, "id", "invalid_event_id")
        # Without a space in the source, no two pairs of a source and an id make one id.
        if holds_hidden(source) or any(map(str.isspace, source)):
            raise InvalidEvent("invalid_attribute", "source has to be a URI-reference, which holds no spaces")
        event_id = event_id_of("cloudevents", f"{source} {own_id}", None, timed=True, called="id")
    except InvalidEvent as error:
        return error
    time, user_id = attributes.get("time"), attributes.get("userid")
    return {
        "event_id": event_id,
        "occurred_at": received if time is None else time,
        "user_id": attributes.get("subject") if user_id is None or user_id == "" else user_id,
        "event_type": attributes.get("type"),
        "properties": properties,
    }


def _text(attributes: Mapping[str, Any], name: str, code: str) -> str:
    value = attributes.get(name)
    if value is None:
        raise InvalidEvent("missing_field", f"{name} is missing")
    if not isinstance(value, str) or not value:
        raise InvalidEvent(code, f"{name} has to be a string that is not empty")
    return value


def _properties(event: Mapping[str, Any]) -> object:
    """The properties of an event in JSON, or an `InvalidEvent`."""
    data, encoded, media_type = event.get("data"), event.get("data_base64"), event.get("datacontenttype")
    if encoded is None:
        return _object_of(data)
    if data is not None:
        return InvalidEvent("invalid_data", "data and data_base64 are both there")
    if media_type is not None and not isinstance(media_type, str):
        return InvalidEvent("invalid_attribute", "datacontenttype has to be a string")
    try:
        if not isinstance(encoded, str):
            raise TypeError
        return _properties_of_bytes(base64.b64decode(encoded, validate=True), media_type)
    except (TypeError, ValueError):
        return InvalidEvent("invalid_data", "data_base64 has to be a string in base64")


def _properties_of_bytes(data: bytes, media_type: str | None) -> object:
    """The properties of data as bytes, or an `InvalidEvent`. Only what is called JSON is read as such."""
    if not data:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if media_type is not None and _JSON_TYPE.fullmatch(media_type.strip()):
        if text is None:
            return InvalidEvent("invalid_data", "data is not UTF-8")
        return _object_of(parse_part(text, "invalid_data", "data"))
    return {"data": text} if text is not None else {"data_base64": binascii.b2a_base64(data, newline=False).decode()}


def _object_of(data: object) -> object:
    """Data as properties. What is no object stands in one."""
    return data if data is None or isinstance(data, dict | InvalidEvent) else {"data": data}


def _decoded(name: str, value: str) -> str:
    """The value of a header; raises `InvalidEvent`.

    By the binding, all but visible ASCII is percent-encoded UTF-8. CloudEvents' SDK for node encodes nothing.
    """
    # A byte that is no UTF-8 is a character of latin-1.
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise InvalidEvent("invalid_attribute", f"{shown(name)} is percent-encoded, and not in UTF-8") from None
