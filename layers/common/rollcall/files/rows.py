"""Reads CSV and JSONL files row by row as raw events. The memory does not grow with the size of the file."""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from rollcall.core.events import MAX_EVENT_BYTES, InvalidEvent
from rollcall.core.gunzip import gunzip
from rollcall.core.strict_json import TooManyValues, parse_json

COLUMNS = ("event_id", "occurred_at", "user_id", "event_type")
PROPERTIES_COLUMNS = ("properties_json", "properties")
# Far more than an event may have. An open quote makes the rest of a file one field, and this limit ends that field.
MAX_FIELD_CHARACTERS = 512 * 1024
MAX_LINE_BYTES = 2 * 1024 * 1024
# No event has more, since each takes two bytes of its text.
MAX_ROW_VALUES = MAX_EVENT_BYTES // 2
EXPANDED_CHUNK_BYTES = 1024 * 1024
SHOWN_CHARACTERS = 64
# The default of the parameter MaxExpandedMegabytes: as much as the plan function reads in its 15 minutes.
MOST_BYTES = 40_000_000_000

_GZIP = b"\x1f\x8b"


class Row(NamedTuple):
    """One row of a file: its place, its text and its event."""

    line: int
    """The number of the line on which the row begins, from 1."""
    text: str
    event: object
    """A raw event, or an `InvalidEvent` if the row cannot be read."""


class Piece(NamedTuple):
    """A part of a file that begins and ends between rows, so it can be read without the rest."""

    start: int
    end: int
    """The piece has the bytes from `start` to `end`, exclusive, of the expanded file."""
    first_line: int
    header: tuple[str, ...] | None
    """The column names of CSV, empty for columns that an event does not have; None for JSONL."""
    content: bytes | None
    """The expanded bytes of the piece if the file is gzip, else None."""


def too_large(most_bytes: int) -> InvalidEvent:
    """Why a file is not read beyond `most_bytes`."""
    return InvalidEvent(
        "file_too_large",
        f"the file has more than {most_bytes:,} bytes, a gzip file once it is expanded; the rows up to there are taken "
        "in. Cut the file, or raise MaxExpandedMegabytes",
    )


def read_rows(chunks: Iterable[bytes], most_bytes: int | None = None) -> Iterator[Row]:
    """The rows of a file, which is given in chunks: CSV with a header, or JSONL; in UTF-8; plain or gzip.

    The bytes of the file tell its format. A row that cannot be read has an `InvalidEvent`, and the reader goes on with
    the next row. After `most_bytes`, counted expanded, comes a row that says so, and none after it. Empty lines are
    left out. Sets the `csv` module's field limit, which is shared by the whole process.
    """
    file = _File(chunks, most_bytes)
    if file.is_json:
        yield from _json_rows(file.lines)
    elif file.is_json is not None:
        yield from _csv_rows(file.lines, None)
    yield from file.damage()


def read_piece(chunks: Iterable[bytes], header: Sequence[str] | None, first_line: int) -> Iterator[Row]:
    """The rows of a piece, which is given in chunks, as `read_rows` yields them."""
    lines = _Lines(_split(iter(chunks), []), first_line - 1)
    yield from _json_rows(lines) if header is None else _csv_rows(lines, header)


def cut_file(chunks: Iterable[bytes], piece_bytes: int, most_bytes: int | None = None) -> Iterator[Piece | Row]:
    """Cut a file, which is given in chunks, into pieces of at least `piece_bytes`; the last piece may be smaller.

    Never cuts within a row, even if quotes in the row hold line breaks. Rows that are in no piece, because the header
    or the gzip stream is broken, are yielded as rows. Reads and expands no more than `most_bytes`, as `read_rows` does.
    """
    file = _File(chunks, most_bytes)
    lines = file.lines
    header: list[str] | None = None
    start, first_line = 0, 1
    if file.is_json is not None:
        for fields in _json_lines(lines) if file.is_json else _records(lines):
            if not file.is_json and header is None:
                if isinstance(fields, InvalidEvent):
                    yield lines.row(fields)
                elif fields:
                    header = _header(fields)
                    problem = _fault(header)
                    if problem:
                        yield lines.row(problem)
                        return
                    start, first_line = lines.offset, lines.number + 1
                    lines.take()
            elif lines.offset - start >= piece_bytes:
                yield _piece(file, start, first_line, header)
                start, first_line = lines.offset, lines.number + 1
        if lines.offset > start and (file.is_json or header is not None):
            yield _piece(file, start, first_line, header)
    yield from file.damage()


