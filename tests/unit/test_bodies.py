import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import InvalidEvent, parse_event
from rollcall.core.strict_json import MAX_VALUES
from rollcall.files.rows import read_rows
from rollcall.intake.bodies import BodyTooLarge, UnreadableBody, read_events

MB = 1024 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
ONE = {"event_id": "e1", "user_id": 42, "properties": {"price": 1.5}}
TWO = {"event_id": "e2", "user_id": "я🎉", "properties": None}
GOOD = json.dumps(ONE)
NOW = datetime(2025, 9, 1, tzinfo=UTC)

Encoder = Callable[[list[Any]], bytes]


def as_json(events: list[Any]) -> bytes:
    return json.dumps(events).encode()


def as_pretty_json(events: list[Any]) -> bytes:
    return json.dumps(events, ensure_ascii=False, indent=2).encode()


def as_wrapped_json(events: list[Any]) -> bytes:
    return json.dumps({"sent_at": "2025-08-03T12:00:00Z", "events": events}).encode()


def as_ndjson(events: list[Any]) -> bytes:
    return "".join(f"{json.dumps(event, ensure_ascii=False)}\n" for event in events).encode()


def as_message_pack(events: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(events)
    return packed


def as_wrapped_message_pack(events: list[Any]) -> bytes:
    packed: bytes = msgpack.packb({"events": events})
    return packed


def as_text(name: str) -> bytes:
    """JSON of one event that has a field twice."""
    return f"[{{{json.dumps(name)}: 1, {json.dumps(name)}: 2}}]".encode()


def as_packed(name: str) -> bytes:
    """MessagePack of one event that has a field twice."""
    field: bytes = msgpack.packb(name) + b"\x01"
    return b"\x91\x82" + field + field


ENCODERS: list[Encoder] = [
    as_json,
    as_pretty_json,
    as_wrapped_json,
    as_ndjson,
    as_message_pack,
    as_wrapped_message_pack,
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
raw_events = st.fixed_dictionaries({"event_id": values}, optional={"user_id": values, "properties": values})


def unreadable(body: bytes) -> UnreadableBody:
    with pytest.raises(UnreadableBody) as caught:
        read_events(body)
    assert not isinstance(caught.value, BodyTooLarge)
    return caught.value


def too_large(body: bytes) -> str:
    with pytest.raises(BodyTooLarge) as caught:
        read_events(body)
    assert caught.value.code == "too_large"
    return str(caught.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("encode", ENCODERS)
def test_the_encoding_is_told_by_the_bytes(encode: Encoder, compress: Callable[[bytes], bytes]) -> None:
    assert read_events(compress(encode([ONE, TWO]))) == [ONE, TWO]


@settings(max_examples=50, deadline=None)
@given(st.lists(raw_events, min_size=1, max_size=6), st.sampled_from(ENCODERS), st.sampled_from([bytes, gzip.compress]))
def test_events_read_alike_in_every_encoding(
    events: list[Any], encode: Encoder, compress: Callable[[bytes], bytes]
) -> None:
    assert read_events(compress(encode(events))) == events


@pytest.mark.parametrize("encode", [as_json, as_wrapped_json, as_message_pack, as_wrapped_message_pack])
def test_an_empty_list_has_no_events(encode: Encoder) -> None:
    assert read_events(encode([])) == []


@pytest.mark.parametrize("body", [GOOD.encode(), f"\n {GOOD}\r\n".encode(), msgpack.packb(ONE)])
def test_a_single_object_is_one_event(body: bytes) -> None:
    assert read_events(body) == [ONE]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("encode", [as_json, as_pretty_json, as_wrapped_json, as_ndjson])
def test_a_byte_order_mark_is_skipped(encode: Encoder, compress: Callable[[bytes], bytes]) -> None:
    assert read_events(compress(BYTE_ORDER_MARK + encode([ONE, TWO]))) == [ONE, TWO]


@pytest.mark.parametrize(
    "body",
    [
        f"{GOOD}\n{GOOD}",
        f"{GOOD}\n{GOOD}\n",
        f"{GOOD}\r\n{GOOD}\r\n",
        f"\n\n{GOOD}\n \t\n{GOOD}\n\n",
        f"  {GOOD}  \n\t{GOOD}",
    ],
)
def test_the_lines_of_ndjson_may_end_in_any_way_and_be_empty(body: str) -> None:
    assert read_events(body.encode()) == [ONE, ONE]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("garbage", id="no JSON"),
        pytest.param(GOOD[:-1], id="cut short"),
        pytest.param(f"{GOOD},", id="comma after"),
        pytest.param(f"{GOOD}{GOOD}", id="two in a line"),
        pytest.param('{"event_id": NaN}', id="NaN"),
        pytest.param('{"event_id": -Infinity}', id="Infinity"),
        pytest.param('{"a":' * 100_000, id="too deep"),
        pytest.param('{"event_id": "a\tb"}', id="control character"),
    ],
)
@pytest.mark.parametrize("place", [1, 2])
def test_a_bad_line_of_ndjson_is_refused_in_its_place(bad: str, place: int) -> None:
    lines = [GOOD, GOOD]
    lines.insert(place, bad)
    events = read_events("\n".join(lines).encode())
    refused = events.pop(place)
    assert isinstance(refused, InvalidEvent)
    assert refused.code == "invalid_json"
    assert events == [ONE, ONE]


def test_a_first_line_that_is_whole_makes_ndjson_whatever_it_holds() -> None:
    bad, good = read_events(f'{{"a": 1, "a": 2}}\n{GOOD}'.encode())
    assert isinstance(bad, InvalidEvent)
    assert (bad.code, good) == ("repeated_field", ONE)
    assert read_events(f"7\n{GOOD}".encode()) == [7, ONE]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\xa0", "\x7f"])
def test_only_a_newline_ends_a_line_of_ndjson(separator: str) -> None:
    event = {"event_id": f"a{separator}b"}
    assert read_events(as_ndjson([event, ONE])) == [event, ONE]


def test_what_json_escapes_is_read_as_it_was_meant() -> None:
    assert read_events(rb'[{"event_id": "\u0000\ud83c\udf89", "user_id": "\ud800"}]') == [
        {"event_id": "\0🎉", "user_id": "\ud800"}
    ]


@pytest.mark.parametrize("number", [2**40, 2**64, -(2**64), 10**40])
def test_an_integer_is_read_exactly(number: int) -> None:
    assert read_events(f'[{{"user_id": {number}}}]'.encode()) == [{"user_id": number}]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" \r\n\t\n", id="blank"),
        pytest.param(BYTE_ORDER_MARK, id="byte order mark alone"),
        pytest.param(b"garbage", id="garbage"),
        pytest.param(b"garbage\ngarbage\n", id="lines of garbage"),
        pytest.param(b"<events/>", id="XML"),
        pytest.param(b"event_id=e1&user_id=42", id="form"),
        pytest.param(b"event_id,user_id\ne1,u\n", id="CSV"),
        pytest.param(f"[{GOOD}".encode(), id="cut short"),
        pytest.param(f"[{GOOD},]".encode(), id="comma after"),
        pytest.param(f"[\n{GOOD}\n,{GOOD}\n".encode(), id="array never closed"),
        pytest.param(f"[\n{GOOD},\n{GOOD}\n".encode(), id="array never closed, commas after"),
        pytest.param(f"[\n{GOOD}\n{GOOD}\n]".encode(), id="array without commas"),
        pytest.param(f'{{"events": [\n{GOOD}\n'.encode(), id="object never closed"),
        pytest.param(as_pretty_json([ONE, TWO])[:-2], id="indented and cut"),
        pytest.param(f"{GOOD},\n{GOOD}".encode(), id="lines with commas"),
        pytest.param(f"{GOOD[2:]}\n{GOOD}\n".encode(), id="first line cut"),
        pytest.param(f"[{GOOD}][{GOOD}]".encode(), id="two documents"),
        pytest.param(b"['e1']", id="single quotes"),
        pytest.param(b'[{"event_id": NaN}]', id="NaN"),
        pytest.param(b'[{"event_id": Infinity}]', id="Infinity"),
        pytest.param(b'[{"event_id": -Infinity}]', id="-Infinity"),
        pytest.param(b"[" * 1_000_000, id="deep arrays"),
        pytest.param(b'{"a":' * 100_000, id="deep objects"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep and whole"),
        pytest.param(b'[{"event_id": "\xff"}]', id="not UTF-8"),
        pytest.param(b'[{"event_id": "\xed\xa0\x80"}]', id="surrogate in UTF-8"),
        pytest.param(b'[{"event_id": "\xc0\x80"}]', id="overlong UTF-8"),
        pytest.param(GOOD.encode("utf-16"), id="UTF-16"),
        pytest.param(GOOD.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(b"\xff\xfe", id="UTF-16 mark alone"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_what_is_no_json_is_refused(body: bytes, compress: Callable[[bytes], bytes]) -> None:
    assert unreadable(compress(body)).code == "invalid_json"


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (GOOD.encode("utf-16"), "UTF-16LE"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "UTF-16BE"),
        (GOOD.encode("utf-16-le"), "UTF-16LE"),
        (GOOD.encode("utf-16-be"), "UTF-16BE"),
        (GOOD.encode("utf-32"), "UTF-32LE"),
        (GOOD.encode("utf-32-be"), "UTF-32BE"),
        (f"{GOOD}\r{GOOD}\r".encode(), "carriage returns"),
    ],
    ids=range(7),
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_refusal_of_a_body_says_what_its_bytes_were_seen_to_be(
    body: bytes, seen: str, compress: Callable[[bytes], bytes]
) -> None:
    assert seen in str(unreadable(compress(body)))


@pytest.mark.parametrize("body", [b"\x1f\x8b", b"\x1f\x8b\x08", b"\x1f\x8b\x09garbage"])
def test_gzip_that_ends_in_its_header_or_has_another_method_is_told_as_gzip(body: bytes) -> None:
    assert unreadable(body).code == "invalid_gzip"


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"true",
        b'"text"',
        b"7",
        b"1e400",
        b'{"events": null}',
        b'{"events": {}}',
        b'{"events": "[]"}',
        msgpack.packb({"events": None}),
        msgpack.packb({"events": {"event_id": "e1"}}),
    ],
)
def test_a_body_that_holds_no_list_is_refused(body: bytes) -> None:
    assert unreadable(body).code == "not_a_list"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'[{{"user_id": {"1" * 5_000}}}, {GOOD}]'.encode(), id="integer of 5,000 digits"),
        pytest.param(f'{{"user_id": {"1" * 5_000}}}\n{GOOD}'.encode(), id="integer of 5,000 digits in NDJSON"),
        pytest.param(msgpack.packb([{"user_id": b"\xff"}, ONE]), id="bytes"),
        pytest.param(b"\x92\x81\xa7user_id\xa1\xff" + msgpack.packb(ONE), id="not UTF-8"),
        pytest.param(msgpack.packb([{"user_id": {1: 2}}, ONE]), id="key that is no text"),
    ],
)
def test_a_value_that_no_event_may_have_does_not_spoil_its_neighbours(body: bytes) -> None:
    bad, good = read_events(body)
    assert good == ONE
    with pytest.raises(InvalidEvent):
        parse_event({**ONE, "event_type": "open", "occurred_at": "2025-08-01T00:00:00Z", **cast(Any, bad)}, NOW)


