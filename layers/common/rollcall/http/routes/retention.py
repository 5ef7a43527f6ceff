"""GET /stats/retention and /stats/cohort."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rollcall.access.gate import Principal
from rollcall.core.projects import Project
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DAY, read_day, refuse
from rollcall.http.security import REFUSALS, admitted, one_of_few
from rollcall.http.segment import STATUSES, Segment
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.retention import Retention
from rollcall.stack.projects import Projects

MAX_WINDOWS = {"day": 90, "week": 52}
WINDOW_DAYS = {"day": 1, "week": 7}

Period = Literal["day", "week"]
Cohort = Literal["active", "new"]

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


class RetentionAnswer(BaseModel):
    """A cohort and how many of its users came back. Rates are percentages of the cohort, to two decimals."""

    cohort_date: str
    cohort_size: int
    cohort: Cohort
    period: Period
    windows: int
    timezone: str
    retention: list[DayWindow | WeekWindow]
    segment: list[str] | None = None
    """The conditions of the segment; absent where the answer is about all events."""
    as_of: str | None = None
    """For a segment: every event that was counted by this time is in the answer."""


_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project, Security(project_of, scopes=["read"])]
_StartDate = Annotated[str, Query(description="The cohort's day", examples=["2025-08-01"], json_schema_extra=DAY)]


@router.get("/retention", summary="Retention of a cohort", response_model=RetentionAnswer)
def retention(
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
    return _answer(request, caller, project, start_date, "windows", windows, period, cohort, segment)


@router.get(
    "/cohort",
    summary="Weekly retention from the first visit",
    response_model=RetentionAnswer,
)
def cohort(
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
    return _answer(request, caller, project, start_date, "window", window, "week", "new", segment)


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
    # The function that answers from the archive is busy as well.
    with one_of_few(request, caller, functions=2 if segment else 1):
        as_of, found = service(request, Asking).ask(project, question, segment)
    return JSONResponse(
        {
            "cohort_date": start,
            "cohort_size": found.cohort_size,
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
            **({"segment": segment, "as_of": as_of} if segment else {}),
        }
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
