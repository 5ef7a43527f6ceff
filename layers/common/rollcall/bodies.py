"""Request bodies: JSON, NDJSON or MessagePack, plain or gzip, told by their bytes and never by their Content-Type."""

import json
import zlib
from typing import Any

import msgpack

from rollcall.events import InvalidEvent

MAX_SENT_BYTES = 4 * 1024 * 1024
MAX_EXPANDED_BYTES = 8 * 1024 * 1024
MAX_EVENTS = 5_000

_GZIP = b"\x1f\x8b\x08"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableBody(ValueError):
    """A body that holds no list of events. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyTooLarge(UnreadableBody):
    """A body beyond one of the limits, which the text names."""

    def __init__(self, message: str) -> None:
        super().__init__("too_large", message)


def read_events(body: bytes) -> list[object]:
    """The raw events of a request body; a line of NDJSON that cannot be read stands there as an `InvalidEvent`.

    Raises `UnreadableBody`, or `BodyTooLarge` for a breach of a limit.
    """
    if len(body) > MAX_SENT_BYTES:
        raise BodyTooLarge(f"the body has {len(body)} bytes, {MAX_SENT_BYTES} are allowed")
    if body.startswith(_GZIP):
        body = _expand(body)
    elif len(body) > MAX_EXPANDED_BYTES:
        raise BodyTooLarge(f"the body has {len(body)} bytes, {MAX_EXPANDED_BYTES} are allowed")
    events = _events(body.removeprefix(_BYTE_ORDER_MARK))
    if len(events) > MAX_EVENTS:
        raise BodyTooLarge(f"the request has {len(events)} events, {MAX_EVENTS} are allowed")
    return events


def _expand(body: bytes) -> bytes:
    expanded = bytearray()
    try:
        while body:
            # A gzip file may have several members, one after the other.
            member = zlib.decompressobj(wbits=31)
            expanded += member.decompress(body, MAX_EXPANDED_BYTES + 1 - len(expanded))
            if len(expanded) > MAX_EXPANDED_BYTES:
                raise BodyTooLarge(f"the body expands to more than {MAX_EXPANDED_BYTES} bytes")
            if not member.eof:
                raise UnreadableBody("invalid_gzip", "the gzip body ends early")
            body = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise UnreadableBody("invalid_gzip", f"the body is not valid gzip: {error}") from None
    return bytes(expanded)


def _events(body: bytes) -> list[object]:
    if _is_message_pack(body):
        try:
            return _listed(msgpack.unpackb(body))
        except UnreadableBody:
            raise
        except (msgpack.UnpackException, ValueError, RecursionError) as error:
            raise UnreadableBody("invalid_msgpack", f"the body is not valid MessagePack: {error}") from None
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise UnreadableBody("invalid_json", f"the body is not UTF-8 at byte {error.start}") from None
    try:
        return _listed(parse_json(text))
    except UnreadableBody:
        raise
    except (ValueError, RecursionError) as error:
        # Several lines, one of them readable, are NDJSON. Only \n ends a line: JSON strings may hold all other breaks.
        lines = [_line(line) for line in text.split("\n") if line.strip()]
        if any(not isinstance(line, InvalidEvent) for line in lines):
            return lines
        raise UnreadableBody("invalid_json", f"the body is not valid JSON: {error}") from None


def _is_message_pack(body: bytes) -> bool:
    """Whether the first byte opens a MessagePack array or map, which no UTF-8 text can begin with."""
    return bool(body) and (0x80 <= body[0] <= 0x9F or 0xDC <= body[0] <= 0xDF)


def _listed(document: object) -> list[object]:
    if isinstance(document, dict):
        if "events" not in document:
            return [document]
        document = document["events"]
    if not isinstance(document, list):
        raise UnreadableBody("not_a_list", 'the body has to be an array of events or {"events": [...]}')
    return document


def _line(line: str) -> object:
    try:
        return parse_json(line)
    except (ValueError, RecursionError) as error:
        return InvalidEvent("invalid_json", f"the line is not valid JSON: {error}")


def parse_json(text: str) -> Any:
    """JSON without Python's extensions; raises `ValueError` or `RecursionError`."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
