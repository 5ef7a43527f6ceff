"""Amplitude: what its SDKs send is counted as it was meant, and none of them sends a bad event again."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Response
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.intake.bodies import MAX_EXPANDED_BYTES
from tests.dialects import HURRIED, KEY, REFUSALS, Door, Meant, door, loads, native
from tests.support import NOW

EVENT = {"event_type": "login", "insert_id": "m1", "user_id": "u1", "time": 1754040600000}
ROUTES = ["/2/httpapi", "/batch"]


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def body(*events: Any) -> dict[str, Any]:
    return {"api_key": KEY, "events": list(events), "options": {"min_id_length": 1}}


def item(meant: Meant) -> dict[str, Any]:
    return {
        "event_type": meant.type,
        "insert_id": meant.id,
        "user_id": meant.user,
        "device_id": "d1",
        "time": meant.milliseconds,
        "event_properties": meant.properties,
        "user_properties": {"not": "kept"},
    }


def sent_again(answer: Response, count: int) -> list[int]:
    """The places of the events that the SDKs send again after an answer."""
    told = answer.json()
    code = told["code"]
    assert type(code) is int
    assert code == answer.status_code
    if 200 <= code < 300:
        return []
    if code == 400 or (400 < code < 500 and code not in (408, 413, 429)):
        if told.get("missing_field") or told["error"].startswith("Invalid API key:"):
            return []
        named = [*told["events_with_invalid_fields"].values(), *told["events_with_missing_fields"].values()]
        return sorted(set(range(count)) - {place for places in named for place in places})
    return list(range(count))


@settings(max_examples=25)
@given(load=loads(), cut=st.integers(1, 6), zipped=st.booleans(), route=st.sampled_from(ROUTES))
def test_events_are_the_same_in_every_encoding(load: list[Meant], cut: int, zipped: bool, route: str) -> None:
    with door() as sdk:
        for start in range(0, len(load), cut):
            items = [item(each) for each in load[start : start + cut]]
            content = json.dumps(body(*items), sort_keys=True).encode()
            answer = sdk.post(route, content=gzip.compress(content) if zipped else content)
            assert answer.json() == {
                "code": 200,
                "events_ingested": len(items),
                "payload_size_bytes": len(content),
                "server_upload_time": int(NOW.timestamp() * 1000),
            }
        found = sdk.taken()
    assert set(found) == {each.native("amplitude") for each in load}
    assert len(found) == len(load)


@pytest.mark.parametrize(
    ("change", "event"),
    [
        ({"user_id": None, "device_id": "d1"}, native("amplitude:m1", user_id="d1")),
        ({"user_id": "", "device_id": "d1"}, native("amplitude:m1", user_id="d1")),
        ({"user_id": 42}, native("amplitude:m1", user_id="42")),
        ({"time": 1754040600000.5}, native("amplitude:m1", "2025-08-01T09:30:00.0005Z")),
        ({"time": None}, native("amplitude:m1", NOW.isoformat())),
        (
            {"event_type": "$identify", "user_properties": {"$set": {"plan": "pro"}}},
            native("amplitude:m1", event_type="$identify", properties={"$set": {"plan": "pro"}}),
        ),
        (
            {"event_type": "$groupidentify", "group_properties": {"$set": {"n": 1}}, "event_properties": {"a": 1}},
            native("amplitude:m1", event_type="$groupidentify", properties={"$set": {"n": 1}}),
        ),
    ],
    ids=range(7),
)
def test_an_event_is_mapped(sdk: Door, change: dict[str, Any], event: object) -> None:
    assert sdk.post("/2/httpapi", json=body({**EVENT, **change})).json()["code"] == 200

    assert sdk.taken() == [event]


def test_an_event_without_an_id_is_the_same_event_when_it_is_sent_again(sdk: Door) -> None:
    for properties in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}):
        sdk.post("/2/httpapi", json=body({**EVENT, "insert_id": None, "event_properties": properties}))

    first, again, other = sdk.taken()
    assert first == again
    assert first.event_id != other.event_id


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"user_id": None}, "events_with_missing_fields", "user_id"),
    ({"event_type": None}, "events_with_missing_fields", "event_type"),
    ({"insert_id": None, "time": None}, "events_with_missing_fields", "event"),
    ({"user_id": "null"}, "events_with_invalid_fields", "user_id"),
    ({"user_id": [1]}, "events_with_invalid_fields", "user_id"),
    ({"event_type": ["$identify"]}, "events_with_invalid_fields", "event_type"),
    ({"time": "soon"}, "events_with_invalid_fields", "time"),
    ({"time": 1e300}, "events_with_invalid_fields", "time"),
    ({"time": 4102444800000}, "events_with_invalid_fields", "time"),
    ({"insert_id": {}}, "events_with_invalid_fields", "insert_id"),
    ({"event_properties": [1]}, "events_with_invalid_fields", "event_properties"),
    ({"event_properties": {"a": "x" * 40_000}}, "events_with_invalid_fields", "event"),
]


@pytest.mark.parametrize(("change", "list_", "field"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("alone", [True, False])
def test_a_bad_event_is_named_and_not_sent_again(
    sdk: Door, change: dict[str, Any], list_: str, field: str, alone: bool
) -> None:
    events = [{**EVENT, **change}] if alone else [EVENT, {**EVENT, "insert_id": "m2", **change}]
    answer = sdk.post("/2/httpapi", json=body(*events))

    assert answer.json()[list_] == {field: [len(events) - 1]}
    assert sent_again(answer, len(events)) == ([] if alone else [0])
    assert {"error", "message"} <= answer.json().keys()
    assert sdk.taken() == ([] if alone else [native("amplitude:m1")])


def test_the_good_events_of_a_batch_are_the_same_when_they_are_sent_again(sdk: Door) -> None:
    events = [EVENT, 7, {**EVENT, "insert_id": "m2"}, {**EVENT, "insert_id": "m3", "time": "soon"}, None]
    left = sent_again(sdk.post("/2/httpapi", json=body(*events)), len(events))
    answer = sdk.post("/2/httpapi", json=body(*(events[place] for place in left)))

    assert (left, sent_again(answer, len(left))) == ([0, 2], [])
    assert set(sdk.taken()) == {native("amplitude:m1"), native("amplitude:m2")}


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["body", "bearer", "X-API-Key"])
@pytest.mark.parametrize("route", ROUTES)
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, key: str, place: str, route: str) -> None:
    headers = {"body": {}, "bearer": {"Authorization": f"Bearer {key}"}, "X-API-Key": {"X-API-Key": key}}[place]
    sent = {**body(EVENT), "api_key": key if place == "body" else KEY}
    answer = sdk.post(route, json=sent, headers=headers)

    assert answer.status_code == REFUSALS[key]
    assert sent_again(answer, 1) == ([0] if key == HURRIED else [])
    assert sdk.taken() == []


def test_no_key_is_a_401(sdk: Door) -> None:
    answer = sdk.post("/2/httpapi", json={"events": [EVENT]})

    assert (answer.status_code, sent_again(answer, 1)) == (401, [])


def test_all_events_of_somebody_too_fast_wait_their_time(sdk: Door) -> None:
    answer = sdk.post("/2/httpapi", json={**body(EVENT, 7, EVENT), "api_key": HURRIED})

    assert answer.json()["throttled_events"] == [0, 1, 2]


def test_no_events_are_a_success(sdk: Door) -> None:
    assert sdk.post("/2/httpapi", json=body()).json()["code"] == 200


def test_what_the_queue_does_not_take_is_asked_for_again(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    answer = sdk.post("/2/httpapi", json=body(EVENT))

    assert (answer.status_code, sent_again(answer, 1)) == (503, [0])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 400),
        (b"7", 400),
        (b"[]", 400),
        (b"{}", 400),
        (b"\xff", 400),
        (b'{"events": {}}', 400),
        (b'{"events": [], "events": []}', 400),
        (b"[" * 100_000, 400),
        (b"\x1f\x8b\x08", 400),
        (b'{"events": [' + b"7," * 5_000 + b"7]}", 413),
        (gzip.compress(b" " * (MAX_EXPANDED_BYTES + 1)), 413),
    ],
    ids=range(11),
)
def test_a_body_that_holds_no_events_is_refused_for_good(sdk: Door, sent: bytes, status: int) -> None:
    answer = sdk.post("/2/httpapi", content=sent, headers={"X-API-Key": KEY})

    assert answer.status_code == status
    # The SDKs halve what is too large.
    assert sent_again(answer, 1) == ([0] if status == 413 else [])


@pytest.mark.parametrize(
    ("change", "user"),
    [
        ({"groups": {"company": "acme"}}, "company:acme"),
        ({"groups": {"company": "acme"}, "device_id": "d1"}, "d1"),
        ({"groups": {"company": ["acme"]}}, None),
        ({"groups": {"company": ""}}, None),
        ({"groups": [1]}, None),
        ({}, None),
        ({"groups": {"company": "acme"}, "event_type": "login"}, None),
    ],
    ids=range(7),
)
def test_what_is_about_a_group_needs_no_user(sdk: Door, change: dict[str, Any], user: str | None) -> None:
    about = {"event_type": "$groupidentify", "user_id": None, "device_id": None, "group_properties": {"n": 1}}
    answer = sdk.post("/2/httpapi", json=body({**EVENT, **about, **change}))

    assert answer.json()["code"] == (400 if user is None else 200)
    assert [each.user_id for each in sdk.taken()] == ([] if user is None else [user])
