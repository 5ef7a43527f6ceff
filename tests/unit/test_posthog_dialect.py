"""PostHog: what its SDKs send is counted as it was meant, and v1 is told what became of each event."""

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.batch import MAX_BATCH_EVENTS
from rollcall.intake.bodies import MAX_EXPANDED_BYTES
from tests.dialects import KEY, READS_ONLY, REFUSALS, UNKNOWN, Door, Meant, door, loads, native
from tests.support import NOW

AT = "2025-08-01T09:30:00.000Z"
V1 = "/i/v1/analytics/events"
BEARER = {"Authorization": f"Bearer {KEY}"}
EVENT = {"event": "login", "uuid": "m1", "distinct_id": "u1", "timestamp": AT}


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def item(meant: Meant, place: str = "top") -> dict[str, Any]:
    """An event with its user in one of three places."""
    user = {"top": {"distinct_id": meant.user}, "dollar": {"$distinct_id": meant.user}, "properties": {}}[place]
    properties = {**meant.properties, **({"distinct_id": meant.user} if place == "properties" else {})}
    return {"event": meant.type, "uuid": meant.id, **user, "timestamp": meant.at.isoformat(), "properties": properties}


def form(document: Any) -> bytes:
    return b"data=" + quote(base64.b64encode(json.dumps(document).encode())).encode()


def encoded(document: Any, encoding: str) -> bytes:
    text = json.dumps(document).encode()
    if encoding == "gzip":
        return gzip.compress(text)
    if encoding == "form":
        return form(document)
    return b"data=" + quote(text).encode() if encoding == "json form" else text


@settings(max_examples=25)
@given(
    load=loads(),
    cut=st.integers(1, 6),
    encoding=st.sampled_from(["json", "gzip", "form", "json form"]),
    place=st.sampled_from(["top", "dollar", "properties"]),
    offset=st.integers(-12, 12),
)
def test_events_are_the_same_in_every_encoding(
    load: list[Meant], cut: int, encoding: str, place: str, offset: int
) -> None:
    wanted = {each.native("posthog") for each in load}
    sent_at = (NOW + timedelta(minutes=offset)).isoformat()
    with door() as sdk:
        for start in range(0, len(load), cut):
            items = [item(each, place) for each in load[start : start + cut]]
            keyed = [{**each, "properties": {**each["properties"], "token": KEY}, "sent_at": sent_at} for each in items]
            for document in ({"api_key": KEY, "batch": items, "sent_at": sent_at}, keyed):
                query = "?ip=0&ver=1.449.2" + ("&compression=base64" if "form" in encoding else "")
                answer = sdk.post(f"/e{query}", content=encoded(document, encoding))
                assert (answer.status_code, answer.json()) == (200, {"status": 1})
        batched = sdk.taken()
        for each in load:
            one = {**item(each, place), "api_key": KEY}
            assert sdk.post("/capture", content=encoded(one, encoding)).status_code == 200
        single = sdk.taken()
        v1 = {"created_at": sent_at, "batch": [{**item(each, place), "options": {}} for each in load]}
        answer = sdk.post(V1, content=encoded(v1, encoding), headers=BEARER)
        assert answer.json() == {"results": {each.id: {"result": "ok"} for each in load}}
        told = sdk.taken()
    assert (set(batched), len(batched)) == (wanted, 2 * len(load))
    assert (set(single), len(single)) == (wanted, len(load))
    assert (set(told), len(told)) == (wanted, len(load))


@pytest.mark.parametrize("zipped", [True, False])
def test_batch_is_posthogs_where_a_body_has_its_key(sdk: Door, zipped: bool) -> None:
    body = json.dumps({"api_key": KEY, "batch": [EVENT]}).encode()
    answer = sdk.post("/batch", content=gzip.compress(body) if zipped else body)

    assert (answer.status_code, answer.json()) == (200, {"status": 1})
    assert sdk.taken() == [native("posthog:m1")]


