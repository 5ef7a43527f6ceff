"""Snowplow: what its trackers send is counted as it was meant, and never sent for ever."""

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings

from tests.dialects import KEY, REFUSALS, UNKNOWN, Door, Meant, door, loads, native
from tests.support import NOW

TP2 = "/com.snowplowanalytics.snowplow/tp2"
PAYLOADS = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
OUTER = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
EID = "11111111-2222-4333-8444-555555555555"
AT = "1754040600000"
# After these, a tracker does not send an event again.
FINAL = {400, 401, 403}


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def event(**fields: Any) -> dict[str, Any]:
    return {"e": "se", "se_ca": "c", "se_ac": "login", "eid": EID, "dtm": AT, "uid": "u1", "aid": KEY, **fields}


def described(schema: str, data: Any) -> str:
    return json.dumps({"schema": OUTER, "data": {"schema": schema, "data": data}}, ensure_ascii=False)


def post(sdk: Door, *events: Any, **request: Any) -> Any:
    return sdk.post(TP2, json={"schema": PAYLOADS, "data": list(events)}, **request)


def get(sdk: Door, fields: dict[str, Any], **request: Any) -> Any:
    return sdk.ask("GET", f"/i?{urlencode(fields)}", **request)


@settings(max_examples=25)
@given(load=loads(kinds=None))
def test_events_are_the_same_in_every_encoding(load: list[Meant]) -> None:
    named = [each for each in load if "/" not in each.type]
    wanted = {each.native("snowplow") for each in named}
    with door() as sdk:
        for kind in ("ue_px", "unpadded", "ue_pr"):
            events = []
            for each in named:
                text = described(f"iglu:com.acme/{each.type}/jsonschema/1-0-0", each.properties)
                coded = base64.urlsafe_b64encode(text.encode()).decode()
                inner = (
                    {"ue_pr": text}
                    if kind == "ue_pr"
                    else {"ue_px": coded.rstrip("=") if kind == "unpadded" else coded}
                )
                events.append(
                    {"e": "ue", "eid": each.id, "uid": each.user, "ttm": str(each.milliseconds), "aid": KEY, **inner}
                )
            body = json.dumps({"schema": PAYLOADS, "data": events}).encode()
            for content in (body, gzip.compress(body)):
                assert sdk.post(TP2, content=content, auth=(KEY, "")).status_code == 200
                assert set(sdk.taken()) == wanted
            for sent in events:
                assert get(sdk, sent).status_code == 200
            assert set(sdk.taken()) == wanted


@pytest.mark.parametrize(
    ("fields", "event_type", "properties"),
    [
        ({"e": "se", "se_la": "l", "se_va": "1.5"}, "login", {"se_ca": "c", "se_la": "l", "se_va": "1.5"}),
        ({"e": "pv", "url": "https://a.b", "page": "P"}, "page_view", {"url": "https://a.b", "page": "P"}),
        ({"e": "pp", "url": "https://a.b", "pp_max": "3"}, "page_ping", {"url": "https://a.b", "pp_max": "3"}),
        ({"e": "tr", "tr_id": "o1", "tr_tt": "9.5"}, "transaction", {"tr_id": "o1", "tr_tt": "9.5"}),
        ({"e": "ti", "ti_id": "o1", "ti_sk": "s"}, "transaction_item", {"ti_id": "o1", "ti_sk": "s"}),
        ({"e": "ue", "ue_pr": described("iglu:com.acme/bought/jsonschema/2-0-1", {"a": 1})}, "bought", {"a": 1}),
    ],
    ids=["se", "pv", "pp", "tr", "ti", "ue"],
)
def test_each_kind_has_its_type_and_properties(
    sdk: Door, fields: dict[str, Any], event_type: str, properties: dict[str, Any]
) -> None:
    assert post(sdk, event(**fields)).status_code == 200
    got = get(sdk, event(**fields))
    assert (got.status_code, got.headers["content-type"]) == (200, "image/gif")
    assert got.content.startswith(b"GIF89a")

    wanted = native(EID, event_type=event_type, properties=properties)
    assert sdk.taken() == [wanted, wanted]


@pytest.mark.parametrize("absent", [0, 1, 2, 3])
def test_the_user_is_who_is_known_best(sdk: Door, absent: int) -> None:
    names = ["uid", "duid", "nuid", "tnuid"]
    users = {name: name if place >= absent else ["", None][place % 2] for place, name in enumerate(names)}
    post(sdk, event(**users))

    assert [each.user_id for each in sdk.taken()] == [names[absent]]


