import csv
import gzip
import io
import itertools
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import InvalidEvent, parse_event
from rollcall.files.rows import MAX_LINE_BYTES, MOST_BYTES, Piece, Row, cut_file, read_piece, read_rows
from scripts.local.deploy import template

MB = 1024 * 1024
NOW = datetime(2025, 8, 3, 12, 0, tzinfo=UTC)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HEADER = "event_id,occurred_at,user_id,event_type,properties_json"
FIRST_ROW = "e1,2025-08-01T00:00:00Z,42,login,{}"
LAST_ROW = 'e9,2025-08-01T00:00:09Z,43,logout,"{""country"":""PL""}"'
FIRST = {
    "event_id": "e1",
    "occurred_at": "2025-08-01T00:00:00Z",
    "user_id": "42",
    "event_type": "login",
    "properties": {},
}
LAST = {
    "event_id": "e9",
    "occurred_at": "2025-08-01T00:00:09Z",
    "user_id": "43",
    "event_type": "logout",
    "properties": {"country": "PL"},
}
FILE = f"{HEADER}\n{FIRST_ROW}\n{LAST_ROW}\n".encode()
JSONL = f"{json.dumps(FIRST)}\n{json.dumps(LAST)}\n".encode()

# What decides how a file is cut into rows, and some ordinary text between.
messy_files = st.lists(
    st.sampled_from(
        [b",", b'"', b'""', b"\r", b"\n", b"\r\n", b"{}", b"a", "я🎉".encode(), b"\xff", b"\0", b"\x1f\x8b"]
    ),
    max_size=40,
).map(b"".join)


def read(*chunks: bytes) -> list[Row]:
    return list(read_rows(chunks))


def read_lines(*lines: str) -> list[Row]:
    return read("\n".join(lines).encode())


def events(rows: list[Row]) -> list[object]:
    return [row.event for row in rows]


def refusal(row: Row) -> InvalidEvent:
    """Why a row is refused, by the reader or by what comes after it."""
    if isinstance(row.event, InvalidEvent):
        return row.event
    with pytest.raises(InvalidEvent) as caught:
        parse_event(row.event, NOW)
    return caught.value


def gzip_members(data: bytes) -> bytes:
    return gzip.compress(data[:7]) + gzip.compress(b"") + gzip.compress(data[7:])


def test_a_row_tells_its_line_its_text_and_its_raw_event() -> None:
    assert read(FILE) == [Row(2, FIRST_ROW, FIRST), Row(3, LAST_ROW, LAST)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: BYTE_ORDER_MARK + data, id="byte order mark"),
        pytest.param(lambda data: data.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(lambda data: data[:-1], id="no newline at the end"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(gzip_members, id="gzip members"),
        pytest.param(lambda data: gzip.compress(data) + bytes(100), id="padded gzip"),
        pytest.param(lambda data: gzip.compress(BYTE_ORDER_MARK + data.replace(b"\n", b"\r\n")), id="all of it"),
    ],
)
@pytest.mark.parametrize("data", [FILE, JSONL], ids=["csv", "jsonl"])
def test_the_form_of_a_file_is_told_by_its_bytes(change: Callable[[bytes], bytes], data: bytes) -> None:
    assert events(read(change(data))) == [FIRST, LAST]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::7])
def test_columns_may_come_in_any_order(order: tuple[int, ...]) -> None:
    header, row = HEADER.split(","), FIRST_ROW.split(",")
    assert events(read_lines(",".join(header[i] for i in order), ",".join(row[i] for i in order))) == [FIRST]


def test_extra_columns_are_ignored() -> None:
    rows = read_lines(f"country,{HEADER},,device", f"PL,{FIRST_ROW},x,phone", f'"a,b",{FIRST_ROW},,')
    assert events(rows) == [FIRST, FIRST]


@pytest.mark.parametrize("name", ["properties_json", "properties"])
def test_the_column_of_properties_has_two_names(name: str) -> None:
    rows = read_lines(HEADER.replace("properties_json", name), LAST_ROW)
    assert events(rows) == [LAST]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (HEADER, FIRST_ROW.replace("{}", "")),
        (HEADER, FIRST_ROW.replace(",{}", "")),
        (HEADER.replace(",properties_json", ""), FIRST_ROW.replace(",{}", "")),
    ],
)
def test_a_row_without_properties_is_an_event(header: str, row: str) -> None:
    (only,) = read_lines(header, row)
    assert parse_event(only.event, NOW).properties == "{}"


@pytest.mark.parametrize("name", ["event_id", "occurred_at", "user_id", "event_type"])
def test_a_header_that_lacks_a_column_is_refused_with_the_column_named(name: str) -> None:
    (only,) = read_lines(HEADER.replace(name, "other"), FIRST_ROW, LAST_ROW)
    assert only.line == 1
    assert refusal(only).code == "invalid_header"
    assert name in refusal(only).message


