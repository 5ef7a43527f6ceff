"""GET /stats/retention, /stats/retention/table and /stats/cohort."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.gate import Principal
from rollcall.core.days import WEEK_DAYS
from rollcall.core.projects import Project
from rollcall.http.answers import ProjectAnswer, RangeAnswer, ask
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DAY, DayRange, day_range, read_day, refuse
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.segment import STATUSES, Segment
from rollcall.http.services import service
from rollcall.questions import actives
from rollcall.questions.question import Definition
from rollcall.questions.retention import Retention
from rollcall.questions.retention_table import RetentionTable
from rollcall.stack.projects import Projects
from rollcall.stack.settings import WeekSettings

MAX_WINDOWS = {"day": 90, "week": 52}
WINDOW_DAYS = {"day": 1, "week": 7}
MAX_COHORTS = 60

Period = Literal["day", "week"]
Cohort = Literal["active", "new"]
On = Literal["exactly", "or_after"]

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    responses={**REFUSALS, **problem_responses(404, 422, *STATUSES)},
)


class _Window(BaseModel):
    date: str
    retained_users: int
    retention_rate: float
    complete: bool


class DayWindow(_Window):
    """The users of the cohort who were active exactly `day` days after its day."""

    day: int


class WeekWindow(_Window):
    """The users of the cohort who were active in the seven days that begin `week` weeks after its day."""

    week: int


class RetentionAnswer(ProjectAnswer):
    """A cohort and how many of its users came back. Rates are percentages of the cohort, to two decimals."""

    cohort_date: str
    cohort_size: int
    cohort_complete: bool
    """Whether the cohort's day is over."""
    cohort: Cohort
    period: Period
    windows: int
    retention: list[DayWindow | WeekWindow]


class RetainedUsers(BaseModel):
    """The users of a cohort who were active from `from` to `to`, which is `number` periods after the cohort's own."""

    model_config = ConfigDict(populate_by_name=True)

    number: int
    first: str = Field(alias="from")
    last: str = Field(alias="to")
    retained_users: int
    retention_rate: float
    complete: bool


class PeriodCohort(BaseModel):
    """The users of a period, and how many of them were active in it and in each later one."""

    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    cohort_size: int
    complete: bool
    retained: list[RetainedUsers]


class RetentionTableAnswer(RangeAnswer):
    """A cohort for each period. Rates are percentages of the cohort, to two decimals."""

    period: actives.Period
    week_start: str | None = None
    """The day that weeks begin on; absent where the periods are no weeks."""
    cohort: Cohort
    on: On
    cohorts: list[PeriodCohort]


_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project, Security(project_of, scopes=["read"])]
_StartDate = Annotated[str, Query(description="The cohort's day", examples=["2025-08-01"], json_schema_extra=DAY)]


@router.get("/retention", summary="Retention of a cohort", response_model=RetentionAnswer)
async def retention(
    request: Request,
    caller: _Caller,
    project: _Project,
    start_date: _StartDate,
    segment: Segment,
    windows: Annotated[
        int,
        Query(
            description="Days (1-90) or weeks (1-52) after the cohort's day",
            json_schema_extra={"minimum": 1, "maximum": MAX_WINDOWS["day"]},
        ),
    ] = 3,
    period: Annotated[Period, Query(description="Length of a window")] = "day",
    cohort: Annotated[
        Cohort, Query(description="Everyone active on the day, or only those first seen on it")
    ] = "active",
) -> JSONResponse:
    """How many users of a day came back, in each window after it."""
    return _answer(request, caller, project, start_date, "windows", windows, period, cohort, segment, "retention")


