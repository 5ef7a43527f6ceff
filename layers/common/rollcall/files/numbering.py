"""Files whose ids are the numbers of their rows."""

import re
from collections.abc import Iterable, Iterator

from rollcall.files.rows import Row

WARNING = (
    "the event_ids of the file are 1, 2, 3, ...: the rows of any other file that is numbered have the same ids, and "
    "are taken for duplicates or conflicts, so they do not count. Use ids that no other event has, such as UUIDs, or "
    "put the name of the file before the number"
)

# A spreadsheet may have made a decimal of it, or padded it.
_NUMBER = re.compile(r"([0-9]{1,18})(?:\.0+)?")


class Numbering:
    """Tells whether the ids of rows are their numbers, from 0 or 1 on."""

    def __init__(self) -> None:
        self.found = False
        """Whether there are two ids or more, and each is the number after the one before."""
        self._seen = False
        self._next = range(2)

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows. A row that has no event may have had the number after the one before."""
        for row in rows:
            if self._next:
                self._look(row.event)
            yield row

    def _look(self, event: object) -> None:
        if not isinstance(event, dict):
            self._next = range(self._next.start, self._next.stop + 1)
            return
        match = _NUMBER.fullmatch(str(event.get("event_id")))
        number = int(match[1]) if match else -1
        self.found = number in self._next and self._seen
        self._seen = True
        self._next = range(number + 1, number + 2) if number in self._next else range(0)
