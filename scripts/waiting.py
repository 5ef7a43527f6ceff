"""Polling, and calls that wait side by side."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

_T = TypeVar("_T")
_U = TypeVar("_U")


def poll(ask: Callable[[], _T | None], seconds: float, what: str) -> _T:
    """Call `ask` until it returns an answer, less and less often; raises `TimeoutError` with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {seconds:g} s")
        time.sleep(pause)
        pause = min(LONGEST_PAUSE_SECONDS, 1.5 * pause)
    return answer


def in_order(pool: ThreadPoolExecutor, at_once: int, work: Callable[[_T], _U], items: Iterable[_T]) -> Iterator[_U]:
    """Call `work` with each item, a few at a time. Memory holds only those. Yields the results in the items' order."""
    flying: deque[Future[_U]] = deque()
    for item in items:
        flying.append(pool.submit(work, item))
        if len(flying) > at_once:
            yield flying.popleft().result()
    while flying:
        yield flying.popleft().result()