@pytest.mark.parametrize(
    ("behind", "field", "occurred_at"),
    [
        (timedelta(minutes=59), "dtm", "2025-08-01T09:30:00Z"),
        (timedelta(hours=2), "dtm", "2025-08-01T11:30:00Z"),
        (-timedelta(days=1), "dtm", "2025-07-31T09:30:00Z"),
        (timedelta(hours=2), "ttm", "2025-08-01T09:30:00Z"),
    ],
)
def test_the_time_of_a_device_is_corrected_beyond_an_hour_and_a_true_time_never(
    sdk: Door, behind: timedelta, field: str, occurred_at: str
) -> None:
    for on_the_way in (0, 20):
        moment = NOW - behind - timedelta(seconds=on_the_way)
        post(sdk, event(**{"dtm": "1000", field: AT, "stm": str(int(moment.timestamp()) * 1000)}))

    wanted = native(EID, occurred_at, properties={"se_ca": "c"})
    assert sdk.taken() == [wanted, wanted]


@pytest.mark.parametrize("stm", ["soon", "", "9" * 400, None, [1]], ids=str)
def test_a_time_of_sending_that_is_none_corrects_nothing(sdk: Door, stm: Any) -> None:
    assert post(sdk, event(stm=stm)).status_code == 200

    assert [each.occurred_at for each in sdk.taken()] == ["2025-08-01T09:30:00Z"]


def test_an_event_without_an_id_is_the_same_event_when_it_is_sent_again(sdk: Door) -> None:
    for seconds in (0, 1):
        post(sdk, event(eid=None, stm=str(int(NOW.timestamp() + seconds) * 1000)))
    post(sdk, event(eid=None, se_va="2"))

    first, again, other = sdk.taken()
    assert first == again
    assert first.event_id != other.event_id


def test_an_event_without_a_time_has_that_of_its_receipt(sdk: Door) -> None:
    post(sdk, event(dtm=None))

    assert sdk.taken() == [native(EID, NOW.isoformat(), properties={"se_ca": "c"})]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"eid": None, "dtm": None}, "missing_field", "the event has neither eid"),
        ({"dtm": "soon"}, "invalid_occurred_at", "ttm or dtm"),
        ({"dtm": "9" * 400}, "invalid_occurred_at", "ttm or dtm"),
        ({"ttm": "4000000000000"}, "occurred_in_future", "ttm or dtm"),
        ({"uid": None}, "missing_field", "uid, duid, nuid or tnuid"),
        ({"se_ac": None}, "missing_field", "se_ac"),
        ({"e": "xx"}, "invalid_type", "e has"),
        ({"e": ["se"]}, "invalid_type", "e has"),
        ({"e": "ue"}, "missing_field", "ue_px"),
        ({"e": "ue", "ue_px": "!!!"}, "invalid_base64", "ue_px"),
        ({"e": "ue", "ue_px": "é"}, "invalid_base64", "ue_px"),
        ({"e": "ue", "ue_px": "_w"}, "invalid_base64", "ue_px"),
        ({"e": "ue", "ue_pr": "{"}, "invalid_json", "ue_px or ue_pr"),
        ({"e": "ue", "ue_pr": "[" * 5000}, "invalid_json", "ue_px or ue_pr"),
        ({"e": "ue", "ue_pr": "[]"}, "invalid_schema", "the schema"),
        ({"e": "ue", "ue_pr": described("bought", {})}, "invalid_schema", "the schema"),
        ({"e": "ue", "ue_pr": described("iglu:a/b/jsonschema/1-0-0", [1])}, "invalid_properties", "properties"),
        ({"eid": ["x"]}, "invalid_event_id", "eid"),
    ],
    ids=range(18),
)
def test_a_refusal_names_the_field_as_the_tracker_does(
    sdk: Door, change: dict[str, Any], code: str, field: str
) -> None:
    got = post(sdk, event(**change))

    assert (got.status_code, got.json()["code"]) == (400, code)
    assert got.json()["message"].startswith(field)


def test_a_bad_event_loses_nothing_else(sdk: Door) -> None:
    got = post(sdk, event(uid=None), 7, event(), event(e="xx"), event(aid=UNKNOWN, eid="x"))

    assert got.status_code == 200
    assert sdk.taken() == [native(EID, properties={"se_ca": "c"})]


