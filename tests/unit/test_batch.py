import base64
import hashlib
import random
import string
import zlib
from contextlib import suppress
from itertools import chain, pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core import batch
from rollcall.core.batch import Batch, Delivery, UndecodableBatch, cut, decode, encode, make_batch
from rollcall.core.events import Event
from rollcall.core.message_pack import unpack
from rollcall.core.projects import DEFAULT, Project

RECEIVED_AT = "2025-08-03T12:00:00.000Z"
LATER = "2025-08-04T12:00:00.000Z"
FIRST = Event("e1", "2025-08-03T10:04:15Z", "42", "login", "{}")
SECOND = Event("e2", "2025-08-03T10:04:16Z", "43", "a#b\0🎉", '{"country":"PL"}')
BATCH = make_batch(DEFAULT, [FIRST, SECOND], "http", RECEIVED_AT)
MAX_ENCODED_BYTES = 200 * 1024

DELIVERY = Delivery("0123456789abcdef", "ab" * 16, 0, "2025-08-03", (("invalid_user_id", 2), ("too_old", 1)), 3)

texts = st.text(max_size=20)
projects = st.sampled_from([DEFAULT, Project("shop"), Project("shop-2")])
deliveries = st.builds(
    Delivery,
    st.from_regex("[0-9a-f]{16}", fullmatch=True),
    st.from_regex("[0-9a-f]{32}", fullmatch=True),
    st.integers(0, 40),
    st.dates().map(str),
    st.dictionaries(st.from_regex("[a-z][a-z_]{0,30}", fullmatch=True), st.integers(1, 1_000), max_size=20).map(
        lambda rejected: tuple(rejected.items())
    ),
    st.integers(0, 1_000),
)
batches = st.builds(
    lambda delivery, *content: make_batch(*content)._replace(delivery=delivery),
    st.none() | deliveries,
    projects,
    st.lists(st.builds(Event, *[texts] * 5), max_size=8),
    texts,
    texts,
)


def message() -> dict[str, Any]:
    return {
        "version": 1,
        "batch": BATCH.batch_id,
        "source": "http",
        "received_at": RECEIVED_AT,
        "events": [list(FIRST), list(SECOND)],
    }


def packed(value: object) -> str:
    return body(msgpack.packb(value))


def body(expanded: bytes) -> str:
    return base64.b64encode(zlib.compress(expanded)).decode()


def small_events(count: int) -> list[Event]:
    return [FIRST._replace(event_id=f"e{number}") for number in range(count)]


def incompressible_events(sizes: list[int]) -> list[Event]:
    rng = random.Random(7)
    alphabet = string.ascii_letters + string.digits
    return [
        FIRST._replace(event_id=f"e{number}", properties=f'{{"a":"{"".join(rng.choices(alphabet, k=size))}"}}')
        for number, size in enumerate(sizes)
    ]


def test_a_batch_keeps_its_events_in_their_order() -> None:
    assert BATCH[2:5] == ("http", RECEIVED_AT, (FIRST, SECOND))


def test_a_batch_is_named_by_128_bits_in_hex() -> None:
    assert len(BATCH.batch_id) == 32
    assert set(BATCH.batch_id) <= set(string.hexdigits.lower())


def test_a_batch_of_the_default_project_has_the_name_and_the_message_that_it_had_before_there_were_projects() -> None:
    named = hashlib.sha256(msgpack.packb(["http", [FIRST, SECOND]])).hexdigest()[:32]
    assert BATCH.batch_id == named == "0e5a27e70c843c00273b9a27339a6b12"
    assert msgpack.unpackb(zlib.decompress(base64.b64decode(encode(BATCH)))) == message()


def test_the_same_content_of_another_project_is_another_batch_whose_message_names_the_project() -> None:
    other = make_batch(Project("shop"), [FIRST, SECOND], "http", RECEIVED_AT)
    assert other.batch_id != BATCH.batch_id
    sent = msgpack.unpackb(zlib.decompress(base64.b64decode(encode(other))))
    assert sent == {**message(), "project": "shop", "batch": other.batch_id}
    assert decode(encode(other)) == other
    assert decode(packed({**message(), "project": "default"})) == BATCH