@router.get("/retention/table", summary="Retention of every cohort", response_model=RetentionTableAnswer)
async def retention_table(
    request: Request,
    caller: _Caller,
    project: _Project,
    days: Annotated[DayRange, Depends(day_range)],
    segment: Segment,
    period: Annotated[actives.Period, Query(description="Whole weeks and months")] = "day",
    cohort: Annotated[
        Cohort, Query(description="Everyone active in the period, or only those first seen in it")
    ] = "active",
    on: Annotated[
        On,
        Query(description="Active in the period that is exactly so many later, or in that one or any later one"),
    ] = "exactly",
) -> JSONResponse:
    """How many users of each day, week or month in which days of the range are came back in each later one. A table has
    60 cohorts at most."""
    calendar = service(request, Projects).calendar(project)
    today, week_start = calendar.today(datetime.now(UTC)), service(request, WeekSettings).start
    try:
        question = RetentionTable(*days, period, cohort == "new", on == "or_after", today, calendar.name, week_start)
    except OverflowError:
        raise refuse("from", "and to need days before the year 1 or after the year 9999") from None
    if len(question.spans) > MAX_COHORTS:
        raise refuse("to", f"and from make {len(question.spans)} cohorts of a {period}; {MAX_COHORTS} are allowed")
    explained, found = ask(request, caller, project, question, segment)
    return JSONResponse(
        {
            **explained,
            "from": days.first,
            "to": days.last,
            "timezone": calendar.name,
            "period": period,
            **({"week_start": WEEK_DAYS[week_start]} if period == "week" else {}),
            "cohort": cohort,
            "on": on,
            "cohorts": [
                {
                    "from": each.first,
                    "to": each.last,
                    "cohort_size": each.cohort_size,
                    "complete": each.complete,
                    "retained": [
                        {
                            "number": cell.number,
                            "from": cell.first,
                            "to": cell.last,
                            "retained_users": cell.retained_users,
                            "retention_rate": _percent(cell.retained_users, each.cohort_size),
                            "complete": cell.complete,
                        }
                        for cell in each.retained
                    ],
                }
                for each in found
            ],
        }
    )


@router.get(
    "/cohort",
    summary="Weekly retention from the first visit",
    response_model=RetentionAnswer,
)
async def cohort(
    request: Request,
    caller: _Caller,
    project: _Project,
    start_date: _StartDate,
    segment: Segment,
    window: Annotated[
        int,
        Query(
            description="Weeks (1-52) after the cohort's day",
            json_schema_extra={"minimum": 1, "maximum": MAX_WINDOWS["week"]},
        ),
    ] = 8,
) -> JSONResponse:
    """How many of the users first seen on a day came back in each of the weeks after it."""
    return _answer(request, caller, project, start_date, "window", window, "week", "new", segment, "cohort")


def _answer(
    request: Request,
    caller: Principal,
    project: Project,
    start_date: str,
    parameter: str,
    windows: int,
    period: Period,
    cohort: Cohort,
    segment: list[str],
    definition: Definition,
) -> JSONResponse:
    calendar = service(request, Projects).calendar(project)
    start = read_day("start_date", start_date)
    if not calendar.is_day(start):
        raise refuse("start_date", f"is {start}, which the clocks of {calendar.name} skipped")
    if not 1 <= windows <= MAX_WINDOWS[period]:
        raise refuse(parameter, f"has to be from 1 to {MAX_WINDOWS[period]} for period={period}")
    today = calendar.today(datetime.now(UTC))
    try:
        question = Retention(start, windows, WINDOW_DAYS[period], cohort == "new", today, calendar.name)
    except OverflowError:
        raise refuse("start_date", "is so late that the last window ends after the year 9999") from None
    explained, found = ask(request, caller, project, question, segment)
    return JSONResponse(
        {
            **explained,
            "definition": definition,
            "cohort_date": start,
            "cohort_size": found.cohort_size,
            "cohort_complete": start < today,
            "cohort": cohort,
            "period": period,
            "windows": windows,
            "timezone": calendar.name,
            "retention": [
                {
                    period: window.number,
                    "date": window.date,
                    "retained_users": window.retained_users,
                    "retention_rate": _percent(window.retained_users, found.cohort_size),
                    "complete": window.complete,
                }
                for window in found.windows
            ],
        }
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
