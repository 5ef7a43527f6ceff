import itertools
import re
from unittest.mock import MagicMock

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.days import Calendar
from scripts.local import stack as local
from scripts.local.watch import LINE_SECONDS, LOOK_SECONDS, PAUSES_PER_LOOK, Watch
from scripts.terminal import SafeConsole


class Stack:
    """A stack that has counted some events before, its clock, and what a watch says of it."""

    def __init__(self, counted: int = 0) -> None:
        self.depth = (0, 0)
        self.counted = counted
        self.now = 100.0
        self.read_seconds = 0.0
        self.said: list[str] = []
        self.watch = Watch(lambda: self.depth, self.count, self.said.append, lambda: self.now)

    def count(self) -> int:
        self.now += self.read_seconds
        return self.counted

    def look_after(self, seconds: float) -> float:
        self.now += seconds
        return self.watch.look()


def test_a_batch_that_was_through_before_anybody_looked_is_told() -> None:
    stack = Stack(6_000)
    stack.look_after(0)
    stack.counted += 1
    stack.look_after(0)
    stack.look_after(LINE_SECONDS)

    assert stack.said == ["1 event counted, 6,001 in all"]


@pytest.mark.parametrize("before", [0, 6_000])
def test_what_was_counted_before_is_not_told_as_new(before: int) -> None:
    stack = Stack(before)
    for _ in range(10):
        stack.look_after(LINE_SECONDS)

    assert stack.said == []


def test_batches_that_count_nothing_are_told_only_where_they_wait_long() -> None:
    stack = Stack(10)
    for depth in ((1, 0), (0, 1), (0, 0)):
        stack.depth = depth
        stack.look_after(LINE_SECONDS / 4)
    assert stack.said == []

    stack.depth = (1_200, 5)
    for _ in range(12):
        stack.look_after(LINE_SECONDS / 4)
    assert stack.said == ["1,200 batches waiting, 5 being counted"]

    stack.depth = (0, 0)
    stack.look_after(0)
    stack.look_after(LINE_SECONDS)
    assert stack.said[1:] == ["no batches waiting"]


def test_a_long_import_is_told_with_what_waits() -> None:
    stack = Stack()
    stack.depth = (40, 5)
    for counted in (0, 500, 1_000, 1_500):
        stack.counted = counted
        stack.look_after(LINE_SECONDS)
    stack.counted, stack.depth = 1_700, (0, 0)
    stack.look_after(LINE_SECONDS)

    assert stack.said == [
        "40 batches waiting, 5 being counted",
        "500 events counted, 500 in all",
        "500 events counted, 1,000 in all",
        "500 events counted, 1,500 in all",
        "200 events counted, 1,700 in all; no batches waiting",
    ]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(
        st.tuples(
            st.floats(0, 2 * LINE_SECONDS), st.integers(0, 2_000), st.tuples(st.integers(0, 2), st.integers(0, 2))
        )
    ),
)
def test_each_event_is_in_one_line_and_lines_are_apart(
    before: int, looks: list[tuple[float, int, tuple[int, int]]]
) -> None:
    stack = Stack(before)
    told_at = []
    for seconds, new, depth in looks:
        stack.counted += new
        stack.depth = depth
        lines = len(stack.said)
        stack.look_after(seconds)
        told_at += [stack.now] * (len(stack.said) - lines)
    stack.look_after(LINE_SECONDS)

    found = re.findall(r"([\d,]+) events? counted, ([\d,]+) in all", "\n".join(stack.said))
    counted, totals = ([int(row[column].replace(",", "")) for row in found] for column in (0, 1))
    assert sum(counted) == stack.counted - before
    assert totals == list(itertools.accumulate(counted, initial=before))[1:]
    assert all(later - earlier >= LINE_SECONDS for earlier, later in itertools.pairwise(told_at))


def test_the_longer_a_look_takes_the_seldomer_is_looked() -> None:
    stack = Stack()
    assert stack.look_after(0) == LOOK_SECONDS
    stack.read_seconds = 1.0
    assert stack.look_after(0) == PAUSES_PER_LOOK


def test_a_look_that_the_stack_does_not_answer_is_followed_by_another_until_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "LOOK_SECONDS", 0)
    ministack, watch = MagicMock(), MagicMock()
    ministack.api_url = "http://127.0.0.1:1"
    ministack.running.side_effect = [True, True, False]
    watch.look.side_effect = [EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), 0]
    stack = local.LocalStack(ministack, {}, SafeConsole(), Calendar("UTC"))

    with pytest.raises(local.CannotStart, match="ended by itself"):
        stack.stay(watch)

    assert watch.look.call_count == 2
