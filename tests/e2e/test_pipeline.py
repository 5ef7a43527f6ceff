"""Events in at every door, answers out, on a whole stack."""

import csv
import gzip
import io
import json
import os
import random
import re
import signal
import uuid
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollcall.core.batch import cut, encode, make_batch
from rollcall.core.days import Calendar, days_between
from rollcall.core.events import Event, parse_event
from rollcall.core.projects import DEFAULT
from rollcall.stack.keys import Tables, import_id_of
from rollcall.stack.queues import BatchQueue
from scripts.local.sample import generate
from tests.e2e.conftest import DeployedStack, wait_until
from tests.support import NOW, RECEIVED_AT, assert_counters_equal_recount

pytestmark = pytest.mark.xdist_group("stack")

Raw = dict[str, Any]


def month(year: int, seed: int, prefix: str) -> list[Raw]:
    """Made-up events of one January, with users and ids that no other test has."""
    events = generate(rows=1_500, users=120, days=31, last_day=date(year, 1, 31), seed=seed)
    for event in events:
        event["user_id"] = f"{prefix}-{event['user_id']}"
    random.Random(seed).shuffle(events)
    return events


def expected(events: list[Raw], year: int) -> Raw:
    """The answers about a month, counted the plain way."""
    days = days_between(f"{year}-01-01", f"{year}-01-31")
    users: dict[str, set[str]] = {day: set() for day in days}
    for event in events:
        users[event["occurred_at"][:10]].add(event["user_id"])
    types = Counter(event["event_type"] for event in events)
    cohort = users[days[0]]
    return {
        "dau": [len(users[day]) for day in days],
        "top": sorted(types.items(), key=lambda entry: (-entry[1], entry[0])),
        "cohort_size": len(cohort),
        "retained": [len(cohort & users[day]) for day in days[1:8]],
    }


def answers(stack: DeployedStack, year: int) -> Raw:
    span = {"from": f"{year}-01-01", "to": f"{year}-01-31"}
    top = stack.get("/stats/top-events", **span, limit=1000)
    retention = stack.get("/stats/retention", start_date=f"{year}-01-01", windows=7)
    return {
        "dau": [day["dau"] for day in stack.get("/stats/dau", **span)["data"]],
        "top": [(row["event_type"], row["count"]) for row in top["data"]],
        "cohort_size": retention["cohort_size"],
        "retained": [window["retained_users"] for window in retention["retention"]],
    }


def post(stack: DeployedStack, events: list[Raw]) -> None:
    for start in range(0, len(events), 500):
        answer = stack.http.post("/events", json=events[start : start + 500])
        assert answer.status_code == 202, answer.text
        assert answer.json()["rejected"] == []


def as_csv(events: list[Raw]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["event_id", "occurred_at", "user_id", "event_type", "properties_json"])
    for event in events:
        writer.writerow([*list(event.values())[:4], json.dumps(event["properties"])])
    return text.getvalue().encode()


def upload(stack: DeployedStack, name: str, content: bytes) -> None:
    bucket = stack.outputs["UploadBucketName"]
    stack.client("s3").put_object(Bucket=bucket, Key=f"uploads/{name}", Body=content)


def test_posted_events_are_answered_exactly_and_sent_again_change_nothing(stack: DeployedStack) -> None:
    events = month(2019, seed=19, prefix="http")
    post(stack, events)
    stack.drain()
    assert answers(stack, 2019) == expected(events, 2019)
    random.Random(5).shuffle(events)
    post(stack, events)
    stack.drain()
    assert answers(stack, 2019) == expected(events, 2019)


def test_an_uploaded_file_is_answered_exactly_and_uploaded_again_changes_nothing(stack: DeployedStack) -> None:
    events = month(2020, seed=20, prefix="csv")
    upload(stack, "2020.csv", as_csv(events))
    wait_until(lambda: answers(stack, 2020) == expected(events, 2020))
    upload(stack, "2020 again.csv", as_csv(events[::-1]))
    post(stack, events[:300])
    # A last row of its own tells when the second upload is through.
    upload(stack, "2020.csv", as_csv([*events, {**events[0], "event_id": "last", "event_type": "the last row"}]))
    wait_until(lambda: ("the last row", 1) in answers(stack, 2020)["top"])
    stack.drain()
    assert [row for row in answers(stack, 2020)["top"] if row[0] != "the last row"] == expected(events, 2020)["top"]
    assert answers(stack, 2020)["dau"] == expected(events, 2020)["dau"]


