"""Tries a deployed stack: sends a few events through both doors, and reads the answers about them.

Events are stored and counted for ever. So the events are of a day in 1970, whose numbers nobody needs, or where the
stack takes no events of 1970 in, of one of the first days that it does. They have new users and ids in each run. The
run compares each answer with the same answer before it, so it can use a day again.
"""

import csv
import io
import random
import secrets
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rollcall.core.days import days_from
from rollcall.files.rows import Row
from scripts.api import Api
from scripts.operate.send_file import HttpImport, Report, UploadImport, report_of
from scripts.operate.stacks import Stack
from scripts.waiting import poll

EVENT_TYPE = "smoke test"
# The concurrency that a new account may have for all its functions together; AWS raises it as the account is used, or
# on request (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
NEW_ACCOUNT_CONCURRENCY = 10
# What AWS does not let functions reserve of an account's quota (AWS Lambda Developer Guide, reserved concurrency).
UNRESERVED = 100
AUTH_RESERVED = 10
RESERVED = ("ConsumerReserved", "AuthReserved", "IngestReserved", "StatsReserved", "RetentionReserved")
EARLIEST, DAYS = "1970-01-01", 365
COLUMNS = ("event_id", "occurred_at", "user_id", "event_type")
ANSWER_SECONDS = 30


class Wrong(Exception):
    """A step failed; the text names the step, the expected result and the actual one."""


class Answers(NamedTuple):
    """The stack's answers about a day."""

    daily_actives: int
    events: int
    cohort: int
    came_back: int
    """The number of the cohort's users who were active on the next day."""


Raw = dict[str, str]


def run(stack: Stack, api: Api, tell: Callable[[str], None], patience: float = ANSWER_SECONDS) -> None:
    """Send events and read the answers; calls `tell` after each step. Removes the uploaded file at the end.

    The stats may lag behind the receipts by up to `patience` seconds. Raises `Wrong`, `scripts.api.ApiError` and
    `TimeoutError`.
    """
    health = api.request("GET", "/healthz", transient=())
    if not health.is_success:
        raise Wrong(f"health: {health.status_code}, {health.text}; a key with the scope admin is told what is down")
    tell("health: every table, queue and bucket answers")
    tell(f"concurrency: {check_concurrency(stack)}")

    day = _day(stack)
    span = {"from": day.isoformat(), "to": day.isoformat()}
    zone = ZoneInfo(api.get("/stats/dau", span)["timezone"])
    ann, bob, cid, dan, eve = _events(day, zone, 5)
    back = {**_events(day + timedelta(days=1), zone, 1)[0], "user_id": ann["user_id"]}
    before = _answers(api, day)

    _expect("events", _send(api, [ann, bob, cid, back]), inserted=4)
    tell("events: 4 were accepted, and their receipts say that they are counted")
    _expect("an event sent again", _send(api, [ann, dan]), inserted=1, duplicates=1)
    tell("an event sent again: not counted a second time")
    _expect("upload", _upload(stack, api, [bob, eve]), inserted=1, duplicates=1)
    tell("upload: a CSV file was imported, and the event in it that had been sent was not counted again")

    expected = Answers(*(then + more for then, more in zip(before, (5, 5, 5, 1), strict=True)))

    def answered() -> Answers | None:
        found = _answers(api, day)
        return found if found == expected else None

    try:
        poll(answered, patience, "")
    except TimeoutError:
        raise Wrong(f"stats of {day}: expected {expected}, found {_answers(api, day)}") from None
    tell(f"stats: daily actives, top events and retention of {day} have what was sent, once")


def _day(stack: Stack) -> date:
    """One of the first `DAYS` days that the stack takes in; raises `Wrong` where there are not two such days yet.

    It and the day after are consecutive dates that the stack's timezone had.
    """
    first = date.fromisoformat(max(EARLIEST, stack.parameters.get("FirstDay", EARLIEST)))
    # Noon of the day after is over in every timezone.
    count = min(DAYS, (datetime.now(UTC).date() - first).days - 2)
    if count < 1:
        raise Wrong(f"events: FirstDay is {first}, and the test needs two days that are over")
    days = [first + timedelta(days=offset) for offset in range(count)]
    had = [day for day in days if all(map(stack.calendar.is_day, days_from(day.isoformat(), 2)))]
    if not had:
        raise Wrong(f"events: {stack.calendar.name} had no two days in a row since FirstDay, which is {first}")
    return random.choice(had)  # noqa: S311 - no secret


