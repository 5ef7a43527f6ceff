"""The function that answers from the archive. The functions behind the API invoke it: their packages have no room for
DuckDB.
"""

import json
from collections.abc import Callable
from typing import Any

from rollcall.archive.snapshots import Snapshots
from rollcall.core.projects import DEFAULT, Project
from rollcall.questions.actives import Actives
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.event_types import EventTypes
from rollcall.questions.from_archive import ArchivedEvents
from rollcall.questions.lifecycle import Lifecycle
from rollcall.questions.properties import Properties
from rollcall.questions.question import ArchiveQuestion
from rollcall.questions.retention import Retention
from rollcall.questions.retention_table import RetentionTable
from rollcall.questions.segment import parse_segment
from rollcall.questions.stickiness import Stickiness
from rollcall.questions.top_events import TopEvents

QUESTIONS: dict[str, type[ArchiveQuestion[Any]]] = {
    question.name: question
    for question in (
        Actives,
        DailyActives,
        EventTypes,
        Lifecycle,
        Properties,
        Retention,
        RetentionTable,
        Stickiness,
        TopEvents,
    )
}
# Of a function's memory and disk, what is neither for DuckDB nor for the archive's files.
OTHER_MEGABYTES = 300


class SegmentFunction:
    """Answers what `rollcall.questions.remote.SegmentClient` asks. DuckDB gets `megabytes` of memory.

    `snapshots` gives those of a project's archive.
    """

    def __init__(self, snapshots: Callable[[Project], Snapshots], megabytes: int) -> None:
        self._snapshots = snapshots
        self._megabytes = megabytes

    def handle(self, event: dict[str, Any]) -> dict[str, Any]:
        """Returns `as_of` and `answer`. Raises `KeyError` for an unknown question."""
        asked = dict(event["asked"])
        project = Project(asked.pop("project", DEFAULT.name))
        question = QUESTIONS[event["question"]](**asked)
        conditions = [parse_segment(text) for text in event["segment"]]
        archived = ArchivedEvents(self._snapshots(project), self._megabytes, conditions)
        as_of, answer = question.from_archive(archived)
        # Lambda's own encoder makes objects of named tuples, where `json` makes lists.
        return {"as_of": as_of, "answer": json.loads(json.dumps(answer))}
