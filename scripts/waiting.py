"""Polling."""

import time
from collections.abc import Callable
from typing import TypeVar

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

_T = TypeVar("_T")


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