def test_the_name_does_not_depend_on_when_the_events_were_received() -> None:
    assert make_batch(DEFAULT, [FIRST, SECOND], "http", LATER).batch_id == BATCH.batch_id


def test_the_name_does_not_depend_on_what_the_events_come_in() -> None:
    assert make_batch(DEFAULT, (event for event in (FIRST, SECOND)), "http", RECEIVED_AT) == BATCH


@pytest.mark.parametrize(
    ("events", "source"),
    [
        pytest.param([FIRST, SECOND], "import", id="source"),
        pytest.param([FIRST, SECOND], "", id="no source"),
        pytest.param([SECOND, FIRST], "http", id="order"),
        pytest.param([FIRST], "http", id="fewer"),
        pytest.param([FIRST, SECOND, SECOND], "http", id="more"),
        pytest.param([], "http", id="none"),
        pytest.param([FIRST._replace(event_id="e3"), SECOND], "http", id="event_id"),
        pytest.param([FIRST._replace(occurred_at="2025-08-03T10:04:16Z"), SECOND], "http", id="occurred_at"),
        pytest.param([FIRST._replace(user_id="4"), SECOND], "http", id="user_id"),
        pytest.param([FIRST._replace(event_type="logins"), SECOND], "http", id="event_type"),
        pytest.param([FIRST._replace(properties='{"a":1}'), SECOND], "http", id="properties"),
        pytest.param([FIRST._replace(event_id="e142", user_id=""), SECOND], "http", id="moved characters"),
    ],
)
def test_the_name_depends_on_the_source_and_on_all_of_the_events(events: list[Event], source: str) -> None:
    assert make_batch(DEFAULT, events, source, RECEIVED_AT).batch_id != BATCH.batch_id


@settings(max_examples=100, deadline=None)
@given(batches, batches)
def test_batches_share_a_name_only_where_project_source_and_events_are_the_same(one: Batch, other: Batch) -> None:
    same = (one.project, one.source, one.events) == (other.project, other.source, other.events)
    assert (one.batch_id == other.batch_id) is same


@settings(max_examples=100, deadline=None)
@given(batches)
def test_a_batch_is_decoded_as_it_was_encoded(batch: Batch) -> None:
    assert decode(encode(batch)) == batch


def test_a_body_is_text_that_a_queue_takes() -> None:
    assert set(encode(BATCH)) <= set(string.ascii_letters + string.digits + "+/=")


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (500, [500]), (501, [500, 1]), (1200, [500, 500, 200])]
)
def test_events_are_cut_into_batches_of_500(count: int, sizes: list[int]) -> None:
    events = small_events(count)
    cuts = list(cut(DEFAULT, events, "http", RECEIVED_AT))
    assert [len(batch.events) for batch, _ in cuts] == sizes
    assert [event for batch, _ in cuts for event in batch.events] == events
    assert all((batch.source, batch.received_at) == ("http", RECEIVED_AT) for batch, _ in cuts)


@pytest.mark.parametrize(("count", "least"), [(6, 1), (7, 2), (20, 4)])
def test_what_is_over_200_kb_encoded_is_split(count: int, least: int) -> None:
    # Letters and digits at random are six bits each, and so is a character of base64: about 32 KB an event.
    events = incompressible_events([32_000] * count)
    cuts = list(cut(DEFAULT, events, "http", RECEIVED_AT))
    assert len(cuts) >= least
    assert max(len(text) for _, text in cuts) <= MAX_ENCODED_BYTES
    assert [event for batch, _ in cuts for event in batch.events] == events


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 32_000), max_size=40))
def test_every_batch_fits_a_message_and_no_event_is_lost(sizes: list[int]) -> None:
    events = incompressible_events(sizes)
    cuts = list(cut(DEFAULT, events, "http", RECEIVED_AT))
    assert [event for batch, _ in cuts for event in batch.events] == events
    assert all(batch.events and len(text) <= MAX_ENCODED_BYTES for batch, text in cuts)
    assert [decode(text) for _, text in cuts] == [batch for batch, _ in cuts]


