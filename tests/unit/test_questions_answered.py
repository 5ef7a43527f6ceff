"""The function that answers questions about segments says what the functions that ask can read."""

import importlib
import io
import json
import pkgutil
from dataclasses import asdict
from datetime import date
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from rollcall import questions
from rollcall.archive.snapshots import Snapshots
from rollcall.core.days import Calendar
from rollcall.core.projects import DEFAULT, Project
from rollcall.questions.actives import Actives, SpanActives
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import ActiveUsers, DailyActives
from rollcall.questions.event_types import EventTypes, SeenType
from rollcall.questions.from_archive import ArchivedEvents
from rollcall.questions.lifecycle import Lifecycle, PeriodUsers
from rollcall.questions.properties import FoundProperties, Properties, Property, PropertyValue
from rollcall.questions.question import ArchiveQuestion, AsOf, Question
from rollcall.questions.remote import SegmentClient
from rollcall.questions.remote_handler import QUESTIONS, SegmentFunction
from rollcall.questions.retention import Retained, Retention, Window
from rollcall.questions.retention_table import Cell, PeriodCohort, RetentionTable
from rollcall.questions.stickiness import DayStickiness, Stickiness
from rollcall.questions.top_events import EventCount, TopEvents

AS_OF = "2025-09-01T00:00:00Z"
SEGMENT = ["event_type:open"]
DAY = "2025-08-01"
# Each question with an answer of it, and how that goes over the wire.
VALUE = PropertyValue("x", "string", 3, False, "properties.a:x")
ANSWERS: list[tuple[ArchiveQuestion[Any], Any, list[Any]]] = [
    (DailyActives(DAY, DAY), [ActiveUsers(DAY, 2)], [[DAY, 2]]),
    (Actives(DAY, DAY, "week", 0, "2025-09-01"), [SpanActives(DAY, DAY, 2, complete=True)], [[DAY, DAY, 2, True]]),
    (
        Lifecycle(DAY, DAY, "day", "2025-09-01"),
        [PeriodUsers(DAY, DAY, 2, 2, 1, 1, 0, 1, complete=True)],
        [[DAY, DAY, 2, 2, 1, 1, 0, 1, True]],
    ),
    (Stickiness(DAY, DAY, "2025-09-01"), [DayStickiness(DAY, 1, 2, complete=True)], [[DAY, 1, 2, True]]),
    (EventTypes(DAY, DAY, 10), [SeenType("open", 7, DAY, DAY)], [["open", 7, DAY, DAY]]),
    (
        Properties(DAY, DAY),
        FoundProperties(
            [
                Property(
                    "a", False, 3, {"string": 3}, DAY, DAY, [PropertyValue("x", "string", 3, False, "properties.a:x")]
                )
            ],
            1,
        ),
        [[["a", False, 3, {"string": 3}, DAY, DAY, [["x", "string", 3, False, "properties.a:x"]]]], 1],
    ),
    (TopEvents(DAY, DAY, 10), [EventCount("open", 7)], [["open", 7]]),
    (
        Retention(DAY, 1, 1, new_users=False, today="2025-09-01"),
        Retained(3, [Window(1, "2025-08-02", 2, complete=True)]),
        [3, [[1, "2025-08-02", 2, True]]],
    ),
    (
        RetentionTable(DAY, DAY, "day", new_users=False, or_after=False, today="2025-09-01"),
        [PeriodCohort(DAY, DAY, 2, True, [Cell(0, DAY, DAY, 2, complete=True)])],
        [[DAY, DAY, 2, True, [[0, DAY, DAY, 2, True]]]],
    ),
]


@pytest.fixture
def function() -> SegmentFunction:
    return SegmentFunction(lambda _: cast(Snapshots, None), 100)


def invocation(question: ArchiveQuestion[Any]) -> dict[str, Any]:
    asked = {"question": question.name, "asked": asdict(question), "segment": SEGMENT}
    received: dict[str, Any] = json.loads(json.dumps(asked))
    return received


def kinds(said: object) -> set[type]:
    """The classes of an answer and of all that is in it."""
    inside = said.values() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return {type(said)}.union(*map(kinds, inside))


@pytest.mark.parametrize(("question", "answer", "wire"), ANSWERS, ids=[each.name for each, *_ in ANSWERS])
def test_an_answer_is_lists_which_every_encoder_of_json_takes_for_lists(
    monkeypatch: pytest.MonkeyPatch,
    function: SegmentFunction,
    question: ArchiveQuestion[Any],
    answer: Any,
    wire: list[Any],
) -> None:
    asked: list[ArchiveQuestion[Any]] = []

    def answered(self: ArchiveQuestion[Any], _archived: ArchivedEvents) -> AsOf[Any]:
        asked.append(self)
        return AsOf(AS_OF, answer)

    monkeypatch.setattr(type(question), "from_archive", answered)
    said = function.handle(invocation(question))

    assert asked == [question]
    assert said == {"as_of": AS_OF, "answer": wire}
    # Lambda's runtime makes objects of named tuples.
    assert kinds(said) <= {dict, list, str, int, bool}
    assert question.decode(said["answer"]) == answer


def test_a_function_of_before_there_were_projects_answers_about_none_but_the_default_one() -> None:
    client = MagicMock()
    client.invoke.return_value = {"Payload": io.BytesIO(json.dumps({"as_of": AS_OF, "answer": []}).encode())}
    asked = []
    for project in (DEFAULT, Project("shop")):
        client.invoke.return_value["Payload"].seek(0)
        SegmentClient(client, "segments").ask(project, DailyActives(DAY, DAY), SEGMENT)
        asked.append(json.loads(client.invoke.call_args.kwargs["Payload"])["asked"])

    assert DailyActives(**asked[0]) == DailyActives(DAY, DAY)
    with pytest.raises(TypeError, match="project"):
        DailyActives(**asked[1])


def test_an_answer_from_the_counters_is_as_of_the_moment_before_it_is_read() -> None:
    moments = iter([0.0, 60.0])
    counters = MagicMock()
    counters.of.return_value.of_days.side_effect = lambda *_: next(moments) and []
    asking = Asking(counters, lambda _: Calendar("UTC"), None, moments.__next__)

    told = asking.ask(DEFAULT, DailyActives(DAY, DAY))

    assert told == ("1970-01-01T00:00:00Z", "counters", [ActiveUsers(DAY, 0)])


def test_a_question_that_nobody_knows_is_an_error(function: SegmentFunction) -> None:
    with pytest.raises(KeyError, match="secrets"):
        function.handle({"question": "secrets", "asked": {}, "segment": SEGMENT})


def test_every_question_can_be_asked_about_a_segment() -> None:
    for module in pkgutil.iter_modules(questions.__path__):
        importlib.import_module(f"rollcall.questions.{module.name}")

    questions_there_are = {*Question.__subclasses__(), *ArchiveQuestion.__subclasses__()} - {Question}
    assert set(QUESTIONS.values()) == questions_there_are
    assert {type(question) for question, *_ in ANSWERS} == set(QUESTIONS.values())


def test_a_question_without_an_end_is_refused_before_it_is_asked() -> None:
    last = date.max.isoformat()

    with pytest.raises(OverflowError):
        Retention(last, 1, 1, new_users=False, today=last)