@pytest.mark.parametrize("event", ["$identify", "$set", "$create_alias", "$groupidentify"])
@pytest.mark.parametrize("route", ["/e", V1])
def test_profile_calls_keep_their_names(sdk: Door, event: str, route: str) -> None:
    body = {"batch": [{**EVENT, "event": event, "properties": {"a": 1}}]}
    assert sdk.post(route, json=body, headers=BEARER).status_code == 200

    assert sdk.taken() == [native("posthog:m1", event_type=event, properties={"a": 1})]


@pytest.mark.parametrize(
    ("more", "properties"),
    [
        ({"$set": {"plan": "pro"}}, {"$set": {"plan": "pro"}}),
        ({"properties": {"$set": {"plan": "pro"}}}, {"$set": {"plan": "pro"}}),
        ({"$set": {"a": 2}, "properties": {"$set": {"a": 1, "b": 1}}}, {"$set": {"a": 2, "b": 1}}),
        ({"$set_once": {"first": 1}, "properties": None}, {"$set_once": {"first": 1}}),
        (
            {"session_id": "s", "options": {"process_person_profile": False}},
            {"$session_id": "s", "$process_person_profile": False},
        ),
        ({"properties": {"distinct_id": "other"}}, {"distinct_id": "other"}),
    ],
)
@pytest.mark.parametrize("route", ["/e", V1])
def test_what_stands_beside_the_properties_is_one(
    sdk: Door, route: str, more: dict[str, Any], properties: dict[str, Any]
) -> None:
    sdk.post(route, json={"batch": [{**EVENT, **more}]}, headers=BEARER)

    assert sdk.taken() == [native("posthog:m1", properties=properties)]


@pytest.mark.parametrize(
    ("ids", "user"),
    [
        ({"distinct_id": "u1", "$distinct_id": "u2"}, "u1"),
        ({"distinct_id": "", "$distinct_id": "u2"}, "u2"),
        ({"distinct_id": None, "properties": {"distinct_id": "u3"}}, "u3"),
        ({"distinct_id": 42}, "42"),
    ],
)
def test_the_user_is_found_in_three_places(sdk: Door, ids: dict[str, Any], user: str) -> None:
    sdk.post("/e", json={"api_key": KEY, **EVENT, **ids})

    assert sdk.taken() == [native("posthog:m1", user_id=user)]


def test_a_token_is_no_property_where_it_is_the_key(sdk: Door) -> None:
    own = {"token": "mine", "api_key": "mine"}
    by_property = {**EVENT, "properties": {"token": KEY, "a": 1}}
    for body, headers in (
        ({"api_key": KEY, "batch": [{**EVENT, "properties": {"token": f"{KEY}:x", "a": 1}}]}, {}),
        ({"batch": [by_property]}, BEARER),
        ([by_property], {}),
        ({**by_property, "token": KEY}, {}),
        ({"api_key": KEY, "batch": [{**EVENT, "properties": own}]}, {}),
    ):
        assert sdk.post("/e", json=body, headers=headers).status_code == 200

    assert sdk.taken() == 4 * [native("posthog:m1", properties={"a": 1})] + [native("posthog:m1", properties=own)]


@pytest.mark.parametrize(
    "request_",
    [{"auth": (KEY, "")}, {"headers": {"X-Write-Key": f"{KEY}:x"}}, {"headers": {"X-API-Key": KEY}}],
    ids=str,
)
def test_the_key_of_any_header_is_no_property(sdk: Door, request_: dict[str, Any]) -> None:
    event = {**EVENT, "properties": {"token": KEY, "api_key": f"{KEY}:x", "a": 1}}
    assert sdk.post("/e", json=[event], **request_).status_code == 200

    assert sdk.taken() == [native("posthog:m1", properties={"a": 1})]


def test_an_event_with_another_key_than_the_first_is_not_taken_with_that(sdk: Door) -> None:
    others: list[dict[str, Any]] = [{"token": UNKNOWN}, {"properties": {"token": UNKNOWN}}]
    events = [{**EVENT, **more} for more in ({"properties": {"token": KEY}}, *others, {}, {"token": f"{KEY}:x"})]
    assert sdk.post("/e", json=events).status_code == 200

    assert sdk.taken() == [native("posthog:m1")]
    assert [each.code for each in sdk.kept()] == 2 * ["other_key"]


