"""CloudEvents, as their SDKs encode them, are counted as they were meant, at their own route and at `POST /events`."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import parse_event
from tests.dialects import KEY, REFUSALS, Door, Meant, door, loads, native
from tests.support import NOW

BASIC = (KEY, "")
AT = "2025-08-01T09:30:00Z"
SOURCE = "https://shop.example/orders"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "o1",
    "source": SOURCE,
    "type": "login",
    "time": AT,
    "userid": "u1",
}
# What the binding lets stand in a header as it is.
SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
DOORS = pytest.mark.parametrize(("route", "status"), [("/cloudevents", 200), ("/events", 202)], ids=["own", "native"])


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def structured(meant: Meant, **more: Any) -> dict[str, Any]:
    attributes = {"id": meant.id, "time": meant.at.isoformat(), "userid": meant.user, "type": meant.type}
    return {**EVENT, **attributes, "data": meant.properties, **more}


def by_headers(event: dict[str, Any], encoding: str = "python") -> dict[bytes, bytes]:
    """An event's attributes as the SDK for Python writes them, or as the one for node does."""
    attributes = {name: str(value) for name, value in event.items() if name not in ("data", "data_base64")}
    media_type = attributes.pop("datacontenttype", None)
    headers = {"Content-Type": media_type} if media_type else {}
    headers |= {
        f"ce-{name}": quote(value, SAFE) if encoding == "python" else value for name, value in attributes.items()
    }
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def wanted(meant: Meant) -> Any:
    return native(f"cloudevents:{SOURCE} {meant.id}", meant.at.isoformat(), meant.user, meant.type, meant.properties)


@settings(max_examples=20)
@given(load=loads(), cut=st.integers(1, 6), zipped=st.booleans(), named=st.booleans())
def test_events_are_the_same_in_every_encoding(load: list[Meant], cut: int, zipped: bool, named: bool) -> None:
    with door() as sdk:

        def send(path: str, document: Any, media_type: str) -> int:
            body = json.dumps(document).encode()
            headers = {"Content-Type": media_type} if named else {}
            answer = sdk.post(path, content=gzip.compress(body) if zipped else body, headers=headers, auth=BASIC)
            assert answer.json()["rejected"] == []
            return answer.status_code

        for path, status in (("/cloudevents", 200), ("/events", 202)):
            for start in range(0, len(load), cut):
                batch = [structured(each) for each in load[start : start + cut]]
                assert send(path, batch, "application/cloudevents-batch+json; charset=UTF-8") == status
            assert sorted(sdk.taken()) == sorted(map(wanted, load))
            for each in load:
                assert send(path, structured(each), "Application/CloudEvents+json") == status
            assert sorted(sdk.taken()) == sorted(map(wanted, load))
            for each in load:
                headers = by_headers(structured(each, datacontenttype="application/json; charset=utf-8"))
                body = json.dumps(each.properties).encode()
                assert sdk.post(path, content=body, headers=headers, auth=BASIC).status_code == status
            assert sorted(sdk.taken()) == sorted(map(wanted, load))


@DOORS
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("a%20%E2%98%95", "a ☕"),
        ("a%20%e2%98%95", "a ☕"),
        ("%6Cogin", "login"),
        ('"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        ("café", "café"),
        ("café".encode(), "café"),
        ("a b", "a b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
    ],
    ids=["python", "small", "needless", "quoted", "node", "utf-8", "space", "percent", "no-digits"],
)
def test_headers_are_read_as_the_binding_says(sdk: Door, route: str, status: int, sent: str | bytes, read: str) -> None:
    headers = by_headers(EVENT) | {b"ce-type": sent if isinstance(sent, bytes) else sent.encode("latin-1")}
    assert sdk.post(route, headers=headers, auth=BASIC).status_code == status

    assert [event.event_type for event in sdk.taken()] == [read]


@settings(max_examples=25)
@given(
    changed=st.dictionaries(
        st.sampled_from([*(f"ce-{name}" for name in EVENT), "ce-subject", "ce-x", "content-type"]),
        st.binary(max_size=20),
    ),
    body=st.binary(max_size=20) | st.sampled_from([b"{}", b"\xff", b"[1e400]", b'{"a":0,"a":1}']),
)
def test_any_bytes_in_headers_and_body_are_answered(changed: dict[str, bytes], body: bytes) -> None:
    headers = by_headers({**EVENT, "datacontenttype": "application/json"})
    headers = {name.lower(): value for name, value in headers.items()} | {
        name.encode(): value for name, value in changed.items()
    }
    with door() as sdk:
        for route, refusals in (("/cloudevents", {400}), ("/events", {400, 422})):
            answer = sdk.post(route, content=body, headers=headers, auth=BASIC)
            taken = sdk.taken()

            assert answer.status_code in {200, 202, 415, *refusals}
            assert len(taken) <= 1
            assert not taken or answer.status_code in (200, 202)


