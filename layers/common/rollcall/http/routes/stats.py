"""GET /stats/dau and /stats/top-events."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.http.problems import problem_responses
from rollcall.http.ranges import DayRange, day_range
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.segment import STATUSES, Segment

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    dependencies=[Security(admitted, scopes=["read"])],
    responses={**REFUSALS, **problem_responses(422, *STATUSES)},
)


class _Answer(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    timezone: str
    segment: list[str] | None = None
    """Of which events it is, where not of all."""
    as_of: str | None = None
    """Of a segment: what was counted until then is in it."""


class DayActives(BaseModel):
    """Users active on a day."""

    date: str
    dau: int


class DauAnswer(_Answer):
    """Daily actives; days without events are there with 0."""

    data: list[DayActives]


class TypeCount(BaseModel):
    """Events of a type."""

    event_type: str
    count: int


class TopEventsAnswer(_Answer):
    """The most frequent event types."""

    limit: int
    data: list[TypeCount]


@router.get("/dau", summary="Daily active users", response_model_exclude_none=True)
def daily_actives(request: Request, days: Annotated[DayRange, Depends(day_range)], segment: Segment) -> DauAnswer:
    """Distinct users of each day, in the stack's reporting timezone."""
    state = request.app.state
    if segment:
        as_of, actives = state.segments.daily_actives(*days, segment)
    else:
        as_of, actives = None, state.stats.daily_actives(*days)
    return DauAnswer(
        first=days.first,
        last=days.last,
        timezone=state.calendar.name,
        segment=segment or None,
        as_of=as_of,
        data=[DayActives(**day._asdict()) for day in actives],
    )


@router.get("/top-events", summary="Most frequent event types", response_model_exclude_none=True)
def top_events(
    request: Request,
    days: Annotated[DayRange, Depends(day_range)],
    segment: Segment,
    limit: Annotated[int, Query(ge=1, le=1000, description="Event types to list")] = 10,
) -> TopEventsAnswer:
    """Event types by their number of events in the range; equals in alphabetical order."""
    state = request.app.state
    if segment:
        as_of, counts = state.segments.top_events(*days, limit, segment)
    else:
        as_of, counts = None, state.stats.top_events(*days, limit)
    return TopEventsAnswer(
        first=days.first,
        last=days.last,
        limit=limit,
        timezone=state.calendar.name,
        segment=segment or None,
        as_of=as_of,
        data=[TypeCount(**asdict(count)) for count in counts],
    )
