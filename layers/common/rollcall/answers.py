"""What the stats answer, whatever they are read from."""

from dataclasses import dataclass
from typing import NamedTuple


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