@pytest.mark.parametrize("key", REFUSALS, ids=lambda key: f"{REFUSALS[key]}-{key[3]}")
@pytest.mark.parametrize("place", ["basic", "bearer", "X-API-Key", "X-Write-Key", "aid"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_bad_key_is_refused_wherever_it_stands(sdk: Door, method: str, place: str, key: str) -> None:
    headers: dict[str, str] = {}
    auth = (key, "") if place == "basic" else None
    if place == "bearer":
        headers = {"Authorization": f"Bearer {key}"}
    elif place.startswith("X-"):
        headers = {place: key}
    sent = event(aid=key if place == "aid" else "shop")
    got = (post if method == "POST" else get)(sdk, sent, headers=headers, auth=auth)

    # Trackers send again after a 409.
    assert got.status_code == (400 if REFUSALS[key] == 409 else REFUSALS[key])
    assert {"code", "message"} <= got.json().keys()
    assert sdk.taken() == []


def test_no_key_is_a_401(sdk: Door) -> None:
    assert post(sdk, event(aid=None)).status_code == 401
    assert get(sdk, {"e": "pv"}).status_code == 401


def test_an_app_id_is_no_key_where_the_headers_have_one(sdk: Door) -> None:
    assert post(sdk, event(aid="shop"), event(aid="blog", eid="b1"), auth=(KEY, "")).status_code == 200

    assert {each.event_id for each in sdk.taken()} == {EID, "snowplow:b1"}


def test_no_events_are_a_success(sdk: Door) -> None:
    assert post(sdk, auth=(KEY, "")).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":{}}',
        b'{"data":[{"e":"se","e":"pv"}]}',
        b'{"data":[' + b"[" * 5000,
        b"\xff",
        b'{"data":[' + b"7," * 5001 + b"7]}",
        b'{"data":"' + b"A" * (4 * 1024 * 1024) + b'"}',
        gzip.compress(b'{"data":[]}')[:-9],
    ],
    ids=range(10),
)
def test_no_tracker_sends_a_hostile_body_again(sdk: Door, content: bytes) -> None:
    got = sdk.post(TP2, content=content, auth=(KEY, ""))

    assert got.status_code in FINAL
    assert {"code", "message"} <= got.json().keys()
    assert sdk.taken() == []


@pytest.mark.parametrize("query", ["", "e=%ff", "e=se", "a=1&" * 1001])
def test_no_tracker_sends_a_hostile_query_again(sdk: Door, query: str) -> None:
    assert sdk.ask("GET", f"/i?{query}", auth=(KEY, "")).status_code in FINAL


def test_what_the_queue_does_not_take_is_asked_for_again(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True

    assert post(sdk, event()).status_code == 503
    assert get(sdk, event()).status_code == 503


def test_a_post_to_the_pixels_route_is_an_identify_of_segment(sdk: Door) -> None:
    body = {"userId": "u1", "messageId": "s1", "timestamp": "2025-08-01T09:30:00Z"}
    assert sdk.post("/i", json=body, auth=(KEY, "")).json()["ok"] is True

    assert sdk.taken() == [native("segment:s1", event_type="$identify")]


def session(user: Any) -> dict[str, Any]:
    return {"schema": "iglu:com.snowplowanalytics.snowplow/client_session/jsonschema/1-0-2", "data": {"userId": user}}


def contexts(*entities: Any) -> str:
    return json.dumps({"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1", "data": entities})


@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("uid", [None, "", "u1"])
def test_the_user_of_a_mobile_tracker_is_the_installation_where_it_knows_no_other(
    sdk: Door, uid: str | None, encode: bool
) -> None:
    text = contexts({"schema": "iglu:com.acme/x/jsonschema/1-0-0", "data": {"userId": "other"}}, 7, session("install"))
    told = {"cx": base64.urlsafe_b64encode(text.encode()).decode()} if encode else {"co": text}
    post(sdk, event(uid=uid, **told))

    assert [each.user_id for each in sdk.taken()] == [uid or "install"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"cx": "%%%"}, "invalid_base64"),
        ({"co": "{"}, "invalid_json"),
        ({"co": "[" * 600}, "invalid_json"),
        ({"co": contexts()}, "missing_field"),
        ({"co": '{"data":7}'}, "missing_field"),
        ({"co": contexts(session(None))}, "missing_field"),
        ({"co": contexts(session([1]))}, "invalid_user_id"),
        ({"co": 7}, "missing_field"),
    ],
    ids=range(8),
)
def test_contexts_that_name_no_user_are_refused_where_nothing_else_does(
    sdk: Door, told: dict[str, Any], code: str
) -> None:
    bad = event(uid=None, eid="22222222-2222-4333-8444-555555555555", **told)
    assert post(sdk, event(**told), bad).status_code == 200

    assert [each.user_id for each in sdk.taken()] == ["u1"]
    assert [each.code for each in sdk.kept()] == [code]