@pytest.mark.parametrize(
    ("header", "named"),
    [
        (f"{HEADER},user_id", "user_id"),
        (f"user_id ,{HEADER}", "user_id"),
        (f'{HEADER},"\t event_id"', "event_id"),
        (f"\ufeffevent_id,\ufeff{HEADER}", "event_id"),
        (f"{HEADER},\ufeffevent_type", "event_type"),
        (f"country,{HEADER},country", "country"),
        (f"{HEADER},properties_json", "properties_json"),
        (f"{HEADER},properties", "properties_json and properties"),
        (f"properties,{HEADER}", "properties_json and properties"),
    ],
)
def test_a_header_with_two_columns_of_one_meaning_is_refused_with_the_column_named(header: str, named: str) -> None:
    data = "\n".join([header, f"{FIRST_ROW},7", LAST_ROW]).encode()
    (only,) = read(data)
    assert (only.line, refusal(only).code) == (1, "invalid_header")
    assert f" {named}" in refusal(only).message
    assert shown(by_pieces(data, 1)[0]) == shown([only])


def test_columns_without_a_name_may_be_many() -> None:
    assert events(read_lines(f",{HEADER}, ,", f"x,{FIRST_ROW},y,z")) == [FIRST]


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (",2025-08-01T00:00:00Z,42,login,{}", "event_id"),
        ("e1,,42,login,{}", "occurred_at"),
        ("e1,2025-08-01T00:00:00Z,,login,{}", "user_id"),
        ("e1,2025-08-01T00:00:00Z,42,,{}", "event_type"),
        ("e1,2025-08-01T00:00:00Z,42", "event_type"),
        ("e1", "occurred_at"),
        ("e1,2025-08-01,42,login,{}", "occurred_at"),
        ("e1,2025-08-01T00:00:00Z,NULL,login,{}", "user_id"),
        ("e1,2025-08-01T00:00:00Z,42,login,[]", "properties"),
        ("e1,2025-08-01T00:00:00Z,42,login,{", "properties"),
        ("e1,2025-08-01T00:00:00Z,42,login,{'a': 1}", "properties"),
        ('e1,2025-08-01T00:00:00Z,42,login,"{""a"":NaN}"', "properties"),
        ('e1,2025-08-01T00:00:00Z,42,login,"{""a"":1e400}"', "properties"),
        pytest.param(f'e1,2025-08-01T00:00:00Z,42,login,{{"a":{"1" * 5000}}}', "properties", id="huge integer"),
        pytest.param("e1,2025-08-01T00:00:00Z,42,login," + '{"a":' * 50_000, "properties", id="too deep"),
    ],
)
def test_a_bad_row_is_refused_and_does_not_stop_the_file(row: str, named: str) -> None:
    first, bad, last = read_lines(HEADER, FIRST_ROW, row, LAST_ROW)
    assert (bad.line, bad.text) == (3, row)
    assert named in refusal(bad).message
    assert first.event == FIRST
    assert last == Row(4, LAST_ROW, LAST)


def test_a_row_of_more_columns_than_the_header_is_refused() -> None:
    # Such as JSON that is not quoted: its commas move everything after them.
    first, bad, last = read_lines(HEADER, FIRST_ROW, 'e2,2025-08-01T00:00:00Z,42,login,{"a":1,"b":2}', LAST_ROW)
    assert refusal(bad).code == "invalid_csv"
    assert (first.event, last.event) == (FIRST, LAST)


def test_a_quoted_newline_does_not_end_a_row() -> None:
    rows = read_lines(HEADER, 'e1,2025-08-01T00:00:00Z,"a\n\nb\r\nc","log\nin","{\n""a"":\n1}"', LAST_ROW)
    assert events(rows) == [
        {**FIRST, "user_id": "a\n\nb\r\nc", "event_type": "log\nin", "properties": {"a": 1}},
        LAST,
    ]


def test_a_doubled_quote_is_one_quote() -> None:
    (only,) = read_lines(HEADER, 'e1,2025-08-01T00:00:00Z,"""42""","a""b","{""a"":""\\""""}"')
    assert only.event == {**FIRST, "user_id": '"42"', "event_type": 'a"b', "properties": {"a": '"'}}