def test_a_property_without_a_name_is_kept(sdk: Door) -> None:
    sdk.post("/e", json={"api_key": KEY, "batch": [{**EVENT, "properties": {"": 1, "a": 1}}]})

    assert sdk.taken() == [native("posthog:m1", properties={"": 1, "a": 1})]


BEHIND = timedelta(hours=2, seconds=5)
SENT_AT = (NOW - BEHIND).isoformat()
MILLISECONDS = str(int((NOW - BEHIND).timestamp() * 1000))


@pytest.mark.parametrize(
    ("route", "request_", "corrected"),
    [
        ("/e", {"json": {"batch": [EVENT], "sent_at": SENT_AT}}, True),
        ("/e", {"json": [{**EVENT, "sent_at": SENT_AT}]}, True),
        (f"/e?sent_at={MILLISECONDS}", {"json": EVENT}, True),
        (f"/e?_={MILLISECONDS}", {"json": EVENT}, True),
        ("/e?_=soon", {"json": EVENT}, False),
        ("/e", {"json": {"batch": [EVENT], "sent_at": (NOW - timedelta(minutes=59)).isoformat()}}, False),
        (
            "/e",
            {"json": {"batch": [{**EVENT, "properties": {"$ignore_sent_at": True}}], "sent_at": SENT_AT}},
            False,
        ),
        (V1, {"json": {"batch": [EVENT], "created_at": SENT_AT}}, False),
        (V1, {"json": {"batch": [EVENT]}, "headers": {"PostHog-Request-Timestamp": SENT_AT}}, True),
        (
            V1,
            {
                "json": {"batch": [{**EVENT, "options": {"disable_skew_correction": True}}]},
                "headers": {"PostHog-Request-Timestamp": SENT_AT},
            },
            False,
        ),
    ],
    ids=str,
)
def test_a_wrong_clock_is_corrected_beyond_an_hour(
    sdk: Door, route: str, request_: dict[str, Any], corrected: bool
) -> None:
    sdk.post(route, **{**request_, "headers": {**request_.get("headers", {}), **BEARER}})

    assert [each.occurred_at for each in sdk.taken()] == [
        "2025-08-01T11:30:00Z" if corrected else native("x").occurred_at
    ]


def test_an_event_without_an_id_is_the_same_event_when_it_is_sent_again(sdk: Door) -> None:
    body = {name: value for name, value in EVENT.items() if name != "uuid"}
    for sent_at, properties in (("a", {"a": 1, "b": 2}), ("b", {"b": 2, "a": 1}), ("a", {"a": 2})):
        sdk.post("/e", json=[{**body, "properties": {**properties, "token": KEY}, "sent_at": sent_at}])

    first, again, other = sdk.taken()
    assert first == again
    assert first.event_id != other.event_id


AGO = (NOW - timedelta(days=1)).timestamp()
UNTIMED = {name: value for name, value in EVENT.items() if name != "timestamp"}


@pytest.mark.parametrize(
    ("query", "more", "time"),
    [
        ("", {"offset": 2_990}, NOW - timedelta(milliseconds=2_990)),
        ("", {"offset": 0.5}, NOW - timedelta(microseconds=500)),
        ("", {"offset": 2_990, "properties": {"$time": AGO + 0.125}}, NOW - timedelta(days=1, seconds=-0.125)),
        (
            f"?_={MILLISECONDS}",
            {"offset": 1, "properties": {"$time": AGO}},
            NOW - timedelta(days=1) + timedelta(hours=2),
        ),
        (
            "",
            {"offset": 60_000, "properties": {"$time": AGO, "$event_time_override_provided": True}},
            NOW - timedelta(minutes=1),
        ),
        ("", {"offset": True}, NOW),
        ("", {"offset": None, "properties": {"$time": AGO}}, NOW),
    ],
    ids=str,
)
def test_older_versions_for_browsers_tell_how_long_ago_an_event_was(
    sdk: Door, query: str, more: dict[str, Any], time: datetime
) -> None:
    sdk.post(f"/e{query}", json=[{**UNTIMED, **more}], headers=BEARER)

    assert [each.occurred_at for each in sdk.taken()] == [native("x", time.isoformat()).occurred_at]


