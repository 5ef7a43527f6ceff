"""Token buckets, exact however many requests come at once, against a real conditional write."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rollcall.access.buckets import Buckets, NoBucket
from rollcall.core.limits import Allowance, Limit, TooFast
from rollcall.stack.dynamo import Dynamo, Item
from tests.support import create_access_table

REQUESTS = 50
# Times are whole seconds or binary fractions of them, so that nothing is lost on the way to microseconds.
START = 1_000_000.0
COUNT = "requests#POST /events"


class Request(Dynamo):
    """What one request has of DynamoDB: does something after its read, and counts its writes."""

    def __init__(self, client: Any, after_read: Callable[[], object] = lambda: None) -> None:
        super().__init__(client)
        self.writes = 0
        self._after_read = after_read

    def find(self, table: str, pk: str, sk: str = "-") -> Item | None:
        found = super().find(table, pk, sk)
        self._after_read()
        return found

    def update(self, table: str, pk: str, sk: str, **expressions: Any) -> tuple[bool, Item]:
        self.writes += 1
        return super().update(table, pk, sk, **expressions)


class Bucket:
    """A bucket under a clock that stands still: the item of a credential, or one of its own."""

    def __init__(self, client: Any, table: str, *, own: bool) -> None:
        self.client = client
        self.table = table
        self.own = own
        self.now = START
        self.key = {"pk": {"S": uuid.uuid4().hex}, "sk": {"S": "-"}}
        if not own:
            client.put_item(TableName=table, Item=self.key)

    def take(self, limit: Limit, request: Request | None = None, count: str = COUNT) -> Allowance:
        request = request or Request(self.client)
        buckets = Buckets(request, self.table, lambda: self.now)
        pk = self.key["pk"]["S"]
        if self.own:
            return buckets.take_for(pk, limit)
        return buckets.take(request.find(self.table, pk) or {}, limit, int(self.now * 1_000_000), count)

    def is_empty(self, limit: Limit) -> bool:
        try:
            self.take(limit)
        except TooFast:
            return True
        return False

    def item(self) -> dict[str, str]:
        found = Dynamo(self.client).find(self.table, self.key["pk"]["S"]) or {}
        return {name: next(iter(value.values())) for name, value in found.items()}

    def moments(self) -> list[float]:
        """The moments in the item at which the bucket is full again, in seconds."""
        return [int(value) / 1_000_000 for name, value in self.item().items() if name.startswith("full_at_")]

    def delete(self) -> None:
        self.client.delete_item(TableName=self.table, Key=self.key)


# Shared, since making a client takes longer than most tests; every bucket has a key of its own.
@pytest.fixture(scope="module")
def table(dynamodb: Any) -> Iterator[tuple[Any, str]]:
    name = create_access_table(dynamodb)
    yield dynamodb, name
    dynamodb.delete_table(TableName=name)


@pytest.fixture(params=[True, False], ids=["own item", "item of a credential"])
def bucket(table: tuple[Any, str], request: pytest.FixtureRequest) -> Bucket:
    return Bucket(*table, own=request.param)


@pytest.fixture
def credential(table: tuple[Any, str]) -> Bucket:
    return Bucket(*table, own=False)


@pytest.mark.parametrize(
    ("taken", "seconds_later", "tokens"),
    [(0, 0, 10), (10, 1_000, 10), (10, 10, 10), (5, 0, 5), (10, 3, 3), (10, 0, 0)],
    ids=["fresh", "full since long", "full this moment", "half full", "three came in", "empty"],
)
def test_of_fifty_requests_at_once_as_many_get_through_as_there_are_tokens_each_with_one_write_at_most(
    bucket: Bucket, taken: int, seconds_later: int, tokens: int
) -> None:
    limit = Limit(rate=1, burst=10)
    for _ in range(taken):
        bucket.take(limit)
    bucket.now += seconds_later
    # All read before any writes: the worst that can happen.
    barrier = threading.Barrier(REQUESTS, timeout=60)
    requests = [Request(bucket.client, barrier.wait) for _ in range(REQUESTS)]

    def take(request: Request) -> Allowance | TooFast:
        try:
            return bucket.take(limit, request)
        except TooFast as error:
            return error

    with ThreadPoolExecutor(REQUESTS) as pool:
        answers = list(pool.map(take, requests))
    let_through = [answer for answer in answers if isinstance(answer, Allowance)]
    refusals = [answer.allowance for answer in answers if isinstance(answer, TooFast)]
    assert sorted(allowance.remaining for allowance in let_through) == list(range(tokens))
    assert refusals == [Allowance(limit, 0, 1)] * (REQUESTS - tokens)
    assert max(request.writes for request in requests) <= 1
    assert bucket.moments() == [bucket.now + limit.burst]
    if not bucket.own:
        assert int(bucket.item()[COUNT]) == taken + tokens


def test_a_request_that_reads_an_empty_bucket_writes_nothing(bucket: Bucket) -> None:
    limit = Limit(1, 1)
    bucket.take(limit)
    request = Request(bucket.client)
    with pytest.raises(TooFast):
        bucket.take(limit, request)
    assert request.writes == 0


class Turn(NamedTuple):
    """A request of a schedule, in microseconds."""

    after: int
    """Since the read before."""
    skew: int
    """Of the clock it goes by."""
    overtaken_by: int
    """Reads between its read and its write."""


class Model:
    """A token bucket, in microseconds."""

    def __init__(self, token: int, burst: int) -> None:
        self.token = token
        self.burst = burst
        self.full_at = 0

    def take(self, now: int) -> bool:
        begins = max(self.full_at, now)
        if begins > now + (self.burst - 1) * self.token:
            return False
        self.full_at = begins + self.token
        return True


def test_whatever_happens_between_read_and_write_requests_are_let_through_as_by_one_bucket_in_order_of_writes(
    table: tuple[Any, str],
) -> None:
    client, name = table
    dynamo = Dynamo(client)
    buckets = Buckets(dynamo, name)
    turns = st.builds(Turn, st.integers(0, 8) | st.just(50), st.integers(-4, 4), st.integers(0, 6))

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(turns, min_size=2, max_size=14), st.integers(1, 10), st.integers(1, 4))
    # Read as full, and in use when it is written; and written when it was full for the second time since the read.
    @example([Turn(0, 0, 0), Turn(8, 0, 1), Turn(4, 0, 1), Turn(0, 0, 0)], 10, 4)
    @example([Turn(0, 0, 3), Turn(0, 0, 0), Turn(100, 0, 0), Turn(0, 0, 0)], 10, 2)
    def check(schedule: list[Turn], token: int, burst: int) -> None:
        pk = uuid.uuid4().hex
        client.put_item(TableName=name, Item={"pk": {"S": pk}, "sk": {"S": "-"}})
        model = Model(token, burst)
        time = int(START)
        reads: list[tuple[Item, int]] = []
        let_through, expected = [], []

        def write(found: Item, now: int) -> None:
            expected.append(model.take(now))
            try:
                buckets.take(found, Limit(1_000_000 / token, burst), now, COUNT)
            except TooFast:
                let_through.append(False)
            else:
                let_through.append(True)

        for position, turn in enumerate(schedule):
            time += turn.after
            reads.append((dynamo.find(name, pk) or {}, time + turn.skew))
            for reader in range(position + 1):
                if reader + schedule[reader].overtaken_by == position:
                    write(*reads[reader])
        for reader, turn in enumerate(schedule):
            if reader + turn.overtaken_by >= len(schedule):
                write(*reads[reader])

        assert let_through == expected
        item = dynamo.find(name, pk) or {}
        assert [value["N"] for name, value in item.items() if name.startswith("full_at_")] == [str(model.full_at)]
        assert item[COUNT]["N"] == str(sum(expected))

    check()


@pytest.mark.parametrize("limit", [Limit(0.5, 3), Limit(0.5, 1), Limit(2, 4), Limit(64, 1), Limit(1 / 64, 2)])
def test_an_emptied_bucket_gives_one_token_in_each_time_in_which_one_comes_in(bucket: Bucket, limit: Limit) -> None:
    for _ in range(limit.burst):
        assert not bucket.is_empty(limit)
    instant = 2**-10
    for _ in range(3):
        assert bucket.is_empty(limit)
        bucket.now += 1 / limit.rate - instant
        assert bucket.is_empty(limit)
        bucket.now += instant
        assert not bucket.is_empty(limit)


def test_a_bucket_never_holds_more_than_its_burst_however_long_nobody_comes(bucket: Bucket) -> None:
    limit = Limit(1, 3)
    for _ in range(3):
        assert [bucket.is_empty(limit) for _ in range(4)] == [False, False, False, True]
        bucket.now += 86_400


def test_an_allowance_tells_what_is_left_and_when_the_bucket_is_full_again(bucket: Bucket) -> None:
    limit = Limit(0.5, 3)
    assert bucket.take(limit) == Allowance(limit, 2, 2)
    assert bucket.take(limit) == Allowance(limit, 1, 4)
    bucket.now += 2.5
    assert bucket.take(limit) == Allowance(limit, 1, 4)
    bucket.now += 100
    assert bucket.take(limit) == Allowance(limit, 2, 2)


def test_the_allowance_of_the_last_token_tells_when_there_is_one_again(bucket: Bucket) -> None:
    limit = Limit(0.5, 3)
    assert [bucket.take(limit).remaining for _ in range(2)] == [2, 1]
    assert bucket.take(limit) == Allowance(limit, 0, 2)


@pytest.mark.parametrize(("seconds_later", "retry_after"), [(0, 4), (0.5, 4), (1, 3), (3.75, 1)])
def test_a_refusal_tells_in_how_many_seconds_there_is_a_token_rounded_up(
    bucket: Bucket, seconds_later: float, retry_after: int
) -> None:
    limit = Limit(0.25, 2)
    for _ in range(limit.burst):
        bucket.take(limit)
    bucket.now += seconds_later
    with pytest.raises(TooFast) as refused:
        bucket.take(limit)
    assert refused.value.allowance == Allowance(limit, 0, retry_after)
    bucket.now += retry_after
    assert not bucket.is_empty(limit)


@pytest.mark.parametrize("limit", [Limit(0.5, 30), Limit(100, 1), Limit(0.001, 5)])
def test_a_bucket_of_its_own_is_kept_until_it_is_full_again_and_not_much_longer(
    table: tuple[Any, str], limit: Limit
) -> None:
    bucket = Bucket(*table, own=True)
    for _ in range(limit.burst):
        bucket.take(limit)
        (full_at,) = bucket.moments()
        kept_until = int(bucket.item()["expires_at"])
        assert full_at < kept_until <= bucket.now + limit.burst / limit.rate + 120
        bucket.now += 0.25


def test_the_item_of_a_credential_is_not_made_to_expire(credential: Bucket) -> None:
    credential.take(Limit(1, 1))
    assert "expires_at" not in credential.item()


@pytest.mark.parametrize("taken", [0, 1], ids=["full", "in use"])
def test_a_bucket_of_its_own_that_was_forgotten_since_the_read_is_full(table: tuple[Any, str], taken: int) -> None:
    bucket = Bucket(*table, own=True)
    limit = Limit(1, 5)
    for _ in range(taken):
        bucket.take(limit)
    assert bucket.take(limit, Request(bucket.client, bucket.delete)) == Allowance(limit, 4, 1)


@pytest.mark.parametrize("taken", [0, 1], ids=["full", "in use"])
def test_a_credential_that_was_deleted_since_the_read_has_no_bucket_and_is_not_made_again(
    credential: Bucket, taken: int
) -> None:
    limit = Limit(1, 5)
    for _ in range(taken):
        credential.take(limit)
    with pytest.raises(NoBucket):
        credential.take(limit, Request(credential.client, credential.delete))
    assert credential.item() == {}


def test_requests_let_through_are_counted_once_by_their_names_and_refused_ones_are_not(credential: Bucket) -> None:
    limit = Limit(1, 3)
    for name in ("a", "b", "a"):
        credential.take(limit, count=name)
    for name in ("a", "b", "c"):
        with pytest.raises(TooFast):
            credential.take(limit, count=name)
    item = credential.item()
    assert {name: item.get(name) for name in "abc"} == {"a": "2", "b": "1", "c": None}


def test_an_item_holds_one_moment_however_often_its_bucket_was_full_and_empty(bucket: Bucket) -> None:
    limit = Limit(1, 2)
    for seconds in (0, 1, 0, 5, 2, 100, 1, 3):
        bucket.now += seconds
        bucket.is_empty(limit)
        assert len(bucket.moments()) == 1
    assert len(bucket.item()) == 5