class _File:
    """A file's lines, its format, and the damage in it."""

    def __init__(self, chunks: Iterable[bytes], most_bytes: int | None) -> None:
        self._damage: list[InvalidEvent] = []
        head, chunks = _peek(iter(chunks))
        self.compressed = head.startswith(_GZIP)
        expanded = _expanded(chunks, self._damage.append) if self.compressed else chunks
        if most_bytes is not None:
            expanded = _bounded(expanded, most_bytes, self._damage.append)
        self.lines = _Lines(_split(expanded, self._damage), keep=self.compressed)
        first = next((line for line in self.lines if line.strip()), None)
        self.is_json: bool | None = None
        """Whether the file is JSONL; None if it has no lines."""
        if first is not None:
            self.is_json = first.lstrip().startswith("{")
            self.lines.push_back(first)

    def damage(self) -> Iterator[Row]:
        """The damage as rows. Complete once all lines have been read."""
        for problem in self._damage:
            yield Row(self.lines.number + 1, "", problem)


def _piece(file: _File, start: int, first_line: int, header: Sequence[str] | None) -> Piece:
    # The names of columns that an event does not have are not needed.
    known = None
    if header is not None:
        known = tuple(name if name in (*COLUMNS, *PROPERTIES_COLUMNS) else "" for name in header)
    content = file.lines.take()
    return Piece(start, file.lines.offset, first_line, known, content if file.compressed else None)


def _records(lines: "_Lines") -> Iterator[list[str] | InvalidEvent]:
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin_record()
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield InvalidEvent("invalid_csv", f"the row is not valid CSV: {error}")


def _csv_rows(lines: "_Lines", header: Sequence[str] | None) -> Iterator[Row]:
    for fields in _records(lines):
        if isinstance(fields, InvalidEvent):
            yield lines.row(fields)
        elif fields and header is not None:
            yield lines.row(_from_fields(header, fields))
        elif fields:
            header = _header(fields)
            problem = _fault(header)
            if problem:
                yield lines.row(problem)
                return


def _header(fields: list[str]) -> list[str]:
    # Files that were joined, or saved twice, have byte order marks before any name.
    return [name.replace("\ufeff", "").strip() for name in fields]


def _fault(header: Sequence[str]) -> InvalidEvent | None:
    """Why a header cannot be read: a column is lacking, or two columns could be meant by one name."""
    seen: set[str] = set()
    for name in header:
        if name and name in seen:
            return InvalidEvent("invalid_header", f"the header names {_shown(name)} twice; keep one of the columns")
        seen.add(name)
    properties = [name for name in PROPERTIES_COLUMNS if name in header]
    if len(properties) > 1:
        both = " and ".join(properties)
        return InvalidEvent("invalid_header", f"the header has {both}, which mean the same; keep one of the columns")
    missing = [name for name in COLUMNS if name not in header]
    return InvalidEvent("invalid_header", f"the header lacks {', '.join(missing)}") if missing else None


def _shown(text: str) -> str:
    """The start of a text from a file, without what cannot be printed."""
    return "".join(c if c.isprintable() else "?" for c in text[:SHOWN_CHARACTERS])


def _from_fields(header: Sequence[str], fields: list[str]) -> object:
    if len(fields) > len(header):
        return InvalidEvent("invalid_csv", f"the row has {len(fields)} columns, the header {len(header)}")
    # An empty field counts as missing.
    values = {name: value for name, value in zip(header, fields, strict=False) if value}
    event: dict[str, object] = {name: values.get(name) for name in COLUMNS}
    properties = next((values[name] for name in PROPERTIES_COLUMNS if name in values), None)
    if properties is not None:
        event["properties"] = _parsed(properties, "invalid_properties", "properties")
        if isinstance(event["properties"], InvalidEvent):
            return event["properties"]
    return event


def _parsed(text: str, code: str, what: str) -> object:
    try:
        return parse_json(text, MAX_ROW_VALUES)
    except TooManyValues as error:
        return InvalidEvent("event_too_large", f"{what} {error}")
    except ValueError as error:
        return InvalidEvent(code, f"{what} is not valid JSON: {error}")


def _json_lines(lines: "_Lines") -> Iterator[list[str]]:
    while True:
        lines.begin_record()
        line = next(lines, None)
        if line is None:
            return
        yield [line]


