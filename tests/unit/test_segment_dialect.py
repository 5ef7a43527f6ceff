"""Segment, RudderStack and Jitsu: what their SDKs send is counted as it was meant."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects import KEY, REFUSALS, UNKNOWN, Door, Meant, door, loads, native
from tests.support import NOW

BASIC = (KEY, "")
SINGLE = {"track": "t", "identify": "i", "page": "p", "screen": "s", "group": "g", "alias": "a"}
AT = "2025-08-01T09:30:00.000Z"


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def item(meant: Meant, **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": meant.id,
        "timestamp": meant.at.isoformat(),
        "userId": meant.user,
        "anonymousId": None,
        "event": meant.type,
        "properties": meant.properties,
        "context": {"library": {"name": "analytics-python"}},
        **more,
    }


@settings(max_examples=25)
@given(load=loads(), cut=st.integers(1, 6), zipped=st.booleans(), offset=st.integers(-12, 12))
def test_events_are_the_same_in_every_encoding(load: list[Meant], cut: int, zipped: bool, offset: int) -> None:
    wanted = {each.native("segment") for each in load}
    with door() as sdk:
        for start in range(0, len(load), cut):
            items = [item(each) for each in load[start : start + cut]]
            body = json.dumps({"batch": items, "sentAt": (NOW + timedelta(minutes=offset)).isoformat()}).encode()
            sent = gzip.compress(body) if zipped else body
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if zipped else {}
            answer = sdk.post("/batch", content=sent, headers=headers, auth=BASIC)
            assert (answer.status_code, answer.json()["success"]) == (200, True)
        batched = sdk.taken()
        for each in load:
            assert sdk.post("/t", json={**item(each), "writeKey": KEY}).status_code == 200
            jitsu = {**item(each), "writeKey": "key:***"}
            answer = sdk.post("/api/s/track", json=jitsu, headers={"X-Write-Key": f"{KEY}:jitsu"})
            assert (answer.status_code, answer.json()["ok"]) == (200, True)
        single = sdk.taken()
    assert set(batched) == wanted
    assert len(batched) == len(load)
    assert set(single) == wanted
    assert len(single) == 2 * len(load)


@pytest.mark.parametrize("call", SINGLE)
@pytest.mark.parametrize("route", ["batch", "long", "short", "jitsu"])
def test_each_call_has_its_type_through_every_route(sdk: Door, call: str, route: str) -> None:
    body: dict[str, Any] = {"messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    if route == "batch":
        answer = sdk.post("/batch", json={"batch": [{**body, "type": call}]}, auth=BASIC)
    else:
        path = {"long": f"/{call}", "short": f"/{SINGLE[call]}", "jitsu": f"/api/s/s2s/{call}"}[route]
        answer = sdk.post(path, json=body, auth=BASIC)

    assert answer.status_code == 200
    [event] = sdk.taken()
    assert event.event_type == ("login" if call == "track" else f"${call}")


@pytest.mark.parametrize(
    ("call", "more", "properties"),
    [
        (
            "page",
            {"name": "Home", "category": "Docs", "properties": {"u": 1}},
            '{"category":"Docs","name":"Home","u":1}',
        ),
        ("screen", {"name": "Home", "properties": {"name": "own"}}, '{"name":"own"}'),
        ("identify", {"traits": {"plan": "pro"}}, '{"plan":"pro"}'),
        ("identify", {"traits": None, "context": {"traits": {"plan": "pro"}}}, '{"plan":"pro"}'),
        ("group", {"groupId": "g1", "traits": {"size": 3}}, '{"groupId":"g1","size":3}'),
        ("alias", {"previousId": "a1"}, '{"previousId":"a1"}'),
        ("track", {"event": "x"}, "{}"),
    ],
)
def test_the_properties_of_a_call_are_kept(sdk: Door, call: str, more: dict[str, Any], properties: str) -> None:
    body = {"type": call, "messageId": "m1", "timestamp": AT, "userId": "u1", **more}
    assert sdk.post("/batch", json={"batch": [body]}, auth=BASIC).status_code == 200

    assert [event.properties for event in sdk.taken()] == [properties]


@pytest.mark.parametrize(
    ("ids", "user"),
    [
        ({"userId": "u1", "anonymousId": "a1"}, "u1"),
        ({"userId": None, "anonymousId": "a1"}, "a1"),
        ({"userId": "", "anonymousId": "a1"}, "a1"),
        ({"anonymousId": "a1"}, "a1"),
        ({"userId": 42}, "42"),
    ],
)
def test_the_user_is_who_is_known_best(sdk: Door, ids: dict[str, Any], user: str) -> None:
    sdk.post("/track", json={"messageId": "m1", "timestamp": AT, "event": "x", **ids}, auth=BASIC)

    assert [event.user_id for event in sdk.taken()] == [user]


@pytest.mark.parametrize(
    ("behind", "occurred_at"),
    [
        (timedelta(minutes=59), "2025-08-01T09:30:00Z"),
        (timedelta(hours=2, seconds=5), "2025-08-01T11:30:00Z"),
        (-timedelta(days=1), "2025-07-31T09:30:00Z"),
    ],
)
def test_a_wrong_clock_is_corrected_beyond_an_hour(sdk: Door, behind: timedelta, occurred_at: str) -> None:
    body = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    for on_the_way in (timedelta(), timedelta(seconds=20)):
        sent_at = (NOW - behind - on_the_way).isoformat()
        sdk.post("/batch", json={"batch": [body], "sentAt": sent_at}, auth=BASIC)

    assert sdk.taken() == 2 * [native("segment:m1", occurred_at)]


def test_an_event_without_an_id_is_the_same_event_when_it_is_sent_again(sdk: Door) -> None:
    body = {"type": "track", "timestamp": AT, "userId": "u1", "event": "login"}
    for properties in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2}):
        sdk.post("/batch", json={"batch": [{**body, "properties": properties}]}, auth=BASIC)

    first, again, other = sdk.taken()
    assert first == again
    assert first.event_id != other.event_id


def test_an_event_without_an_id_is_the_same_event_whatever_it_is_sent_with(sdk: Door) -> None:
    body = {"timestamp": AT, "userId": "u1", "event": "login"}
    track = {**body, "type": "track"}
    sdk.post("/batch", json={"batch": [track], "sentAt": AT}, auth=BASIC)
    sdk.post("/batch", json={"batch": [{**track, "sentAt": AT}], "sentAt": AT}, auth=BASIC)
    sdk.post("/t", json={**track, "sentAt": AT, "writeKey": KEY})
    sdk.post("/track", json={**body, "sentAt": "2025-08-01T09:30:07.000Z"}, auth=BASIC)

    assert len(set(sdk.taken())) == 1


def test_an_event_at_the_top_may_have_a_token(sdk: Door) -> None:
    body = {"timestamp": AT, "userId": "u1", "event": "login", "properties": {"token": "t1"}}
    sdk.post("/track", json={**body, "messageId": "m1"}, auth=BASIC)
    sdk.post("/track", json={**body, "messageId": "m1", "type": "track", "writeKey": KEY})

    assert sdk.taken() == 2 * [native("segment:m1", properties={"token": "t1"})]


@pytest.mark.parametrize(
    ("timestamp", "occurred_at"),
    [
        ("2025-08-01t09:30:00z", "2025-07-31T09:30:00Z"),
        ("2025-08-01 09:30:00.5Z", "2025-07-31T09:30:00.500000Z"),
        ("2025-06-30T23:59:60Z", "2025-06-29T23:59:59Z"),
        ("20250801T093000Z", None),
        ("2025-08-01T09:30Z", None),
        ("2025-08-01T09:30:00", None),
    ],
)
def test_a_wrong_clock_changes_neither_which_times_are_taken_nor_how_they_are_read(
    sdk: Door, timestamp: str, occurred_at: str | None
) -> None:
    body = {"type": "track", "messageId": "m1", "timestamp": timestamp, "userId": "u1", "event": "login"}
    sent_at = (NOW + timedelta(days=1)).isoformat()
    sdk.post("/batch", json={"batch": [body], "sentAt": sent_at}, auth=BASIC)

    assert sdk.taken() == ([native("segment:m1", occurred_at)] if occurred_at else [])


def test_an_event_without_a_time_has_that_of_its_receipt(sdk: Door) -> None:
    sdk.post("/track", json={"messageId": "m1", "userId": "u1", "event": "login"}, auth=BASIC)

    assert sdk.taken() == [native("segment:m1", NOW.isoformat())]


def test_an_event_with_neither_an_id_nor_a_time_is_refused(sdk: Door) -> None:
    answer = sdk.post("/track", json={"userId": "u1", "event": "login"}, auth=BASIC)

    assert (answer.status_code, answer.json()["code"]) == (400, "missing_field")
    assert "messageId" in answer.json()["message"]


def test_a_bad_event_loses_nothing_else(sdk: Door) -> None:
    good = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    bad = [{**good, "userId": None}, 7, {**good, "type": "nothing"}, {**good, "messageId": ["x"]}]
    answer = sdk.post("/batch", json={"batch": [bad[0], good, *bad[1:]]}, auth=BASIC)

    assert answer.status_code == 200
    assert sdk.taken() == [native("segment:m1")]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"timestamp": "yesterday"}, "invalid_occurred_at", "timestamp"),
        ({"userId": None}, "missing_field", "userId or anonymousId"),
        ({"event": None}, "missing_field", "event"),
        ({"properties": [1]}, "invalid_properties", "properties"),
        ({"type": "purchase"}, "invalid_type", "type"),
        ({"type": ["track"]}, "invalid_type", "type"),
        ({"messageId": {"a": 1}}, "invalid_event_id", "messageId"),
        ({"timestamp": "2031-01-01T00:00:00Z"}, "occurred_in_future", "timestamp"),
    ],
)
def test_a_refusal_names_the_field_as_the_sdk_does(sdk: Door, change: dict[str, Any], code: str, field: str) -> None:
    good = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    answer = sdk.post("/batch", json={"batch": [{**good, **change}]}, auth=BASIC)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["message"].startswith(field)


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["basic", "bearer", "X-API-Key", "X-Write-Key", "body"])
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, key: str, place: str) -> None:
    good = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    body: dict[str, Any] = {"batch": [good]}
    headers, auth = {}, None
    if place == "basic":
        auth = (key, "")
    elif place == "bearer":
        headers = {"Authorization": f"Bearer {key}"}
    elif place == "body":
        body["writeKey"] = key
    else:
        headers = {place: key}
    answer = sdk.post("/batch", json=body, headers=headers, auth=auth)

    assert answer.status_code == REFUSALS[key]
    assert {"code", "message"} <= answer.json().keys()
    assert sdk.taken() == []


def test_no_key_is_a_401(sdk: Door) -> None:
    assert sdk.post("/batch", json={"batch": []}).status_code == 401


def test_no_events_are_a_success(sdk: Door) -> None:
    assert sdk.post("/batch", json={"batch": []}, auth=BASIC).status_code == 200


def test_what_the_queue_does_not_take_is_asked_for_again(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    good = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}
    answer = sdk.post("/batch", json={"batch": [good]}, auth=BASIC)

    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


def test_events_of_more_days_than_a_call_takes_are_all_taken(sdk: Door) -> None:
    days = [NOW - timedelta(days=number) for number in range(1_000)]
    items = [
        {"type": "track", "messageId": f"m{day.date()}", "timestamp": day.isoformat(), "userId": "u1", "event": "login"}
        for day in days
    ]
    assert sdk.post("/batch", json={"batch": items}, auth=BASIC).status_code == 200

    assert len(set(sdk.taken())) == 1_000


BATCHED = {"type": "track", "messageId": "m1", "timestamp": AT, "userId": "u1", "event": "login"}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("before", ["", "\ufeff \n"], ids=["nothing", "mark and spaces"])
def test_a_batch_at_import_is_segments_whose_sdks_for_some_languages_send_it_there(
    sdk: Door, zipped: bool, before: str
) -> None:
    body = f"{before}{json.dumps({'sentAt': NOW.isoformat(), 'batch': [BATCHED]})}".encode()
    answer = sdk.post("/import", content=gzip.compress(body) if zipped else body, auth=BASIC)

    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert sdk.taken() == [native("segment:m1")]


def test_a_batch_at_import_is_refused_as_segments_are(sdk: Door) -> None:
    answer = sdk.post("/import", json={"batch": [BATCHED]}, auth=(UNKNOWN, ""))

    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credential")


@pytest.mark.parametrize("key", [KEY, *REFUSALS], ids=lambda key: f"{REFUSALS.get(key, 200)}-{key[3]}")
def test_the_key_of_a_beacon_is_in_its_query(sdk: Door, key: str) -> None:
    body = json.dumps({"batch": [{**BATCHED, "sentAt": NOW.isoformat()}]})
    answer = sdk.post(f"/beacon/v1/batch?writeKey={key}", content=body, headers={"Content-Type": "text/plain"})

    assert answer.status_code == REFUSALS.get(key, 200)
    assert sdk.taken() == ([native("segment:m1")] if key == KEY else [])


def test_a_key_in_the_query_of_another_route_is_none(sdk: Door) -> None:
    assert sdk.post(f"/batch?writeKey={KEY}", json={"batch": [BATCHED]}).status_code == 401


def test_a_wrong_clock_is_corrected_by_what_the_events_tell_where_the_batch_does_not(sdk: Door) -> None:
    behind = (NOW - timedelta(hours=2)).isoformat()
    items = [{**BATCHED, "sentAt": behind}, {**BATCHED, "messageId": "m2"}, 7]
    for around, wanted in (({}, "2025-08-01T11:30:00Z"), ({"sentAt": NOW.isoformat()}, AT)):
        sdk.post("/batch", json={"batch": items, **around}, auth=BASIC)

        assert sdk.taken() == [native("segment:m1", wanted), native("segment:m2")]
