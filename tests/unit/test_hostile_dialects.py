"""Bodies, fields and keys that were made to do harm, in every dialect: refused in bounds, and no good event is lost."""

import base64
import copy
import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from httpx2 import Response
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.strict_json import MAX_VALUES
from rollcall.intake.bodies import MAX_EXPANDED_BYTES, MAX_REQUEST_EVENTS, MAX_SENT_BYTES
from rollcall.intake.dialects.registry import DIALECTS, routes
from tests.dialects import KEY, Door, door

AT = "2025-08-01T09:30:00Z"
SECONDS = 3.0
BASIC = (KEY, "")
# What no SDK takes for a reason to send the same body again and again.
FINAL = {400, 413, 415, 422}
ROUTES = [(method, route) for route, methods in routes().items() for method in methods]


class Form(NamedTuple):
    """What a dialect sends."""

    dialect: str
    route: str
    document: Any
    """Has one event."""
    event: tuple[str | int, ...]
    """The place of the event in the document."""
    credential: tuple[str | int, ...] | None = None
    """The place of the key in the document."""
    encode: Callable[[str], bytes] = str.encode

    def send(self, sdk: Door, text: str, **request: Any) -> Response:
        """Send the text of a document."""
        return sdk.post(self.route, content=self.encode(text), **request)


SEGMENT = {
    "type": "track",
    "messageId": "m1",
    "timestamp": AT,
    "userId": "u1",
    "anonymousId": "a1",
    "event": "login",
    "properties": {"a": 1},
    "traits": {"a": 1},
    "context": {"traits": {"a": 1}},
}
POSTHOG = {"event": "login", "uuid": "u", "distinct_id": "u1", "timestamp": AT, "properties": {"a": 1}, "$set": {}}
AMPLITUDE = {
    "event_type": "login",
    "user_id": "u1",
    "device_id": "d1",
    "time": 1754040600000,
    "insert_id": "i1",
    "event_properties": {"a": 1},
}
MIXPANEL = {"event": "login", "properties": {"token": KEY, "distinct_id": "u1", "time": 1754040600, "$insert_id": "i1"}}
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "o1",
    "source": "/a",
    "type": "login",
    "time": AT,
    "userid": "u1",
    "subject": "s1",
    "datacontenttype": "application/json",
    "data": {"a": 1},
    "data_base64": None,
}
SELF_DESCRIBING = {"schema": "iglu:x/y", "data": {"schema": "iglu:a/b/jsonschema/1-0-0", "data": {"a": 1}}}
SNOWPLOW = {
    "e": "ue",
    "eid": "7b5ed1eb-83df-4255-a283-87fd4140b95e",
    "uid": "u1",
    "duid": "d1",
    "dtm": "1754040600000",
    "aid": KEY,
    "ue_pr": json.dumps(SELF_DESCRIBING),
    "se_ca": "c",
    "se_ac": "a",
}


def as_form(text: str) -> bytes:
    return b"data=" + base64.b64encode(text.encode(errors="surrogatepass"))


FORMS = [
    Form("segment", "/batch", {"batch": [SEGMENT], "sentAt": AT, "writeKey": KEY}, ("batch", 0), ("writeKey",)),
    Form("segment", "/track", {**SEGMENT, "writeKey": KEY, "sentAt": AT}, (), ("writeKey",)),
    Form("posthog", "/batch", {"api_key": KEY, "batch": [POSTHOG], "sent_at": AT}, ("batch", 0), ("api_key",)),
    Form("posthog", "/i/v1/analytics/events", {"created_at": AT, "batch": [{**POSTHOG, "options": {}}]}, ("batch", 0)),
    Form(
        "amplitude", "/2/httpapi", {"api_key": KEY, "events": [AMPLITUDE], "options": {}}, ("events", 0), ("api_key",)
    ),
    Form("mixpanel", "/track", [MIXPANEL], (0,), (0, "properties", "token"), as_form),
    Form("mixpanel", "/import", [MIXPANEL], (0,), (0, "properties", "token")),
    Form("cloudevents", "/cloudevents", [CLOUD_EVENT], (0,)),
    Form(
        "snowplow",
        "/com.snowplowanalytics.snowplow/tp2",
        {"schema": "s", "data": [SNOWPLOW]},
        ("data", 0),
        ("data", 0, "aid"),
    ),
]
KNOWN = [form for form in FORMS if form.dialect in {dialect.name for dialect in DIALECTS}]
BATCHES = [form for form in KNOWN if form.event]
KEYED = [form for form in KNOWN if form.credential]