def test_an_event_of_an_older_version_for_browsers_needs_no_id(sdk: Door) -> None:
    body = {name: value for name, value in UNTIMED.items() if name != "uuid"}
    for _ in range(2):
        sdk.post(
            "/e", json=[{**body, "offset": 2_990, "properties": {"$time": AGO, "$insert_id": "i1"}}], headers=BEARER
        )

    first, again = sdk.taken()
    assert first == again


@pytest.mark.parametrize("offset", ["1e400", "1e300", "-1e15", "9" * 400])
def test_an_offset_of_no_time_is_refused(sdk: Door, offset: str) -> None:
    text = json.dumps([{**UNTIMED, "offset": "HERE"}]).replace('"HERE"', offset)
    answer = sdk.post("/e", content=text, headers=BEARER)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_occurred_at")


def test_an_event_without_a_time_has_that_of_its_receipt(sdk: Door) -> None:
    sdk.post("/e", json={**EVENT, "timestamp": None, "api_key": KEY})

    assert sdk.taken() == [native("posthog:m1", NOW.isoformat())]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"timestamp": "yesterday"}, "invalid_occurred_at", "timestamp"),
        ({"timestamp": 5}, "invalid_occurred_at", "timestamp"),
        ({"distinct_id": None}, "missing_field", "distinct_id"),
        ({"event": None}, "missing_field", "event"),
        ({"properties": [1]}, "invalid_properties", "properties"),
        ({"uuid": [1]}, "invalid_event_id", "uuid"),
        ({"uuid": None, "timestamp": None}, "missing_field", "the event has neither uuid"),
    ],
)
@pytest.mark.parametrize("route", ["/e", V1])
def test_a_refusal_names_the_field_as_posthog_does(
    sdk: Door, route: str, change: dict[str, Any], code: str, field: str
) -> None:
    answer = sdk.post(route, json={"api_key": KEY, "batch": [{**EVENT, **change}]}, headers=BEARER)

    if route == V1:
        named = isinstance({**EVENT, **change}["uuid"], str)
        assert (answer.status_code, list(answer.json()["results"])) == (200, ["m1"] if named else [])
        messages = [each["details"] for each in answer.json()["results"].values()]
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        messages = [answer.json()["message"]]
    assert all(message.startswith(field) for message in messages)
    assert sdk.taken() == []


def test_a_bad_event_loses_nothing_else(sdk: Door) -> None:
    bad = [{**EVENT, "distinct_id": None}, 7, {**EVENT, "uuid": ["x"]}]
    answer = sdk.post("/batch", json={"api_key": KEY, "batch": [bad[0], EVENT, *bad[1:]]})

    assert answer.status_code == 200
    assert sdk.taken() == [native("posthog:m1")]


def v1(sdk: Door, *events: Any) -> dict[str, Any]:
    answer = sdk.post(V1, json={"created_at": AT, "batch": list(events)}, headers=BEARER)
    assert answer.status_code == 200
    results: dict[str, Any] = answer.json()["results"]
    return results


def test_v1_is_told_what_became_of_each_event(sdk: Door) -> None:
    sdk.queue.refuses = lambda event: event.user_id == "u3"
    # The last ones are a message of the queue of their own.
    good = [{**EVENT, "uuid": f"g{number}"} for number in range(MAX_BATCH_EVENTS)]
    late = {"distinct_id": "u3", "timestamp": "2025-08-02T09:30:00Z"}
    retried = [{**EVENT, "uuid": f"r{number}", **late} for number in range(3)]
    found = v1(sdk, *good, {**EVENT, "uuid": "m2", "timestamp": "soon"}, *retried, {"uuid": "x" * 65}, 7)

    dropped = found.pop("m2")
    assert dropped["result"] == "drop"
    assert dropped["details"].startswith("timestamp")
    assert {name: each["result"] for name, each in found.items()} == {
        **{each["uuid"]: "ok" for each in good},
        **{each["uuid"]: "retry" for each in retried},
    }
    assert len(sdk.taken()) == len(good)