def test_a_request_sent_again_makes_the_same_batches() -> None:
    events = incompressible_events([1_000] * 600)
    first = [batch.batch_id for batch, _ in cut(DEFAULT, events, "http", RECEIVED_AT)]
    assert len(set(first)) == len(first) > 2
    assert [batch.batch_id for batch, _ in cut(DEFAULT, list(events), "http", LATER)] == first


def read_by_the_consumers_of_before(text: str) -> Any:
    """What consumers of before there were ledgers made of a body: the document at its beginning, of so many values."""
    expander = zlib.decompressobj()
    expanded = expander.decompress(base64.b64decode(text, validate=True), 500 * (40 * 1024))
    assert expander.eof
    return unpack(expanded, 3006)


@pytest.mark.parametrize("project", [DEFAULT, Project("shop")])
def test_consumers_of_before_there_were_ledgers_read_a_full_batch_that_has_a_delivery(project: Project) -> None:
    ((made, text),) = cut(project, small_events(500), "http", RECEIVED_AT, DELIVERY)
    read = read_by_the_consumers_of_before(text)
    assert read == read_by_the_consumers_of_before(encode(made._replace(delivery=None)))
    assert read["batch"] == make_batch(project, small_events(500), "http", LATER).batch_id


def test_a_delivery_changes_neither_the_batches_nor_their_names() -> None:
    events = incompressible_events([1_000] * 600)
    alone = [batch for batch, _ in cut(DEFAULT, events, "http", RECEIVED_AT)]
    delivered = [batch for batch, _ in cut(DEFAULT, events, "http", RECEIVED_AT, DELIVERY)]
    assert [batch._replace(delivery=None) for batch in delivered] == alone


def test_the_first_message_of_a_delivery_alone_has_what_makes_no_batch() -> None:
    made = [decode(text) for _, text in cut(DEFAULT, small_events(1_200), "http", RECEIVED_AT, DELIVERY)]
    bare = DELIVERY._replace(rejected=(), repeats=0)
    assert [batch.delivery for batch in made] == [DELIVERY, bare._replace(part=1), bare._replace(part=2)]


BAD_NUMBERS: list[object] = [-1, True, 1.0, "1", None, [], 10**10]
BAD_CODES: list[object] = ["", "Too_old", "a b", "_a", "a" * 65, 7, b"too_old"]
BAD_FIELDS: dict[str, list[object]] = {
    "key_id": ["", "a#b", "k\x1f", "a" * 65, "k\n", 7, None, ["k"]],
    "delivery_id": ["", "ab", "AB" * 16, "-" * 32, "ab" * 17, b"ab" * 16, None],
    "part": BAD_NUMBERS,
    "day": ["", "today", "2025-02-30", "2025-8-3", 20250803, None],
    "repeats": BAD_NUMBERS,
    "rejected": [
        *(None, [], "too_old", 7),
        *({code: 1} for code in BAD_CODES),
        *({"too_old": number} for number in BAD_NUMBERS),
        {f"code_{number}": 1 for number in range(65)},
    ],
}


@pytest.mark.parametrize("field", BAD_FIELDS)
def test_a_delivery_with_a_field_of_another_kind_is_refused(field: str) -> None:
    sent = {**DELIVERY._asdict(), "rejected": dict(DELIVERY.rejected)}
    assert decode(followed_by(list(sent.values()))).delivery == DELIVERY
    for value in BAD_FIELDS[field]:
        with pytest.raises(UndecodableBatch):
            decode(followed_by(list({**sent, field: value}.values())))


