"""The command line against a whole stack, as an operator uses it."""

import csv
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest

from rollcall.core.batch import Batch, encode, make_batch
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from scripts.local import sample
from scripts.local.ministack import api_url
from scripts.paths import ROOT
from tests.e2e.conftest import DeployedStack, Done, rollcall_here, rollcall_process, wait_until
from tests.support import RECEIVED_AT

pytestmark = pytest.mark.xdist_group("stack")

Rollcall = Callable[..., Done]

HEADER = "event_id,occurred_at,user_id,event_type,properties_json\n"


@pytest.fixture
def environment(stack: DeployedStack, cache: Path) -> dict[str, str]:
    """Of an operator who has a key."""
    return {**stack.environment, "ROLLCALL_KEY": stack.key, "XDG_CACHE_HOME": str(cache)}


@pytest.fixture
def rollcall(environment: dict[str, str]) -> Rollcall:
    return lambda *arguments: rollcall_here((*arguments, "--stack", "rollcall"), environment)


def figures(done: Done) -> dict[str, int]:
    """The final table of an import."""
    assert done.returncode == 0, done.stderr
    pairs = (line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if not line[:1].isdecimal())
    return {name.strip(): int(value.replace(",", "")) for name, value in pairs if value.replace(",", "").isdecimal()}


def dau(stack: DeployedStack, first: str, last: str) -> list[int]:
    return [day["dau"] for day in stack.get("/stats/dau", **{"from": first, "to": last})["data"]]


@pytest.fixture
def generated(tmp_path: Path, environment: dict[str, str]) -> Path:
    """1,200 made-up events of March 2010, about users that no other test has."""
    out = tmp_path / "march.csv"
    options = ("--rows", 1_200, "--users", 60, "--days", 31, "--last-day", "2010-03-31")
    assert rollcall_here(("generate", out, *options), environment).returncode == 0
    return out


def test_a_file_imported_again_changes_no_number(stack: DeployedStack, rollcall: Rollcall, generated: Path) -> None:
    march = {"from": "2010-03-01", "to": "2010-03-31"}
    first = figures(rollcall("import", generated))
    assert first == {"rows": 1_200, "accepted": 1_200, "inserted": 1_200, "duplicate": 0, "conflict": 0, "rejected": 0}
    answers = [stack.get(f"/stats/{each}", **march)["data"] for each in ("dau", "top-events")]
    assert sum(row["count"] for row in answers[1]) == 1_200
    # In the same requests, and in others.
    for batch_size in (500, 77):
        again = figures(rollcall("import", generated, "--batch-size", batch_size))
        assert again == {**first, "inserted": 0, "duplicate": 1_200}
    assert [stack.get(f"/stats/{each}", **march)["data"] for each in ("dau", "top-events")] == answers