def test_a_separator_in_quotes_separates_nothing() -> None:
    (only,) = read_lines(HEADER, '"e1","2025-08-01T00:00:00Z","4,2","log,in","{""a"":1,""b"":2}"')
    assert only.event == {**FIRST, "user_id": "4,2", "event_type": "log,in", "properties": {"a": 1, "b": 2}}


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\0"])
def test_only_a_newline_ends_a_line(separator: str) -> None:
    event_type = f"a{separator}b"
    rows = read_lines(HEADER, FIRST_ROW.replace("login", event_type), LAST_ROW)
    assert rows[0].event == {**FIRST, "event_type": event_type}
    assert rows[1] == Row(3, LAST_ROW, LAST)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_numbers_are_physical_after_rows_of_several_lines_and_empty_lines(end: str) -> None:
    long_row = f'e1,2025-08-01T00:00:00Z,42,"log{end}{end}in",{{}}'
    bad_row = f'e1,today,42,"a{end}b",{{}}'
    rows = read(end.join(["", HEADER, "", long_row, "", "", bad_row, long_row, LAST_ROW, "", ""]).encode())
    assert [row.line for row in rows] == [4, 9, 11, 14]
    assert [row.text for row in rows] == [long_row, bad_row, long_row, LAST_ROW]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\n\r\n\n", id="empty lines"),
        pytest.param(BYTE_ORDER_MARK, id="byte order mark alone"),
        pytest.param(HEADER.encode(), id="header"),
        pytest.param(f"{HEADER}\n".encode(), id="header and newline"),
        pytest.param(f"{HEADER}\r\n\r\n\n".encode(), id="header and empty lines"),
        pytest.param(gzip.compress(b""), id="empty gzip"),
        pytest.param(gzip.compress(HEADER.encode()), id="header in gzip"),
    ],
)
def test_a_file_without_rows_has_none(data: bytes) -> None:
    assert read(data) == []


def test_a_file_without_chunks_has_no_rows() -> None:
    assert read() == []
    assert read(b"", b"") == []


