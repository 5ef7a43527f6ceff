"""What the stats answer, whatever they are read from."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

_Answer = TypeVar("_Answer")


class DailyActives(NamedTuple):
    """Users active on a day."""

    date: str
    dau: int


@dataclass(frozen=True)
class EventCount:
    """Events of a type."""

    event_type: str
    count: int


class Window(NamedTuple):
    """A cohort's return in one window after its day."""

    number: int
    date: str
    """First day of the window."""
    retained_users: int
    complete: bool
    """Whether the window is over."""


class Retention(NamedTuple):
    """A cohort and its windows."""

    cohort_size: int
    windows: list[Window]


class AsOf(NamedTuple, Generic[_Answer]):
    """An answer that is read from the archive."""

    as_of: str
    """UTC, RFC 3339: what was counted until then is in it, and what was counted while it was read may be."""
    answer: _Answer


class SegmentsBusy(Exception):
    """The archive is compacted just now; ask again."""


class SegmentsFailed(Exception):
    """The function ended without an answer; the reason is in its logs."""


class SegmentsSlow(Exception):
    """The answer does not come in the time that API Gateway waits."""