def test_v1_names_the_worst_of_events_with_one_id(sdk: Door) -> None:
    assert v1(sdk, EVENT, EVENT) == {"m1": {"result": "ok"}}
    assert v1(sdk, EVENT, {**EVENT, "event": None}, EVENT)["m1"]["result"] == "drop"


def test_v1_sends_all_again_that_the_queue_did_not_take(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    answer = sdk.post(V1, json={"batch": [EVENT, EVENT | {"event": None}]}, headers=BEARER)

    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


def test_v1_sends_all_again_if_an_event_that_has_no_name_is_among_those(sdk: Door) -> None:
    sdk.queue.refuses = lambda event: event.user_id == "u3"
    good = [{**EVENT, "uuid": f"g{number}"} for number in range(MAX_BATCH_EVENTS)]
    unnamed = {**EVENT, "uuid": "x" * 65, "distinct_id": "u3", "timestamp": "2025-08-02T09:30:00Z"}
    answer = sdk.post(V1, json={"batch": [*good, unnamed]}, headers=BEARER)

    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


def test_v0_sends_all_again_if_the_queue_did_not_take_some(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    answer = sdk.post("/e", json={"api_key": KEY, "batch": [EVENT]})

    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["bearer", "X-API-Key", "api_key", "token", "event", "properties"])
@pytest.mark.parametrize("route", ["/e", V1])
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, key: str, place: str, route: str) -> None:
    body: Any = {"batch": [EVENT]}
    headers = {}
    if place == "bearer":
        headers = {"Authorization": f"Bearer {key}"}
    elif place == "X-API-Key":
        headers = {place: key}
    elif place == "event":
        body = {"batch": [{**EVENT, "token": key}]}
    elif place == "properties":
        body = [{**EVENT, "properties": {"token": key}}]
    else:
        body[place] = key
    answer = sdk.post(route, json=body, headers=headers)

    assert answer.status_code == REFUSALS[key]
    assert {"code", "message"} <= answer.json().keys()
    assert sdk.taken() == []


def test_the_key_of_a_header_is_the_one_that_counts(sdk: Door) -> None:
    assert sdk.post("/e", json={"api_key": READS_ONLY, "batch": [EVENT]}, headers=BEARER).status_code == 200


@pytest.mark.parametrize("route", ["/e", V1])
def test_no_key_is_a_401(sdk: Door, route: str) -> None:
    assert sdk.post(route, json={"batch": []}).status_code == 401


def test_no_events_are_a_success(sdk: Door) -> None:
    assert sdk.post("/batch", json={"api_key": KEY, "batch": []}).json() == {"status": 1}
    assert sdk.post("/e", json=[], headers=BEARER).json() == {"status": 1}
    assert v1(sdk) == {}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"7", 400),
        (b'{"batch": {}}', 400),
        (b'{"batch": null}', 400),
        (b"data=", 400),
        (b"data=%ff", 400),
        (b"data=%", 400),
        (b"data=e", 400),
        (b"\xffdata=e", 400),
        (b"other=1", 400),
        (b"data=" + base64.b64encode(b"no JSON"), 400),
        (b"data=" + b"[" * 100_000, 400),
        (b"a=1&" * 2_000 + b"data=e30=", 400),
        (b"x\x9cgarbage", 400),
        (zlib.compress(b"[]" + b" " * 100), 415),
        (gzip.compress(gzip.compress(b"[]")), 415),
        (gzip.compress(b" " * (MAX_EXPANDED_BYTES + 1)), 413),
        (b"data=" + quote(base64.b64encode(gzip.compress(b" " * (MAX_EXPANDED_BYTES + 1)))).encode(), 413),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("route", ["/e", V1])
def test_a_body_that_holds_no_events_is_refused(sdk: Door, route: str, body: bytes, status: int) -> None:
    answer = sdk.post(route, content=body, headers=BEARER)

    assert answer.status_code == status
    assert {"code", "message"} <= answer.json().keys()