@DOORS
def test_a_header_that_is_no_utf_8_is_refused(sdk: Door, route: str, status: int) -> None:
    headers = by_headers(EVENT) | {b"ce-type": b"a%C0%A0"}
    answer = sdk.post(route, headers=headers, auth=BASIC)

    assert answer.status_code == (400 if status == 200 else 422)
    [rejected] = answer.json()["rejected"]
    assert rejected["code"] == "invalid_attribute"
    assert "ce-type" in rejected["message"]


@pytest.mark.parametrize(
    ("media_type", "data", "properties"),
    [
        ("application/json", b'{"a":1}', {"a": 1}),
        ("APPLICATION/vnd.shop+JSON ; charset=utf-8", b'{"a":1}', {"a": 1}),
        ("application/json", b"[1]", {"data": [1]}),
        ("application/json", b'"x"', {"data": "x"}),
        ("application/json", b"null", {}),
        ("application/json", b"", {}),
        ("text/xml", b"<a/>", {"data": "<a/>"}),
        ("application/jsonl", b'{"a":1}', {"data": '{"a":1}'}),
        ("application/octet-stream", b"\xff\x00", {"data_base64": "/wA="}),
        (None, b'{"a":1}', {"data": '{"a":1}'}),
    ],
)
def test_data_as_bytes_is_the_same_in_both_modes(
    sdk: Door, media_type: str | None, data: bytes, properties: dict[str, Any]
) -> None:
    event = {**EVENT, **({"datacontenttype": media_type} if media_type else {})}
    inside = {**event, "data_base64": base64.b64encode(data).decode()}
    assert sdk.post("/cloudevents", content=data, headers=by_headers(event), auth=BASIC).status_code == 200
    assert sdk.post("/cloudevents", json=inside, auth=BASIC).status_code == 200

    assert sdk.taken() == 2 * [native(f"cloudevents:{SOURCE} o1", AT, properties=properties)]


@pytest.mark.parametrize(
    ("data", "properties"),
    [
        ({"data": {"a": 1}}, {"a": 1}),
        ({"data": [1, None]}, {"data": [1, None]}),
        ({"data": "text"}, {"data": "text"}),
        ({"data": '{"a":1}', "datacontenttype": "application/json"}, {"data": '{"a":1}'}),
        ({"data": False}, {"data": False}),
        ({"data": None}, {}),
        ({}, {}),
        ({"data": None, "data_base64": None}, {}),
        ({"data": {"a": 1}, "comexampleother": 5, "subject": "s", "dataschema": "https://x.example/"}, {"a": 1}),
    ],
)
def test_data_in_json_is_kept_as_properties(sdk: Door, data: dict[str, Any], properties: dict[str, Any]) -> None:
    assert sdk.post("/cloudevents", json={**EVENT, **data}, auth=BASIC).status_code == 200

    assert sdk.taken() == [native(f"cloudevents:{SOURCE} o1", AT, properties=properties)]


@pytest.mark.parametrize(
    ("who", "user"),
    [
        ({"userid": "u1", "subject": "s1"}, "u1"),
        ({"userid": None, "subject": "s1"}, "s1"),
        ({"userid": "", "subject": "s1"}, "s1"),
        ({"userid": 42}, "42"),
    ],
)
def test_the_user_is_the_extension_or_else_the_subject(sdk: Door, who: dict[str, Any], user: str) -> None:
    event = {name: value for name, value in {**EVENT, "userid": None, **who}.items() if value is not None}
    sdk.post("/cloudevents", json={**EVENT, "userid": None, **who}, auth=BASIC)
    sdk.post("/cloudevents", headers=by_headers(event), auth=BASIC)

    assert [event.user_id for event in sdk.taken()] == [user, user]


