"""Reads CSV and JSONL files row by row as raw events. The memory does not grow with the size of the file."""

import csv
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from itertools import chain, islice
from typing import NamedTuple

from rollcall.core.characters import shown
from rollcall.core.events import InvalidEvent
from rollcall.core.gunzip import gunzip
from rollcall.core.strict_json import parse_part
from rollcall.files.forms import BYTES_AHEAD, COLUMNS, LINES_AHEAD, is_json_lines, lacking

PROPERTIES_COLUMNS = ("properties_json", "properties")
# Far more than an event may have. A row with a larger field is refused.
MAX_FIELD_CHARACTERS = 512 * 1024
MAX_LINE_BYTES = 2 * 1024 * 1024
EXPANDED_CHUNK_BYTES = 1024 * 1024
# The default of the parameter MaxExpandedMegabytes: as much as the plan function reads in its 15 minutes.
MOST_BYTES = 40_000_000_000

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


def read_rows(chunks: Iterable[bytes], most_bytes: int | None = None, name: str = "") -> Iterator[Row]:
    """The rows of a file, which is given in chunks: CSV with a header, or JSONL; in UTF-8; plain or gzip.

    The `name` of the file tells its format, or else its first lines do. A row that cannot be read has an
    `InvalidEvent`, and the reader goes on with the next row. After `most_bytes`, counted expanded, comes a row that
    says so, and none after it. Empty lines are left out. Sets the `csv` module's field limit, which is shared by the
    whole process.
    """
    file = _File(chunks, most_bytes, name)
    if file.is_json:
        yield from _json_rows(file.lines)
    elif file.is_json is not None:
        yield from _csv_rows(file.lines, None)
    yield from file.damage()


def read_piece(chunks: Iterable[bytes], header: Sequence[str] | None, first_line: int) -> Iterator[Row]:
    """The rows of a piece, which is given in chunks, as `read_rows` yields them."""
    lines = _Lines(_split(iter(chunks), []), first_line - 1)
    yield from _json_rows(lines) if header is None else _csv_rows(lines, header)


def cut_file(
    chunks: Iterable[bytes], piece_bytes: int, most_bytes: int | None = None, name: str = ""
) -> Iterator[Piece | Row]:
    """Cut a file, which is given in chunks, into pieces of at least `piece_bytes`; the last piece may be smaller.

    Never cuts within a row, even if quotes in the row hold line breaks. Rows that are in no piece, because the header
    or the gzip stream is broken, or because they are too large to keep, are yielded as rows. Reads and expands no more
    than `most_bytes`, as `read_rows` does.
    """
    file = _File(chunks, most_bytes, name)
    if file.is_json:
        yield from _pieces(file, _json_lines(file.lines), None, piece_bytes)
    elif file.is_json is not None:
        yield from _csv_pieces(file, piece_bytes)
    yield from file.damage()


def _csv_pieces(file: "_File", piece_bytes: int) -> Iterator[Piece | Row]:
    lines = file.lines
    records = _records(lines)
    for fields in records:
        if isinstance(fields, InvalidEvent):
            yield lines.row(fields)
        elif fields:
            header = _header(fields)
            problem = _fault(header)
            if problem:
                yield lines.row(problem)
            else:
                lines.take()
                yield from _pieces(file, records, header, piece_bytes)
            return


def _pieces(
    file: "_File", records: Iterator[list[str] | InvalidEvent], header: Sequence[str] | None, piece_bytes: int
) -> Iterator[Piece | Row]:
    lines = file.lines
    start, first_line = (0, 1) if header is None else (lines.offset, lines.number + 1)
    for fields in records:
        if lines.skipped and isinstance(fields, InvalidEvent):
            content = lines.take(before_record=True)
            if lines.record_offset > start:
                yield _piece(file, start, lines.record_offset, first_line, header, content)
            yield lines.row(fields)
            start, first_line = lines.offset, lines.number + 1
        elif lines.offset - start >= piece_bytes:
            yield _piece(file, start, lines.offset, first_line, header, lines.take())
            start, first_line = lines.offset, lines.number + 1
    if lines.offset > start:
        yield _piece(file, start, lines.offset, first_line, header, lines.take())


