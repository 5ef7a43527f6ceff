"""Mixpanel: what its SDKs send is counted as it was meant, and answered as they want it."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings

from rollcall.core.events import Event
from rollcall.intake.dialects import mixpanel
from tests.dialects import KEY, READS_ONLY, REFUSALS, UNKNOWN, Door, Meant, door, loads, native
from tests.support import NOW

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SECONDS = 1754040600
OK = {"status": 1, "error": None}
ROUTES = ["/track", "/engage", "/groups", "/import"]
ENCODINGS = ["python", "node_get", "node_post", "browser", "browser_json", "json", "gzip"]


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def event(number: int = 1, **properties: Any) -> dict[str, Any]:
    found = {"token": KEY, "distinct_id": "u1", "time": SECONDS, "$insert_id": f"m{number}", **properties}
    return {"event": "login", "properties": found}


def of(meant: Meant, *, seconds: bool) -> dict[str, Any]:
    time = meant.milliseconds / 1000 if seconds else meant.milliseconds
    own = {"token": KEY, "distinct_id": meant.user, "time": time, "$insert_id": meant.id}
    return {"event": meant.type, "properties": {**meant.properties, **own}}


def send(sdk: Door, route: str, document: Any, encoding: str = "python", query: str = "", **request: Any) -> Any:
    """Send a document as an SDK encodes it."""
    text = json.dumps(document)
    coded = base64.b64encode(text.encode()).decode()
    if encoding == "node_get":
        return sdk.ask("GET", f"{route}?{urlencode({'ip': 0, 'verbose': 0, 'data': coded})}{query}", **request)
    if encoding in ("json", "gzip"):
        body = gzip.compress(text.encode()) if encoding == "gzip" else text.encode()
        return sdk.post(f"{route}?{query.removeprefix('&')}", content=body, **request)
    content, sent = {
        "python": (urlencode({"data": text, "verbose": 1, "ip": 0}), "ip=0"),
        "node_post": (f"data={coded}", "ip=0&verbose=0"),
        "browser": (f"data={quote(coded, safe='')}", "verbose=1&ip=1&_=1"),
        "browser_json": (f"data={quote(text, safe='')}", "verbose=1&ip=1&_=1"),
    }[encoding]
    return sdk.post(f"{route}?{sent}{query}", content=content, headers=FORM, **request)


@settings(max_examples=10)
@given(load=loads())
def test_events_are_the_same_in_every_encoding(load: list[Meant]) -> None:
    wanted = {each.native("mixpanel") for each in load}
    with door() as sdk:
        for encoding in ENCODINGS:
            for route in ("/track", "/import"):
                for together in (True, False):
                    documents = [of(each, seconds=encoding == "python") for each in load]
                    for document in [documents] if together else documents:
                        assert send(sdk, route, document, encoding).status_code == 200
                    assert set(sdk.taken()) == wanted, (encoding, route, together)


def test_a_plus_in_base64_is_no_space_whether_it_is_percent_encoded_or_not(sdk: Door) -> None:
    document = event(a=">>>???>>>???~~~ÿ\u00fb")
    assert "+" in base64.b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()
    coded = base64.b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()
    for data in (coded, quote(coded, safe=""), coded.rstrip("="), coded.translate(str.maketrans("+/", "-_"))):
        assert sdk.post("/track", content=f"data={data}").text == "1"

    assert len(set(sdk.taken())) == 1


@pytest.mark.parametrize(
    ("encoding", "answer"),
    [("python", OK), ("browser", OK), ("node_get", 1), ("node_post", 1), ("json", 1)],
)
@pytest.mark.parametrize("route", ["/track", "/engage", "/groups"])
def test_success_is_what_the_sdk_takes_for_it(sdk: Door, route: str, encoding: str, answer: Any) -> None:
    document = {
        "/track": event(),
        "/engage": {"$token": KEY, "$distinct_id": "u1", "$set": {"a": 1}},
        "/groups": {"$token": KEY, "$group_key": "company", "$group_id": "g1", "$set": {"a": 1}},
    }[route]
    got = send(sdk, route, document, encoding)

    assert (got.status_code, got.json()) == (200, answer)
    assert got.text == json.dumps(answer, separators=(",", ":"))
    assert len(sdk.taken()) == 1


@pytest.mark.parametrize("encoding", ["python", "node_get", "node_post", "browser"])
def test_sdks_that_import_get_the_answer_of_their_other_calls(sdk: Door, encoding: str) -> None:
    got = send(sdk, "/import", event(), encoding, auth=(KEY, ""))

    assert got.json() == (OK if encoding in ("python", "browser") else 1)


@pytest.mark.parametrize("before", ["", "\ufeff", " " * 100], ids=["nothing", "mark", "spaces"])
@pytest.mark.parametrize("route", ["/track", "/import"])
def test_json_with_a_query_in_it_is_no_form(sdk: Door, route: str, before: str) -> None:
    content = before + json.dumps([event(url="?a=1&data=2")])
    assert sdk.post(route, content=content.encode()).status_code == 200

    assert sdk.taken() == [native("mixpanel:m1", properties={"url": "?a=1&data=2"})]


def test_an_image_is_answered_with_a_pixel(sdk: Door) -> None:
    got = send(sdk, "/track", event(), "node_get", "&img=1")

    assert (got.status_code, got.headers["content-type"]) == (200, "image/gif")
    assert got.content.startswith(b"GIF89a")
    assert sdk.taken() == [native("mixpanel:m1")]


@pytest.mark.parametrize("time", [SECONDS, float(SECONDS), SECONDS * 1000, str(SECONDS), str(SECONDS * 1000)])
def test_a_time_is_in_seconds_or_milliseconds(sdk: Door, time: Any) -> None:
    assert send(sdk, "/track", event(time=time)).status_code == 200

    assert sdk.taken() == [native("mixpanel:m1")]


@pytest.mark.parametrize(
    ("ids", "user"),
    [
        ({"distinct_id": "", "$device_id": "d1"}, "d1"),
        ({"distinct_id": None, "$user_id": None, "$device_id": "d1"}, "d1"),
        ({"distinct_id": "", "$user_id": "u2", "$device_id": "d1"}, "u2"),
        ({"$user_id": "u2"}, "u1"),
    ],
)
def test_the_user_is_who_is_known_best(sdk: Door, ids: dict[str, Any], user: str) -> None:
    send(sdk, "/track", event(**ids))

    assert [each.user_id for each in sdk.taken()] == [user]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": f"Negotiate {KEY}"},
        {"Authorization": f"Basic {base64.b64encode(b':secret').decode()}"},
        {"Authorization": "Basic %"},
        {"X-API-Key": ""},
        {"X-API-Key": ":", "X-Write-Key": ":jitsu"},
    ],
    ids=str,
)
def test_a_header_without_a_key_lets_no_event_in_with_that_of_another(sdk: Door, headers: dict[str, str]) -> None:
    answer = send(sdk, "/track", [event(), event(2, token=UNKNOWN)], "json", headers=headers)

    assert (answer.status_code, len(sdk.taken())) == (200, 1)
    assert [each.code for each in sdk.kept()] == ["other_key"]


def test_a_header_without_a_key_hides_none_behind_it(sdk: Door) -> None:
    headers = {"X-API-Key": ":", "X-Write-Key": f"{KEY}:jitsu"}

    assert send(sdk, "/track", event(token="abc"), "json", headers=headers).status_code == 200


def test_no_key_is_among_the_properties(sdk: Door) -> None:
    send(sdk, "/track", event(a=1))
    send(sdk, "/engage", {"$token": KEY, "$distinct_id": "u1", "$time": SECONDS, "$set": {"a": 1}})
    send(sdk, "/groups", {"$token": KEY, "$group_key": "k", "$group_id": 7, "$time": SECONDS, "$set": {"a": 1}})

    assert [each.properties for each in sdk.taken()] == [
        '{"a":1}',
        '{"$set":{"a":1}}',
        '{"$group_id":7,"$group_key":"k","$set":{"a":1}}',
    ]


def test_profile_calls_have_types_of_their_own_and_an_id_made_of_content(sdk: Door) -> None:
    engage = {"$token": KEY, "$distinct_id": "u1", "$time": SECONDS, "$set": {"a": 1}}
    groups = {"$token": KEY, "$group_key": "company", "$group_id": "g1", "$time": SECONDS, "$set": {"a": 1}}
    for _ in range(2):
        send(sdk, "/engage", [engage, {**engage, "$set": {"a": 2}}])
        send(sdk, "/groups", groups)

    found: list[Event] = sdk.taken()
    assert [(each.event_type, each.user_id) for each in found[:3]] == [
        ("$engage", "u1"),
        ("$engage", "u1"),
        ("$groups", "company:g1"),
    ]
    assert found[:3] == found[3:]
    assert len({each.event_id for each in found}) == 3


@pytest.mark.parametrize("route", ["/track", "/engage", "/groups"])
def test_what_node_sends_without_an_id_or_a_time_is_dated_by_its_receipt(sdk: Door, route: str) -> None:
    document = {
        "/track": {"event": "login", "properties": {"token": KEY, "distinct_id": "u1"}},
        "/engage": {"$token": KEY, "$distinct_id": "u1", "$set": {"a": 1}},
        "/groups": {"$token": KEY, "$group_key": "company", "$group_id": "g1", "$set": {"a": 1}},
    }[route]
    assert send(sdk, route, document, "node_get").text == "1"

    assert [each.occurred_at for each in sdk.taken()] == [native("m", NOW.isoformat()).occurred_at]


def test_an_event_that_may_be_sent_again_needs_an_id_or_a_time(sdk: Door) -> None:
    got = send(sdk, "/track", {"event": "login", "properties": {"token": KEY, "distinct_id": "u1"}})

    assert (got.status_code, got.json()["code"]) == (400, "missing_field")
    assert "$insert_id" in got.json()["error"]


@pytest.mark.parametrize(
    ("name", "properties", "event_type"),
    [
        ("$create_alias", {"distinct_id": "u1", "alias": "a1"}, "$create_alias"),
        ("$merge", {"$distinct_ids": ["u1", "u2"]}, "$alias"),
        ("$identify", {"distinct_id": "u1", "$anon_id": "a1"}, "$identify"),
    ],
)
def test_who_is_who_is_taken_without_an_id_or_a_time(
    sdk: Door, name: str, properties: dict[str, Any], event_type: str
) -> None:
    assert send(sdk, "/track", {"event": name, "properties": {"token": KEY, **properties}}).json() == OK

    assert [(each.event_type, each.user_id) for each in sdk.taken()] == [(event_type, "u1")]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"time": "yesterday"}, "invalid_occurred_at", "time"),
        ({"time": True}, "invalid_occurred_at", "time"),
        ({"time": [1]}, "invalid_occurred_at", "time"),
        ({"time": 10**400}, "invalid_occurred_at", "time"),
        ({"time": "9" * 5000}, "invalid_occurred_at", "time"),
        ({"time": "nan"}, "invalid_occurred_at", "time"),
        ({"time": "1_754_040_600"}, "invalid_occurred_at", "time"),
        ({"time": "\u0661"}, "invalid_occurred_at", "time"),
        ({"time": 2000000000}, "occurred_in_future", "time"),
        ({"distinct_id": None}, "missing_field", "distinct_id"),
        ({"$insert_id": [1]}, "invalid_event_id", "$insert_id"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("encoding", ["python", "node_get"])
def test_a_refusal_names_the_field_as_the_sdk_does(
    sdk: Door, encoding: str, change: dict[str, Any], code: str, field: str
) -> None:
    got = send(sdk, "/track", event(**change), encoding)

    assert (got.status_code, got.json()["code"], got.json()["status"]) == (400, code, 0)
    assert got.json()["error"].startswith(field)
    assert got.json()["message"] == got.json()["error"]


def test_a_bad_event_loses_nothing_else(sdk: Door) -> None:
    bad = [7, {"event": "x"}, {"event": "x", "properties": []}, event(2, distinct_id=None), event(3, token=UNKNOWN)]
    got = send(sdk, "/track", [event(), *bad])

    assert (got.status_code, got.json()) == (200, OK)
    assert sdk.taken() == [native("mixpanel:m1")]


def test_an_import_names_the_bad_events(sdk: Door) -> None:
    sent = [event(1), event(2, time="x"), 7, event(3, distinct_id=None), event(1)]
    got = send(sdk, "/import", sent, "json", "&strict=1&project_id=7", auth=(KEY, "secret"))

    assert got.status_code == 400
    assert (got.json()["code"], got.json()["status"], got.json()["num_records_imported"]) == (400, "Bad Request", 2)
    assert [(each["index"], each["insert_id"], each["field"]) for each in got.json()["failed_records"]] == [
        (1, "m2", "properties.time"),
        (2, "", ""),
        (3, "m3", "properties.distinct_id"),
    ]
    assert sdk.taken() == [native("mixpanel:m1")]


def test_an_import_of_bad_events_alone_names_them_all(sdk: Door) -> None:
    got = send(sdk, "/import", [event(1, time="x")], "json", auth=(KEY, ""))

    assert (got.status_code, got.json()["num_records_imported"]) == (400, 0)
    assert [each["insert_id"] for each in got.json()["failed_records"]] == ["m1"]


@pytest.mark.parametrize("query", ["&strict=1", "&strict=0", ""])
def test_an_import_tells_how_many_events_it_took(sdk: Door, query: str) -> None:
    got = send(sdk, "/import", [event(1), event(2)], "json", query, auth=(KEY, ""))

    assert (got.status_code, got.json()) == (200, {"code": 200, "num_records_imported": 2, "status": "OK"})


def test_an_import_that_is_not_strict_keeps_its_bad_events(sdk: Door) -> None:
    got = send(sdk, "/import", [event(1), event(2, time="x")], "json", "&strict=0", auth=(KEY, ""))

    assert (got.status_code, got.json()["num_records_imported"]) == (200, 1)


def test_an_import_may_be_lines(sdk: Door) -> None:
    lines = "\n".join([json.dumps(event(1)), "{", json.dumps(event(2))])
    got = sdk.post("/import?strict=1", content=lines, auth=(KEY, ""))

    assert [each["index"] for each in got.json()["failed_records"]] == [1]
    assert {each.event_id for each in sdk.taken()} == {"mixpanel:m1", "mixpanel:m2"}


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["basic", "bearer", "X-API-Key", "X-Write-Key", "token", "api_key", "query"])
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, key: str, place: str) -> None:
    headers, auth, more, query = dict(FORM), None, {}, ""
    if place == "basic":
        auth = (key, "")
    elif place == "bearer":
        headers["Authorization"] = f"Bearer {key}"
    elif place == "api_key":
        more = {"api_key": key}
    elif place == "query":
        query = f"?api_key={key}"
    elif place != "token":
        headers[place] = key
    for route in ROUTES:
        document: dict[str, Any] = event(token=key if place == "token" else None)
        if route in ("/engage", "/groups"):
            document = {"$token": key if place == "token" else None, "$distinct_id": "u1", "$time": SECONDS}
        form = {"data": json.dumps(document), "verbose": "1", **more}
        got = sdk.post(f"{route}{query}", content=urlencode(form), headers=headers, auth=auth)

        assert (got.status_code, got.json()["status"]) == (REFUSALS[key], 0)
        assert {"code", "message", "error"} <= got.json().keys()
    assert sdk.taken() == []


@pytest.mark.parametrize("key", [UNKNOWN, READS_ONLY])
def test_an_import_with_a_bad_key_is_refused_in_its_own_words(sdk: Door, key: str) -> None:
    got = send(sdk, "/import", [event()], "json", auth=(key, ""))

    assert (got.status_code, got.json()["code"]) == (REFUSALS[key], REFUSALS[key])
    assert {"error", "status", "message", "reason"} <= got.json().keys()


def test_no_key_is_a_401(sdk: Door) -> None:
    assert send(sdk, "/track", event(token=None)).status_code == 401


@pytest.mark.parametrize("route", ["/track", "/engage", "/groups"])
def test_no_events_are_a_success(sdk: Door, route: str) -> None:
    assert send(sdk, route, [], auth=(KEY, "")).json() == OK


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"verbose=1",
        b"data=",
        b"data=%ff",
        b"data=\xff",
        b"data=!!!",
        b"data=eyJ",
        b"data=7",
        b"data=[1]",
        b"data={",
        b"data={}",
        b"data=" + b"[" * 5000,
        b"data=" + b"&a=" * 2000,
        b"verbose=1&data=" + base64.b64encode(b"\xff\xfe"),
        b"data=" + base64.b64encode(b'{"event":"x","event":"y","properties":{}}'),
        b"data=" + quote('{"event":"x","properties":{"token":"\\ud800"}}').encode(),
        b"data=" + quote('{"event":"x","properties":{"time":1e400}}').encode(),
        b"data=" + quote('[{"event":"x","properties":{"a":1,"a":2}}]').encode(),
        b"data=" + quote("[" + "7," * 5001 + "7]").encode(),
        b"data=" + b"A" * (4 * 1024 * 1024),
        gzip.compress(b"data=[]")[:-9],
    ],
    ids=range(21),
)
def test_a_hostile_form_is_refused_so_that_no_sdk_fails_on_the_answer(sdk: Door, content: bytes) -> None:
    for route in ROUTES:
        got = sdk.post(f"{route}?verbose=1", content=content, headers=FORM, auth=(KEY, ""))

        assert got.status_code in (400, 413)
        assert {"code", "message"} <= got.json().keys()
        # No SDK leaves out `data`.
        assert {"status", "error"} <= got.json().keys() or content == b"verbose=1"
    assert sdk.taken() == []


def test_what_a_get_says_is_in_its_query_whatever_its_body_is(sdk: Door) -> None:
    got = send(sdk, "/track", event(), "node_get", content=b"data=[]")

    assert got.text == "1"
    assert sdk.taken() == [native("mixpanel:m1")]


def test_no_event_is_mapped_where_there_are_too_many(sdk: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixpanel, "_raw", lambda *_: pytest.fail("an event is mapped"))
    for encoding in ("json", "python"):
        assert send(sdk, "/track", [{}] * 5_001, encoding).status_code == 413


@pytest.mark.parametrize("query", ["", "data=", "data=%ff", "data=e30=&x", "a=1&" * 1001])
def test_a_hostile_query_is_refused(sdk: Door, query: str) -> None:
    for route in ROUTES:
        got = sdk.ask("GET", f"{route}?{query}", auth=(KEY, ""))

        assert got.status_code == 400
        assert (got.json()["status"], got.json()["message"]) == (0, got.json()["error"])


def test_what_the_queue_does_not_take_is_asked_for_again(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True
    got = send(sdk, "/track", event())

    assert (got.status_code, got.json()["status"], got.json()["code"]) == (503, 0, "queue_unavailable")


def test_a_track_of_segment_stays_segments(sdk: Door) -> None:
    body = {"event": "login", "userId": "u1", "messageId": "s1", "timestamp": "2025-08-01T09:30:00Z"}
    assert sdk.post("/track", json={**body, "properties": {"a": 1}}, auth=(KEY, "")).json()["ok"] is True

    assert sdk.taken() == [native("segment:s1", properties={"a": 1})]


def test_lines_that_speak_of_a_batch_stay_mixpanels(sdk: Door) -> None:
    lines = "\n".join(json.dumps(event(number, batch=1)) for number in (1, 2))
    answer = sdk.post("/import", content=lines, auth=(KEY, ""))

    assert answer.json() == {"code": 200, "num_records_imported": 2, "status": "OK"}
    assert len(sdk.taken()) == 2