def test_the_same_id_of_two_sources_is_two_events(sdk: Door) -> None:
    uuid = "7b5ed1eb-83df-4255-a283-87fd4140b95e"
    batch = [
        {**EVENT, "id": each, "source": source} for each in ("1", uuid) for source in ("/a", "/b", "/" + 200 * "c")
    ]
    assert sdk.post("/cloudevents", json=2 * batch, auth=BASIC).json() == {"accepted": 12, "rejected": []}

    ids = [event.event_id for event in sdk.taken()]
    assert len(ids) == len(set(ids)) == 6
    assert {"cloudevents:/a 1", f"cloudevents:/b {uuid}"} <= set(ids)
    assert max(map(len, ids)) < 128


def test_an_event_without_a_time_has_that_of_its_receipt(sdk: Door) -> None:
    timeless = {name: value for name, value in EVENT.items() if name != "time"}
    sdk.post("/cloudevents", json=timeless, auth=BASIC)
    sdk.post("/cloudevents", headers=by_headers(timeless), auth=BASIC)
    sdk.post("/events", json=[timeless], auth=BASIC)

    assert sdk.taken() == 3 * [native(f"cloudevents:{SOURCE} o1", NOW.isoformat())]


@DOORS
@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"specversion": "0.3"}, "invalid_attribute", "specversion"),
        ({"specversion": 1.0}, "invalid_attribute", "specversion"),
        ({"id": None}, "missing_field", "id"),
        ({"id": ""}, "invalid_event_id", "id"),
        ({"id": 7}, "invalid_event_id", "id"),
        ({"id": "a\u202eb"}, "invalid_event_id", "id"),
        ({"source": None}, "missing_field", "source"),
        ({"source": "two words"}, "invalid_attribute", "source"),
        ({"source": "/a\u00a0b"}, "invalid_attribute", "source"),
        ({"source": ["/a"]}, "invalid_attribute", "source"),
        ({"type": None}, "missing_field", "type"),
        ({"type": {}}, "invalid_event_type", "type"),
        ({"time": "yesterday"}, "invalid_occurred_at", "time"),
        ({"time": ""}, "invalid_occurred_at", "time"),
        ({"time": "2031-01-01T00:00:00Z"}, "occurred_in_future", "time"),
        ({"userid": None}, "missing_field", "userid or subject"),
        ({"userid": None, "subject": [1]}, "invalid_user_id", "userid or subject"),
        ({"data": {"a": {"b": 1e400}}}, "invalid_properties", "data"),
        ({"data": 1, "data_base64": "YQ=="}, "invalid_data", "data"),
        ({"data_base64": "not base64"}, "invalid_data", "data_base64"),
        ({"data_base64": "é"}, "invalid_data", "data_base64"),
        ({"data_base64": 7}, "invalid_data", "data_base64"),
        ({"data_base64": "e30=", "datacontenttype": 7}, "invalid_attribute", "datacontenttype"),
        ({"data_base64": "ew==", "datacontenttype": "application/json"}, "invalid_data", "data"),
        ({"data_base64": "/w==", "datacontenttype": "application/json"}, "invalid_data", "data"),
    ],
)
def test_a_bad_event_is_listed_by_its_place_and_field(
    sdk: Door, route: str, status: int, change: dict[str, Any], code: str, field: str
) -> None:
    body = json.dumps([EVENT, {**EVENT, "id": "o2", **change}]).replace("Infinity", "1e400")
    answer = sdk.post(route, content=body, auth=BASIC)

    assert answer.status_code == status
    assert answer.json()["accepted"] == 1
    [rejected] = answer.json()["rejected"]
    assert (rejected["index"], rejected["code"]) == (1, code)
    assert rejected["message"].split(" ")[0] == field.split(" ")[0]
    assert rejected["message"].startswith(field)
    assert len(sdk.taken()) == 1


def test_a_missing_attribute_is_named_when_the_others_are_in_headers(sdk: Door) -> None:
    for name in ("specversion", "id", "source", "type"):
        headers = by_headers({key: value for key, value in EVENT.items() if key != name})
        answer = sdk.post("/cloudevents", content=b"{}", headers=headers, auth=BASIC)

        assert (answer.status_code, answer.json()["code"]) == (400, "missing_field")
        assert answer.json()["message"].startswith(name)


def test_a_refusal_lists_the_events_where_all_are_bad(sdk: Door) -> None:
    answer = sdk.post("/cloudevents", json=[7, {**EVENT, "type": None}], auth=BASIC)

    assert (answer.status_code, answer.json()["code"]) == (400, "not_an_object")
    assert [(each["index"], each["event_id"]) for each in answer.json()["rejected"]] == [
        (0, None),
        (1, f"cloudevents:{SOURCE} o1"),
    ]