@pytest.mark.parametrize("bad", [b'{"user_id": "\xe9"}', b'{"user_id": "\xed\xa0\x80"}', b"\xff", b'{"a": "\xc3\n"}'])
@pytest.mark.parametrize("place", [1, 2])
def test_a_line_of_ndjson_that_is_not_utf_8_is_refused_alone(bad: bytes, place: int) -> None:
    lines = [GOOD.encode(), GOOD.encode()]
    lines[place:place] = bad.split(b"\n")
    found = read_events(b"\n".join(lines))
    assert found.count(ONE) == 2
    for each in found:
        if each != ONE:
            with pytest.raises(InvalidEvent):
                parse_event(each, NOW)


def test_a_line_of_ndjson_has_the_bounds_of_a_line_of_a_file() -> None:
    long = json.dumps({"event_id": "e", "more": [1] * 20_000})
    for lines in ([GOOD, long], [long, GOOD]):
        body = "\n".join(lines).encode()
        assert [
            (each.code, each.message) if isinstance(each, InvalidEvent) else each for each in read_events(body)
        ] == [
            (row.event.code, row.event.message) if isinstance(row.event, InvalidEvent) else row.event
            for row in read_rows([body])
        ]


@pytest.mark.parametrize("name", [1, -(2**40), 1.5, None, True, b"name"])
def test_an_event_of_message_pack_whose_field_is_not_named_by_text_is_refused_alone(name: object) -> None:
    for bad in ({name: 1, "event_id": "e"}, {"event_id": "e", "properties": {name: 1}}):
        first, last = read_events(msgpack.packb([bad, ONE]))
        assert last == ONE
        found = first if isinstance(first, InvalidEvent) else cast(Any, first)["properties"]
        assert isinstance(found, InvalidEvent)
        assert (found.code, found.message) == ("invalid_field_name", "the name of a field has to be a string")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "body",
    [
        as_json([{"a": [1] * MAX_VALUES}]),
        as_json([{"a": [{}] * MAX_VALUES}]),
        as_ndjson([{"a": [1] * (MAX_VALUES // 10)}] * 10),
        as_message_pack([{"a": [1] * MAX_VALUES}]),
        as_message_pack([{"a": {str(number): 1 for number in range(MAX_VALUES)}}]),
    ],
    ids=["elements", "objects", "lines", "MessagePack", "fields of MessagePack"],
)
def test_a_body_with_too_many_values_is_refused_and_the_limit_named(
    body: bytes, compress: Callable[[bytes], bytes]
) -> None:
    assert f"more than {MAX_VALUES} values" in too_large(compress(body))


@pytest.mark.parametrize("encode", ENCODERS)
def test_what_a_string_holds_is_no_value(encode: Encoder) -> None:
    texts = ['{"[,' * 100 + "\\", '\\"' * 50, "[" * 1_000, ","]
    events = [{"event_id": f"e{number}", "a": texts[number % len(texts)]} for number in range(5_000)]
    assert read_events(encode(events)) == events


def test_a_bomb_of_lines_is_refused_after_as_many_as_are_allowed() -> None:
    tracemalloc.start()
    try:
        assert "5000" in too_large(gzip.compress(b"x\n{}\n" * 1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 60 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [b"\x00\x80\x00\x00", b"\xff\xff\xff\xff"], ids=["8 million", "4 billion"])
def test_a_bomb_of_arrays_is_refused_by_its_length(length: bytes) -> None:
    assert "5000" in too_large(b"\xdd" + length + b"\x90" * 100)


def test_gzip_may_have_very_many_members() -> None:
    assert read_events(gzip.compress(b"") * 100_000 + gzip.compress(as_json([ONE]))) == [ONE]


def test_a_huge_integer_is_refused_without_any_other_error() -> None:
    unreadable(b"1" * 100_000)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(as_message_pack([ONE])[:-1], id="cut short"),
        pytest.param(as_message_pack([ONE]) + b"\0", id="more after it"),
        pytest.param(b"\x91\xc1", id="unused type"),
        pytest.param(b"\x91" * 1_000_000, id="too deep"),
        pytest.param(b"\x91\x81\x90\x01", id="an array for a key"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="map of 4 billion"),
    ],
)
def test_damaged_message_pack_is_refused(body: bytes) -> None:
    assert unreadable(body).code == "invalid_msgpack"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([bytes, gzip.compress]))
def test_any_bytes_are_read_or_refused_without_any_other_error(body: bytes, compress: Callable[[bytes], bytes]) -> None:
    with suppress(UnreadableBody):
        assert len(read_events(compress(body))) <= 80


def test_a_gzip_body_may_have_several_members() -> None:
    whole = as_json([ONE, TWO])
    parts = [whole[:1], whole[1:7], b"", whole[7:]]
    assert read_events(b"".join(gzip.compress(part) for part in parts)) == [ONE, TWO]


def test_a_gzip_body_may_be_padded_with_zeros() -> None:
    assert read_events(gzip.compress(as_json([ONE])) + bytes(512)) == [ONE]


def test_a_gzip_body_may_carry_a_file_name() -> None:
    file = io.BytesIO()
    with gzip.GzipFile("events.json", "wb", fileobj=file) as member:
        member.write(as_json([ONE]))
    assert read_events(file.getvalue()) == [ONE]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_gzip_body_that_was_cut_short_is_refused(data: st.DataObject) -> None:
    body = gzip.compress(as_ndjson([ONE, TWO, ONE]))
    unreadable(body[: data.draw(st.integers(0, len(body) - 1), label="length")])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(as_json([ONE]))[:-8] + bytes(8), id="checksum"),
        pytest.param(gzip.compress(as_json([ONE]))[:10] + b"\xff" * 20, id="content"),
        pytest.param(gzip.compress(b"[") + gzip.compress(b"]")[:-1], id="second member"),
        pytest.param(gzip.compress(as_json([ONE])) + b"garbage", id="garbage after it"),
        pytest.param(b"\x1f\x8b\x08", id="magic number alone"),
    ],
)
def test_damaged_gzip_is_refused(body: bytes) -> None:
    assert unreadable(body).code == "invalid_gzip"


