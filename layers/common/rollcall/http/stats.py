"""GET /stats/dau and /stats/top-events."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.http.problems import problem_responses
from rollcall.http.ranges import DayRange, day_range
from rollcall.http.security import REFUSALS, admitted

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    dependencies=[Security(admitted, scopes=["read"])],
    responses={**REFUSALS, **problem_responses(422)},
)


class _Answer(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    timezone: str


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


@router.get("/dau", summary="Daily active users")
def daily_actives(request: Request, days: Annotated[DayRange, Depends(day_range)]) -> DauAnswer:
    """Distinct users of each day, in the stack's reporting timezone."""
    state = request.app.state
    return DauAnswer(
        first=days.first,
        last=days.last,
        timezone=state.calendar.name,
        data=[DayActives(**day._asdict()) for day in state.stats.daily_actives(*days)],
    )


@router.get("/top-events", summary="Most frequent event types")
def top_events(
    request: Request,
    days: Annotated[DayRange, Depends(day_range)],
    limit: Annotated[int, Query(ge=1, le=1000, description="Event types to list")] = 10,
) -> TopEventsAnswer:
    """Event types by their number of events in the range; equals in alphabetical order."""
    state = request.app.state
    return TopEventsAnswer(
        first=days.first,
        last=days.last,
        limit=limit,
        timezone=state.calendar.name,
        data=[TypeCount(**asdict(count)) for count in state.stats.top_events(*days, limit)],
    )