def name_of(form: Form) -> str:
    return form.dialect + form.route


EACH_FORM = pytest.mark.parametrize("form", KNOWN, ids=name_of)
EACH_BATCH = pytest.mark.parametrize("form", BATCHES, ids=name_of)
EACH_KEYED = pytest.mark.parametrize("form", KEYED, ids=name_of)

# JSON as text: of every type, and what JSON itself can hardly say.
VALUES = [
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "1e400",
    "-1e400",
    "9" * 2_000,
    "-" + "9" * 999,
    "9" * 25,
    '""',
    '" "',
    r'"\u0000"',
    r'"\ud800"',
    '"\u202e"',
    '"null"',
    f'"{"x" * 300}"',
    f'"{"x" * 40_000}"',
    "[]",
    "[null]",
    "[[1]]",
    "{}",
    '{"a":0,"a":1}',
    r'{"\ud800":0}',
    "[" * 400 + "]" * 400,
    '{"a":' * 400 + "0" + "}" * 400,
    '"1e400"',
    '"nan"',
    f'"{"9" * 400}"',
    '"9999-12-31T23:59:59-23:59"',
    '"0001-01-01T00:00:00+23:59"',
    '"%ff"',
    '"YQ"',
    '"{"',
]
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a number": b"7",
    "a string": b'"a"',
    "1e400": b"1e400",
    "a huge integer": b"9" * 5_000,
    "NaN": b"NaN",
    "NaN in an event": b'{"batch":[{"a":NaN}],"events":[{"a":NaN}],"data":[{"a":NaN}]}',
    "a repeated name": b'{"batch":[],"batch":[],"events":[],"events":[],"data":[],"data":[]}',
    "half a character": rb'"\ud800"',
    "not UTF-8": b'{"batch":[{"a":"\xff"}]}',
    "UTF-16": '{"batch":[]}'.encode("utf-16"),
    "cut JSON": b'{"batch":[{"event":"lo',
    "JSON with more behind it": b'{"batch":[]}]',
    "NUL bytes": bytes(16),
    "nested arrays": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"batch":' * 1_000 + b"0" + b"}" * 1_000,
    "brackets that open for ever": b"[" * 1_000_000,
    "cut gzip": gzip.compress(b'{"batch":[]}')[:-9],
    "damaged gzip": gzip.compress(b'{"batch":[]}')[:12] + b"\xff" * 20,
    "gzip twice": gzip.compress(gzip.compress(b'{"batch":[]}')),
    "zlib": zlib.compress(b'{"batch":[]}'),
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00\x61\x00\x00",
    "broken base64": b"data=%%%%",
    "base64 of nothing readable": b"data=/////w==",
    "a form that is not UTF-8": b"data=%ff%fe",
    "a form of many fields": b"&".join(b"a%d=1" % number for number in range(5_000)),
    "parts": b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\n[]\r\n--x--\r\n',
}
LARGE: dict[str, Callable[[], bytes]] = {
    "4 MB and a byte": lambda: b'{"batch":[]}'.ljust(MAX_SENT_BYTES + 1),
    "8 MB and a byte, expanded": lambda: gzip.compress(b'{"batch":[]}'.ljust(MAX_EXPANDED_BYTES + 1)),
    "1 GB, expanded": lambda: gzip.compress(bytes(16 * 1024**2)) * 64,
    "too many values": lambda: b'{"batch":[' + b"{}," * (MAX_VALUES // 2) + b"{}]}",
    "many small events": lambda: b'{"batch":[' + b"{}," * (MAX_VALUES // 2 - 10) + b"{}]}",
    "too many names": lambda: b'{"batch":[{' + b'"a":0,' * MAX_VALUES + b'"b":0}]}',
}
CREDENTIALS: dict[str, str] = {
    "huge": "x" * 200_000,
    "control characters": "rc_\x00\x1b\n",
    "not ASCII": "ключ",
    "half a character": "rc_\ud800",
    "a colon": ":",
    "an unknown key": f"rc_{'0' * 16}_{'0' * 48}",
    "a key with more behind it": f"{KEY}0",
    "nested JSON as a token": f"{base64.urlsafe_b64encode(b'[' * 6_000).decode()}.a.b",
}


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def assert_refused(sdk: Door, answer: Response) -> None:
    assert answer.status_code in FINAL
    assert answer.content
    assert sdk.taken() == []


def filled(route: str) -> str:
    return route.replace("{type}", "track")


def places(document: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """All places in a document."""
    yield at
    children = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, child in children:
        yield from places(child, (*at, name))


def at_place(document: Any, place: tuple[str | int, ...]) -> Any:
    for name in place:
        document = document[name]
    return document


def with_text(document: Any, place: tuple[str | int, ...], text: str) -> str:
    """The text of a document with other text at a place."""
    if not place:
        return text
    changed = copy.deepcopy(document)
    at_place(changed, place[:-1])[place[-1]] = "HERE"
    return json.dumps(changed).replace('"HERE"', text)


def test_every_dialect_is_tried() -> None:
    assert {form.dialect for form in KNOWN} == {dialect.name for dialect in DIALECTS}
    assert {form.route for form in KNOWN} <= routes().keys()


@EACH_FORM
def test_what_is_mutilated_below_is_good(sdk: Door, form: Form) -> None:
    assert form.send(sdk, json.dumps(form.document), auth=BASIC).status_code == 200
    assert len(sdk.taken()) == 1


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[" ".join(each) for each in ROUTES])
def test_a_body_that_holds_no_events_is_refused(sdk: Door, method: str, route: str) -> None:
    for body in BODIES.values():
        assert_refused(sdk, sdk.ask(method, filled(route), content=body, auth=BASIC))
    for coding in ("br", "zstd", "gzip, br", "deflate, gzip", "\u00e9"):
        headers = {b"Content-Encoding": coding.encode()}
        assert_refused(sdk, sdk.ask(method, filled(route), content=b"{}", headers=headers, auth=BASIC))


@pytest.mark.parametrize("name", LARGE)
def test_a_body_over_a_bound_is_refused_in_bounded_time(sdk: Door, name: str) -> None:
    body = LARGE[name]()
    for form in KNOWN:
        began = time.process_time()
        answer = sdk.post(form.route, content=body, auth=BASIC)
        took = time.process_time() - began

        assert_refused(sdk, answer)
        assert took < SECONDS


@EACH_BATCH
def test_more_events_than_a_request_may_have_are_refused(sdk: Door, form: Form) -> None:
    event = json.dumps(at_place(form.document, form.event))
    text = with_text(form.document, form.event, ",".join((MAX_REQUEST_EVENTS + 1) * [event]))

    assert_refused(sdk, form.send(sdk, text, auth=BASIC))


@EACH_BATCH
def test_a_value_of_any_type_in_place_of_a_field_loses_no_other_event(sdk: Door, form: Form) -> None:
    event = at_place(form.document, form.event)
    good = json.dumps(event)
    for place in places(event):
        bad = [with_text(event, place, value) for value in VALUES]
        answer = form.send(sdk, with_text(form.document, form.event, ",".join([good, *bad])), auth=BASIC)

        assert answer.status_code in {200, 400}, place
        assert 1 <= len(sdk.taken()) <= 1 + len(bad), place


@EACH_FORM
def test_a_value_of_any_type_around_the_events_is_refused_or_passed_over(sdk: Door, form: Form) -> None:
    inside = [place for place in places(form.document) if form.event and place[: len(form.event)] == form.event]
    for place in places(form.document):
        if place in inside:
            continue
        for value in VALUES:
            answer = form.send(sdk, with_text(form.document, place, value), auth=BASIC)

            assert answer.status_code in {200, *FINAL}, (place, value[:50])
            assert len(sdk.taken()) <= (answer.status_code == 200)


@EACH_FORM
def test_an_event_without_an_id_is_the_same_one_whether_the_id_is_null_or_empty_or_left_out(
    sdk: Door, form: Form
) -> None:
    own = {"messageId", "uuid", "insert_id", "$insert_id", "eid"}
    place = next((place for place in places(form.document) if place and place[-1] in own), None)
    if place is None:
        assert form.dialect == "cloudevents"
        return
    left_out = copy.deepcopy(form.document)
    del at_place(left_out, place[:-1])[place[-1]]
    for text in (json.dumps(left_out), *(with_text(form.document, place, value) for value in ("null", '""'))):
        assert form.send(sdk, text, auth=BASIC).status_code == 200

    assert len({each.event_id for each in sdk.taken()}) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@EACH_FORM
@settings(max_examples=20)
@given(data=st.data())
def test_random_values_anywhere_are_answered(form: Form, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(list(places(form.document))))
    text = with_text(form.document, place, json.dumps(data.draw(JSON)))
    with door() as sdk:
        answer = form.send(sdk, text, auth=BASIC)

        assert answer.status_code in {200, *FINAL}
        assert len(sdk.taken()) <= 1


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[" ".join(each) for each in ROUTES])
def test_odd_keys_in_headers_are_refused(sdk: Door, method: str, route: str) -> None:
    form = next((form for form in KNOWN if form.route == route), None)
    body = json.dumps(_without_key(form)).encode() if form and form.encode is str.encode else b"{}"
    for credential in CREDENTIALS.values():
        text = credential.encode(errors="surrogatepass")
        for headers in (
            {b"X-API-Key": text},
            {b"X-Write-Key": text},
            {b"Authorization": b"Bearer " + text},
            {b"Authorization": b"Basic " + base64.b64encode(text + b":")},
        ):
            answer = sdk.ask(method, filled(route), content=body, headers=headers)
            assert answer.status_code in {401, *FINAL}
    for header in (b"Basic %%%", b"Basic /w==", b"Basic", b"Bearer", b"", b"Negotiate x"):
        answer = sdk.ask(method, filled(route), content=body, headers={b"Authorization": header})
        assert answer.status_code in {401, *FINAL}
    assert sdk.taken() == []


@EACH_KEYED
def test_a_key_in_a_body_is_in_no_event(sdk: Door, form: Form) -> None:
    # The door looks for it in the log and the answer.
    assert form.send(sdk, json.dumps(form.document)).status_code == 200

    assert KEY not in json.dumps(sdk.taken())


@EACH_KEYED
@pytest.mark.parametrize("name", CREDENTIALS)
def test_an_odd_key_in_a_body_is_refused_and_not_told(sdk: Door, form: Form, name: str) -> None:
    assert form.credential
    answer = form.send(sdk, with_text(form.document, form.credential, json.dumps(CREDENTIALS[name])))

    assert answer.status_code == 401
    assert CREDENTIALS[name][:50] == ":" or CREDENTIALS[name][:50] not in answer.text
    assert sdk.taken() == []


@EACH_KEYED
def test_a_value_of_any_type_in_place_of_a_key_is_refused(sdk: Door, form: Form) -> None:
    assert form.credential
    for value in VALUES:
        answer = form.send(sdk, with_text(form.document, form.credential, value))

        assert answer.status_code in {401, *FINAL}, value[:50]
        assert sdk.taken() == []


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=[" ".join(each) for each in ROUTES])
def test_odd_queries_are_answered(sdk: Door, method: str, route: str) -> None:
    for query in (
        "&".join(f"a{number}=1" for number in range(5_000)),
        "data=%ff%fe&e=%ff",
        "data=%%%%&ue_px=%%%%&e=ue",
        "data=&ip=&verbose=&e=",
        f"e=ue&ue_px={base64.urlsafe_b64encode(b'[' * 2_000).decode()}",
        f"data={base64.b64encode(b'[' * 2_000).decode()}",
        "compression=br",
        ";;;===&&&",
    ):
        answer = sdk.ask(method, f"{filled(route)}?{query}", content=b"{}", auth=BASIC)

        assert answer.status_code in {200, *FINAL}, query[:50]


@pytest.mark.parametrize("kind", ["%00", "%ff", "%2e%2e", "x" * 5_000, "%F0%9F%8E%89", "track%0a", "{type}"])
def test_odd_names_in_a_path_are_refused(sdk: Door, kind: str) -> None:
    for route in (route for route in routes() if "{type}" in route):
        answer = sdk.post(route.replace("{type}", kind), json={**SEGMENT, "type": None}, auth=BASIC)

        assert answer.status_code in {404, *FINAL}
        assert sdk.taken() == []


def _without_key(form: Form) -> Any:
    document = copy.deepcopy(form.document)
    if form.credential is not None:
        del at_place(document, form.credential[:-1])[form.credential[-1]]
    return document


def test_places_and_texts_are_what_they_seem() -> None:
    assert list(places({"a": [1]})) == [(), ("a",), ("a", 0)]
    assert with_text({"a": [1]}, ("a", 0), "1e400") == '{"a": [1e400]}'
