"""The function that answers from the archive for those behind the API."""

from typing import Any

from aws_lambda_powertools import Logger

from rollcall.archive.snapshots import Moving
from rollcall.questions.from_archive import Questions
from rollcall.questions.segment import parse_segment

# Of a function's memory and disk, what is not for DuckDB and not for the archive's files.
OTHER_MEGABYTES = 300


class Segments:
    """The function that answers for those behind the API, whose packages have no room for DuckDB."""

    def __init__(self, questions: Questions, logger: Logger) -> None:
        self._questions = questions
        self._logger = logger

    def handle(self, event: dict[str, Any]) -> dict[str, Any]:
        """Answer what `rollcall.questions.remote.Segments` asks: `as_of` and `answer`, or `busy` with a reason."""
        asked = {**event["asked"], "conditions": [parse_segment(text) for text in event["segment"]]}
        try:
            as_of, answer = self._answer(event["question"], asked)
        except Moving as error:
            self._logger.warning("archive is compacted", extra={"reason": str(error)})
            return {"busy": str(error)}
        return {"as_of": as_of, "answer": answer}

    def _answer(self, question: str, asked: dict[str, Any]) -> tuple[str, list[Any]]:
        """An answer as lists: of a named tuple Lambda's runtime makes an object, where `json` makes a list."""
        match question:
            case "daily_actives":
                as_of, days = self._questions.daily_actives(**asked)
                return as_of, [[day.date, day.dau] for day in days]
            case "top_events":
                as_of, counts = self._questions.top_events(**asked)
                return as_of, [[one.event_type, one.count] for one in counts]
            case "retention":
                as_of, (size, windows) = self._questions.retention(**asked)
                return as_of, [size, [[*window] for window in windows]]
        raise ValueError(f"there is no question {question!r}")