@pytest.mark.parametrize(
    "value", [None, 7, "text", [], {}, [*DELIVERY], [*DELIVERY._replace(rejected=())[:4], {}], [[[]] * 100] * 6]
)
def test_what_follows_a_batch_and_is_no_delivery_is_refused(value: object) -> None:
    with pytest.raises(UndecodableBatch):
        decode(followed_by(value))


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param(b"\0", id="no zlib"),
        pytest.param(zlib.compress(b"\xc1"), id="no MessagePack"),
        pytest.param(zlib.compress(b"\0" * (1 << 20)), id="zlib bomb"),
        pytest.param(zlib.compress(msgpack.packb(["k", "ab" * 16, 0, "2025-08-03", {}, 0]))[:-1], id="cut short"),
        pytest.param(zlib.compress(msgpack.packb(["k", "ab" * 16, 0, "2025-08-03", {}, 0])) + b"\0", id="more behind"),
        pytest.param(
            zlib.compress(b"\x96\xa1k\xd9\x20" + b"ab" * 16 + b"\0\xaa2025-08-03\x82\xa1a\1\xa1a\1\0"), id="code twice"
        ),
    ],
)
def test_bytes_behind_a_batch_that_are_no_delivery_are_refused(behind: bytes) -> None:
    with pytest.raises(UndecodableBatch):
        decode(base64.b64encode(base64.b64decode(encode(BATCH)) + behind).decode())


def followed_by(value: object) -> str:
    compressed = base64.b64decode(encode(BATCH)) + zlib.compress(msgpack.packb(value))
    return base64.b64encode(compressed).decode()


def test_a_message_in_the_documented_form_is_read() -> None:
    assert decode(packed(message())) == BATCH


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_a_message_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(UndecodableBatch, match="version"):
        decode(packed({**message(), "version": version}))


@pytest.mark.parametrize("field", ["version", "batch", "source", "received_at", "events"])
def test_a_message_that_lacks_a_field_is_refused(field: str) -> None:
    lacking = message()
    del lacking[field]
    with pytest.raises(UndecodableBatch):
        decode(packed(lacking))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"batch": "0" * 32}, id="name"),
        pytest.param({"batch": ""}, id="no name"),
        pytest.param({"batch": BATCH.batch_id.upper()}, id="name in upper case"),
        pytest.param({"source": "import"}, id="source"),
        pytest.param({"project": "shop"}, id="project"),
        pytest.param({"events": [list(FIRST)]}, id="event removed"),
        pytest.param({"events": [list(FIRST), list(SECOND), list(FIRST)]}, id="event added"),
        pytest.param({"events": [list(SECOND), list(FIRST)]}, id="events swapped"),
        pytest.param({"events": [list(FIRST), list(SECOND._replace(user_id="44"))]}, id="other user"),
        pytest.param({"events": []}, id="no events"),
    ],
)
def test_a_message_whose_content_was_changed_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UndecodableBatch):
        decode(packed({**message(), **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"project": 7},
        {"project": None},
        {"project": "Shop"},
        {"project": "shop\x1f"},
        {"batch": 7},
        {"batch": None},
        {"source": None},
        {"source": b"http"},
        {"received_at": 1754040600},
        {"events": None},
        {"events": 7},
        {"events": {"e1": "e2"}},
        {"events": [7]},
        {"events": [None]},
        {"events": [list(FIRST)[:4]]},
        {"events": [[*FIRST, "extra"]]},
        {"events": [["e1", "2025-08-03T10:04:15Z", 42, "login", "{}"]]},
        {"events": [["e1", "2025-08-03T10:04:15Z", "42", "login", {}]]},
        {"events": [["e1", "2025-08-03T10:04:15Z", "42", "login", None]]},
    ],
)
def test_a_message_with_a_field_of_another_kind_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UndecodableBatch):
        decode(packed({**message(), **change}))


@pytest.mark.parametrize("value", [None, 7, "text", [], {}, [1, 2], {"version": 1}, [message()]])
def test_what_is_no_message_is_refused(value: object) -> None:
    with pytest.raises(UndecodableBatch):
        decode(packed(value))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="blank"),
        pytest.param("not base64!", id="no base64"),
        pytest.param("é", id="no ASCII"),
        pytest.param("\ud800", id="no Unicode"),
        pytest.param("QUJD", id="no zlib"),
        pytest.param('{"Records": []}', id="JSON"),
        pytest.param(base64.b64encode(msgpack.packb(message())).decode(), id="not compressed"),
        pytest.param(f"{encode(BATCH)}A", id="wrong length"),
        pytest.param(f" {encode(BATCH)}", id="space before"),
        pytest.param(body(b""), id="nothing"),
        pytest.param(body(b"\xc1"), id="no MessagePack"),
        pytest.param(body(msgpack.packb(message())[:-1]), id="MessagePack cut short"),
        pytest.param(body(msgpack.packb(message()) * 2), id="two messages"),
        pytest.param(body(b"\x91" * 100_000), id="too deep"),
        pytest.param(body(b"\xdd\xff\xff\xff\xff"), id="array of 4 billion"),
        pytest.param(body(b"\xa1\xff"), id="not UTF-8"),
        pytest.param(body(b"\x81\x90\x01"), id="key that cannot be one"),
    ],
)
def test_a_body_that_is_no_batch_is_refused(text: str) -> None:
    with pytest.raises(UndecodableBatch):
        decode(text)


