"""The users of large days are kept in S3, and the answers are those that the items give."""

import random
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar, add_days
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.retention import Retained, Retention
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import day_users_object
from scripts.local.ministack import MiniStack
from tests.support import RECEIVED_AT, KeptDeadLetters, create_tables, delete_tables

UTC = Calendar("UTC")
FIRST, TODAY = "2025-08-01", "2025-08-20"
HOSTILE = ["a\0b", "a\nb", "#", "\N{PILE OF POO}", '"', "ü"]


class Cohorts:
    """Tables, a bucket, and readers of them with and without it."""

    def __init__(self, dynamodb: Any, s3: Any) -> None:
        self.client = dynamodb
        self.s3 = s3
        self.bucket = f"kept-{uuid.uuid4().hex}"
        self.s3.create_bucket(Bucket=self.bucket)
        self.tables = create_tables(self.client)
        self.dynamo = Dynamo(self.client, lambda _: None)
        self.claims = Claims(self.dynamo, self.tables, lambda _: UTC, KeptDeadLetters())
        self.plain = Counters(self.dynamo, self.tables, DEFAULT, UTC)
        self.keeping = self.counters(large_day=1)

    def counters(self, large_day: int, bucket: str | None = None) -> Counters:
        kept = KeptDays(self.s3, bucket or self.bucket)
        return Counters(self.dynamo, self.tables, DEFAULT, UTC, DayUsers(self.dynamo, self.tables, kept, large_day))

    def store(self, *active: tuple[str, str]) -> None:
        events = [Event(uuid.uuid4().hex, f"{day}T12:00:00Z", user, "open", "{}") for day, user in active]
        self.claims.apply(make_batch(DEFAULT, events, "test", RECEIVED_AT))

    def ask(
        self, counters: Counters | None = None, windows: int = 3, window_days: int = 1, *, new: bool = False
    ) -> Retained:
        question = Retention(FIRST, windows, window_days, new_users=new, today=TODAY)
        return question.from_counters(counters or self.keeping)

    def kept(self) -> list[str]:
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def queries_of_users(self, ask: Any) -> int:
        with mock.patch.object(self.client, "query", wraps=self.client.query) as query:
            ask()
        keys = [call.kwargs["ExpressionAttributeValues"].get(":users", {"S": ""})["S"] for call in query.mock_calls]
        return sum(key.startswith("users#") for key in keys)


@pytest.fixture
def cohorts(dynamodb: Any, ministack: MiniStack) -> Iterator[Cohorts]:
    made = Cohorts(dynamodb, ministack.client("s3"))
    yield made
    for key in made.kept():
        made.s3.delete_object(Bucket=made.bucket, Key=key)
    made.s3.delete_bucket(Bucket=made.bucket)
    delete_tables(made.client, made.tables)


def returned(found: Retained) -> tuple[int, list[int]]:
    return found.cohort_size, [window.retained_users for window in found.windows]


def test_a_large_day_is_read_item_by_item_once(cohorts: Cohorts) -> None:
    second = add_days(FIRST, 1)
    cohorts.store(*((FIRST, user) for user in [*HOSTILE, "x"]), *((second, user) for user in [*HOSTILE, "y"]))
    assert cohorts.queries_of_users(cohorts.ask) == 2 * cohorts.tables.user_shards
    assert cohorts.kept() == [day_users_object(DEFAULT, FIRST, 7), day_users_object(DEFAULT, second, 7)]
    assert cohorts.queries_of_users(cohorts.ask) == 0
    assert returned(cohorts.ask()) == (7, [6, 0, 0])


def test_a_late_event_is_followed(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"), ("2025-08-02", "a"))
    assert returned(cohorts.ask()) == (2, [1, 0, 0])
    cohorts.store(("2025-08-02", "b"), (FIRST, "c"))
    assert returned(cohorts.ask()) == (3, [2, 0, 0])


def test_a_day_with_users_not_yet_counted_is_not_kept(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), ("2025-08-02", "a"))
    with mock.patch.object(Claims, "_count", side_effect=ConnectionError), pytest.raises(ConnectionError):
        cohorts.store(("2025-08-02", "b"))
    cohorts.ask()
    assert cohorts.kept() == [day_users_object(DEFAULT, FIRST, 1)]


def test_the_day_that_is_not_over_is_not_kept(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (TODAY, "a"))
    found = cohorts.ask(windows=3, window_days=7)
    assert returned(found) == (1, [0, 1, 0])
    assert cohorts.kept() == [day_users_object(DEFAULT, FIRST, 1)]


def test_a_small_day_is_not_kept(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"), ("2025-08-02", "a"))
    assert returned(cohorts.ask(cohorts.counters(large_day=3))) == (2, [1, 0, 0])
    assert cohorts.kept() == []


def test_nothing_is_read_of_days_without_users(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"))
    cohorts.ask()
    assert cohorts.queries_of_users(lambda: cohorts.ask(windows=15)) == 0


def test_a_bucket_that_fails_is_an_error_not_an_empty_day(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"))
    with pytest.raises(ClientError, match="NoSuchBucket"):
        cohorts.ask(cohorts.counters(large_day=1, bucket="no-such-bucket"))


@pytest.mark.parametrize("seed", range(4))
def test_whenever_it_is_asked_the_answers_are_those_of_the_items(cohorts: Cohorts, seed: int) -> None:
    rng = random.Random(seed)
    days = [add_days(FIRST, offset) for offset in range(10)]
    for _ in range(6):
        cohorts.store(*((rng.choice(days), f"u{rng.randrange(12)}") for _ in range(rng.randrange(1, 12))))
        for window_days, new in ((1, False), (3, False), (1, True), (7, True)):
            asked = cohorts.ask(windows=2, window_days=window_days, new=new)
            assert asked == cohorts.ask(cohorts.plain, windows=2, window_days=window_days, new=new)
    assert cohorts.kept()