def test_rejected_rows_of_an_upload_are_kept_with_line_and_reason(stack: DeployedStack) -> None:
    header = b"event_id,occurred_at,user_id,event_type\n"
    content = header + b"ok,2018-01-01T00:00:00Z,row-1,open\nbad,2018-01-01,row-2,open\n"
    upload(stack, "some bad.csv", content)
    s3, bucket = stack.client("s3"), stack.outputs["UploadBucketName"]
    kept = "rejects/uploads/some bad.csv.csv"
    wait_until(lambda: s3.list_objects_v2(Bucket=bucket, Prefix=kept).get("KeyCount"))
    body = s3.get_object(Bucket=bucket, Key=kept)["Body"].read().decode()
    (row,) = csv.DictReader(io.StringIO(body, newline=""))
    assert (row["line"], row["code"], row["row"]) == ("3", "invalid_occurred_at", "bad,2018-01-01,row-2,open")
    wait_until(lambda: stack.get("/stats/dau", **{"from": "2018-01-01", "to": "2018-01-01"})["data"][0]["dau"] == 1)
    # Who asks the API needs no credentials of AWS. A link of a page is followed without an Origin.
    status = f"/imports/{import_id_of('uploads/some bad.csv')}"
    wait_until(lambda: stack.get(status)["done"])
    url = stack.get(f"{status}/rejects")["url"]
    clicked = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"}
    answer = httpx2.get(url, headers=clicked, timeout=60, trust_env=False)
    assert (answer.status_code, answer.text) == (200, body)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="some-bad-rejects.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


def test_a_poison_message_goes_to_the_dead_letters_alone_and_its_neighbours_are_stored(stack: DeployedStack) -> None:
    sqs, queue = stack.client("sqs"), stack.outputs["BatchQueueUrl"]
    good = [
        encode(
            make_batch(DEFAULT, [Event(f"p{n}", "2017-01-01T00:00:00Z", f"p{n}", "open", "{}")], "test", RECEIVED_AT)
        )
        for n in range(4)
    ]
    bodies = [*good[:2], "poison", *good[2:]]
    before = stack.messages("DeadLetterQueueUrl")
    sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    )
    wait_until(lambda: stack.messages("DeadLetterQueueUrl") == before + 1)
    stack.drain()
    assert stack.get("/stats/dau", **{"from": "2017-01-01", "to": "2017-01-01"})["data"][0]["dau"] == 4
    dead = sqs.receive_message(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageAttributeNames=["All"], VisibilityTimeout=0
    )["Messages"]
    assert [message["Body"] for message in dead] == ["poison"]
    assert "base64" in dead[0]["MessageAttributes"]["reason"]["StringValue"]


def stored(stack: DeployedStack) -> int:
    """The number of stored events."""
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(TableName=stack.outputs["EventsTableName"], Select="COUNT")
    )
    return sum(page["Count"] for page in pages)