@pytest.mark.parametrize("field", ["event_id", "occurred_at", "user_id", "event_type", "properties"])
@pytest.mark.parametrize("damage", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x8e"])
def test_a_row_that_is_not_utf_8_is_refused_with_the_field_named(field: str, damage: bytes) -> None:
    fields = {name: str(value).encode() for name, value in FIRST.items()}
    fields["properties"] = b'"{""a"":""b""}"'
    place = fields[field].index(b"b") if field == "properties" else len(fields[field])
    fields[field] = fields[field][:place] + damage + fields[field][place:]
    lines = [HEADER.encode(), FIRST_ROW.encode(), b",".join(fields.values()), LAST_ROW.encode()]
    first, bad, last = read(b"\n".join(lines))
    assert refusal(bad).message.startswith(field)
    assert bad.line == 3
    assert (first.event, last.event) == (FIRST, LAST)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("size", [MB, 3 * MB])
@pytest.mark.parametrize("field", ["e1", "2025-08-01T00:00:00Z", "42", "login", "{}"])
def test_a_field_of_a_megabyte_is_refused_and_does_not_stop_the_file(field: str, size: int, quote: str) -> None:
    row = FIRST_ROW.replace(field, f"{quote}{'x' * size}{quote}")
    first, bad, last = read_lines(HEADER, FIRST_ROW, row, LAST_ROW)
    assert bad.line == 3
    assert isinstance(refusal(bad), InvalidEvent)
    assert first.event == FIRST
    assert last == Row(4, LAST_ROW, LAST)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("start", [b"e1,", b'e1,"', b'{"a": "'])
def test_memory_does_not_grow_with_the_length_of_a_line(start: bytes, compress: bool) -> None:
    def chunks() -> Iterator[bytes]:
        yield (JSONL if start.startswith(b"{") else FILE) + start
        yield from itertools.repeat(b"x" * MB, 64)
        yield b'"\n' if start == b'e1,"' else b"\n"
        yield JSONL.splitlines()[1] if start.startswith(b"{") else LAST_ROW.encode()

    # Several megabytes at once come out of a few kilobytes.
    sent = [gzip.compress(b"".join(chunks()))] if compress else chunks()
    tracemalloc.start()
    try:
        rows = [(row.line, row.event) for row in read_rows(sent)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(rows) >= 4
    assert rows[-1][1] == LAST
    assert peak < 24 * MB


def test_a_quote_that_is_left_open_is_refused_with_the_line_it_is_on() -> None:
    first, bad, *_ = read_lines(HEADER, FIRST_ROW, 'e2,2025-08-01T00:00:00Z,42,login,"{}', LAST_ROW)
    assert first.event == FIRST
    assert bad.line == 3
    assert isinstance(bad.event, InvalidEvent)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("count", [1, 5_000, 30_000, 120_000])
def test_a_quote_that_is_never_closed_makes_the_rest_of_the_file_one_rejected_row(
    count: int, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(
        "\n".join([HEADER, FIRST_ROW, 'e2,2025-08-01T00:00:00Z,42,login,"{}', *[FIRST_ROW] * count]).encode()
    )
    first, bad = read(data)
    assert first.event == FIRST
    assert (bad.line, refusal(bad).code) == (3, "invalid_csv")
    assert "never closed" in refusal(bad).message
    assert shown(by_pieces(data, 1, 100_000)[0]) == shown([first, bad])


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("ignored", ["note", "properties_json"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("count", [16_000, 80_000])
def test_a_row_that_is_too_large_is_one_rejected_row_whatever_its_inner_lines_look_like(
    count: int, end: str, ignored: str, compress: Callable[[bytes], bytes]
) -> None:
    inner = f'{FIRST_ROW},""x"",{end}' * count
    header = HEADER.replace("properties_json", ignored)
    last = LAST_ROW if ignored == "properties_json" else LAST_ROW.rpartition(',"{')[0]
    data = compress(end.join([header, FIRST_ROW, f'e2,2025-08-01T00:00:00Z,42,login,"{inner}"', last, ""]).encode())
    rows = read(data)
    assert [row.line for row in rows] == [2, 3, count + 4]
    assert refusal(rows[1]).code == "line_too_long"
    assert rows[2].text == last
    assert shown(by_pieces(data, 1, 100_000)[0]) == shown(rows)


@pytest.mark.parametrize("size", [MAX_LINE_BYTES - 200, MAX_LINE_BYTES, 2 * MAX_LINE_BYTES + 3])
def test_a_closing_quote_is_found_wherever_the_parts_of_a_line_are_cut(size: int) -> None:
    for more in range(size, size + 64, 7):
        last = 'e9,2025-08-01T00:00:09Z,43,logout,"{}"'
        data = "\n".join(
            [HEADER, 'e2,2025-08-01T00:00:00Z,42,"' + '""' * (more // 2) + "x" * (more % 2) + '",{}', last]
        )
        bad, good = read(data.encode())
        assert (refusal(bad).code, good.text, good.line) == ("line_too_long", last, 3)


def test_a_quote_that_is_never_closed_takes_memory_for_no_more_than_a_row() -> None:
    for compressed in (False, True):
        start = f'{HEADER}\n{FIRST_ROW}\ne2,2025-08-01T00:00:00Z,42,login,"'.encode()
        rest = f"{FIRST_ROW}\n".encode() * 20_000
        whole = itertools.chain([start], itertools.repeat(rest, 24))
        sent = [gzip.compress(b"".join(whole), 1)] if compressed else whole
        tracemalloc.start()
        parts = list(cut_file(sent, MB))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert [type(part) for part in parts] == [Piece, Row]
        assert peak < 12 * MB < 24 * len(rest)


def test_a_row_of_over_two_megabytes_in_many_lines_is_refused_and_does_not_stop_the_file() -> None:
    endless = '"a' + '\n","' * 600_000 + '"'
    rows = read_lines(HEADER, FIRST_ROW, endless, LAST_ROW)
    bad = rows[1]
    assert (bad.line, refusal(bad).code) == (3, "line_too_long")
    assert len(bad.text) < 3 * 1024 * 1024
    assert events(rows[:1]) == events(read_lines(HEADER, FIRST_ROW))
    assert rows[-1].text == LAST_ROW


def test_a_quote_inside_a_field_that_is_not_quoted_is_a_character() -> None:
    assert events(read_lines(HEADER, FIRST_ROW.replace("login", 'log"in'), LAST_ROW)) == [
        {**FIRST, "event_type": 'log"in'},
        LAST,
    ]


def test_a_quote_that_is_left_open_to_the_end_makes_no_event() -> None:
    rows = read_lines(HEADER, FIRST_ROW, 'a,2025-08-01T00:00:00Z,u,"login', "b,2025-08-01T00:00:00Z,u,login,{}", "")
    assert events(rows[:1]) == [FIRST]
    assert [(row.line, refusal(row).code) for row in rows[1:]] == [(3, "invalid_csv")]
    assert "\nb,2025" in rows[1].text


def test_empty_lines_before_the_first_row_do_not_hide_the_form_of_the_file() -> None:
    assert events(read(b"\n \n" + JSONL)) == [FIRST, LAST]
    assert events(read(b"\n\r\n" + FILE)) == [FIRST, LAST]


def test_a_line_of_over_two_megabytes_is_refused_though_each_of_its_fields_is_short() -> None:
    header = ",".join(["event_id,occurred_at,user_id,event_type", *(f"x{n}" for n in range(8)), "properties"])
    wide = ",".join(["e1,2025-08-01T00:00:00Z,42,login", *["x" * 300_000] * 8, "{}"])
    short = ",".join(["e9,2025-08-01T00:00:00Z,42,login", *["x"] * 8, "{}"])
    cut, whole = read_lines(header, wide, short)
    assert (cut.line, refusal(cut).code) == (2, "line_too_long")
    assert parse_event(whole.event, NOW).event_id == "e9"


def test_a_line_is_long_by_its_bytes_not_its_characters() -> None:
    header = ",".join(["event_id,occurred_at,event_type", *(f"x{n}" for n in range(8)), "user_id"])
    start = ",".join(["e1,2025-08-01T00:00:00Z,login", *["я" * 131_000] * 8]) + ","
    cut_inside = start + "1" * (2 * MB - len(start.encode()) + 3)
    (row,) = read_lines(header, cut_inside)
    assert refusal(row).code == "line_too_long"


@pytest.mark.parametrize("cut", range(40, 200, 7))
def test_a_row_that_the_end_of_a_damaged_file_cuts_in_half_is_no_event(cut: int) -> None:
    header = "event_id,occurred_at,event_type,user_id"
    sent = [f"e{n},2025-08-01T00:00:00Z,login,user{n * 7919 % 100_003}" for n in range(300)]
    rows = read(gzip.compress("\n".join([header, *sent]).encode())[:-cut])
    assert refusal(rows[-1]).code == "invalid_gzip"
    whole = [row.text for row in rows[:-1]]
    assert whole == sent[: len(whole)]


@pytest.mark.parametrize("missing", [1, 4, 8])
@pytest.mark.parametrize("data", [FILE, JSONL], ids=["csv", "jsonl"])
def test_gzip_that_ends_early_is_told_after_the_rows_that_are_whole(data: bytes, missing: int) -> None:
    first, last, damage = read(gzip.compress(data)[:-missing])
    assert (first.event, last.event) == (FIRST, LAST)
    assert damage.line == data.count(b"\n") + 1
    assert refusal(damage).code == "invalid_gzip"
    assert "ends early" in refusal(damage).message


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(gzip.compress(FILE)[:1], id="one byte"),
        pytest.param(gzip.compress(FILE)[:10], id="head"),
        pytest.param(gzip.compress(FILE)[:10] + b"\xff" * 9, id="damaged content"),
        pytest.param(b"garbage", id="garbage"),
    ],
)
def test_a_damaged_member_of_gzip_is_told_after_the_rows_of_the_whole_ones(rest: bytes) -> None:
    first, last, damage = read(gzip.compress(FILE) + rest)
    assert (first.event, last.event) == (FIRST, LAST)
    assert damage.line == 4
    assert refusal(damage).code == "invalid_gzip"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(gzip.compress(FILE)[:2], id="magic number"),
        pytest.param(gzip.compress(FILE)[:10], id="head"),
        pytest.param(gzip.compress(FILE)[:10] + b"\xff" * 9, id="damaged content"),
    ],
)
def test_gzip_that_holds_nothing_readable_is_one_refused_row(data: bytes) -> None:
    (only,) = read(data)
    assert only.line == 1
    assert refusal(only).code == "invalid_gzip"


def test_a_wrong_checksum_of_gzip_is_told() -> None:
    assert refusal(read(gzip.compress(FILE)[:-8] + bytes(8))[-1]).code == "invalid_gzip"


def test_the_rows_before_damage_in_gzip_do_not_depend_on_the_chunks() -> None:
    sent = [f'{{"event_id":"e{n * 7919 % 100_003}"}}' for n in range(300)]
    data = gzip.compress("".join(f"{line}\n" for line in sent).encode(), mtime=0)
    for place in range(40, len(data), 97):
        damaged = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
        byte_by_byte = read(*(damaged[at : at + 1] for at in range(len(damaged))))
        assert comparable(read(damaged)) == comparable(byte_by_byte)
    *rows, damage = read(data[:-8] + bytes(8))
    assert [row.text for row in rows] == sent
    assert refusal(damage).code == "invalid_gzip"


@pytest.mark.parametrize("start", [" \n\ufeff\r\n", "\n\n\ufeff", "\ufeff\n\ufeff\n \n\ufeff"])
@pytest.mark.parametrize("data", [FILE, JSONL], ids=["csv", "jsonl"])
def test_a_byte_order_mark_may_follow_empty_lines(start: str, data: bytes) -> None:
    file = start.encode() + data
    rows = read(file)
    assert events(rows) == [FIRST, LAST]
    assert shown(by_pieces(file, 1)[0]) == shown(rows)


@pytest.mark.parametrize(
    "bad",
    [
        "garbage",
        json.dumps(FIRST)[:-1],
        f"{json.dumps(FIRST)},",
        '{"event_id": NaN}',
        '{"properties": {"a": Infinity}}',
        pytest.param(f'{{"user_id": {"1" * 5000}}}', id="huge integer"),
        pytest.param('{"a":' * 100_000, id="too deep"),
        "[]",
        "null",
        "7",
        '"text"',
        '{"event_id": "e1"}',
    ],
)
def test_a_bad_line_of_jsonl_is_refused_and_does_not_stop_the_file(bad: str) -> None:
    first, refused, last = read_lines(json.dumps(FIRST), bad, json.dumps(LAST))
    assert (refused.line, refused.text) == (2, bad)
    assert isinstance(refusal(refused), InvalidEvent)
    assert (first.event, last.event) == (FIRST, LAST)
    assert last.line == 3


@pytest.mark.parametrize("name", ["", "a.jsonl", "uploads/1/A.NDJSON.gz"])
@pytest.mark.parametrize(
    "bad",
    [
        b'": "x"}',
        b'd","event_id"}',
        b'"event_id":"x","occurred_at":"x","user_id":"x","event_type":"x"}',
        b"[1,2]",
        b"[",
        b'["a"]}',
        b"{",
        b'{"a":',
        b"\xff\xfe{}",
        b"\0",
        b"\xef\xbb\xbfx",
        b"null",
    ],
)
def test_a_bad_line_of_jsonl_stops_nothing_wherever_it_stands(bad: bytes, name: str) -> None:
    good = JSONL.splitlines()
    for place in range(3):
        lines = [*good[:place], bad, *good[place:]]
        data = b"\n".join([*lines, b""])
        rows = list(read_rows([data], name=name))
        assert [row.line for row in rows] == [1, 2, 3]
        assert isinstance(refusal(rows.pop(place)), InvalidEvent)
        assert events(rows) == [FIRST, LAST]
        assert shown(by_pieces(data, 1, name=name)[0]) == shown(list(read_rows([data], name=name)))


QUOTED = b"\n".join(b",".join(b'"%s"' % name for name in row.split(b",")) for row in FILE.splitlines())
SEEN = [
    (FILE.replace(b",", b";"), "semicolons"),
    (FILE.replace(b",", b"\t"), "tabs"),
    (FILE.replace(b",", b"|"), "vertical bars"),
    (QUOTED.replace(b",", b";"), "semicolons"),
    (QUOTED.replace(b",", b"\t"), "tabs"),
    (FILE.replace(b"\n", b"\r"), "carriage returns"),
    (JSONL.replace(b"\n", b"\r"), "carriage returns"),
    (FILE.decode().encode("utf-16"), "UTF-16LE"),
    (FILE.decode().encode("utf-16-le"), "UTF-16LE"),
    (FILE.decode().encode("utf-16-be"), "UTF-16BE"),
    (b"\xfe\xff" + FILE.decode().encode("utf-16-be"), "UTF-16BE"),
    ("имя,".encode("utf-16") + FILE.decode().encode("utf-16-le"), "UTF-16LE"),
    ("имя,".encode("utf-16-be") + FILE.decode().encode("utf-16-be"), "UTF-16BE"),
    (FILE.decode().encode("utf-32"), "UTF-32LE"),
    (JSONL.decode().encode("utf-32-be"), "UTF-32BE"),
    (json.dumps([FIRST, LAST]).encode(), "JSON array"),
    (json.dumps([FIRST, LAST] * 20_000).encode(), "JSON array"),
    (json.dumps([FIRST], indent=1).encode(), "JSON array"),
    (b"[\n" + JSONL.splitlines()[0] + b"\n]\n", "JSON array"),
    (json.dumps([FIRST] * 500, indent=1).encode(), "JSON array"),
    (json.dumps([FIRST, LAST]).encode()[:-1], "JSON array and is never closed"),
    (json.dumps([FIRST, LAST], indent=1).encode()[:-1], "JSON array and is never closed"),
    (b"[\n" + b",\n".join(JSONL.splitlines()), "JSON array and is never closed"),
    (b"[" + b"\n,".join(JSONL.splitlines()), "JSON array and is never closed"),
    (b"[" + b",\n".join(JSONL.splitlines()), "JSON array and is never closed"),
    (b"[\n" + b"\n,\n".join(JSONL.splitlines()), "JSON array and is never closed"),
    (json.dumps({"events": [FIRST]}, indent=1).encode(), "JSON object"),
    (json.dumps({"events": [FIRST]}, indent=1).encode()[:-4], "JSON object in several lines and is never closed"),
    (b"PK\x03\x04" + bytes(20) + b"events.csv.gz\n\x1f\x8b", "zip"),
    (b"PK\x03\x04" + bytes(20) + b"[Content_Types].xml", "Excel"),
    (b"PK\x05\x06" + bytes(18), "zip"),
    (b"events.csv".ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0") + FILE, "tar archive"),
    (b"events.json".ljust(257, b"\0") + b"ustar  \0".ljust(255, b"\0") + JSONL, "tar archive"),
    (b"PAR1" + bytes(20), "Parquet"),
    (b"\x04\x22\x4d\x18" + FILE, "LZ4"),
    (gzip.compress(gzip.compress(FILE, mtime=0), mtime=0), "gzip within gzip"),
    (b"id,when,who\n1,2,3\n", "id, when, who"),
]


@pytest.mark.parametrize("bad", [b"[", b'{"a":'])
def test_a_first_line_that_is_cut_stops_nothing_before_a_line_that_is_too_long_to_look_at(bad: bytes) -> None:
    long = json.dumps({**FIRST, "properties": {"note": "x" * 100_000}}).encode()
    cut, _, last = read(b"\n".join([bad, long, JSONL.splitlines()[1], b""]))
    assert (cut.text, refusal(cut).code) == (bad.decode(), "invalid_json")
    assert last.event == LAST


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(("data", "named"), SEEN, ids=[f"{number} {named}" for number, (_, named) in enumerate(SEEN)])
def test_a_file_of_another_form_is_one_rejected_row_that_says_what_was_seen(
    data: bytes, named: str, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(data)
    (only,) = read(data)
    assert refusal(only).code == "invalid_header"
    assert named in refusal(only).message
    assert shown(by_pieces(data, 1, 100_000)[0]) == shown(read(data))


def test_a_carriage_return_within_a_row_is_told_without_words_of_python() -> None:
    bad, good = read_lines(HEADER, FIRST_ROW.replace("login", "log\rin"), LAST_ROW)
    assert "carriage return" in refusal(bad).message
    assert "newline" not in refusal(bad).message
    assert good.event == LAST


def test_a_line_of_jsonl_that_is_not_utf_8_is_refused() -> None:
    bad = json.dumps(FIRST).encode().replace(b"login", b"log\xffin")
    first, refused, last = read(b"\n".join([json.dumps(FIRST).encode(), bad, json.dumps(LAST).encode()]))
    assert refusal(refused).code == "invalid_unicode"
    assert refusal(refused).message.startswith("event_type ")
    assert (first.event, last.event) == (FIRST, LAST)


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_only_a_newline_ends_a_line_of_jsonl(separator: str) -> None:
    event = {**FIRST, "event_type": f"a{separator}b"}
    assert events(read_lines(json.dumps(event, ensure_ascii=False), json.dumps(LAST))) == [event, LAST]


def test_empty_lines_of_jsonl_are_left_out_and_counted() -> None:
    rows = read(f"{json.dumps(FIRST)}\n\n \t\r\n{json.dumps(LAST)}\n\n".encode())
    assert [(row.line, row.event) for row in rows] == [(1, FIRST), (4, LAST)]


def test_a_field_of_a_megabyte_in_jsonl_does_not_stop_the_file() -> None:
    big = {**FIRST, "event_type": "x" * 3 * MB}
    first, refused, last = read_lines(json.dumps(FIRST), json.dumps(big), json.dumps(LAST))
    assert isinstance(refusal(refused), InvalidEvent)
    assert (first.event, last) == (FIRST, Row(3, json.dumps(LAST), LAST))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.text(), st.text(), st.text(), st.text(), st.dictionaries(st.text(), st.text()))),
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\r\n", csv.QUOTE_ALL), ("\n", csv.QUOTE_ALL)]),
)
def test_what_a_csv_writer_wrote_is_read_back(
    written: list[tuple[str, str, str, str, dict[str, str]]], style: tuple[str, Any]
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=style[0], quoting=style[1])
    writer.writerow(HEADER.split(","))
    expected = []
    for *fields, properties in written:
        line = file.getvalue().count("\n") + 1
        writer.writerow([*fields, json.dumps(properties, ensure_ascii=False)])
        event: dict[str, Any] = dict(
            zip(["event_id", "occurred_at", "user_id", "event_type"], [field or None for field in fields], strict=True)
        )
        expected.append((line, {**event, "properties": properties}))
    assert [(row.line, row.event) for row in read(file.getvalue().encode())] == expected


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([f"{HEADER}\n".encode(), JSONL, BYTE_ORDER_MARK + FILE, b""]),
    messy_files,
    st.sampled_from([bytes, gzip.compress, gzip_members, lambda data: gzip.compress(data)[:-4]]),
    st.data(),
)
def test_the_rows_do_not_depend_on_the_chunks(
    start: bytes, messy: bytes, compress: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    file = compress(start + messy)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(file)), max_size=8), label="cuts"))
    chunks = [file[one:other] for one, other in itertools.pairwise([0, *cuts, len(file)])]
    assert comparable(read(*chunks)) == comparable(read(file))


