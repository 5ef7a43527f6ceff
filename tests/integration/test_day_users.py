"""The users of days that are over are kept in S3, and the answers are those of a recount."""

import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar, add_days
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.retention import Retained, Retention
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import day_users_object, new_users_object
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
        self.claims = self.consumer()
        self.keeping = self.counters()

    def counters(self, bucket: str | None = None) -> Counters:
        """Those of a new process, which remembers nothing."""
        kept = KeptDays(self.s3, bucket or self.bucket)
        return Counters(self.dynamo, self.tables, DEFAULT, UTC, DayUsers(self.dynamo, self.tables, kept))

    def consumer(self, dynamo: Dynamo | None = None) -> Claims:
        """One that remembers nothing."""
        return Claims(dynamo or self.dynamo, self.tables, lambda _: UTC, KeptDeadLetters())

    def batch(self, *active: tuple[str, str], project: Project = DEFAULT) -> Batch:
        events = [Event(uuid.uuid4().hex, f"{day}T12:00:00Z", user, "open", "{}") for day, user in active]
        return make_batch(project, events, "test", RECEIVED_AT)

    def store(self, *active: tuple[str, str]) -> None:
        self.claims.apply(self.batch(*active))

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


def dies_at(prefix: str) -> Callable[..., Any]:
    """In place of `Dynamo.update`: raises where it would change a key with a prefix."""
    update = Dynamo.update

    def dying(self: Dynamo, table: str, pk: str, sk: str, **expressions: Any) -> Any:
        if pk.startswith(prefix):
            raise ConnectionError
        return update(self, table, pk, sk, **expressions)

    return dying


def returned(found: Retained) -> tuple[int, list[int]]:
    return found.cohort_size, [window.retained_users for window in found.windows]


def test_a_day_is_read_item_by_item_once(cohorts: Cohorts) -> None:
    second = add_days(FIRST, 1)
    cohorts.store(*((FIRST, user) for user in [*HOSTILE, "x"]), *((second, user) for user in [*HOSTILE, "y"]))
    assert cohorts.queries_of_users(cohorts.ask) == 2 * cohorts.tables.user_shards
    assert cohorts.kept() == [day_users_object(DEFAULT, FIRST, 7), day_users_object(DEFAULT, second, 7)]
    another = cohorts.counters()
    assert cohorts.queries_of_users(lambda: cohorts.ask(another)) == 0
    assert returned(cohorts.ask(another)) == (7, [6, 0, 0])


def test_what_was_asked_is_answered_again_without_a_request_to_s3(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), ("2025-08-02", "a"))
    first = cohorts.ask(), cohorts.ask(new=True)
    with mock.patch.object(cohorts.s3, "_make_api_call", side_effect=AssertionError):
        assert (cohorts.ask(), cohorts.ask(new=True)) == first


def test_new_users_are_looked_up_once(cohorts: Cohorts) -> None:
    cohorts.store(("2025-07-31", "a"), (FIRST, "a"), (FIRST, "b"), ("2025-08-02", "b"))
    assert returned(cohorts.ask(new=True)) == (1, [1, 0, 0])
    assert new_users_object(DEFAULT, FIRST, 2, 0) in cohorts.kept()
    with mock.patch.object(cohorts.client, "batch_get_item", side_effect=AssertionError):
        assert returned(cohorts.ask(cohorts.counters(), new=True)) == (1, [1, 0, 0])