def consumers() -> list[int]:
    """The processes that run the consumer function."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            ours = int((Path("/proc") / parent / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
        except OSError:
            continue
        if b"AWS_LAMBDA_FUNCTION_NAME=rollcall-consumer" in environment and ours:
            found.append(int(process.name))
    return found


@pytest.mark.targets("direct", "sam", "sam-local", reason="kills processes of the MiniStack that the tests started")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the consumer's processes in /proc")
def test_not_one_number_is_off_after_killing_the_consumer_mid_run(stack: DeployedStack) -> None:
    sqs, queue = stack.client("sqs"), stack.outputs["BatchQueueUrl"]
    visibility = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "2"})
    try:
        events = month(2021, seed=21, prefix="kill")
        before, killed_at_work = stored(stack), 0
        # So many batches at once that the consumer is at it for a while.
        accepted = [parse_event(event, NOW) for event in events]
        bodies = [
            body
            for start in range(0, len(accepted), 50)
            for _, body in cut(DEFAULT, accepted[start : start + 50], "http", RECEIVED_AT)
        ]
        assert BatchQueue(sqs, queue).send(bodies, "kill") == {}
        for share in (0.05, 0.4, 0.7):
            wait_until(lambda share=share: stored(stack) >= before + share * len(events))  # type: ignore[misc]
            busy = stack.messages() > 0
            for process in consumers():
                os.kill(process, signal.SIGKILL)
                killed_at_work += busy
        assert killed_at_work, "the consumer was through before it could be killed"
        stack.drain()
    finally:
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=visibility)
    assert answers(stack, 2021) == expected(events, 2021)
    tables = Tables(stack.outputs["EventsTableName"], stack.outputs["StatsTableName"], 4, 4)
    assert_counters_equal_recount(stack.client("dynamodb"), tables, Calendar("UTC"))


def test_a_request_that_waits_is_answered_when_its_events_are_counted(stack: DeployedStack) -> None:
    event = {"event_id": str(uuid.uuid4()), "occurred_at": "2013-01-01T00:00:00Z", "user_id": "w", "event_type": "open"}
    answer = stack.http.post("/events?wait=10", json=[event])
    assert (answer.status_code, answer.json()["inserted"]) == (200, [event["event_id"]])
    assert stack.get("/stats/dau", **{"from": "2013-01-01", "to": "2013-01-01"})["data"][0]["dau"] == 1
    (batch_id,) = answer.json()["batch_ids"]
    receipt = stack.get(f"/batches/{batch_id}")
    assert (receipt["status"], receipt["received"], receipt["inserted"]) == ("done", 1, 1)
    assert stack.http.get("/batches/none").status_code == 404


def test_the_api_describes_and_reports_itself(stack: DeployedStack) -> None:
    assert stack.get("/health") == {"status": "ok"}
    assert set(stack.get("/healthz")["dependencies"].values()) == {"ok"}
    assert "/stats/retention" in stack.get("/openapi.json")["paths"]
    page = stack.http.get("/docs")
    assert page.status_code == 200
    (script,) = re.findall(r'src="(docs/swagger-ui-bundle[^"]+)"', page.text)
    assert stack.http.get(f"/{script}").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/health", "/stats/dau", "/docs", "/keys"])
def test_head_is_answered_as_get_without_the_body(stack: DeployedStack, path: str) -> None:
    got, asked = stack.http.get(path), stack.http.head(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers["content-type"] == got.headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/events"), ("GET", "/auth/login"), ("DELETE", "/stats/dau"), ("GET", "/nowhere/else")]
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody-repeats-this"}], ids=["nobody", "bearer"])
def test_a_wrong_method_or_route_is_a_problem_that_repeats_nothing(
    stack: DeployedStack, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = stack.http.request(method, path, headers=headers)
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] in ("not_found", "method_not_allowed")
    assert "nobody-repeats-this" not in answer.text


@pytest.mark.parametrize("path", ["/health", "/docs", "/batches/none", "/stats/dau", "/docs/swagger-ui.css"])
def test_every_answer_tells_browsers_to_be_careful(stack: DeployedStack, path: str) -> None:
    headers = stack.http.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Strict-Transport-Security"] == "max-age=31536000"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert ("script-src 'self'" in headers["Content-Security-Policy"]) == (path == "/docs")


@pytest.mark.targets("direct", "sam", "sam-local", reason="LocalStack encodes a body of this type anew")
def test_a_gzip_body_under_a_misleading_content_type_arrives_whole(stack: DeployedStack) -> None:
    event = {"event_id": str(uuid.uuid4()), "occurred_at": "2016-01-01T00:00:00Z", "user_id": "z", "event_type": "é#\0"}
    answer = stack.http.post(
        "/events",
        content=gzip.compress(json.dumps([event]).encode()),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    stack.drain()
    top = stack.get("/stats/top-events", **{"from": "2016-01-01", "to": "2016-01-01"})
    assert top["data"] == [{"event_type": "é#\0", "count": 1}]
