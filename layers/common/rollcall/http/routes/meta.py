"""GET /meta/event-types and /meta/properties."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, Field

from rollcall.access.gate import Principal
from rollcall.core.projects import Project
from rollcall.http.answers import RangeAnswer, ask
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DayRange, recent_range, refuse
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.segment import STATUSES, Segment, need_archive
from rollcall.http.services import service
from rollcall.questions.event_types import EventTypes
from rollcall.questions.properties import MOST_CHARACTERS, Properties
from rollcall.stack.projects import Projects

router = APIRouter(
    prefix="/meta",
    tags=["meta"],
    responses={**REFUSALS, **problem_responses(404, 422, *STATUSES)},
)

_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project, Security(project_of, scopes=["read"])]
_Range = Annotated[Callable[[str], DayRange], Depends(recent_range)]


class SeenType(BaseModel):
    """Events of a type, and the first and the last day of the range that has one. `$other` has no days."""

    event_type: str
    count: int
    first_seen: str | None
    last_seen: str | None
    condition: str | None = Field(description="For `segment`; null for `$other`")


class EventTypesAnswer(RangeAnswer):
    """The event types, most frequent first. Where there are very many, the last row is `$other`, beyond `limit`."""

    limit: int
    complete: bool
    data: list[SeenType]


class PropertyValue(BaseModel):
    """A string as it is, or a number or a boolean as JSON writes it."""

    value: str
    kind: str
    count: int
    cut: bool = Field(description=f"Whether the value is longer than the {MOST_CHARACTERS} characters that are shown")
    condition: str | None = Field(description="For `segment`; null where none can be written")


class PropertyOfEvents(BaseModel):
    """A property, the events that have it by kind of value, and its most frequent values."""

    property: str
    cut: bool = Field(description=f"Whether the name is longer than the {MOST_CHARACTERS} characters that are shown")
    count: int
    kinds: dict[str, int] = Field(description="`string`, `number`, `boolean`, `null`, `object` and `list`")
    first_seen: str
    last_seen: str
    values: list[PropertyValue]


class PropertiesAnswer(RangeAnswer):
    """The properties of events, most frequent first, and the number of further ones."""

    event_type: str | None
    complete: bool
    data: list[PropertyOfEvents]
    others: int


@router.get("/event-types", summary="Event types and when they were seen", response_model_exclude_unset=True)
async def event_types(
    request: Request,
    caller: _Caller,
    project: _Project,
    range_of: _Range,
    segment: Segment,
    limit: Annotated[int, Query(ge=1, le=1000, description="Event types to list")] = 1000,
) -> EventTypesAnswer:
    """The event types of the range, which is that of the last 30 days unless it is given. Which of very many types are
    named is as for top events."""
    calendar = service(request, Projects).calendar(project)
    today = calendar.today(datetime.now(UTC))
    days = range_of(today)
    told, found = ask(request, caller, project, EventTypes(*days, limit), segment, long=False)
    return EventTypesAnswer(
        **days._asdict(),
        **told,
        timezone=calendar.name,
        limit=limit,
        complete=days.last < today,
        data=[
            SeenType(
                event_type=each.event_type,
                count=each.events,
                first_seen=each.first_seen,
                last_seen=each.last_seen,
                condition=f"event_type:{each.event_type}" if each.first_seen else None,
            )
            for each in found
        ],
    )


@router.get("/properties", summary="Properties and their most frequent values", response_model_exclude_unset=True)
async def properties(
    request: Request,
    caller: _Caller,
    project: _Project,
    range_of: _Range,
    segment: Segment,
    event_type: Annotated[str | None, Query(description="Of the events of this type alone")] = None,
) -> PropertiesAnswer:
    """The properties of the range's events, which is that of the last 30 days unless it is given. From the archive."""
    if event_type == "":
        raise refuse("event_type", "is empty")
    need_archive(request, "properties")
    calendar = service(request, Projects).calendar(project)
    today = calendar.today(datetime.now(UTC))
    days = range_of(today)
    conditions = [*segment, *([f"event_type:{event_type}"] if event_type else [])]
    told, found = ask(request, caller, project, Properties(*days), conditions)
    return PropertiesAnswer(
        **days._asdict(),
        **{**told, **({"segment": segment} if segment else {})},
        timezone=calendar.name,
        event_type=event_type,
        complete=days.last < today,
        data=[
            PropertyOfEvents(
                property=each.name,
                cut=each.cut,
                count=each.events,
                kinds=each.kinds,
                first_seen=each.first_seen,
                last_seen=each.last_seen,
                values=[
                    PropertyValue(
                        value=value.text, kind=value.kind, count=value.events, cut=value.cut, condition=value.condition
                    )
                    for value in each.values
                ],
            )
            for each in found.properties
        ],
        others=found.others,
    )
