"""Has questions answered by whoever can."""

import time
from collections.abc import Callable, Mapping, Sequence

from rollcall.core.days import Calendar, timestamp
from rollcall.core.projects import Project
from rollcall.questions.from_counters import Counters
from rollcall.questions.question import Answer, ArchiveQuestion, Question, Told
from rollcall.questions.remote import SegmentClient


class Asking:
    """Asks the counters, or about a segment the function that reads the archive.

    `counters` are those of any project, and `calendars` gives the days of each. `segments` is None where the stack
    keeps no archive.
    """

    def __init__(
        self,
        counters: Counters,
        calendars: Callable[[Project], Calendar],
        segments: SegmentClient | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._calendars = calendars
        self._segments = segments

    @property
    def knows_segments(self) -> bool:
        """Whether a segment may be asked about."""
        return self._segments is not None

    def ask(self, project: Project, question: ArchiveQuestion[Answer], segment: Sequence[str] = ()) -> Told[Answer]:
        """The answer about a project: from the archive for a segment, and where nothing else has it.

        `segment` holds conditions that `rollcall.questions.segment.parse_segment` has accepted. Raises `BadSetting`
        where the stats table is laid out otherwise, for a segment what `SegmentClient.ask` raises, and botocore's
        errors.
        """
        if not segment and isinstance(question, Question):
            # The moment before it reads: what is counted meanwhile may be in the answer or not.
            as_of = timestamp(self._clock())
            counters = self._counters.of(project, self._calendars(project))
            return Told(as_of, question.store, question.from_counters(counters))
        if self._segments is None:
            raise LookupError("the stack keeps no archive to ask about a segment")
        as_of, answer = self._segments.ask(project, question, segment)
        return Told(as_of, "archive", answer)

    def ask_each(
        self, calendars: Mapping[Project, Calendar], question: Question[Answer]
    ) -> Told[dict[Project, Answer]]:
        """The answers about projects whose days are given, from the counters. Raises as `ask` does."""
        as_of = timestamp(self._clock())
        return Told(as_of, question.store, dict(self._counters.of_each(calendars, question.from_counters)))
