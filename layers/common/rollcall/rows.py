"""CSV and JSONL files as raw events, row by row, in memory that does not grow with the file."""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from rollcall.bodies import parse_json
from rollcall.events import InvalidEvent

COLUMNS = ("event_id", "occurred_at", "user_id", "event_type")
PROPERTIES_COLUMNS = ("properties_json", "properties")
# Far more than any event may have, and short enough that a quote left open does not swallow the file.
MAX_FIELD_CHARACTERS = 512 * 1024
MAX_LINE_BYTES = 2 * 1024 * 1024
EXPANDED_CHUNK_BYTES = 1024 * 1024

_GZIP = b"\x1f\x8b"


class Row(NamedTuple):
    """One row of a file: where it begins, what it says, and what it holds."""

    line: int
    """The physical line, from 1."""
    text: str
    event: object
    """A raw event, or an `InvalidEvent` where the row holds none."""


def read_rows(chunks: Iterable[bytes]) -> Iterator[Row]:
    """The rows of a file that comes in chunks: CSV with a header or JSONL, UTF-8, plain or gzip, told by its bytes.

    Whatever is wrong with the file is a row with an `InvalidEvent`, and the rows after it follow. Empty lines are
    left out. Not safe to run beside another reader with other limits: Python's field limit is the process's.
    """
    damage: list[InvalidEvent] = []
    lines = _Lines(_split(_expanded(iter(chunks), damage.append), damage))
    first = next((line for line in lines if line.strip()), None)
    if first is not None:
        lines.push_back(first)
        yield from (_json_rows(lines) if first.lstrip().startswith("{") else _csv_rows(lines))
    for problem in damage:
        yield Row(lines.number + 1, "", problem)


def _csv_rows(lines: "_Lines") -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.row(InvalidEvent("invalid_csv", f"the row is not valid CSV: {error}"))
            continue
        if not fields:
            continue
        if header is not None:
            yield lines.row(_from_fields(header, fields))
            continue
        header = [name.strip() for name in fields]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            yield lines.row(InvalidEvent("invalid_header", f"the header lacks {', '.join(missing)}"))
            return


def _from_fields(header: list[str], fields: list[str]) -> object:
    if len(fields) > len(header):
        return InvalidEvent("invalid_csv", f"the row has {len(fields)} columns, the header {len(header)}")
    # An empty field is one that is not there.
    values = {name: value for name, value in zip(header, fields, strict=False) if value}
    event: dict[str, object] = {name: values.get(name) for name in COLUMNS}
    properties = next((values[name] for name in PROPERTIES_COLUMNS if name in values), None)
    if properties is not None:
        try:
            event["properties"] = parse_json(properties)
        except (ValueError, RecursionError) as error:
            return InvalidEvent("invalid_properties", f"properties is not valid JSON: {error}")
    return event


def _json_rows(lines: "_Lines") -> Iterator[Row]:
    while True:
        lines.begin_record()
        line = next(lines, None)
        if line is None:
            return
        if line.strip():
            try:
                yield lines.row(parse_json(line))
            except (ValueError, RecursionError) as error:
                yield lines.row(InvalidEvent("invalid_json", f"the line is not valid JSON: {error}"))


class _Lines(Iterator[str]):
    """A file's lines, decoded, that remembers where the record being read began and what it said."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        # A line of the limit's length is one that was cut.
        self._lines = ((line.decode("utf-8", "surrogateescape"), len(line) >= MAX_LINE_BYTES) for line in lines)
        self.number = 0
        self._first_line = 1
        self._text: list[str] = []
        self._too_long = False

    def __next__(self) -> str:
        line, cut = next(self._lines)
        if not self.number:
            line = line.removeprefix("\ufeff")
        self._too_long = self._too_long or cut
        self.number += 1
        self._text.append(line)
        return line

    def push_back(self, line: str) -> None:
        """Have the line that was read last come again."""
        self._lines = chain([(line, self._too_long)], self._lines)  # type: ignore[assignment]
        self.number -= 1

    def begin_record(self) -> None:
        """The next line begins a record."""
        self._first_line = self.number + 1
        self._text.clear()
        self._too_long = False

    def row(self, event: object) -> Row:
        """The record that has been read, with what it holds."""
        if self._too_long:
            event = InvalidEvent("line_too_long", f"the line has more than {MAX_LINE_BYTES} bytes")
        return Row(self._first_line, "".join(self._text).rstrip("\r\n"), event)


def _split(chunks: Iterator[bytes], damage: list[InvalidEvent]) -> Iterator[bytes]:
    """Cut chunks into lines that keep their ends; of a line over the limit only the beginning.

    The rest of a line that damage cut off is no line.
    """
    pending = bytearray()
    for chunk in chunks:
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            _append(pending, piece)
            yield bytes(pending) + b"\n"
            pending.clear()
        _append(pending, pieces[-1])
    if pending and not damage:
        yield bytes(pending)


def _append(pending: bytearray, piece: bytes) -> None:
    pending += piece[: max(0, MAX_LINE_BYTES - len(pending))]


def _expanded(chunks: Iterator[bytes], report: Callable[[InvalidEvent], None]) -> Iterator[bytes]:
    """Expand gzip, member after member; what is damaged or cut short is reported, and what came before it yielded."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    chunks = chain([head], chunks)
    if not head.startswith(_GZIP):
        yield from chunks
        return
    member = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            waiting = chunk
            while waiting:
                if member.eof:
                    waiting = waiting.lstrip(b"\0")
                    if not waiting:
                        break
                    member = zlib.decompressobj(wbits=31)
                yield member.decompress(waiting, EXPANDED_CHUNK_BYTES)
                waiting = member.unused_data if member.eof else member.unconsumed_tail
    except zlib.error as error:
        report(InvalidEvent("invalid_gzip", f"the file is damaged from here on: {error}"))
        return
    if not member.eof:
        report(InvalidEvent("invalid_gzip", "the file ends early: the gzip stream is cut short"))