class _File:
    """A file's lines, its format, and the damage in it."""

    def __init__(self, chunks: Iterable[bytes], most_bytes: int | None, name: str) -> None:
        self._damage: list[InvalidEvent] = []
        head, chunks = _peek(iter(chunks))
        self.compressed = head.startswith(_GZIP)
        expanded = _expanded(chunks, self._damage.append) if self.compressed else chunks
        if most_bytes is not None:
            expanded = _bounded(expanded, most_bytes, self._damage.append)
        ahead = _Ahead(_split(expanded, self._damage))
        self.lines = _Lines(ahead, keep=self.compressed)
        while ahead.first_is_empty():
            next(self.lines)
        self.is_json: bool | None = None
        """Whether the file is JSONL; None if nothing of it can be read."""
        first, whole = ahead.look()
        if first:
            found = is_json_lines(first, whole, name)
            if isinstance(found, InvalidEvent):
                self._damage = [found]
            else:
                self.is_json = found
        self.lines.source = ahead.rest()

    def damage(self) -> Iterator[Row]:
        """The damage as rows. Complete once all lines have been read."""
        for problem in self._damage:
            yield Row(self.lines.number + 1, "", problem)


def _piece(file: _File, start: int, end: int, first_line: int, header: Sequence[str] | None, content: bytes) -> Piece:
    # The names of columns that an event does not have are not needed.
    known = None
    if header is not None:
        known = tuple(name if name in (*COLUMNS, *PROPERTIES_COLUMNS) else "" for name in header)
    return Piece(start, end, first_line, known, content if file.compressed else None)


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
            if lines.finish_record():
                yield InvalidEvent(
                    "invalid_csv",
                    "a quote in the row is never closed, so the rest of the file is in this row. Close it, or double "
                    "it where it is a character of a quoted field",
                )
            else:
                yield _unreadable(error)


def _unreadable(error: csv.Error) -> InvalidEvent:
    # The texts of the csv module speak to programmers in Python.
    reason = str(error)
    if isinstance(error, _RowTooLong):
        return InvalidEvent("line_too_long", reason)
    if reason.startswith("field larger"):
        return InvalidEvent("line_too_long", f"the row has a field of more than {MAX_FIELD_CHARACTERS:,} characters")
    if reason.startswith("new-line"):
        reason = "a carriage return stands outside quotes without a line feed; end lines with LF or CR LF"
    return InvalidEvent("invalid_csv", f"the row is not valid CSV: {reason}")


def _csv_rows(lines: "_Lines", header: Sequence[str] | None) -> Iterator[Row]:
    event_of = None if header is None else _reader_of(header)
    for fields in _records(lines):
        if isinstance(fields, InvalidEvent):
            yield lines.row(fields)
        elif fields and event_of is not None:
            yield lines.row(event_of(fields))
        elif fields:
            header = _header(fields)
            problem = _fault(header)
            if problem:
                yield lines.row(problem)
                return
            event_of = _reader_of(header)


def _header(fields: list[str]) -> list[str]:
    # Files that were joined, or saved twice, have byte order marks before any name.
    return [name.replace("\ufeff", "").strip() for name in fields]


def _fault(header: Sequence[str]) -> InvalidEvent | None:
    """Why a header cannot be read: a column is lacking, or two columns could be meant by one name."""
    seen: set[str] = set()
    for name in header:
        if name and name in seen:
            return InvalidEvent("invalid_header", f"the header names {shown(name)} twice; keep one of the columns")
        seen.add(name)
    properties = [name for name in PROPERTIES_COLUMNS if name in header]
    if len(properties) > 1:
        both = " and ".join(properties)
        return InvalidEvent("invalid_header", f"the header has {both}, which mean the same; keep one of the columns")
    missing = [name for name in COLUMNS if name not in header]
    return lacking(header, missing) if missing else None


