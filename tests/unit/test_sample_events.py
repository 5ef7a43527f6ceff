import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from rollcall.core.batch import decode
from rollcall.core.events import parse_event
from rollcall.intake.bodies import read_events
from scripts.lock import functions
from scripts.paths import ROOT
from tests.support import NOW, routes, sample_event

SAMPLES = sorted((ROOT / "events").glob("*.json"))


def test_every_function_has_a_sample_event_and_every_sample_a_function() -> None:
    assert functions()
    assert [path.stem for path in SAMPLES] == functions()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_samples_name_no_account_and_one_region(path: Path) -> None:
    text = path.read_text()

    assert json.loads(text)
    assert set(re.findall(r"\b\d{12}\b", text)) <= {"000000000000"}
    assert set(re.findall(r"\b[a-z]{2}-[a-z]+-\d\b", text)) <= {"us-east-1"}


@pytest.mark.parametrize("name", ["auth", "ingest", "page", "stats", "retention"])
def test_requests_are_for_a_route_of_their_function(name: str) -> None:
    event = sample_event(name)

    assert (event["resource"], event["httpMethod"].lower()) in routes(name)
    assert event["path"] == event["resource"] == event["requestContext"]["resourcePath"]
    assert event["requestContext"]["path"] == f"/v1{event['path']}"
    assert event["requestContext"]["httpMethod"] == event["httpMethod"]
    assert event["requestContext"]["requestId"]
    for single, several in (
        ("headers", "multiValueHeaders"),
        ("queryStringParameters", "multiValueQueryStringParameters"),
    ):
        assert {key: [value] for key, value in (event[single] or {}).items()} == (event[several] or {})


def test_the_request_to_ingest_holds_events_as_the_gateway_hands_on_bytes() -> None:
    event = sample_event("ingest")
    raws = read_events(base64.b64decode(event["body"], validate=True))

    assert event["isBase64Encoded"] is True
    assert [parse_event(raw, NOW).event_id for raw in raws] == [
        "7b5ed1eb-83df-4255-a283-87fd4140b95e",
        "0d9c6f0e-5a55-4a53-9d0c-3c1c2f6f1f11",
        "order-1001",
    ]


def test_the_message_to_the_consumer_is_what_ingest_makes_of_its_request() -> None:
    (record,) = sample_event("consumer")["Records"]
    batch = decode(record["body"])
    request = sample_event("ingest")
    sent = [parse_event(raw, NOW) for raw in read_events(base64.b64decode(request["body"]))]

    assert batch.source == "http"
    assert sorted(batch.events) == sorted(sent)
    assert record["md5OfBody"] == hashlib.md5(record["body"].encode(), usedforsecurity=False).hexdigest()
    assert record["messageAttributes"]["correlation_id"]["stringValue"] == request["requestContext"]["requestId"]
    assert record["eventSource"] == "aws:sqs"


def test_the_notification_is_of_an_upload() -> None:
    (record,) = sample_event("import_csv")["Records"]

    assert record["eventName"] == "ObjectCreated:Put"
    assert record["s3"]["bucket"]["name"] == "rollcall-uploads-000000000000-us-east-1"
    assert record["s3"]["object"]["key"].startswith("uploads/")