def _json_rows(lines: "_Lines") -> Iterator[Row]:
    for (line,) in _json_lines(lines):
        if line.strip():
            yield lines.row(_parsed(line, "invalid_json", "the line"))


class _Lines(Iterator[str]):
    """A file's decoded lines. Remembers the place and the text of the record that is being read.

    With `keep`, also remembers the bytes until `take` is called.
    """

    def __init__(self, lines: Iterator[tuple[bytes, int]], number: int = 0, *, keep: bool = False) -> None:
        self._lines = lines
        self.number = number
        """The number of the last line that was read, from 1, in the whole file."""
        self.offset = 0
        """The number of bytes read."""
        self._kept: list[bytes] | None = [] if keep else None
        self._pushed_back: tuple[str, bool] | None = None
        self._first_line = 1
        self._text: list[str] = []
        self._size = 0
        self._too_long = False

    def __next__(self) -> str:
        if self._pushed_back:
            (line, cut), self._pushed_back = self._pushed_back, None
        else:
            raw, length = next(self._lines)
            self.offset += length
            if self._kept is not None:
                self._kept.append(raw)
            # A line as long as the limit was cut by `_split`.
            line, cut = raw.decode("utf-8", "surrogateescape"), len(raw) >= MAX_LINE_BYTES
            if not self.number:
                line = line.removeprefix("\ufeff")
        self._too_long = self._too_long or cut
        self.number += 1
        self._text.append(line)
        self._size += len(line)
        if self._size > MAX_LINE_BYTES and len(self._text) > 1:
            self._too_long = True
            # Ends the row. The reader begins anew with the next line.
            raise csv.Error("the row does not end")
        return line

    def push_back(self, line: str) -> None:
        """Make the next read return this line, the last one read, again. Does not take back its bytes or its offset."""
        self._pushed_back = (line, self._too_long)
        self.number -= 1

    def take(self) -> bytes:
        """The bytes since the previous call; empty without `keep`."""
        taken = b"".join(self._kept or ())
        if self._kept is not None:
            self._kept.clear()
        return taken

    def begin_record(self) -> None:
        """Note that the next line begins a record."""
        self._first_line = self.number + 1
        self._text.clear()
        self._size = 0
        self._too_long = False

    def row(self, event: object) -> Row:
        """The record that has been read as a row with this event."""
        if self._too_long:
            event = InvalidEvent("line_too_long", f"the row has more than {MAX_LINE_BYTES} bytes")
        return Row(self._first_line, "".join(self._text).rstrip("\r\n"), event)


def _split(chunks: Iterator[bytes], damage: list[InvalidEvent]) -> Iterator[tuple[bytes, int]]:
    """Cut chunks into lines with their line ends; yields each line with its full length in bytes.

    Of a line over `MAX_LINE_BYTES`, yields only the beginning. Drops a last line that damage cut short.
    """
    pending = bytearray()
    length = 0
    for chunk in chunks:
        pieces = chunk.split(b"\n")
        for piece in pieces[:-1]:
            _append(pending, piece)
            yield bytes(pending) + b"\n", length + len(piece) + 1
            pending.clear()
            length = 0
        _append(pending, pieces[-1])
        length += len(pieces[-1])
    if pending and not damage:
        yield bytes(pending), length


def _append(pending: bytearray, piece: bytes) -> None:
    pending += piece[: max(0, MAX_LINE_BYTES - len(pending))]


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, at least two if there are two, and an iterator over all chunks."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    return head, chain([head], chunks)


def _bounded(chunks: Iterator[bytes], most: int, report: Callable[[InvalidEvent], None]) -> Iterator[bytes]:
    """The first `most` bytes. Reports if there are more, and reads no further."""
    left = most
    for chunk in chunks:
        if len(chunk) > left:
            report(too_large(most))
            yield chunk[:left]
            return
        left -= len(chunk)
        yield chunk


def _expanded(chunks: Iterator[bytes], report: Callable[[InvalidEvent], None]) -> Iterator[bytes]:
    """Expand gzip, member after member. Yields all bytes before any damage, then reports the damage."""
    try:
        yield from gunzip(chunks, EXPANDED_CHUNK_BYTES)
    except zlib.error as error:
        report(InvalidEvent("invalid_gzip", f"the file is damaged from here on: {error}"))
    except EOFError:
        report(InvalidEvent("invalid_gzip", "the file ends early: the gzip stream is cut short"))