def test_the_archive_answers_segments_and_sql_before_and_after_it_is_compacted(
    stack: DeployedStack, rollcall: Rollcall, tmp_path: Path
) -> None:
    made = sample.generate(900, 40, 10, date(2011, 7, 10), 5)
    for start in range(0, len(made), 300):
        stack.count(made[start : start + 300])
    july = {"from": "2011-07-01", "to": "2011-07-10"}
    users: dict[str, set[str]] = {}
    for event in made:
        if event["properties"]["country"] == "UA":
            users.setdefault(event["occurred_at"][:10], set()).add(event["user_id"])
    days = [(f"2011-07-{day:02}", len(users.get(f"2011-07-{day:02}", ()))) for day in range(1, 11)]
    assert sum(count for _, count in days) > 20
    options = ("--from", july["from"], "--to", july["to"], "--segment", "properties.country:UA")
    sql = (
        "SELECT CAST(day AS VARCHAR) AS day, count(DISTINCT user_id) AS users FROM events "
        "WHERE properties ->> 'country' = 'UA' AND day BETWEEN '2011-07-01' AND '2011-07-10' GROUP BY ALL ORDER BY ALL"
    )

    for compacted in (False, True):
        if compacted:
            # What another test left is not to come between.
            stack.drain()
            done = json.loads(rollcall("compact", "--json").stdout)
            assert done["complete"]
            assert done["rows"] >= 900
        answer = stack.get("/stats/dau", **july, segment="properties.country:UA")
        assert [(day["date"], day["dau"]) for day in answer["data"]] == days
        assert answer["as_of"]
        assert json.loads(rollcall("stats", "dau", *options, "--json").stdout)["data"] == answer["data"]
        found = json.loads(rollcall("query", sql, "--json").stdout)
        assert [(row["day"], row["users"]) for row in found] == [day for day in days if day[1]]
    assert rollcall("compact").stdout.startswith("0 batches compacted")

    as_csv = rollcall("query", sql, "--csv").stdout.splitlines()
    assert as_csv[:2] == ["day,users", ",".join(map(str, next(day for day in days if day[1])))]
    out = tmp_path / "july.parquet"
    assert rollcall("query", sql, "--parquet", out).returncode == 0
    assert duckdb.connect().execute("SELECT sum(users) FROM read_parquet(?)", [str(out)]).fetchall() == [
        (sum(count for _, count in days),)
    ]
    assert "user_days" in rollcall("query", "SELECT 1 AS user_days").stdout
    broken = rollcall("query", "SELECT nothing FROM events")
    assert broken.returncode == 1
    assert broken.stderr.startswith("rollcall: Binder Error")
    assert broken.stderr.count("\n") == 1
    assert rollcall("query", sql, "--csv", "--json").returncode == 2


@pytest.mark.parametrize("command", ["dau", "top-events", "retention"])
def test_the_answers_are_those_of_the_api(stack: DeployedStack, rollcall: Rollcall, command: str) -> None:
    event = {"event_id": f"answers-{command}", "user_id": "answers", "event_type": "open"}
    stack.count([{**event, "occurred_at": "2010-05-02T00:00:00Z"}])
    days = {"from": "2010-05-01", "to": "2010-05-03"}
    if command == "retention":
        asked: dict[str, Any] = {"start_date": "2010-05-02", "windows": 2, "period": "week", "cohort": "new"}
    else:
        asked = days | ({"limit": 3} if command == "top-events" else {})
    options = [part for name, value in asked.items() for part in (f"--{name.replace('_', '-')}", value)]
    answer = stack.get(f"/stats/{command}", **asked)
    told = json.loads(rollcall("stats", command, *options, "--json").stdout)
    assert told.pop("as_of") >= answer.pop("as_of")
    assert told == answer
    rows = answer["retention" if command == "retention" else "data"]
    as_csv = rollcall("stats", command, *options, "--csv").stdout.splitlines()
    assert as_csv[0] == ",".join(rows[0])
    assert as_csv[1:] == [",".join(map(str, row.values())) for row in rows]
    assert rollcall("stats", command, *options).stdout.count("\n") == len(rows) + 2


def test_bad_rows_are_named_by_their_lines_and_the_good_ones_counted(
    stack: DeployedStack, rollcall: Rollcall, tmp_path: Path
) -> None:
    file, rejects = tmp_path / "some bad.csv", tmp_path / "rejects.csv"
    file.write_text(
        HEADER + "bad-1,2010-06-01T00:00:00Z,bad-u,open,\n"
        "bad-2,yesterday,bad-u,open,\n"
        '"bad-3",2010-06-01T00:00:00Z,"bad\nv",open,\n'
        "bad-4,2010-06-01T00:00:00Z,null,open,\n"
    )
    done = rollcall("import", file, "--rejects", rejects)
    assert figures(done)["inserted"] == 2
    listed = [line.split()[:2] for line in done.stdout.splitlines() if line[:1].isdecimal()]
    assert listed == [["3", "invalid_occurred_at"], ["6", "invalid_user_id"]]
    assert rejects.read_text().splitlines()[1:] == [
        '3,invalid_occurred_at,"occurred_at has to be RFC 3339 with an offset, such as 2025-08-01T09:30:00+03:00",'
        '"bad-2,yesterday,bad-u,open,"',
        '6,invalid_user_id,"user_id is a placeholder, not a user","bad-4,2010-06-01T00:00:00Z,null,open,"',
    ]
    assert dau(stack, "2010-06-01", "2010-06-01") == [2]