def comparable(rows: list[Row]) -> list[tuple[int, str, object]]:
    return [(row.line, row.text, row.event.args if isinstance(row.event, InvalidEvent) else row.event) for row in rows]


@pytest.mark.parametrize(
    "data", [BYTE_ORDER_MARK + FILE, gzip_members(FILE), JSONL], ids=["byte order mark", "gzip members", "jsonl"]
)
def test_a_file_may_come_byte_by_byte(data: bytes) -> None:
    assert events(read(*(data[place : place + 1] for place in range(len(data))))) == [FIRST, LAST]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([f"{HEADER}\n".encode(), b"", b"{", b"\x1f\x8b", gzip.compress(FILE)[:25]]),
    st.binary(max_size=60) | messy_files,
)
def test_any_bytes_are_read_or_refused_without_any_other_error(start: bytes, rest: bytes) -> None:
    for row in read(start + rest):
        if not isinstance(row.event, InvalidEvent):
            with suppress(InvalidEvent):
                parse_event(row.event, NOW)


def by_pieces(data: bytes, piece_bytes: int, chunk_bytes: int = 7, name: str = "") -> tuple[list[Row], list[Piece]]:
    """The rows of a file that is cut, each piece read by itself."""
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    rows: list[Row] = []
    pieces: list[Piece] = []
    for part in cut_file(chunks, piece_bytes, name=name):
        if isinstance(part, Row):
            rows.append(part)
            continue
        pieces.append(part)
        content = data[part.start : part.end] if part.content is None else part.content
        rows += read_piece([content], part.header, part.first_line)
    return rows, pieces