def test_of_too_many_users_the_index_tells_who_is_new(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"))
    with mock.patch.object(DayUsers.first_seen, "__defaults__", (1,)):
        assert returned(cohorts.ask(new=True)) == (2, [0, 0, 0])
    assert cohorts.kept() == [day_users_object(DEFAULT, FIRST, 2)]


def test_a_user_who_turns_out_to_have_come_before_is_no_new_one_any_more(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"))
    assert returned(cohorts.ask(new=True)) == (2, [0, 0, 0])
    cohorts.store(("2025-07-20", "a"))
    assert returned(cohorts.ask(new=True)) == (1, [0, 0, 0])
    assert returned(cohorts.ask(cohorts.counters(), new=True)) == (1, [0, 0, 0])


def test_a_delivery_after_a_crash_counts_who_has_left_a_day(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"))
    cohorts.ask(new=True)
    late = cohorts.batch(("2025-07-20", "a"))
    with (
        mock.patch.object(Dynamo, "update", autospec=True, side_effect=dies_at("counts#")),
        pytest.raises(ConnectionError),
    ):
        cohorts.claims.apply(late)
    cohorts.ask(cohorts.counters(), new=True)
    cohorts.consumer().apply(late)
    assert returned(cohorts.ask(cohorts.counters(), new=True)) == (1, [0, 0, 0])


def test_a_delivery_that_dies_after_it_overtook_another_one_leaves_no_day_uncounted(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"), (FIRST, "b"))
    cohorts.ask(new=True)
    late = cohorts.batch(("2025-07-20", "a"))
    claim_pairs = Claims._claim_pairs

    def overtaken(self: Claims, batch: Batch, pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
        found = claim_pairs(self, batch, pairs)
        with (
            mock.patch.object(Claims, "_claim_pairs", claim_pairs),
            mock.patch.object(Dynamo, "update", autospec=True, side_effect=dies_at("counts#")),
            pytest.raises(ConnectionError),
        ):
            cohorts.consumer().apply(late)
        return found

    with mock.patch.object(Claims, "_claim_pairs", overtaken):
        cohorts.consumer().apply(late)
    # The one that died comes again, and is done.
    assert cohorts.consumer().apply(late).repeated
    assert returned(cohorts.ask(cohorts.counters(), new=True)) == (1, [0, 0, 0])


def test_what_overtakes_a_move_is_not_taken_for_the_day_that_was_left(cohorts: Cohorts) -> None:
    cohorts.store(("2025-08-03", "a"))
    read_first_days = Claims._read_first_days

    def overtaken(self: Claims, project: Project, users: Any, *, consistent: bool) -> dict[str, str]:
        found = read_first_days(self, project, users, consistent=consistent)
        with mock.patch.object(Claims, "_read_first_days", read_first_days):
            cohorts.consumer().apply(cohorts.batch((FIRST, "a")))
            cohorts.ask(new=True)
        return found

    with mock.patch.object(Claims, "_read_first_days", overtaken):
        cohorts.consumer().apply(cohorts.batch(("2025-07-20", "a")))
    assert returned(cohorts.ask(new=True)) == (0, [0, 0, 0])


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


def test_nothing_is_read_of_days_without_users(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"))
    cohorts.ask()
    assert cohorts.queries_of_users(lambda: cohorts.ask(windows=15)) == 0


def test_a_bucket_that_fails_is_an_error_not_an_empty_day(cohorts: Cohorts) -> None:
    cohorts.store((FIRST, "a"))
    with pytest.raises(ClientError, match="NoSuchBucket"):
        cohorts.ask(cohorts.counters(bucket="no-such-bucket"))


class Dying:
    """A client of DynamoDB whose process dies after or before some of its writes."""

    def __init__(self, client: Any, rng: random.Random) -> None:
        self._client = client
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name in ("batch_get_item", "get_item", "query", "meta", "exceptions"):
            return call

        def write(**request: Any) -> Any:
            if self._rng.random() < 0.1:
                raise ConnectionError("before")
            answer = call(**request)
            if self._rng.random() < 0.1:
                raise ConnectionError("after")
            return answer

        return write


@pytest.mark.parametrize("seed", range(6))
def test_whenever_it_is_asked_the_answers_are_those_of_a_recount(cohorts: Cohorts, seed: int) -> None:
    rng = random.Random(seed)
    dying = Dynamo(cast(Any, Dying(cohorts.client, rng)), lambda _: None)
    days = [add_days(FIRST, offset) for offset in range(-3, 10)]
    projects = [DEFAULT, Project("shop")]
    sent: dict[Project, set[tuple[str, str]]] = {project: set() for project in projects}
    waiting: list[Batch] = []
    for _ in range(8):
        for project in projects:
            visits = [(rng.choice(days), f"u{rng.randrange(8)}") for _ in range(rng.randrange(1, 8))]
            sent[project].update(visits)
            waiting += [cohorts.batch(*visits, project=project)] * rng.randrange(1, 3)
        rng.shuffle(waiting)
        while waiting:
            # A consumer takes some deliveries, and dies in one of them. Somebody asks meanwhile.
            consumer = cohorts.consumer(dying)
            try:
                while waiting:
                    consumer.apply(waiting[-1])
                    waiting.pop()
            except ConnectionError:
                rng.shuffle(waiting)
            reader = cohorts.keeping.of(rng.choice(projects), UTC)
            cohorts.ask(reader, new=rng.random() < 0.5)
            if rng.random() < 0.3:
                reader.bundle(reader.counted(days[0], days[-1]))
        for project in projects:
            for counters in (cohorts.keeping.of(project, UTC), cohorts.counters().of(project, UTC)):
                for window_days, new in ((1, False), (3, False), (1, True), (2, True)):
                    asked = cohorts.ask(counters, 2, window_days, new=new)
                    assert returned(asked) == recount(sent[project], 2, window_days, new=new)
    assert any("/new/" in key for key in cohorts.kept())
    assert any(key.endswith("/bundle") for key in cohorts.kept())


def recount(visits: set[tuple[str, str]], windows: int, window_days: int, *, new: bool) -> tuple[int, list[int]]:
    cohort = {user for day, user in visits if day == FIRST}
    if new:
        cohort -= {user for day, user in visits if day < FIRST}
    numbers = range(window_days, (windows + 1) * window_days, window_days)
    spans = [{add_days(FIRST, first + after) for after in range(window_days)} for first in numbers]
    return len(cohort), [len(cohort & {user for day, user in visits if day in span}) for span in spans]
