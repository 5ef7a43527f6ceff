"""Has questions about segments answered by the function that reads the archive."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ReadTimeoutError

from rollcall.core.days import add_days
from rollcall.questions.answers import AsOf, DailyActives, EventCount, Retention, Window
from rollcall.stack import clients as aws
from rollcall.stack.settings import AskSettings

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

from rollcall.questions.answers import SegmentsBusy, SegmentsFailed, SegmentsSlow


class Segments:
    """Invokes the function. `segment` is one that `rollcall.questions.segment.parse_segment` has read.

    All raise `SegmentsBusy`, `SegmentsFailed` and `SegmentsSlow`, and botocore's errors.
    """

    def __init__(self, client: "LambdaClient", function: str) -> None:
        self._client = client
        self._function = function

    def daily_actives(self, first: str, last: str, segment: Sequence[str]) -> AsOf[list[DailyActives]]:
        """As `rollcall.questions.from_counters.Stats.daily_actives`, of a segment's events alone."""
        as_of, answer = self._ask("daily_actives", segment, first=first, last=last)
        return AsOf(as_of, [DailyActives(*day) for day in answer])

    def top_events(self, first: str, last: str, limit: int, segment: Sequence[str]) -> AsOf[list[EventCount]]:
        """As `rollcall.questions.from_counters.Stats.top_events`, of a segment's events alone."""
        as_of, answer = self._ask("top_events", segment, first=first, last=last, limit=limit)
        return AsOf(as_of, [EventCount(*one) for one in answer])

    def retention(
        self, day: str, windows: int, window_days: int, *, new_users: bool, today: str, segment: Sequence[str]
    ) -> AsOf[Retention]:
        """As `rollcall.questions.from_counters.Stats.retention`, as if there were no events but a segment's."""
        # Raises what the counters' answer raises, before anything is asked.
        add_days(day, (windows + 1) * window_days - 1)
        as_of, (size, answer) = self._ask(
            "retention",
            segment,
            day=day,
            windows=windows,
            window_days=window_days,
            new_users=new_users,
            today=today,
        )
        return AsOf(as_of, Retention(size, [Window(*window) for window in answer]))

    def _ask(self, question: str, segment: Sequence[str], **asked: object) -> tuple[str, Any]:
        payload = json.dumps({"question": question, "asked": asked, "segment": list(segment)})
        try:
            answer = self._client.invoke(FunctionName=self._function, Payload=payload)
        except ReadTimeoutError as error:
            raise SegmentsSlow from error
        said = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            if "Task timed out" in str(said.get("errorMessage")):
                raise SegmentsSlow
            raise SegmentsFailed(said.get("errorType"))
        if "busy" in said:
            raise SegmentsBusy(said["busy"])
        return said["as_of"], said["answer"]


def build(settings: AskSettings) -> Segments | None:
    """The segments of a stack, or None where it keeps no archive."""
    return Segments(aws.later(aws.functions), settings.segments_function) if settings.segments_function else None
