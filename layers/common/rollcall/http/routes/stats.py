"""GET /stats/dau and /stats/top-events."""

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.gate import Principal
from rollcall.core.projects import DEFAULT
from rollcall.http.problems import problem_responses
from rollcall.http.ranges import DayRange, day_range
from rollcall.http.security import REFUSALS, admitted, one_of_few
from rollcall.http.segment import STATUSES, Segment
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import DailyActives
from rollcall.questions.question import Answer, Question
from rollcall.questions.top_events import TopEvents
from rollcall.stack.projects import Projects

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    responses={**REFUSALS, **problem_responses(422, *STATUSES)},
)


_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]


class _Answer(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    timezone: str
    segment: list[str] | None = None
    """The conditions of the segment; absent where the answer is about all events."""
    as_of: str | None = None
    """For a segment: every event that was counted by this time is in the answer."""


class DayActives(BaseModel):
    """Users active on a day."""

    date: str
    dau: int
    no_day: bool | None = None
    """True where the clocks of the timezone skipped the day, so that nobody can be active; absent otherwise."""


class DauAnswer(_Answer):
    """Daily actives. A day without events has 0."""

    data: list[DayActives]


class TypeCount(BaseModel):
    """Events of a type, or of all types that are not named, as `$other`."""

    event_type: str
    count: int


class TopEventsAnswer(_Answer):
    """The most frequent event types. Where there are very many, the last row is `$other`, beyond `limit`."""

    limit: int
    data: list[TypeCount]


@router.get("/dau", summary="Daily active users", response_model_exclude_none=True)
def daily_actives(
    request: Request, caller: _Caller, days: Annotated[DayRange, Depends(day_range)], segment: Segment
) -> DauAnswer:
    """Distinct users of each day, in the stack's reporting timezone."""
    as_of, actives = _ask(request, caller, DailyActives(*days), segment)
    calendar = service(request, Projects).calendar(DEFAULT)
    return DauAnswer(
        first=days.first,
        last=days.last,
        timezone=calendar.name,
        segment=segment or None,
        as_of=as_of,
        data=[DayActives(**day._asdict(), no_day=None if calendar.is_day(day.date) else True) for day in actives],
    )


@router.get("/top-events", summary="Most frequent event types", response_model_exclude_none=True)
def top_events(
    request: Request,
    caller: _Caller,
    days: Annotated[DayRange, Depends(day_range)],
    segment: Segment,
    limit: Annotated[int, Query(ge=1, le=1000, description="Event types to list")] = 10,
) -> TopEventsAnswer:
    """The event types with the most events in the range. Types with as many events are in alphabetical order. Where
    there are more types than the stack's parameter NamedTypes lets an answer name, the last row has the events of all
    others, as `$other`."""
    as_of, counts = _ask(request, caller, TopEvents(*days, limit), segment)
    return TopEventsAnswer(
        first=days.first,
        last=days.last,
        limit=limit,
        timezone=service(request, Projects).calendar(DEFAULT).name,
        segment=segment or None,
        as_of=as_of,
        data=[TypeCount(event_type=each.event_type, count=each.events) for each in counts],
    )


def _ask(
    request: Request, caller: Principal, question: Question[Answer], segment: list[str]
) -> tuple[str | None, Answer]:
    # The counters answer at once. The archive may take long, and the function that asks it is busy as well.
    with one_of_few(request, caller, functions=2) if segment else nullcontext():
        return service(request, Asking).ask(DEFAULT, question, segment)