def test_an_uploaded_file_is_told_and_counted_as_one_that_is_sent(
    stack: DeployedStack, rollcall: Rollcall, tmp_path: Path
) -> None:
    file, rejects = tmp_path / "up loaded.csv", tmp_path / "rejects.csv"
    rows = ("up-1,2010-11-01T00:00:00Z,up,open,", "up-2,yesterday,up,open,", "up-1,2010-11-01T00:00:00Z,up,open,")
    file.write_text(HEADER + "\n".join(rows))
    done = rollcall("import", file, "--via", "s3", "--rejects", rejects)
    told = {"rows": 3, "accepted": 2, "inserted": 1, "duplicate": 1, "conflict": 0, "rejected": 1}
    assert figures(done) == told
    assert [line.split()[:2] for line in done.stdout.splitlines() if line[:1].isdecimal()] == [
        ["3", "invalid_occurred_at"]
    ]
    assert '"up-2,yesterday,up,open,"' in rejects.read_text()
    assert dau(stack, "2010-11-01", "2010-11-01") == [1]


@pytest.mark.parametrize("way", ["http", "s3"])
def test_a_file_whose_ids_are_taken_fails_and_its_rows_are_listed(
    stack: DeployedStack, rollcall: Rollcall, tmp_path: Path, way: str
) -> None:
    file, rejects = tmp_path / "taken.csv", tmp_path / "rejects.csv"
    event = {"event_id": f"taken-{way}", "occurred_at": "2010-12-02T00:00:00Z", "user_id": "taken"}
    stack.count([{**event, "event_type": "open"}])
    row = f"taken-{way},2010-12-01T00:00:00Z,taken,open,"
    file.write_text(f"{HEADER}{row}\n")
    for options in (("--dry-run",), ("--via", way)):
        done = rollcall("import", file, *options, "--rejects", rejects)
        assert (done.returncode, "1 row is in conflict" in done.stderr) == (1, True)
        (listed,) = csv.DictReader(rejects.read_text().splitlines())
        assert (listed["line"], listed["code"], listed["row"]) == ("2", "conflict", row)
    assert dau(stack, "2010-12-01", "2010-12-01") == [0]


def test_a_dry_run_sends_nothing(stack: DeployedStack, rollcall: Rollcall, tmp_path: Path) -> None:
    file = tmp_path / "dry.csv"
    file.write_text(HEADER + "dry,2010-07-01T00:00:00Z,dry,open,\n")
    done = rollcall("import", file, "--dry-run")
    assert (figures(done)["good"], done.stderr) == (1, "Nothing was sent.\n")
    stack.drain()
    assert dau(stack, "2010-07-01", "2010-07-01") == [0]