def shown(rows: list[Row]) -> list[tuple[int, str, object]]:
    return [
        (row.line, row.text, row.event.message if isinstance(row.event, InvalidEvent) else row.event) for row in rows
    ]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"", FILE, JSONL, b"\xef\xbb\xbf" + FILE, b"\n\n" + JSONL, HEADER.encode() + b"\r\n"]),
    messy_files,
    st.integers(1, 200),
    st.booleans(),
)
def test_a_file_has_the_same_rows_however_it_is_cut(start: bytes, rest: bytes, piece_bytes: int, zipped: bool) -> None:
    data = gzip.compress(start + rest) if zipped else start + rest

    rows, pieces = by_pieces(data, piece_bytes)

    assert shown(rows) == shown(read(data))
    assert all(piece.end - piece.start >= piece_bytes for piece in pieces[:-1])
    assert all(before.end == after.start for before, after in itertools.pairwise(pieces))
    assert {piece.content is None for piece in pieces} <= {not zipped}


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_file_is_cut_between_its_rows_and_not_at_a_newline_in_quotes(compress: Callable[[bytes], bytes]) -> None:
    quoted = 'e{},2025-08-01T00:00:00Z,42,"two\nlines ""quoted""\n",{{}}'
    data = "\n".join([HEADER, *(quoted.format(number) for number in range(100))]).encode()

    rows, pieces = by_pieces(compress(data), 500)

    assert len(pieces) > 5
    assert shown(rows) == shown(read(data))
    assert [row.line for row in rows] == list(range(2, 302, 3))


