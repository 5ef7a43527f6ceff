"""Tells what a stack has stored under the ids of a file's rows."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from typing import NamedTuple, Self

from rollcall.core.events import Event, InvalidEvent
from rollcall.core.projects import Project
from rollcall.counting.receipts import read_standing, told_otherwise
from rollcall.files.rows import Row
from rollcall.stack.dynamo import Dynamo
from scripts.operate.stacks import Stack
from scripts.waiting import in_order

WINDOW_ROWS = 500
WINDOW_CHARACTERS = 3 * 1024 * 1024
WINDOWS_AT_ONCE = 4

Check = Callable[[Row], Event | InvalidEvent]


class Stored(Enum):
    """What is stored under the id of a row."""

    NOTHING = auto()
    SAME = auto()
    """The event of the row."""
    OTHER = auto()
    """An event with other content: the row is a conflict."""


class Compared(NamedTuple):
    """A row, what the checks make of it, and what is stored under its id."""

    row: Row
    event: Event | InvalidEvent
    stored: Stored


class StoredEvents:
    """The stored events of a project, which are read from the table with the credentials of who runs the command."""

    def __init__(self, dynamo: Dynamo, table: str, project: Project) -> None:
        self._dynamo = dynamo
        self._table = table
        self._project = project

    @classmethod
    def of(cls, stack: Stack, project: Project) -> Self:
        """Those of a project of `stack`; raises botocore's `ClientError` if they may not be read."""
        found = cls(Dynamo(stack.client("dynamodb")), stack.output("EventsTableName"), project)
        read_standing(found._dynamo, found._table, project, ["-"])
        return found

    def compare(self, rows: Iterable[Row], check: Check) -> Iterator[Compared]:
        """Compare each row that passes `check` with what is stored; memory holds a few thousand rows.

        One read unit for each row and each 4 KB of a stored event. Raises `rollcall.stack.dynamo.Unavailable` and
        botocore's errors.
        """
        pool = ThreadPoolExecutor(WINDOWS_AT_ONCE)
        try:
            checked = ((row, check(row)) for row in rows)
            for window in in_order(pool, WINDOWS_AT_ONCE, self._compare, _windows(checked)):
                yield from window
        finally:
            pool.shutdown(cancel_futures=True)

    def _compare(self, window: list[tuple[Row, Event | InvalidEvent]]) -> list[Compared]:
        events = [event for _, event in window if isinstance(event, Event)]
        standing = read_standing(
            self._dynamo, self._table, self._project, dict.fromkeys(event.event_id for event in events)
        )
        # Events of one id and one fingerprint are equal.
        others = {
            event
            for event in events
            if event.event_id in standing and standing[event.event_id].fingerprint != event.fingerprint()
        }
        others -= told_otherwise(self._dynamo, self._table, self._project, others)

        def stored(event: Event | InvalidEvent) -> Stored:
            if not isinstance(event, Event) or event.event_id not in standing:
                return Stored.NOTHING
            return Stored.OTHER if event in others else Stored.SAME

        return [Compared(row, event, stored(event)) for row, event in window]


def _windows(
    checked: Iterable[tuple[Row, Event | InvalidEvent]],
) -> Iterator[list[tuple[Row, Event | InvalidEvent]]]:
    window: list[tuple[Row, Event | InvalidEvent]] = []
    characters = 0
    for each in checked:
        window.append(each)
        characters += len(each[0].text)
        if len(window) == WINDOW_ROWS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window