def check_concurrency(stack: Stack) -> str:
    """How much of the account's concurrency the consumers and the imports may take; raises `Wrong` above a half."""
    quota = stack.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    names = ("ConsumerConcurrency", "ImportConcurrency")
    taken = sum(int(stack.parameters[name]) for name in names)
    if taken > quota / 2:
        raise Wrong(
            f"concurrency: {' and '.join(names)} are {taken} together, and the account lets {quota} functions run at "
            f"once. Lower them to {quota // 2} together, so that the API has room, or have the quota raised: Service "
            "Quotas, AWS Lambda, Concurrent executions"
        )
    told = f"consumers and imports take {taken} of the account's {quota} at most"
    reserved = {name: int(stack.parameters.get(name, "0")) for name in RESERVED}
    consumers = int(stack.parameters["ConsumerConcurrency"])
    if 0 < reserved["ConsumerReserved"] < consumers:
        raise Wrong(
            f"concurrency: ConsumerReserved is {reserved['ConsumerReserved']}, so that no more consumers run at once, "
            f"and ConsumerConcurrency is {consumers}. Raise the one or lower the other"
        )
    if any(reserved.values()):
        return f"{told}; kept: {', '.join(f'{name} {count}' for name, count in reserved.items() if count)}"
    if quota - UNRESERVED >= consumers + AUTH_RESERVED:
        return (
            f"{told}; nothing is reserved. ConsumerReserved={consumers} AuthReserved={AUTH_RESERVED} keep counting and "
            "logins going while callers use up the rest"
        )
    return f"{told}; nothing can be reserved, since AWS leaves {UNRESERVED} unreserved"


def _events(day: date, zone: ZoneInfo, count: int) -> list[Raw]:
    """New events of new users, at noon of a day in the reporting timezone."""
    noon = datetime.combine(day, time(12), zone).astimezone(UTC).isoformat()
    tags = [secrets.token_hex(8) for _ in range(count)]
    return [dict(zip(COLUMNS, (f"smoke-{tag}", noon, f"smoke-{tag}", EVENT_TYPE), strict=True)) for tag in tags]


def _send(api: Api, events: Sequence[Raw]) -> Report:
    rows = (Row(line, "", event) for line, event in enumerate(events, 1))
    return HttpImport(api, None, len(events)).run(rows, lambda _reject: None)


def _upload(stack: Stack, api: Api, events: Sequence[Raw]) -> Report:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(events)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "smoke-test.csv"
        file.write_text(text.getvalue())
        status = UploadImport(api).run(file, lambda _bytes: None, lambda _status: None)
    stack.client("s3").delete_object(Bucket=stack.output("UploadBucketName"), Key=status["key"])
    return report_of(status)


def _expect(step: str, report: Report, inserted: int, duplicates: int = 0) -> None:
    rows = inserted + duplicates
    expected = Report(rows=rows, accepted=rows, inserted=inserted, duplicates=duplicates)
    if report != expected:
        raise Wrong(f"{step}: expected {expected}, found {report}")


def _answers(api: Api, day: date) -> Answers:
    span = {"from": day.isoformat(), "to": day.isoformat()}
    types = api.get("/stats/top-events", {**span, "limit": 1_000})["data"]
    retention = api.get("/stats/retention", {"start_date": day.isoformat(), "windows": 1})
    return Answers(
        daily_actives=api.get("/stats/dau", span)["data"][0]["dau"],
        events=sum(row["count"] for row in types if row["event_type"] == EVENT_TYPE),
        cohort=retention["cohort_size"],
        came_back=retention["retention"][0]["retained_users"],
    )
