"""How many requests of a caller may take long at once, against a real conditional write."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from rollcall.access.places import GRACE_SECONDS, Places
from rollcall.stack.dynamo import Dynamo, Item
from tests.support import create_access_table, scan

COUNT = 5
REQUESTS = 40


class Store:
    """A table, and instances that share it under a clock that stands still."""

    def __init__(self, client: Any, table: str) -> None:
        self.client = client
        self.table = table
        self.now = 1_000_000.0
        self.caller = f"key {uuid.uuid4().hex}"

    def instance(self, dynamo: Dynamo | None = None) -> Places:
        return Places(dynamo or Dynamo(self.client), self.table, COUNT, lambda: self.now)

    def free(self, caller: str = "") -> int:
        """How many places a caller has left."""
        with ExitStack() as held:
            got = [held.enter_context(self.instance().hold(caller or self.caller, 10)) for _ in range(COUNT + 1)]
        return sum(got)


class Together(Dynamo):
    """Waits after its read until all have read: the worst that can happen."""

    def __init__(self, client: Any, barrier: threading.Barrier) -> None:
        super().__init__(client)
        self._barrier = barrier

    def find(self, table: str, pk: str, sk: str = "-") -> Item | None:
        found = super().find(table, pk, sk)
        self._barrier.wait()
        return found


@pytest.fixture(scope="module")
def table(dynamodb: Any) -> Iterator[tuple[Any, str]]:
    name = create_access_table(dynamodb)
    yield dynamodb, name
    dynamodb.delete_table(TableName=name)


@pytest.fixture
def store(table: tuple[Any, str]) -> Store:
    return Store(*table)


def test_of_many_requests_of_a_key_at_once_on_as_many_instances_no_more_are_held_than_it_has_places(
    store: Store,
) -> None:
    read, decided = threading.Barrier(REQUESTS, timeout=60), threading.Barrier(REQUESTS, timeout=60)

    def request(_: int) -> bool:
        with store.instance(Together(store.client, read)).hold(store.caller, 10) as held:
            decided.wait()
        return held

    with ThreadPoolExecutor(REQUESTS) as pool:
        assert sum(pool.map(request, range(REQUESTS))) == COUNT
    assert store.free() == COUNT


def test_each_caller_has_places_of_its_own(store: Store) -> None:
    with ExitStack() as held:
        for _ in range(COUNT):
            assert held.enter_context(store.instance().hold(store.caller, 10))
        assert store.free() == 0
        assert store.free("key of another") == COUNT
    assert store.free() == COUNT


def test_a_place_is_given_back_by_a_request_that_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.instance().hold(store.caller, 10):
        raise RuntimeError
    assert store.free() == COUNT


def test_the_place_of_a_function_that_died_is_free_again_soon_after_the_request_would_have_ended(store: Store) -> None:
    dead = [store.instance().hold(store.caller, 10) for _ in range(COUNT)]
    assert all(each.__enter__() for each in dead)
    store.now += 10 + GRACE_SECONDS - 0.001
    assert store.free() == 0
    store.now += 0.001
    assert store.free() == COUNT
    # One that was only slow gives nothing back that is another's by now.
    with ExitStack() as held:
        for _ in range(COUNT):
            assert held.enter_context(store.instance().hold(store.caller, 10))
        for late in dead:
            late.__exit__(None, None, None)
        assert store.free() == 0


def test_who_has_no_place_left_costs_no_write_and_the_item_expires_when_nobody_holds_one(store: Store) -> None:
    with ExitStack() as held:
        for _ in range(COUNT):
            held.enter_context(store.instance().hold(store.caller, 10))
        (before,) = [item for item in scan(store.client, store.table) if item["pk"].endswith(store.caller)]
        with store.instance().hold(store.caller, 10) as place:
            assert not place
        (after,) = [item for item in scan(store.client, store.table) if item["pk"].endswith(store.caller)]
    assert before == after
    assert store.now + 10 < int(before["expires_at"]) <= store.now + 7_200
