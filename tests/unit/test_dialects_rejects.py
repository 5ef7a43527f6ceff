"""The bad events of SDKs: named in the answer where the SDK reads that, and kept where it does not."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.dialects import KEY, Door, door

AT = "2025-08-01T09:30:00Z"
MILLISECONDS = 1_754_040_600_000
GOOD, BAD = "6f1b2c1e-0f0a-4c56-9d0a-5b1c7f3a9e01", "6f1b2c1e-0f0a-4c56-9d0a-5b1c7f3a9e02"


class Spoken(NamedTuple):
    """How a dialect says two events, of which the second has no user."""

    route: str
    body: bytes
    names: bool
    """Whether the answer names a bad event."""


def said(document: object) -> bytes:
    return json.dumps(document).encode()


SEGMENT = [
    {"type": "track", "event": "open", "timestamp": AT, "messageId": GOOD, "userId": "u1"},
    {"type": "track", "event": "open", "timestamp": AT, "messageId": BAD, "properties": {"writeKey": KEY}},
]
POSTHOG = [
    {"event": "open", "timestamp": AT, "uuid": GOOD, "distinct_id": "u1"},
    {"event": "open", "timestamp": AT, "uuid": BAD, "properties": {"token": KEY}},
]
AMPLITUDE = [
    {"event_type": "open", "time": MILLISECONDS, "insert_id": GOOD, "user_id": "u1"},
    {"event_type": "open", "time": MILLISECONDS, "insert_id": BAD},
]
MIXPANEL = [
    {"event": "open", "properties": {"token": KEY, "time": 1_754_040_600, "$insert_id": GOOD, "distinct_id": "u1"}},
    {"event": "open", "properties": {"token": KEY, "time": 1_754_040_600, "$insert_id": BAD}},
]
SNOWPLOW = [
    {"e": "pv", "eid": GOOD, "dtm": str(MILLISECONDS), "aid": KEY, "uid": "u1"},
    {"e": "pv", "eid": BAD, "dtm": str(MILLISECONDS), "aid": KEY},
]
CLOUDEVENTS = [
    {"specversion": "1.0", "id": GOOD, "source": "/s", "type": "open", "time": AT, "userid": "u1"},
    {"specversion": "1.0", "id": BAD, "source": "/s", "type": "open", "time": AT},
]
SPOKEN = {
    "segment": Spoken("/batch", said({"batch": SEGMENT, "writeKey": KEY}), names=False),
    "posthog": Spoken("/batch", said({"batch": POSTHOG, "api_key": KEY}), names=False),
    "posthog v1": Spoken("/i/v1/analytics/events", said({"batch": POSTHOG}), names=True),
    "amplitude": Spoken("/2/httpapi", said({"events": AMPLITUDE, "api_key": KEY}), names=True),
    "mixpanel": Spoken("/track", f"data={quote(json.dumps(MIXPANEL))}".encode(), names=False),
    "mixpanel import": Spoken("/import", said(MIXPANEL), names=True),
    "snowplow": Spoken("/com.snowplowanalytics.snowplow/tp2", said({"data": SNOWPLOW}), names=False),
    "cloudevents": Spoken("/cloudevents", said(CLOUDEVENTS), names=True),
}


@pytest.fixture
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


def send(sdk: Door, spoken: Spoken) -> Any:
    return sdk.post(spoken.route, content=spoken.body, headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("name", SPOKEN)
def test_a_bad_event_is_named_in_the_answer_or_kept(sdk: Door, name: str) -> None:
    spoken = SPOKEN[name]

    answer = send(sdk, spoken)

    assert len(sdk.taken()) == 1
    kept = sdk.kept()
    if spoken.names:
        assert kept == []
        assert BAD in answer.text or '"1"' in answer.text or "[1]" in answer.text
        return
    assert answer.status_code == 200
    [reject] = kept
    assert (reject.code, reject.dialect) == ("missing_field", name.partition(" ")[0])
    assert BAD in reject.item
    assert GOOD not in reject.item
    assert KEY not in "".join(map(str, reject))


@pytest.mark.parametrize("name", [name for name, spoken in SPOKEN.items() if not spoken.names])
def test_a_bad_event_that_cannot_be_kept_is_asked_for_again(sdk: Door, name: str) -> None:
    sdk.rejects.fails = True

    answer = send(sdk, SPOKEN[name])

    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_where_all_events_are_bad_they_are_kept_too(sdk: Door) -> None:
    answer = sdk.post("/track", json=SEGMENT[1], auth=(KEY, ""))

    assert answer.status_code == 400
    assert [(reject.code, reject.event_id) for reject in sdk.kept()] == [("missing_field", BAD)]


def test_what_the_queue_does_not_take_is_not_kept_as_bad(sdk: Door) -> None:
    sdk.queue.refuses = lambda _: True

    assert send(sdk, SPOKEN["segment"]).status_code == 503
    assert sdk.kept() == []
