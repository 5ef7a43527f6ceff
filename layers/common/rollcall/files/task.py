"""A part of an uploaded file, as it travels from the planner to the importer."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rollcall.stack.keys import import_id_of

SOURCE = "import"
REJECTS_PREFIX = "rejects/"
# Pieces of files that cannot be read from their middle, and the rejected rows of each piece.
STAGED_PREFIX = "staged/"
READ_BYTES = 256 * 1024
KEPT_CHARACTERS_OF_A_REJECTED_ROW = 4_000


class QueueUnavailable(Exception):
    """The queue did not take everything. Import it again: what it did take is counted once."""


class Task(NamedTuple):
    """A part of a file to take in: a piece of it, or rows that are in no piece because the file is broken there."""

    bucket: str
    key: str
    """Of the upload."""
    etag: str
    run: str
    number: int
    read_from: str | None = None
    """The key of the object that holds the piece, the upload or another; None for broken rows."""
    start: int = 0
    end: int = 0
    first_line: int = 1
    columns: int = 0
    """Of CSV; none for JSONL."""
    header: Mapping[str, int] | None = None
    """The places of the columns that an event has."""
    broken: Sequence[tuple[int, str, str, str]] = ()
    """Line, text, code and message of each."""

    def encode(self) -> str:
        """As a message's body."""
        return json.dumps(self._asdict())

    @classmethod
    def decode(cls, body: str) -> "Task":
        """Read a message's body."""
        return cls(**json.loads(body))

    def staged(self, what: str) -> str:
        """The key of something of this part."""
        return f"{STAGED_PREFIX}{import_id_of(self.key)}/{self.run}/{self.number:06d}.{what}"