def test_a_gzip_file_that_ends_early_is_cut_as_far_as_it_goes_and_says_so() -> None:
    data = gzip.compress(b"".join(b"%s\n" % line for line in [HEADER.encode(), *[FIRST_ROW.encode()] * 5_000]))[:-30]

    rows, pieces = by_pieces(data, 10_000, 1_000)

    assert len(pieces) > 3
    assert shown(rows) == shown(read(data))
    assert isinstance(rows[-1].event, InvalidEvent)


def test_cutting_a_file_takes_memory_for_a_piece_and_not_for_the_file() -> None:
    line = f"{FIRST_ROW}\n".encode() * 1_000
    chunks = itertools.chain([f"{HEADER}\n".encode()], itertools.repeat(line, 200))
    tracemalloc.start()

    pieces = sum(isinstance(part, Piece) for part in cut_file(chunks, MB))

    assert pieces > 5
    assert tracemalloc.get_traced_memory()[1] < 4 * MB
    tracemalloc.stop()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("jsonl", [False, True])
def test_a_file_over_the_limit_is_read_up_to_it_and_says_so(compress: Callable[[bytes], bytes], jsonl: bool) -> None:
    line = b'{"event_id":"1"}\n' if jsonl else b"1,2025-08-01T10:00:00Z,u,login\n"
    header = b"" if jsonl else b"event_id,occurred_at,user_id,event_type\n"
    whole = compress(header + line * 10)
    size = len(header + line * 10)

    assert len(list(read_rows([whole], size))) == 10
    *rows, last = read_rows([whole], size - 1)
    assert len(rows) == 9
    assert isinstance(last.event, InvalidEvent)
    assert last.event.code == "file_too_large"
    assert f"{size - 1:,} bytes" in last.event.message

    *pieces, said = cut_file([whole], 1, size - 1)
    assert isinstance(said, Row)
    assert repr(said.event) == repr(last.event)
    assert sum(piece.end - piece.start for piece in pieces if isinstance(piece, Piece)) == 9 * len(line)


def test_no_more_of_a_file_is_expanded_than_the_limit() -> None:
    bomb = gzip.compress(b"event_id,occurred_at,user_id,event_type\n" + b"x" * 30_000_000)
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for start in range(0, len(bomb), 1_000):
            taken += 1_000
            yield bomb[start : start + 1_000]

    *_, last = read_rows(chunks(), 1_000_000)

    assert isinstance(last.event, InvalidEvent)
    assert last.event.code == "file_too_large"
    assert taken < len(bomb) / 5


def test_the_limit_by_default_is_that_of_the_template() -> None:
    default = template()["Parameters"]["MaxExpandedMegabytes"]["Default"]
    assert int(default) * 1_000_000 == MOST_BYTES


def test_a_file_of_nothing_but_ends_of_gzip_is_read_in_time_that_grows_with_it() -> None:
    ends = gzip.compress(b"") * 100_000
    began = time.process_time()
    assert list(read_rows([ends])) == []
    # Copying the rest at each end would take a hundred times as long.
    assert time.process_time() - began < 5
