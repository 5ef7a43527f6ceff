"""Tells in which format a file is, by its name and its first lines, and says what a file is that cannot be read."""

import json
from collections.abc import Sequence

from rollcall.core.characters import shown
from rollcall.core.events import InvalidEvent
from rollcall.core.nesting import is_deeper
from rollcall.core.strict_json import MAX_DEPTH
from rollcall.core.wide import wide_encoding

COLUMNS = ("event_id", "occurred_at", "user_id", "event_type")
LINES_AHEAD = 20
BYTES_AHEAD = 64 * 1024
SHOWN_COLUMNS = 8

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_JSON_NAMES = (".jsonl", ".ndjson")
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_CONTAINERS = (
    (b"\x1f\x8b", "gzip within gzip"),
    (b"PAR1", "a Parquet file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"BZh", "compressed with bzip2"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"\x1f\x9d", "compressed with compress"),
    (b"ARROW1\x00\x00", "an Arrow file"),
    (b"%PDF-", "a PDF document"),
)
# Of a tar archive, which begins with the name of its first file.
_TAR, _TAR_PLACE = b"ustar", 257
_TO_DO = "send CSV or JSONL, plain or gzip"
_RETURNS = "the lines end with carriage returns alone (CR); end them with LF or CR LF"


def is_json_lines(first: Sequence[bytes], whole: bool, name: str) -> bool | InvalidEvent:
    """Whether a file is JSONL and not CSV, or why it is neither.

    `first` has the first lines, from the first that is not empty; `whole` says that there are no more. A name that ends
    in `.jsonl` or `.ndjson`, whether `.gz` follows or not, tells that a file is JSONL. Of other files the lines tell.
    """
    head = b"".join(first)
    unreadable = _container(head) or _encoding(head)
    if unreadable:
        return InvalidEvent("invalid_header", unreadable)
    head = head.removeprefix(_BYTE_ORDER_MARK)
    document = _document(head, whole, first)
    if document:
        return InvalidEvent("invalid_header", f"the file is {document}; give each event a line of its own, as JSONL")
    line = first[0].removeprefix(_BYTE_ORDER_MARK)
    # Only where there is no other line: a bad one stops nothing.
    event, ended, more = head.strip().partition(b"\r")
    if ended and b"\n" not in more and _is_object(event):
        return InvalidEvent("invalid_header", _RETURNS)
    if name.lower().removesuffix(".gz").endswith(_JSON_NAMES):
        return True
    if line.lstrip().startswith(b"{"):
        return True
    header = line.decode("utf-8", "replace").strip("\r\n")
    if all(column in header for column in COLUMNS):
        if "\r" in header:
            return InvalidEvent("invalid_header", _RETURNS)
        if any(set(COLUMNS) <= set(_names(header, delimiter)) for delimiter in _DELIMITERS):
            return lacking([header], COLUMNS)
        if set(COLUMNS) <= set(_names(header, ",")):
            return False
    # A line of JSON that is cut names the fields, too.
    return any(map(_is_object, first[1:]))


def lacking(header: Sequence[str], missing: Sequence[str]) -> InvalidEvent:
    """Says which columns a header lacks, and which it has instead."""
    said = f"the header lacks {', '.join(missing)}"
    for delimiter, called in _DELIMITERS.items():
        if any(delimiter in name and set(_names(name, delimiter)) & set(COLUMNS) for name in header):
            return InvalidEvent("invalid_header", f"{said}: {called} separate its columns; separate them with commas")
    seen = ", ".join(shown(name) or "(no name)" for name in header[:SHOWN_COLUMNS])
    more = f" and {len(header) - SHOWN_COLUMNS} more" if len(header) > SHOWN_COLUMNS else ""
    return InvalidEvent("invalid_header", f"{said}: it has {seen}{more}. The first line of CSV names the columns")


def _names(text: str, delimiter: str) -> list[str]:
    return [name.strip(' "') for name in text.split(delimiter)]


def _container(head: bytes) -> str | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        workbook = b"[Content_Types].xml" in head or b"xl/" in head
        what = "an Excel workbook (xlsx)" if workbook else "a zip archive"
        return f"the file is {what}; {'save it as CSV UTF-8' if workbook else 'unpack it, and ' + _TO_DO}"
    if head.startswith(_TAR, _TAR_PLACE):
        return f"the file is a tar archive; unpack it, and {_TO_DO}"
    for magic, what in _CONTAINERS:
        if head.startswith(magic):
            return f"the file is {what}; {_TO_DO}"
    return None


def _encoding(head: bytes) -> str | None:
    encoding = wide_encoding(head, COLUMNS)
    return encoding and f"the file is in {encoding}; save it as UTF-8"


def _document(head: bytes, whole: bool, lines: Sequence[bytes]) -> str | None:
    """What JSON the lines hold together, if they are the whole or the start of one value."""
    text = head.decode("utf-8", "replace").strip()
    called = {"[": "one JSON array", "{": "one JSON object in several lines"}.get(text[:1])
    if called is None or (len(lines) == 1 and text[0] == "{"):
        return None
    # More would take much memory to parse.
    cut = text[:BYTES_AHEAD]
    left_out = len(text) > len(cut)
    if is_deeper(cut, MAX_DEPTH):
        return None
    try:
        json.loads(cut)
    except json.JSONDecodeError as error:
        # A literal or an escape may be cut.
        unfinished = error.pos >= len(cut) - 8 * left_out or error.msg.startswith("Unterminated string")
        if not unfinished or _are_events(lines):
            return None
        return called if left_out or not whole else f"{called} and is never closed"
    except ValueError:
        return None
    return called


def _are_events(lines: Sequence[bytes]) -> bool:
    """Whether lines after the first are JSONL, and no part of an array, in which commas are between the objects."""
    first, *others = (line.strip() for line in lines)
    elements = [line.strip(b",") for line in others if line.strip(b",") != line]
    if first.endswith(b","):
        elements.append(first.strip(b"[,"))
    return any(map(_is_object, others)) and not any(not each or _is_object(each) for each in elements)


def _is_object(line: bytes) -> bool:
    if len(line) > BYTES_AHEAD:
        return line.startswith(b"{")
    try:
        text = line.decode()
        return not is_deeper(text, MAX_DEPTH) and isinstance(json.loads(text), dict)
    except ValueError:
        return False