def test_a_wrong_key_is_refused_in_a_line(environment: dict[str, str]) -> None:
    done = rollcall_process(("stats", "dau", "--stack", "rollcall"), environment | {"ROLLCALL_KEY": "wrong"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rollcall: the API asks for a good key")
    assert done.stderr.count("\n") == 1


def test_it_ends_quietly_when_its_reader_has_gone(environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m scripts.cli"
    for line in (
        f"{command} generate - --rows 200000 | head -1",
        f"{command} stats dau --csv --stack rollcall | head -1",
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""


def test_the_status_is_told(stack: DeployedStack, rollcall: Rollcall) -> None:
    event = {"event_id": "status", "occurred_at": "2010-08-01T00:00:00Z", "user_id": "status", "event_type": "open"}
    stack.count([event])
    done = rollcall("status", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["health"]) == (0, "ok")
    assert told["api"] == api_url(stack.endpoint, stack.outputs)
    assert told["events"]["http"] >= 1
    assert told["dead_letters"] == stack.messages("DeadLetterQueueUrl")
    assert told["failed_imports"] == stack.messages("FailedImportsQueueUrl")
    assert "health" in rollcall("status").stdout


def test_the_link_to_the_page_signs_in_once_as_the_key(stack: DeployedStack, rollcall: Rollcall) -> None:
    link = rollcall("page").stdout.strip()
    page, _, code = link.partition("#code=")
    headers = {"X-Rollcall-Page": "1"}

    first, second = (httpx2.post(f"{page}auth/session", headers=headers, json={"code": code}) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 401)
    assert "/auth/session; HttpOnly; SameSite=Strict" in first.headers["set-cookie"]
    cookie = first.headers["set-cookie"].partition(";")[0]
    refreshed = httpx2.post(f"{page}auth/session/refresh", headers={**headers, "Cookie": cookie})
    token = {"Authorization": f"Bearer {refreshed.json()['access_token']}"}
    assert httpx2.get(f"{page}keys", headers=token).status_code == 200


def batch(name: str, events: int = 2) -> Batch:
    return make_batch(
        DEFAULT,
        [
            Event(f"{name}-{number}", "2010-09-01T00:00:00Z", f"{name}-{number}", "open", '{"card":"4242"}')
            for number in range(events)
        ],
        "dlq",
        RECEIVED_AT,
    )


@pytest.fixture
def dead_letter(stack: DeployedStack) -> Iterator[Callable[..., str]]:
    """Puts a message into the dead-letter queue, or another one, and takes what is left of them away at the end."""
    sqs = stack.client("sqs")
    sent: dict[str, str] = {}

    def send(body: str, reason: str | None = None, queue: str = "DeadLetterQueueUrl") -> str:
        attributes = {"reason": {"DataType": "String", "StringValue": reason}} if reason else {}
        answer = sqs.send_message(QueueUrl=stack.outputs[queue], MessageBody=body, MessageAttributes=attributes)
        sent[answer["MessageId"]] = stack.outputs[queue]
        return str(answer["MessageId"])

    yield send
    for url in set(sent.values()):
        others = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=60).get(
            "Messages"
        ):
            for message in messages:
                if message["MessageId"] in sent:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                else:
                    others.append(message["ReceiptHandle"])
        for handle in others:
            sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)


def listed(rollcall: Rollcall) -> dict[str, dict[str, Any]]:
    done = rollcall("dlq", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {failure["message_id"]: failure for failure in json.loads(done.stdout)}


def test_dead_letters_are_listed_with_their_reasons_and_stay(
    stack: DeployedStack, rollcall: Rollcall, dead_letter: Callable[..., str]
) -> None:
    good = batch("listed")
    broken_id = dead_letter("broken [red]")
    good_id = dead_letter(encode(good), "occurred_at is not a canonical time")
    record = {
        "requestContext": {"condition": "RetriesExhausted"},
        "requestPayload": {"Records": [{"s3": {"bucket": {"name": "b"}, "object": {"key": "uploads/a+b.csv"}}}]},
        "responsePayload": {"errorMessage": "the queue is gone"},
    }
    import_id = dead_letter(json.dumps(record), queue="FailedImportsQueueUrl")
    for _ in range(2):
        found = listed(rollcall)
        assert "not base64" in found[broken_id]["reason"]
        assert found[broken_id]["batch"] is None
        assert found[good_id]["reason"] == "occurred_at is not a canonical time"
        assert found[good_id]["batch"]["batch_id"] == good.batch_id
        assert (found[import_id]["files"], found[import_id]["reason"]) == (["b/uploads/a b.csv"], "the queue is gone")
    waiting = stack.client("sqs").get_queue_attributes(
        QueueUrl=stack.outputs["DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
    )
    assert int(waiting["Attributes"]["ApproximateNumberOfMessages"]) >= 2
    lines = [line for line in rollcall("dlq", "list").stdout.splitlines() if line.startswith((broken_id, good_id))]
    assert len(lines) == 2


def test_a_dead_letter_is_shown_decoded_and_its_values_only_when_asked_for(
    rollcall: Rollcall, dead_letter: Callable[..., str]
) -> None:
    good = batch("shown")
    good_id, broken_id = dead_letter(encode(good), "so"), dead_letter("broken [red]")
    shown = rollcall("dlq", "show", good_id).stdout
    for text in (good.batch_id, "dlq", RECEIVED_AT, "shown-0", "shown-1", "open"):
        assert text in shown
    assert "4242" not in shown
    whole = rollcall("dlq", "show", good_id, "--events").stdout.splitlines()[-2:]
    assert [json.loads(line)["properties"] for line in whole] == 2 * [{"card": "4242"}]
    broken = rollcall("dlq", "show", broken_id).stdout
    assert "not base64" in broken
    assert "broken [red]" in broken
    missing = rollcall("dlq", "show", str(uuid.uuid4()))
    assert (missing.returncode, missing.stdout) == (1, "")


def test_a_batch_is_counted_once_however_often_it_is_redriven(
    stack: DeployedStack, rollcall: Rollcall, dead_letter: Callable[..., str]
) -> None:
    body = encode(batch("redriven", events=3))
    broken_id = dead_letter("broken")
    for _ in range(2):
        good_id = dead_letter(body, "so")
        done = rollcall("dlq", "redrive", good_id)
        assert (done.returncode, done.stdout) == (0, "1 sent back, 0 left\n")
        stack.drain()
        assert dau(stack, "2010-09-01", "2010-09-01") == [3]
        assert good_id not in listed(rollcall)
    both = [dead_letter(body), dead_letter(body)]
    done = rollcall("dlq", "redrive", "--all")
    assert done.returncode == 0
    assert all(f"{good_id} is sent back" in done.stderr for good_id in both)
    assert f"{broken_id} stays" in done.stderr
    stack.drain()
    assert dau(stack, "2010-09-01", "2010-09-01") == [3]
    (count,) = stack.get("/stats/top-events", **{"from": "2010-09-01", "to": "2010-09-01"})["data"]
    assert count == {"event_type": "open", "count": 3}
    assert broken_id in listed(rollcall)


# As S3 tells of a file, and as Lambda kept that in versions in which S3 invoked the function.
@pytest.mark.parametrize("form", ["notification", "invocation"])
def test_a_failed_import_is_redriven(
    stack: DeployedStack, rollcall: Rollcall, dead_letter: Callable[..., str], form: str
) -> None:
    bucket = stack.outputs["UploadBucketName"]
    day = {"notification": "2010-12-02", "invocation": "2010-12-01"}[form]
    # Not under uploads/, so that nothing but the redrive imports it.
    key = f"failed/{form}.csv"
    content = f"{HEADER}{form},{day}T00:00:00Z,again,open,\n"
    stack.client("s3").put_object(Bucket=bucket, Key=key, Body=content.encode())
    told = {"Records": [{"s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}
    record = told if form == "notification" else {"requestPayload": told}
    message_id = dead_letter(json.dumps(record), queue="FailedImportsQueueUrl")
    assert listed(rollcall)[message_id]["files"] == [f"{bucket}/{key}"]
    done = rollcall("dlq", "redrive", message_id)
    assert (done.returncode, done.stdout) == (0, "1 sent back, 0 left\n")
    wait_until(lambda: dau(stack, day, day) == [1])
    assert message_id not in listed(rollcall)