def _reader_of(header: Sequence[str]) -> Callable[[list[str]], object]:
    """What makes raw events of the fields of rows, for a header without faults."""
    columns = len(header)
    event_id, occurred_at, user_id, event_type = map(header.index, COLUMNS)
    properties = next((header.index(name) for name in PROPERTIES_COLUMNS if name in header), None)

    def event_of(fields: list[str]) -> object:
        if len(fields) != columns:
            if len(fields) > columns:
                return InvalidEvent("invalid_csv", f"the row has {len(fields)} columns, the header {columns}")
            fields += [""] * (columns - len(fields))
        # An empty field counts as missing.
        event: dict[str, object] = {
            "event_id": fields[event_id] or None,
            "occurred_at": fields[occurred_at] or None,
            "user_id": fields[user_id] or None,
            "event_type": fields[event_type] or None,
        }
        if properties is not None and fields[properties]:
            found = parse_part(fields[properties], "invalid_properties", "properties")
            if isinstance(found, InvalidEvent):
                return found
            event["properties"] = found
        return event

    return event_of


def _json_lines(lines: "_Lines") -> Iterator[list[str] | InvalidEvent]:
    while True:
        lines.begin_record()
        try:
            yield [next(lines)]
        except StopIteration:
            return
        except _RowTooLong as error:
            lines.finish_record(quotes=False)
            yield InvalidEvent("line_too_long", str(error))


def _json_rows(lines: "_Lines") -> Iterator[Row]:
    for fields in _json_lines(lines):
        if isinstance(fields, InvalidEvent):
            yield lines.row(fields)
        elif fields[0].strip():
            yield lines.row(parse_part(fields[0], "invalid_json", "the line"))


class _RowTooLong(csv.Error):
    """Ends a row in the csv module's reader, which begins anew with the line after it."""

    def __init__(self) -> None:
        super().__init__(f"the row has more than {MAX_LINE_BYTES} bytes")


class _Lines(Iterator[str]):
    """A file's decoded lines. Remembers the place and the text of the record that is being read.

    With `keep`, also remembers the bytes until `take` is called.
    """

    def __init__(self, source: Iterator[bytes], number: int = 0, *, keep: bool = False) -> None:
        self.source = source
        """The lines to come."""
        self.number = number
        """The number of the last line that was read, from 1, in the whole file."""
        self.offset = 0
        """The number of bytes read."""
        self.record_offset = 0
        """The number of bytes before the record."""
        self.skipped = False
        """Whether a part of the record was read and not kept."""
        self._kept: list[bytes] | None = [] if keep else None
        self._kept_before = 0
        self._within_line = False
        self._at_start = not number
        self._first_line = 1
        self._text: list[str] = []

    def __next__(self) -> str:
        raw = self._read()
        if self._kept is not None:
            self._kept.append(raw)
        line = raw.decode("utf-8", "surrogateescape")
        if self._at_start:
            # Empty lines may stand before the byte order mark.
            line = line.removeprefix("\ufeff")
            self._at_start = _is_empty(raw)
        self._text.append(line)
        if self._within_line or self.offset - self.record_offset > MAX_LINE_BYTES:
            raise _RowTooLong
        return line

    def _read(self) -> bytes:
        raw = next(self.source)
        size = len(raw)
        self.offset += size
        self.number += not self._within_line
        # A part of a line as long as the limit was cut by `_split`.
        self._within_line = size >= MAX_LINE_BYTES and not raw.endswith(b"\n")
        return raw

    def take(self, *, before_record: bool = False) -> bytes:
        """The bytes since the previous call; empty without `keep`. With `before_record`, forgets the record's bytes."""
        if self._kept is None:
            return b""
        taken = b"".join(self._kept[: self._kept_before] if before_record else self._kept)
        self._kept.clear()
        return taken

    def begin_record(self) -> None:
        """Note that the next line begins a record."""
        self._first_line = self.number + 1
        self.record_offset = self.offset
        if self._kept is not None:
            self._kept_before = len(self._kept)
        self.skipped = False
        self._text.clear()

    def finish_record(self, *, quotes: bool = True) -> bool:
        """Read on to the end of the record, which is its line's end without `quotes`. Keeps nothing of what it reads.

        Returns whether the file ends within quotes.
        """
        end = _RecordEnd(quotes=quotes)
        ended = end.feed("".join(self._text).encode("utf-8", "surrogateescape"))
        while not ended:
            try:
                raw = self._read()
            except StopIteration:
                return end.within_quotes
            self.skipped = True
            ended = end.feed(raw)
        return False

    def row(self, event: object) -> Row:
        """The record that has been read as a row with this event."""
        text = self._text[0] if len(self._text) == 1 else "".join(self._text)
        # `Row(...)` is a call of Python code, which does this.
        return tuple.__new__(Row, (self._first_line, text.rstrip("\r\n"), event))


