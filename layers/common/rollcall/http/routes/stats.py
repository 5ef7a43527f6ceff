"""GET /stats/dau and /stats/top-events."""

import sys
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, Field

from rollcall.access.gate import Principal
from rollcall.core.days import Calendar, days_between
from rollcall.core.projects import Project
from rollcall.http.answers import Explained, RangeAnswer, ask, explanation
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_or_all
from rollcall.http.ranges import DayRange, day_range, refuse
from rollcall.http.security import REFUSALS, admitted, one_of_few
from rollcall.http.segment import STATUSES, Segment
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.daily_actives import ActiveUsers, DailyActives
from rollcall.questions.question import Answer, Question, Told
from rollcall.questions.top_events import EventCount, TopEvents
from rollcall.stack.projects import Projects, Record

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    responses={**REFUSALS, **problem_responses(404, 422, *STATUSES)},
)


_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project | None, Security(project_or_all, scopes=["read"])]
# Rows of an answer about all projects: up to 5.2 MB, of the 6 that Lambda answers with.
MAX_ROWS = 80_000


class DayActives(BaseModel):
    """Users active on a day, which is complete once it is over; in a sum of projects, over for all of them."""

    date: str
    dau: int
    complete: bool
    no_day: bool | None = None
    """True where the clocks of the timezone skipped the day, so that nobody can be active; absent otherwise."""


class DauAnswer(RangeAnswer):
    """Daily actives. A day without events has 0."""

    data: list[DayActives]


class _OfProject(BaseModel):
    project: str
    display_name: str
    timezone: str


class ProjectActives(_OfProject):
    """Daily actives of a project, by the days of its timezone."""

    data: list[DayActives]


class _OfAll(Explained):
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


class TopEventsAnswer(RangeAnswer):
    """The most frequent event types. Where there are very many, the last row is `$other`, beyond `limit`. It is
    complete once the range is over."""

    limit: int
    complete: bool
    data: list[TypeCount]


class ProjectTypes(_OfProject):
    """The most frequent event types of a project."""

    complete: bool
    data: list[TypeCount]


class TopEventsOfAll(_OfAll):
    """The most frequent event types of each project, and of all of them together. It is complete once the range is
    over for all of them."""

    limit: int
    complete: bool
    data: list[TypeCount]
    projects: list[ProjectTypes]


@router.get("/dau", summary="Daily active users", response_model_exclude_none=True)
async def daily_actives(
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
        told = _ask_all(request, caller, question, segment, len(days_between(*days)), question.in_sum([]))
        calendars = {record: Calendar(record.timezone) for record in told.answer}
        today = min(_today(calendar) for calendar in calendars.values())
        return DauOfAll(
            **days._asdict(),
            **explanation(question, told),
            data=[
                DayActives(**day._asdict(), complete=day.date < today) for day in question.in_sum(told.answer.values())
            ],
            projects=[
                ProjectActives(**_about(record), data=_of_days(actives, calendars[record]))
                for record, actives in told.answer.items()
            ],
        )
    calendar = service(request, Projects).calendar(project)
    explained, actives = ask(request, caller, project, question, segment, long=False)
    return DauAnswer(**days._asdict(), **explained, timezone=calendar.name, data=_of_days(actives, calendar))


@router.get("/top-events", summary="Most frequent event types", response_model_exclude_none=True)
async def top_events(
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
    question = TopEvents(*days, limit)
    if project is None:
        # Each project's types all, so that those are added up that are rare in one of them.
        told = _ask_all(request, caller, TopEvents(*days, sys.maxsize), segment, limit, [])
        projects = [
            ProjectTypes(
                **_about(record),
                complete=days.last < _today(Calendar(record.timezone)),
                data=_of_types(TopEvents(*days, limit).in_sum([counts])),
            )
            for record, counts in told.answer.items()
        ]
        return TopEventsOfAll(
            **days._asdict(),
            **explanation(question, told),
            limit=limit,
            complete=all(each.complete for each in projects),
            data=_of_types(question.in_sum(told.answer.values())),
            projects=projects,
        )
    calendar = service(request, Projects).calendar(project)
    explained, counts = ask(request, caller, project, question, segment, long=False)
    return TopEventsAnswer(
        **days._asdict(),
        **explained,
        limit=limit,
        complete=days.last < _today(calendar),
        timezone=calendar.name,
        data=_of_types(counts),
    )


def _today(calendar: Calendar) -> str:
    return calendar.today(datetime.now(UTC))


def _about(record: Record) -> dict[str, str]:
    return {"project": record.project.name, "display_name": record.display_name, "timezone": record.timezone}


def _of_days(actives: list[ActiveUsers], calendar: Calendar) -> list[DayActives]:
    today = _today(calendar)
    return [
        DayActives(**day._asdict(), complete=day.date < today, no_day=None if calendar.is_day(day.date) else True)
        for day in actives
    ]


def _of_types(counts: list[EventCount]) -> list[TypeCount]:
    return [TypeCount(event_type=each.event_type, count=each.events) for each in counts]


def _ask_all(
    request: Request, caller: Principal, question: Question[Answer], segment: list[str], rows: int, nothing: Answer
) -> Told[dict[Record, Answer]]:
    """The answers of all projects, of up to so many rows each; `nothing` is that of a project without events."""
    if segment:
        raise refuse("segment", "cannot be asked of all projects at once")
    projects = service(request, Projects)
    records = projects.all()
    if len(records) * rows > MAX_ROWS:
        raise refuse("project", f"is * of {len(records)} projects with up to {rows} rows each; {MAX_ROWS} are allowed")
    with one_of_few(request, caller):
        calendars = projects.laid_out([record.project for record in records])
        told = service(request, Asking).ask_each(calendars, question)
        answers = {record: told.answer.get(record.project, nothing) for record in records}
        return Told(told.as_of, told.store, answers)