def test_headers_beside_a_structured_event_say_nothing(sdk: Door) -> None:
    headers = by_headers({**EVENT, "id": "other"}) | {b"Content-Type": b"application/cloudevents+json"}
    for route in ("/cloudevents", "/events"):
        sdk.post(route, json={**EVENT, "events": "an extension"}, headers=headers, auth=BASIC)

    assert sdk.taken() == 2 * [native(f"cloudevents:{SOURCE} o1", AT)]


def test_data_that_is_an_event_itself_stays_data(sdk: Door) -> None:
    headers = by_headers({**EVENT, "datacontenttype": "application/json"})
    for route in ("/cloudevents", "/events"):
        sdk.post(route, json={"specversion": "1.0"}, headers=headers, auth=BASIC)

    assert sdk.taken() == 2 * [native(f"cloudevents:{SOURCE} o1", AT, properties={"specversion": "1.0"})]


def test_the_native_route_takes_both_forms_in_one_body(sdk: Door) -> None:
    own = {"event_id": "e1", "occurred_at": AT, "user_id": "u1", "event_type": "login"}
    versioned = {**own, "event_id": "e2", "specversion": "1.0", "properties": {"specversion": "1.0"}}
    bad = [{**own, "occurred_at": "yesterday"}, {**EVENT, "time": "yesterday"}]
    for body in (
        json.dumps([own, EVENT, versioned, *bad]),
        json.dumps({"events": [own, EVENT, versioned, *bad]}),
        "\n".join(json.dumps(each) for each in (own, EVENT, versioned, *bad)),
    ):
        answer = sdk.post("/events", content=body, auth=BASIC)

        assert [each["message"].split(" ")[0] for each in answer.json()["rejected"]] == ["occurred_at", "time"]
        plain = parse_event(versioned, NOW)
        assert sorted(sdk.taken()) == sorted([native("e1"), plain, native(f"cloudevents:{SOURCE} o1", AT)])


def test_an_event_in_headers_is_waited_for_at_the_native_route(sdk: Door) -> None:
    headers = by_headers(EVENT) | {b"Prefer": b"wait=2"}
    answer = sdk.post("/events", headers=headers, auth=BASIC)

    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=2")
    assert answer.json()["inserted"] == [f"cloudevents:{SOURCE} o1"]


def test_an_idempotency_key_is_for_one_event_in_headers(sdk: Door) -> None:
    key = {b"Idempotency-Key": b"k1"}
    for event, status in ((EVENT, 202), (EVENT, 202), ({**EVENT, "id": "o2"}, 422)):
        answer = sdk.post("/events", content=b"{}", headers=by_headers(event) | key, auth=BASIC)
        assert answer.status_code == status
    assert answer.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["basic", "bearer", "X-API-Key"])
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, key: str, place: str) -> None:
    auth = (key, "") if place == "basic" else None
    headers = {"basic": {}, "bearer": {"Authorization": f"Bearer {key}"}, "X-API-Key": {place: key}}[place]
    answer = sdk.post("/cloudevents", json=EVENT, headers=headers, auth=auth)

    assert answer.status_code == REFUSALS[key]
    assert {"code", "message"} <= answer.json().keys()
    assert sdk.taken() == []


def test_no_key_is_a_401(sdk: Door) -> None:
    assert sdk.post("/cloudevents", json=EVENT).status_code == 401


@DOORS
def test_no_events_are_a_success(sdk: Door, route: str, status: int) -> None:
    headers = {"Content-Type": "application/cloudevents-batch+json"}
    answer = sdk.post(route, content=b"[]", headers=headers, auth=BASIC)

    assert (answer.status_code, answer.json()["accepted"]) == (status, 0)


def test_a_body_that_holds_no_event_is_refused(sdk: Door) -> None:
    for route in ("/cloudevents", "/events"):
        for body, code in ((b"7", "not_an_object"), (b"{", "invalid_json")):
            headers = {"Content-Type": "application/cloudevents+json"}
            answer = sdk.post(route, content=body, headers=headers, auth=BASIC)
            assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_what_the_queue_does_not_take_is_asked_for_again(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    answer = sdk.post("/cloudevents", json=EVENT, auth=BASIC)

    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
