"""The task for a part of an uploaded file, which the planner sends to the importer."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rollcall.stack.keys import import_id_of

SOURCE = "import"
REJECTS_PREFIX = "rejects/"
# The pieces of gzip files, which cannot be read from the middle, and the rejected rows of each part.
STAGED_PREFIX = "staged/"
KEPT_CHARACTERS_OF_A_REJECTED_ROW = 4_000


def rejects_key(key: str) -> str:
    """Key of the object with the rows of an uploaded object that were rejected, and those in conflict."""
    return f"{REJECTS_PREFIX}{key}.csv"


class QueueUnavailable(Exception):
    """The queue did not take everything. Importing again is safe: each event is counted once."""


class Task(NamedTuple):
    """A part of a file to take in: a piece, or a few broken rows that are in no piece."""

    bucket: str
    key: str
    """Key of the uploaded object."""
    etag: str
    run: str
    number: int
    read_from: str | None = None
    """Key of the object that holds the piece: the uploaded object, or a staged one for gzip. None for broken rows."""
    start: int = 0
    end: int = 0
    first_line: int = 1
    columns: int = 0
    """The number of columns of CSV; 0 for JSONL."""
    header: Mapping[str, int] | None = None
    """The positions of the CSV columns that an event has, by name; None for JSONL."""
    broken: Sequence[tuple[int, str, str, str]] = ()
    """Line, text, code and message of each broken row."""

    def encode(self) -> str:
        """The body of the task's message."""
        return json.dumps(self._asdict())

    @classmethod
    def decode(cls, body: str) -> "Task":
        """Read the body of a task's message."""
        return cls(**json.loads(body))

    def staged(self, what: str) -> str:
        """Key of a staged object of this part; `what` is its ending, such as `rejects`."""
        return f"{STAGED_PREFIX}{import_id_of(self.key)}/{self.run}/{self.number:06d}.{what}"
