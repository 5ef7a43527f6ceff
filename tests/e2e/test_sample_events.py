"""events/*.json invoke the functions, by `sam local invoke -e` where they run in containers."""

import json
from typing import Any

import pytest

from scripts.paths import ROOT
from tests.e2e.conftest import DeployedStack, wait_until
from tests.support import sample_event

pytestmark = pytest.mark.xdist_group("stack")


def invoke(stack: DeployedStack, function: str, event: str, etag: str = "") -> Any:
    payload = json.dumps(sample_event(event, stack.key)).replace("ETAG-OF-THE-UPLOAD", etag)
    return json.loads(stack.invoke(function, payload))


def test_the_request_with_events_is_accepted(stack: DeployedStack) -> None:
    answer = invoke(stack, "IngestFunction", "ingest")
    assert answer["statusCode"] == 202
    assert json.loads(answer["body"])["rejected"] == []


def test_the_request_with_a_login_is_answered_with_tokens(stack: DeployedStack) -> None:
    person = json.loads(sample_event("auth")["body"])
    # Another test may have registered it.
    assert stack.http.post("/auth/register", json={**person, "scopes": ["read"]}).status_code in (201, 409)
    answer = invoke(stack, "AuthFunction", "auth")
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["token_type"] == "Bearer"


def test_the_request_for_the_page_is_answered_with_it(stack: DeployedStack) -> None:
    answer = invoke(stack, "PageFunction", "page")
    assert answer["statusCode"] == 200
    assert answer["body"].startswith("<!doctype html>")


def test_the_message_with_a_batch_is_stored(stack: DeployedStack) -> None:
    assert invoke(stack, "ConsumerFunction", "consumer") == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("function", "event", "answers"),
    [("StatsFunction", "stats", "data"), ("RetentionFunction", "retention", "retention")],
)
def test_the_questions_are_answered(stack: DeployedStack, function: str, event: str, answers: str) -> None:
    answer = invoke(stack, function, event)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])[answers]


def test_the_notification_of_an_upload_imports_it(stack: DeployedStack) -> None:
    notified = json.loads((ROOT / "events/import_csv.json").read_text())["Records"][0]["s3"]
    bucket, key = notified["bucket"]["name"], notified["object"]["key"].replace("+", " ")
    assert bucket == stack.outputs["UploadBucketName"]
    content = b"event_id,occurred_at,user_id,event_type\nsample-event,2014-01-01T00:00:00Z,u,open\n"
    stack.client("s3").put_object(Bucket=bucket, Key=key, Body=content)
    assert invoke(stack, "PlanFunction", "import_csv") is None
    wait_until(lambda: stack.get("/stats/dau", **{"from": "2014-01-01", "to": "2014-01-01"})["data"][0]["dau"] == 1)


def test_the_message_with_a_part_of_an_upload_takes_it_in(stack: DeployedStack) -> None:
    task = json.loads(sample_event("import_part")["Records"][0]["body"])
    header = ",".join(task["header"]).encode() + b"\n"
    content = header + b"sample-part,2008-01-01T00:00:00Z,u,open-file"
    assert (task["start"], task["end"]) == (len(header), len(content))
    put = stack.client("s3").put_object(Bucket=task["bucket"], Key=task["key"], Body=content)
    assert invoke(stack, "ImportFunction", "import_part", put["ETag"].strip('"')) is None
    wait_until(lambda: stack.get("/stats/dau", **{"from": "2008-01-01", "to": "2008-01-01"})["data"][0]["dau"] == 1)


def test_the_schedule_compacts_the_archive_and_the_question_is_answered_from_it(stack: DeployedStack) -> None:
    assert invoke(stack, "CompactFunction", "compact") is None
    answered = invoke(stack, "SegmentsFunction", "segments")
    assert answered["as_of"]
    assert [day for day, _ in answered["answer"]] == [f"2025-08-{day:02}" for day in range(1, 32)]
