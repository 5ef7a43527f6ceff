"""What `rollcall up` says while it runs: each event that is counted, in one line, however seldom one looks."""

import time
from collections.abc import Callable
from math import inf

LINE_SECONDS = 3.0
"""Between two lines at least."""
LOOK_SECONDS = 0.5
PAUSES_PER_LOOK = 20
"""How many times as long as a look took nothing is asked: a large table is not to be read all the time."""


class Watch:
    """Tells of a stack's work. A batch may come and go between two looks; the number of events counted only grows.

    What is counted before this is made is not told as new. `depth` answers with the batches that wait and those that a
    consumer has, and `counted` with the events ever counted.
    """

    def __init__(
        self,
        depth: Callable[[], tuple[int, int]],
        counted: Callable[[], int],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._depth = depth
        self._counted = counted
        self._tell = tell
        self._clock = clock
        self._told_at = -inf
        self._told_depth = (0, 0)
        self._told = counted()
        self._empty_at = clock()

    def look(self) -> float:
        """Tell what is new; returns the seconds to wait before the next look."""
        began = self._clock()
        # In this order: of batches that are gone the events are counted.
        depth = self._depth()
        counted = self._counted()
        now = self._clock()
        if not any(depth):
            self._empty_at = now
        if now - self._told_at >= LINE_SECONDS:
            said = [*self._say_counted(counted), *self._say_depth(depth, now)]
            if said:
                self._told_at = now
                self._tell("; ".join(said))
        return max(LOOK_SECONDS, PAUSES_PER_LOOK * (now - began))

    def _say_counted(self, counted: int) -> list[str]:
        new = counted - self._told
        if not new:
            return []
        self._told = counted
        return [f"{new:,} {'event' if new == 1 else 'events'} counted, {counted:,} in all"]

    def _say_depth(self, depth: tuple[int, int], now: float) -> list[str]:
        """Of batches that wait for longer than a line is apart, and of their end."""
        if depth == self._told_depth or (any(depth) and now - self._empty_at < LINE_SECONDS):
            return []
        self._told_depth = depth
        waiting, working = depth
        return [f"{waiting:,} batches waiting, {working:,} being counted" if any(depth) else "no batches waiting"]
