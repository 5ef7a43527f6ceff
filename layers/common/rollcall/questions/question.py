"""What a question is.

A question is a frozen dataclass in a file of its own. Its fields are what is asked, and its docstring defines the
answer. It answers itself twice: `from_counters` reads the aggregates, for all events; `from_archive` reads the archived
events, for those of a segment. With no condition both give the same answer.

A new question is one file here, an entry in `QUESTIONS` of `remote_handler.py`, a route and a command.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents
    from rollcall.questions.from_counters import Counters

Answer = TypeVar("Answer")


Definition = Literal[
    "daily-active-users",
    "active-users-of-weeks-and-months",
    "new-returning-resurrected-and-gone-users",
    "stickiness",
    "top-events",
    "retention",
    "retention-of-every-cohort",
    "cohort",
    "event-types",
    "properties",
]
"""What an answer means: a chapter of docs/numbers.md, by its anchor."""
Store = Literal["counters", "day-users", "archive"]
"""Where an answer is from: the counters of days, the users of days, or the archived events."""


class AsOf(NamedTuple, Generic[Answer]):
    """An answer from the archive."""

    as_of: str
    """UTC, RFC 3339. What was counted by then is in the answer. What was counted while it was read may be."""
    answer: Answer


class Told(NamedTuple, Generic[Answer]):
    """An answer, and where it is from."""

    as_of: str
    """UTC, RFC 3339. What was counted by then is in the answer; of `day-users` as far as eventual consistency goes."""
    store: Store
    answer: Answer


@dataclass(frozen=True)
class ArchiveQuestion(ABC, Generic[Answer]):
    """What all questions have in common. One that is no `Question` is answered from the archive alone."""

    name: ClassVar[str]
    """What the function that reads the archive knows the question by."""
    definition: ClassVar[Definition]

    @abstractmethod
    def from_archive(self, archived: "ArchivedEvents") -> AsOf[Answer]:
        """The answer about the events of a segment."""

    @staticmethod
    @abstractmethod
    def decode(answer: Any) -> Answer:
        """The answer from its JSON, in which named tuples are lists."""


@dataclass(frozen=True)
class Question(ArchiveQuestion[Answer]):
    """A question that is answered about all events from the aggregates."""

    store: ClassVar[Store]
    """What `from_counters` reads."""

    @abstractmethod
    def from_counters(self, counters: "Counters") -> Answer:
        """The answer about all events. Raises `BadSetting` where the table is laid out otherwise."""


class SegmentsFailed(Exception):
    """The function ended without an answer; its logs have the reason."""


class SegmentsSlow(Exception):
    """The answer does not come in the time that API Gateway waits."""