@settings(max_examples=100, deadline=None)
@given(batches, st.data())
def test_a_body_that_was_cut_short_is_refused(batch: Batch, data: st.DataObject) -> None:
    text = encode(batch)
    length = data.draw(st.integers(0, len(text) - 1), label="length")
    with pytest.raises(UndecodableBatch):
        decode(text[:length])


@settings(max_examples=100, deadline=None)
@given(batches, st.data())
def test_a_body_with_a_damaged_byte_is_never_another_batch(batch: Batch, data: st.DataObject) -> None:
    damaged = bytearray(base64.b64decode(encode(batch)))
    damaged[data.draw(st.integers(0, len(damaged) - 1), label="position")] ^= data.draw(st.integers(1, 255))
    # Some bits of deflate carry nothing, so that it may still be the same batch.
    with suppress(UndecodableBatch):
        assert decode(base64.b64encode(damaged).decode()) == batch


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_without_any_other_error(garbage: bytes) -> None:
    with pytest.raises(UndecodableBatch):
        decode(body(garbage))


def test_a_message_with_more_values_than_a_batch_has_is_refused_by_their_number() -> None:
    too_many: list[list[object]] = [[list(FIRST)] * 501, [[[[]] * 2] * 5] * 500, [[]] * 1_000_000]
    for events in too_many:
        with pytest.raises(UndecodableBatch, match="more than 3006 values"):
            decode(packed({**message(), "events": events}))


def test_a_zlib_bomb_is_refused_although_it_would_be_a_batch() -> None:
    bomb = make_batch(DEFAULT, [FIRST._replace(properties=" " * (21 * 1024 * 1024))], "http", RECEIVED_AT)
    text = encode(bomb)
    assert len(text) < MAX_ENCODED_BYTES
    with pytest.raises(UndecodableBatch, match="expands to more"):
        decode(text)


@given(st.lists(st.integers(1, 40), max_size=60), st.sampled_from([1, 7, 100]))
def test_events_of_one_id_are_in_one_batch_where_they_fit(runs: list[int], most: int) -> None:
    places = [(number, each) for number, run in enumerate(runs) for each in range(run)]
    events = [FIRST._replace(event_id=f"e{number}", user_id=str(each)) for number, each in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "MAX_BATCH_EVENTS", most)
        made = [each for each, _ in cut(DEFAULT, events, "http", RECEIVED_AT)]
    assert [event for each in made for event in each.events] == events
    assert all(1 <= len(each.events) <= most for each in made)
    ids = [{event.event_id for event in each.events} for each in made]
    for number, run in enumerate(runs):
        assert run > most or sum(f"e{number}" in each for each in ids) == 1


@pytest.mark.parametrize("alike", [2, 6, 12])
def test_large_events_of_one_id_are_in_one_batch_where_they_fit(alike: int) -> None:
    large = incompressible_events([20_000] * 36)
    events = [event._replace(event_id=f"s{number // alike}") for number, event in enumerate(large)]
    made = [each for each, _ in cut(DEFAULT, events, "http", RECEIVED_AT)]
    assert [event for each in made for event in each.events] == events
    ids = [{event.event_id for event in each.events} for each in made]
    apart = {event_id for one, two in pairwise(ids) for event_id in one & two}
    # Twelve alone take more than a batch may have.
    assert apart == (set(chain(*ids)) if alike == 12 else set())
