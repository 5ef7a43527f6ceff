"""Request bodies: JSON, NDJSON or MessagePack, plain or gzip. Their bytes tell the format, never the Content-Type."""

import io
import zlib
from collections.abc import Sequence
from itertools import chain, islice

from rollcall.core.events import InvalidEvent
from rollcall.core.gunzip import gunzip
from rollcall.core.message_pack import BadMessagePack, unpack
from rollcall.core.strict_json import MAX_VALUES, TooManyValues, check_values, parse_json, parse_part
from rollcall.core.wide import wide_encoding

MAX_SENT_BYTES = 4 * 1024 * 1024
MAX_EXPANDED_BYTES = 8 * 1024 * 1024
MAX_REQUEST_EVENTS = 5_000

EXPANDED_PIECE_BYTES = 1024 * 1024

GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UnreadableBody(ValueError):
    """The body does not hold a list of events. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BodyTooLarge(UnreadableBody):
    """The body exceeds a limit; the text names the limit."""

    def __init__(self, message: str) -> None:
        super().__init__("too_large", message)


def read_events(body: bytes) -> list[object]:
    """The raw events of a request body as it was sent; raises `UnreadableBody` or `BodyTooLarge`."""
    return parse_events(expand(body))


def parse_events(body: bytes) -> list[object]:
    """The raw events of an expanded body; raises `UnreadableBody` or `BodyTooLarge`.

    A line of NDJSON that cannot be read is in the list as an `InvalidEvent`.
    """
    events = _events(body.removeprefix(_BYTE_ORDER_MARK))
    check_count(events)
    return events


def check_count(events: Sequence[object]) -> None:
    """Raise `BodyTooLarge` for more events than a request may have."""
    if len(events) > MAX_REQUEST_EVENTS:
        raise BodyTooLarge(f"the request has {len(events)} events, {MAX_REQUEST_EVENTS} are allowed")


def parse_document(body: bytes) -> object:
    """The JSON document of an expanded body; raises `UnreadableBody` or `BodyTooLarge`."""
    try:
        document = parse_json(body.removeprefix(_BYTE_ORDER_MARK).decode())
    except TooManyValues as error:
        raise _too_many(error) from None
    except ValueError as error:
        raise _no_json(body, str(error)) from None
    if isinstance(document, InvalidEvent):
        raise UnreadableBody(document.code, document.message)
    return document


def expand(body: bytes) -> bytes:
    """The body, expanded if it is gzip; raises `UnreadableBody` or `BodyTooLarge`."""
    if len(body) > MAX_SENT_BYTES:
        raise BodyTooLarge(f"the body has {len(body)} bytes, {MAX_SENT_BYTES} are allowed")
    if not body.startswith(GZIP):
        return body
    expanded, size = [], 0
    try:
        for piece in gunzip([body], EXPANDED_PIECE_BYTES):
            size += len(piece)
            if size > MAX_EXPANDED_BYTES:
                raise BodyTooLarge(f"the body expands to more than {MAX_EXPANDED_BYTES} bytes")
            expanded.append(piece)
    except EOFError:
        raise UnreadableBody("invalid_gzip", "the gzip body ends early") from None
    except zlib.error as error:
        raise UnreadableBody("invalid_gzip", f"the body is not valid gzip: {error}") from None
    return b"".join(expanded)


def _events(body: bytes) -> list[object]:
    if _is_message_pack(body):
        try:
            # An event with text that JSON does not have is refused alone. It must not fail the other events.
            document = unpack(body, MAX_VALUES, unicode_errors="surrogateescape")
        except TooManyValues as error:
            raise _too_many(error) from None
        except BadMessagePack as error:
            raise UnreadableBody("invalid_msgpack", f"the body is not valid MessagePack: {error}") from None
        return _listed(document)
    # A line of NDJSON that is no text is refused alone, as events of MessagePack are, and rows of files.
    text = body.decode("utf-8", "surrogateescape")
    try:
        check_values(text, MAX_VALUES)
    except TooManyValues as error:
        raise _too_many(error) from None
    except ValueError as error:
        raise _no_json(body, str(error)) from None
    try:
        document = parse_json(text)
    except ValueError as error:
        # Without the error, so that what was read of the body is not kept while its lines are.
        reason = (
            "its lines end with carriage returns alone (CR); end them with LF" if _has_returns(text) else str(error)
        )
    else:
        if not text.isascii() and (no_text := _no_text(body)):
            raise no_text
        return _listed(document)
    if (lines := _lines(text)) is None:
        raise _no_json(body, reason)
    return lines


def _no_json(body: bytes, reason: str) -> UnreadableBody:
    if encoding := wide_encoding(body):
        return UnreadableBody("invalid_json", f"the body is in {encoding}; it has to be UTF-8")
    return _no_text(body) or UnreadableBody("invalid_json", f"the body is not valid JSON: {reason}")


def _no_text(body: bytes) -> UnreadableBody | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return UnreadableBody("invalid_json", f"the body is not UTF-8 at byte {error.start}")
    return None


def _too_many(error: TooManyValues) -> BodyTooLarge:
    return BodyTooLarge(f"the body {error}; {MAX_REQUEST_EVENTS} events are allowed")


def _lines(text: str) -> list[object] | None:
    """The lines of NDJSON, each read by itself, or None where the first one is no whole value: JSON that was cut.

    Stops at one more than `MAX_REQUEST_EVENTS`: the caller refuses it.
    """
    # Only \n ends a line. JSON strings may hold other line breaks, such as U+2028.
    lines = (line for line in io.StringIO(text, newline="\n") if line.strip())
    try:
        first = next(lines, "")
        parse_json(first)
    except ValueError:
        return None
    return [parse_part(line, "invalid_json", "the line") for line in chain([first], islice(lines, MAX_REQUEST_EVENTS))]


def _has_returns(text: str) -> bool:
    """Whether carriage returns alone end the lines of what would be NDJSON."""
    first, ended, rest = text.strip().partition("\r")
    if not ended or "\n" in rest:
        return False
    try:
        parse_json(first)
    except ValueError:
        return False
    return True


def _is_message_pack(body: bytes) -> bool:
    """Whether the first byte opens a MessagePack array or map, which no UTF-8 text can begin with."""
    return bool(body) and (0x80 <= body[0] <= 0x9F or 0xDC <= body[0] <= 0xDF)


def _listed(document: object) -> list[object]:
    if isinstance(document, InvalidEvent):
        raise UnreadableBody(document.code, document.message)
    if isinstance(document, dict):
        if "events" not in document:
            return [document]
        document = document["events"]
    if not isinstance(document, list):
        raise UnreadableBody("not_a_list", 'the body has to be an array of events or {"events": [...]}')
    return document
