"""GET /stats/actives, /stats/lifecycle and /stats/stickiness."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.gate import Principal
from rollcall.core.days import WEEK_DAYS, Calendar
from rollcall.core.projects import Project
from rollcall.http.answers import RangeAnswer, ask
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DayRange, day_range, refuse
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.segment import STATUSES, Segment
from rollcall.http.services import service
from rollcall.questions.actives import Actives, Period
from rollcall.questions.lifecycle import Lifecycle
from rollcall.questions.question import Question
from rollcall.questions.stickiness import Stickiness, average
from rollcall.stack.projects import Projects
from rollcall.stack.settings import WeekSettings

router = APIRouter(
    prefix="/stats",
    tags=["stats"],
    responses={**REFUSALS, **problem_responses(404, 422, *STATUSES)},
)

_Caller = Annotated[Principal, Security(admitted, scopes=["read"])]
_Project = Annotated[Project, Security(project_of, scopes=["read"])]
_Asked = TypeVar("_Asked", bound=Question[Any])
_Days = Annotated[DayRange, Depends(day_range)]


class PeriodActives(BaseModel):
    """The distinct users of a period."""

    model_config = ConfigDict(populate_by_name=True)

    first: str = Field(alias="from")
    last: str = Field(alias="to")
    active_users: int
    complete: bool


class ActivesAnswer(RangeAnswer):
    """Active users by period. A user who comes on several days of a period counts once."""

    period: Period
    rolling: int | None = None
    """Days of each period, where they are those up to each day; absent otherwise."""
    week_start: str | None = None
    """The day that weeks begin on; absent where the periods are no weeks."""
    data: list[PeriodActives]


class PeriodLifecycle(PeriodActives):
    """The users of a period by their past. `active_users` is `new` + `returning` + `resurrected`, and it is also
    `previous` + `new` + `resurrected` - `gone`."""

    previous: int
    new: int
    returning: int
    resurrected: int
    gone: int


class LifecycleAnswer(RangeAnswer):
    """New, returning, resurrected and gone users by period."""

    period: Period
    week_start: str | None = None
    """The day that weeks begin on; absent where the periods are no weeks."""
    data: list[PeriodLifecycle]


class StickyDay(BaseModel):
    """The users of a day, and of the 30 days that end with it. `stickiness` is their ratio in percent."""

    date: str
    dau: int
    mau: int
    stickiness: float | None
    complete: bool


class StickinessAnswer(RangeAnswer):
    """Daily ÷ monthly actives. `average` is the mean of the days that are over."""

    average: float | None
    data: list[StickyDay]


@router.get("/actives", summary="Active users by day, week or month", response_model_exclude_unset=True)
async def actives(
    request: Request,
    caller: _Caller,
    project: _Project,
    days: _Days,
    segment: Segment,
    period: Annotated[Period | None, Query(description="`day` unless given; whole weeks and months")] = None,
    rolling: Annotated[
        Literal["7", "28", "30"] | None,
        Query(description="Of the last so many days up to each day, in place of a period"),
    ] = None,
) -> ActivesAnswer:
    """Distinct users of each day, week or month in which days of the range are, or of the days up to each of them."""
    if period and rolling:
        raise refuse("rolling", "is in place of period, which comes too")
    calendar = service(request, Projects).calendar(project)
    week_start = service(request, WeekSettings).start
    question = _question(
        lambda: Actives(*days, period or "day", int(rolling or 0), _today(calendar), calendar.name, week_start)
    )
    told, found = ask(request, caller, project, question, segment)
    if rolling:
        told["rolling"] = int(rolling)
    if period == "week":
        told["week_start"] = WEEK_DAYS[week_start]
    data = [
        PeriodActives(first=each.first, last=each.last, active_users=each.active_users, complete=each.complete)
        for each in found
    ]
    return ActivesAnswer(**days._asdict(), timezone=calendar.name, period=period or "day", data=data, **told)


@router.get("/lifecycle", summary="New, returning, resurrected and gone users", response_model_exclude_unset=True)
async def lifecycle(
    request: Request,
    caller: _Caller,
    project: _Project,
    days: _Days,
    segment: Segment,
    period: Annotated[Period, Query(description="Whole weeks and months")] = "day",
) -> LifecycleAnswer:
    """The users of each day, week or month in which days of the range are: who is new, who was there in the period
    before, and who came back after a longer time."""
    calendar = service(request, Projects).calendar(project)
    week_start = service(request, WeekSettings).start
    question = _question(lambda: Lifecycle(*days, period, _today(calendar), calendar.name, week_start))
    told, found = ask(request, caller, project, question, segment)
    if period == "week":
        told["week_start"] = WEEK_DAYS[week_start]
    data = [PeriodLifecycle(**each._asdict()) for each in found]
    return LifecycleAnswer(**days._asdict(), timezone=calendar.name, period=period, data=data, **told)


@router.get("/stickiness", summary="Daily by monthly active users", response_model_exclude_unset=True)
async def stickiness(
    request: Request, caller: _Caller, project: _Project, days: _Days, segment: Segment
) -> StickinessAnswer:
    """Of the users of the 30 days up to each day, the share that is active on the day."""
    calendar = service(request, Projects).calendar(project)
    question = _question(lambda: Stickiness(*days, _today(calendar), calendar.name))
    told, found = ask(request, caller, project, question, segment)
    data = [StickyDay(**each._asdict(), stickiness=each.percent) for each in found]
    return StickinessAnswer(**days._asdict(), timezone=calendar.name, average=average(found), data=data, **told)


def _today(calendar: Calendar) -> str:
    return calendar.today(datetime.now(UTC))


def _question(make: Callable[[], _Asked]) -> _Asked:
    try:
        return make()
    except OverflowError:
        raise refuse("from", "and to need days before the year 1 or after the year 9999") from None