class _RecordEnd:
    """Finds the end of a CSV record that is too large for the csv module, by the module's own rules.

    A record with a fault in its quotes ends with the line of the fault.
    """

    _QUOTED = re.compile(rb'(?:[^"]++|"")*+')
    _PLAIN = re.compile(rb',(?="|\Z)|[\r\n]')

    def __init__(self, *, quotes: bool) -> None:
        self._state = "start" if quotes else "line"

    @property
    def within_quotes(self) -> bool:
        """Whether a quote is open."""
        return self._state == "quoted"

    def feed(self, data: bytes) -> bool:
        """Go on with the next bytes, in which no record begins; returns whether the record ends with them."""
        place = 0
        while place < len(data):
            if self._state == "quoted":
                place = self._quotes_end(data, place)
                while data.startswith(b'","', place):
                    place = self._quotes_end(data, place + 3)
                if place < len(data):
                    self._state = "quote"
                    place += 1
            elif self._state == "plain":
                found = self._PLAIN.search(data, place)
                if found is None:
                    return False
                if found[0] == b"\n":
                    return True
                self._state = "start" if found[0] == b"," else "return"
                place = found.end()
            elif self._state == "line":
                return data.find(b"\n", place) >= 0
            else:
                place += self._step(data[place : place + 1])
        return False

    def _quotes_end(self, data: bytes, place: int) -> int:
        found = self._QUOTED.match(data, place)
        return found.end() if found else place

    def _step(self, byte: bytes) -> int:
        """Go on with one byte; returns 1 if it is done with."""
        if self._state == "start":
            self._state = "quoted" if byte == b'"' else "plain"
            return int(byte == b'"')
        if self._state == "return":
            # The line's end is looked for from here, whether it follows or not.
            self._state = "return" if byte == b"\r" else "line"
            return int(byte == b"\r")
        after = {b'"': "quoted", b",": "start", b"\r": "plain", b"\n": "plain"}
        self._state = after.get(byte, "line")
        return int(byte in b'",')


class _Ahead(Iterator[bytes]):
    """Lines, of which the next ones can be looked at before they are read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._seen: deque[bytes] = deque()

    def __next__(self) -> bytes:
        return self._seen.popleft() if self._seen else next(self._lines)

    def first_is_empty(self) -> bool:
        """Whether there is a next line, and it is empty."""
        if not self._seen:
            self._seen.extend(islice(self._lines, 1))
        return bool(self._seen) and _is_empty(self._seen[0])

    def rest(self) -> Iterator[bytes]:
        """All lines to come."""
        return chain(self._seen, self._lines)

    def look(self) -> tuple[list[bytes], bool]:
        """The next lines, as many as tell the format, and whether there are no more."""
        while len(self._seen) < 2 or (len(self._seen) < LINES_AHEAD and sum(map(len, self._seen)) < BYTES_AHEAD):
            line = next(self._lines, None)
            if line is None:
                return list(self._seen), True
            self._seen.append(line)
        return list(self._seen), False


def _is_empty(line: bytes) -> bool:
    return len(line) < MAX_LINE_BYTES and not line.removeprefix(_BYTE_ORDER_MARK).strip()


def _split(chunks: Iterator[bytes], damage: list[InvalidEvent]) -> Iterator[bytes]:
    """Cut chunks into lines with their line ends, and lines over `MAX_LINE_BYTES` into parts of that size.

    Drops what damage cut short of a last line.
    """
    pending = bytearray()
    for chunk in chunks:
        for line in BytesIO(chunk):
            ends = line.endswith(b"\n")
            if ends and not pending and len(line) <= MAX_LINE_BYTES:
                yield line
                continue
            pending += line
            yield from _parts(pending)
            if ends:
                yield bytes(pending)
                pending.clear()
    if pending and not damage:
        yield bytes(pending)


def _parts(pending: bytearray) -> Iterator[bytes]:
    while len(pending) > MAX_LINE_BYTES:
        yield bytes(pending[:MAX_LINE_BYTES])
        del pending[:MAX_LINE_BYTES]


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