def test_4_mb_may_be_sent() -> None:
    assert read_events(b"[]".ljust(4 * MB)) == []
    assert str(4 * MB) in too_large(b"[]".ljust(4 * MB + 1))


def test_4_mb_are_the_limit_of_what_is_sent_whatever_it_expands_to() -> None:
    assert read_events(gzip.compress(b"[]").ljust(4 * MB, b"\0")) == []
    assert str(4 * MB) in too_large(gzip.compress(b"[]").ljust(4 * MB + 1, b"\0"))


def test_8_mb_may_be_expanded() -> None:
    assert read_events(gzip.compress(b"[]".ljust(8 * MB))) == []
    assert str(8 * MB) in too_large(gzip.compress(b"[]".ljust(8 * MB + 1)))


def test_the_members_of_a_gzip_body_share_the_limit() -> None:
    half = gzip.compress(bytes(4 * MB).replace(b"\0", b" "))
    assert read_events(half + gzip.compress(b"[]".ljust(4 * MB))) == []
    assert str(8 * MB) in too_large(half + gzip.compress(b"[]".ljust(4 * MB + 1)))


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory() -> None:
    bomb = gzip.compress(bytes(64 * MB)) * 30
    assert len(bomb) < 4 * MB
    tracemalloc.start()
    try:
        assert str(8 * MB) in too_large(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 32 * MB


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("encode", ENCODERS)
def test_5000_events_may_be_sent_at_once(encode: Encoder, compress: Callable[[bytes], bytes]) -> None:
    assert len(read_events(compress(encode([{}] * 5_000)))) == 5_000
    assert "5000" in too_large(compress(encode([{}] * 5_001)))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("user_id", "user_id is"),
        ("u" * 128, "u" * 128 + " is"),
        ("u" * 129, "u" * 128 + "… (129 characters) is"),
        ("it's", "it's is"),
        ("größe", "größe is"),
        ("a\x00\u2028b", r"a\x00\u2028b is"),
        ("", " is"),
    ],
)
@pytest.mark.parametrize("encode", [as_text, as_packed])
def test_a_repeated_field_is_named_whole_and_a_longer_name_is_cut_where_one_sees_it(
    encode: Callable[[str], bytes], name: str, start: str
) -> None:
    with pytest.raises(InvalidEvent) as caught:
        parse_event(read_events(encode(name))[0], NOW)
    assert caught.value.code == "repeated_field"
    assert caught.value.message == f"{start} named twice in one object"
