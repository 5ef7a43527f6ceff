"""Days are kept when they have ended, so that nobody has to wait for that."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar, add_days
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.questions import day_users
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.keeping import DAYS, DayKeeper
from rollcall.questions.retention import Retention
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import bundled_users_object, counts_key, day_users_object, new_users_object
from rollcall.stack.projects import Projects
from rollcall.stack.telemetry import make_logger
from scripts.local.ministack import MiniStack
from tests.support import RECEIVED_AT, KeptDeadLetters, create_tables, delete_tables

CALENDAR, SHOP = Calendar("UTC"), Project("shop")
NOW = time.time()
TODAY = CALENDAR.today(datetime.fromtimestamp(NOW, UTC))
YESTERDAY = add_days(TODAY, -1)
PLENTY = 900_000


class Stack:
    """Tables with two projects, and a bucket."""

    def __init__(self, dynamodb: Any, s3: Any) -> None:
        self.client, self.s3 = dynamodb, s3
        self.bucket = f"kept-{uuid.uuid4().hex}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.tables = create_tables(dynamodb)
        self.dynamo = Dynamo(dynamodb, lambda _: None)
        self.projects = Projects(self.dynamo, self.tables.stats, CALENDAR)
        self.projects.create(SHOP, "shop", "UTC")
        self.claims = Claims(
            self.dynamo,
            self.tables,
            lambda project: self.projects.lay_out(self.tables, project),
            KeptDeadLetters(),
        )

    def counters(self) -> Counters:
        kept = KeptDays(self.s3, self.bucket)
        return Counters(self.dynamo, self.tables, DEFAULT, CALENDAR, DayUsers(self.dynamo, self.tables, kept))

    def keep(self, milliseconds: int = PLENTY, later: float = 0) -> None:
        logger = make_logger({"LOG_LEVEL": "INFO", "POWERTOOLS_SERVICE_NAME": "test"})
        keeper = DayKeeper(self.counters(), self.projects, self.s3, self.bucket, logger, lambda: NOW + later)
        keeper.handle(lambda: milliseconds)

    def store(self, day: str, *users: str, project: Project = DEFAULT) -> None:
        events = [Event(uuid.uuid4().hex, f"{day}T00:00:01Z", user, "open", "{}") for user in users]
        self.claims.apply(make_batch(project, events, "test", RECEIVED_AT))

    def stored(self) -> set[str]:
        return {found["Key"] for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def kept(self) -> set[str]:
        return self.stored() - {bundled_users_object(project) for project in (DEFAULT, SHOP)}


@pytest.fixture
def stack(dynamodb: Any, ministack: MiniStack) -> Iterator[Stack]:
    made = Stack(dynamodb, ministack.client("s3"))
    yield made
    for key in made.stored():
        made.s3.delete_object(Bucket=made.bucket, Key=key)
    made.s3.delete_bucket(Bucket=made.bucket)
    delete_tables(made.client, made.tables)


def objects(project: Project, day: str, users: int, left: int = 0) -> set[str]:
    return {day_users_object(project, day, users), new_users_object(project, day, users, left)}


def test_the_days_that_have_ended_are_kept_of_every_project(stack: Stack) -> None:
    before = add_days(YESTERDAY, -3)
    for day in (before, YESTERDAY, TODAY):
        stack.store(day, "a", "b")
    stack.store(YESTERDAY, "c", project=SHOP)
    stack.keep()
    assert stack.kept() == {
        *objects(DEFAULT, before, 2),
        *objects(DEFAULT, YESTERDAY, 2),
        *objects(SHOP, YESTERDAY, 1),
    }


def test_whoever_asks_first_reads_no_item_of_a_user(stack: Stack) -> None:
    stack.store(add_days(YESTERDAY, -1), "a", "b")
    stack.store(YESTERDAY, "a", "c")
    stack.keep()
    question = Retention(add_days(YESTERDAY, -1), 1, 1, new_users=True, today=TODAY)
    counts = [counts_key(DEFAULT, shard) for shard in range(stack.tables.counter_shards)]
    with (
        mock.patch.object(stack.client, "query", wraps=stack.client.query) as query,
        mock.patch.object(stack.client, "batch_get_item", side_effect=AssertionError),
    ):
        found = question.from_counters(stack.counters())
    assert (found.cohort_size, found.windows[0].retained_users) == (2, 1)
    read = [call.kwargs["ExpressionAttributeValues"][":counts"]["S"] for call in query.mock_calls]
    assert sorted(read) == sorted(counts)


def test_whoever_asks_first_gets_one_object_for_all_days(stack: Stack) -> None:
    days = [add_days(YESTERDAY, -after) for after in range(8)]
    for number, day in enumerate(days):
        stack.store(day, f"a{number}", f"a{number + 1}")
        stack.store(day, "other", project=SHOP)
    stack.keep()
    question = Retention(days[-1], 7, 1, new_users=True, today=TODAY)
    with mock.patch.object(KeptDays, "get", autospec=True, side_effect=KeptDays.get) as get:
        found = question.from_counters(stack.counters())
    assert [call.args[1] for call in get.mock_calls] == [bundled_users_object(DEFAULT)]
    assert (found.cohort_size, [window.retained_users for window in found.windows]) == (2, [1, 0, 0, 0, 0, 0, 0])


def test_a_day_that_changed_is_not_taken_from_the_bundle(stack: Stack) -> None:
    stack.store(YESTERDAY, "a", "b")
    stack.keep()
    stack.store(YESTERDAY, "c")
    stack.store(add_days(YESTERDAY, -1), "a")
    question = Retention(YESTERDAY, 1, 1, new_users=True, today=TODAY)
    assert question.from_counters(stack.counters()).cohort_size == 2
    assert Retention(YESTERDAY, 1, 1, new_users=False, today=TODAY).from_counters(stack.counters()).cohort_size == 3


def test_of_too_many_users_no_bundle_is_made(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day_users, "MOST_BUNDLED", 1)
    stack.store(YESTERDAY, "a", "b")
    stack.keep()
    assert stack.stored() == objects(DEFAULT, YESTERDAY, 2)


def test_a_bundle_that_is_gone_is_made_again(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    stack.keep()
    stack.s3.delete_object(Bucket=stack.bucket, Key=bundled_users_object(DEFAULT))
    stack.keep()
    assert stack.stored() == {bundled_users_object(DEFAULT), *objects(DEFAULT, YESTERDAY, 1)}


def test_what_is_kept_is_not_kept_again(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    stack.keep()
    with mock.patch.object(stack.s3, "put_object", side_effect=AssertionError):
        stack.keep()


def test_users_of_the_days_before_are_not_looked_up(stack: Stack) -> None:
    stack.store(add_days(YESTERDAY, -1), "a", "b")
    stack.keep()
    stack.store(YESTERDAY, "a", "b", "c")
    with mock.patch.object(stack.client, "batch_get_item", wraps=stack.client.batch_get_item) as read:
        stack.keep()
    keys = [
        key["pk"]["S"] for call in read.mock_calls for key in call.kwargs["RequestItems"][stack.tables.stats]["Keys"]
    ]
    assert [key for key in keys if key.startswith("first#")] == ["first#c"]


def test_a_day_that_changed_is_kept_again_on_the_next_day(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    stack.keep()
    stack.store(YESTERDAY, "b")
    stack.store(add_days(YESTERDAY, -1), "a")
    stack.keep(later=3_600)
    earlier = objects(DEFAULT, add_days(YESTERDAY, -1), 1)
    assert stack.kept() == {*objects(DEFAULT, YESTERDAY, 1), *earlier}
    stack.keep(later=21 * 3_600)
    assert stack.kept() >= objects(DEFAULT, YESTERDAY, 2, left=1)


def test_a_day_is_kept_where_somebody_asked_for_its_users_alone(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    Retention(YESTERDAY, 1, 1, new_users=False, today=TODAY).from_counters(stack.counters())
    assert stack.kept() == {day_users_object(DEFAULT, YESTERDAY, 1)}
    stack.keep()
    assert stack.kept() == objects(DEFAULT, YESTERDAY, 1)


def test_a_day_whose_events_are_not_all_counted_waits(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    with mock.patch.object(Claims, "_count", side_effect=ConnectionError), pytest.raises(ConnectionError):
        stack.store(YESTERDAY, "b")
    stack.keep()
    assert stack.kept() == set()


def test_days_long_ago_are_left_to_those_who_ask(stack: Stack) -> None:
    stack.store(add_days(TODAY, -DAYS - 1), "a")
    stack.store(add_days(TODAY, -DAYS), "a")
    stack.keep()
    assert stack.kept() == objects(DEFAULT, add_days(TODAY, -DAYS), 1)


def test_no_day_is_begun_without_the_time_to_end_it(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    stack.keep(milliseconds=1_000)
    assert stack.kept() == set()


def test_a_project_that_fails_keeps_no_other_from_being_kept(stack: Stack) -> None:
    stack.store(YESTERDAY, "a")
    stack.store(YESTERDAY, "a", project=SHOP)
    put = KeptDays.put

    def failing(self: KeptDays, key: str, users: Any) -> None:
        if "project=shop/" in key:
            raise ConnectionError
        put(self, key, users)

    with mock.patch.object(KeptDays, "put", failing), pytest.raises(ExceptionGroup, match="the days of 1 projects"):
        stack.keep()
    assert stack.kept() == objects(DEFAULT, YESTERDAY, 1)
