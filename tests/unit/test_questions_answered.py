"""The function that answers questions about segments says what the functions that ask can read."""

import io
from typing import Any
from unittest.mock import Mock

import pytest
from aws_lambda_powertools import Logger

from rollcall.archive.snapshots import Moving
from rollcall.questions.answers import AsOf, DailyActives, EventCount, Retention, Window
from rollcall.questions.remote_handler import Segments

AS_OF = "2025-09-01T00:00:00Z"
SEGMENT = ["event_type:open"]
ANSWERS: dict[str, tuple[Any, list[Any]]] = {
    "daily_actives": ([DailyActives("2025-08-01", 2)], [["2025-08-01", 2]]),
    "top_events": ([EventCount("open", 7)], [["open", 7]]),
    "retention": (Retention(3, [Window(1, "2025-08-02", 2, complete=True)]), [3, [[1, "2025-08-02", 2, True]]]),
}


def segments(questions: Mock) -> Segments:
    return Segments(questions, Logger(service="test", stream=io.StringIO()))


def kinds(said: object) -> set[type]:
    """The classes of an answer and of all that is in it."""
    inside = said.values() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return {type(said)}.union(*map(kinds, inside))


@pytest.mark.parametrize("question", ANSWERS)
def test_an_answer_is_lists_which_every_encoder_of_json_takes_for_lists(question: str) -> None:
    answer, expected = ANSWERS[question]
    questions = Mock()
    getattr(questions, question).return_value = AsOf(AS_OF, answer)

    said = segments(questions).handle({"question": question, "asked": {}, "segment": SEGMENT})

    assert said == {"as_of": AS_OF, "answer": expected}
    # Lambda's runtime makes objects of named tuples.
    assert kinds(said) <= {dict, list, str, int, bool}


def test_an_archive_that_does_not_stand_still_is_busy() -> None:
    questions = Mock()
    questions.daily_actives.side_effect = Moving("it changed")

    said = segments(questions).handle({"question": "daily_actives", "asked": {}, "segment": SEGMENT})

    assert said == {"busy": "it changed"}


def test_a_question_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no question"):
        segments(Mock()).handle({"question": "secrets", "asked": {}, "segment": SEGMENT})
