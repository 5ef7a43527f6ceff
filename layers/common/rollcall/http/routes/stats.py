"""GET /stats/dau and /stats/top-events."""

import sys
from contextlib import nullcontext
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.gate import Principal
from rollcall.core.days import Calendar, days_between
from rollcall.core.projects import Project
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_or_all
from rollcall.http.ranges import DayRange, day_range, refuse
from rollcall.http.security import REFUSALS, admitted, one_of_few
from rollcall.http.segment import STATUSES, Segment, SegmentAnswer
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import ActiveUsers, DailyActives
from rollcall.questions.question import Answer, Question
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.projects import Projects, Record

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    responses={**REFUSALS, **problem_responses(404, 422, *STATUSES)},
)


_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project | None, Security(project_or_all, scopes=["read"])]
# Rows of an answer about all projects: some 4 MB, of the 6 that Lambda answers with.
MAX_ROWS = 100_000


class DayActives(BaseModel):
    """Users active on a day."""

    date: str
    dau: int
    no_day: bool | None = None
    """True where the clocks of the timezone skipped the day, so that nobody can be active; absent otherwise."""


class DauAnswer(SegmentAnswer):
    """Daily actives. A day without events has 0."""

    data: list[DayActives]


class _OfProject(BaseModel):
    project: str
    display_name: str
    timezone: str


class ProjectActives(_OfProject):
    """Daily actives of a project, by the days of its timezone."""

    data: list[DayActives]


class _OfAll(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    project: Literal["*"] = "*"


class DauOfAll(_OfAll):
    """Daily actives of each project, and added up by the days' names. Who is active in two projects is two users."""

    data: list[DayActives]
    projects: list[ProjectActives]


class TypeCount(BaseModel):
    """Events of a type, or of all types that are not named, as `$other`."""

    event_type: str
    count: int


class TopEventsAnswer(SegmentAnswer):
    """The most frequent event types. Where there are very many, the last row is `$other`, beyond `limit`."""

    limit: int
    data: list[TypeCount]


class ProjectTypes(_OfProject):
    """The most frequent event types of a project."""

    data: list[TypeCount]


class TopEventsOfAll(_OfAll):
    """The most frequent event types of each project, and of all of them together."""

    limit: int
    data: list[TypeCount]
    projects: list[ProjectTypes]


@router.get("/dau", summary="Daily active users", response_model_exclude_none=True)
def daily_actives(
    request: Request,
    caller: _Caller,
    project: _Project,
    days: Annotated[DayRange, Depends(day_range)],
    segment: Segment,
) -> DauAnswer | DauOfAll:
    """Distinct users of each day, in the project's timezone. With `project=*` each project's, and their sum: users are
    not joined across projects."""
    question = DailyActives(*days)
    if project is None:
        found = _ask_all(request, caller, question, segment, len(days_between(*days)), question.in_sum([]))
        return DauOfAll(
            first=days.first,
            last=days.last,
            data=[DayActives(**day._asdict()) for day in question.in_sum(found.values())],
            projects=[
                ProjectActives(**_about(record), data=_of_days(actives, Calendar(record.timezone)))
                for record, actives in found.items()
            ],
        )
    as_of, actives = _ask(request, caller, project, question, segment)
    calendar = service(request, Projects).calendar(project)
    return DauAnswer(
        first=days.first,
        last=days.last,
        timezone=calendar.name,
        segment=segment or None,
        as_of=as_of,
        data=_of_days(actives, calendar),
    )


@router.get("/top-events", summary="Most frequent event types", response_model_exclude_none=True)
def top_events(
    request: Request,
    caller: _Caller,
    project: _Project,
    days: Annotated[DayRange, Depends(day_range)],
    segment: Segment,
    limit: Annotated[int, Query(ge=1, le=1000, description="Event types to list")] = 10,
) -> TopEventsAnswer | TopEventsOfAll:
    """The event types with the most events in the range. Types with as many events are in alphabetical order. Where
    there are more types than the stack's parameter NamedTypes lets an answer name, the last row has the events of all
    others, as `$other`. With `project=*` each project's, and those of all together."""
    if project is None:
        # Each project's types all, so that those are added up that are rare in one of them.
        found = _ask_all(request, caller, TopEvents(*days, sys.maxsize), segment, limit, [])
        return TopEventsOfAll(
            first=days.first,
            last=days.last,
            limit=limit,
            data=_of_types(TopEvents(*days, limit).in_sum(found.values())),
            projects=[
                ProjectTypes(**_about(record), data=_of_types(TopEvents(*days, limit).in_sum([counts])))
                for record, counts in found.items()
            ],
        )
    as_of, counts = _ask(request, caller, project, TopEvents(*days, limit), segment)
    return TopEventsAnswer(
        first=days.first,
        last=days.last,
        limit=limit,
        timezone=service(request, Projects).calendar(project).name,
        segment=segment or None,
        as_of=as_of,
        data=_of_types(counts),
    )


def _about(record: Record) -> dict[str, str]:
    return {"project": record.project.name, "display_name": record.display_name, "timezone": record.timezone}


def _of_days(actives: list[ActiveUsers], calendar: Calendar) -> list[DayActives]:
    return [DayActives(**day._asdict(), no_day=None if calendar.is_day(day.date) else True) for day in actives]


def _of_types(counts: list[EventCount]) -> list[TypeCount]:
    return [TypeCount(event_type=each.event_type, count=each.events) for each in counts]


def _ask_all(
    request: Request, caller: Principal, question: Question[Answer], segment: list[str], rows: int, nothing: Answer
) -> dict[Record, Answer]:
    """The answers of all projects, of up to so many rows each; `nothing` is that of a project without events."""
    if segment:
        raise refuse("segment", "cannot be asked of all projects at once")
    projects = service(request, Projects)
    records = projects.all()
    if len(records) * rows > MAX_ROWS:
        raise refuse("project", f"is * of {len(records)} projects with up to {rows} rows each; {MAX_ROWS} are allowed")
    with one_of_few(request, caller):
        calendars = projects.laid_out([record.project for record in records])
        answers = service(request, Asking).ask_each(calendars, question)
        return {record: answers.get(record.project, nothing) for record in records}


def _ask(
    request: Request, caller: Principal, project: Project, question: Question[Answer], segment: list[str]
) -> tuple[str | None, Answer]:
    # The counters answer at once. The archive may take long, and the function that asks it is busy as well.
    with one_of_few(request, caller, functions=2) if segment else nullcontext():
        return service(request, Asking).ask(project, question, segment)
