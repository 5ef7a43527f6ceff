"""The views that can be shared, and what a share lets its holder ask.

A share may ask what its view is made of, and nothing else: of its project, with its segment, about its days and those
of the period before. No day after them is in any number. Days before them are in those of the weeks, months, and 7 or
30 days up to a day that the shared days are in. A route that no view names is refused to every share.
"""

from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import date
from typing import Literal, NamedTuple, NoReturn

from fastapi import Request

from rollcall.access.shares import Share
from rollcall.core.days import add_days, parse_day
from rollcall.http.problems import Refused
from rollcall.http.services import service
from rollcall.stack.projects import Projects
from rollcall.stack.settings import WeekSettings

View = Literal["overview"]


class _Asked(NamedTuple):
    """The days that a query asks about, and the last day of its windows or periods, where that may be a later one."""

    first: str
    last: str
    end: str | None = None


# Reads the days of a request's query; raises `ValueError`, `KeyError` or `OverflowError` where it does not say.
_Days = Callable[[Request], _Asked]


def _of_range(request: Request) -> _Asked:
    query = request.query_params
    firsts = [parse_day(day) for name in ("from", "from_date") for day in query.getlist(name)]
    lasts = [parse_day(day) for name in ("to", "to_date") for day in query.getlist(name)]
    return _Asked(min(firsts), max(lasts))


def _of_periods(request: Request) -> _Asked:
    """As `_of_range`, to the end of the week or the month that the last day is in."""
    first, last, _ = _of_range(request)
    (period,) = request.query_params.getlist("period") or ["day"]
    of_day, week_start = date.fromisoformat(last), service(request, WeekSettings).start
    left = {
        "day": 0,
        "week": (week_start - of_day.weekday() - 1) % 7,
        "month": monthrange(of_day.year, of_day.month)[1] - of_day.day,
    }
    return _Asked(first, last, add_days(last, left[period]))


def _windows(name: str, otherwise: int, period: str | None = None) -> _Days:
    """Reads the day of a cohort and the windows after it, which `name` counts. They are days unless `period` says."""

    def days(request: Request) -> _Asked:
        query = request.query_params
        (start,) = query.getlist("start_date")
        (count,) = query.getlist(name) or [str(otherwise)]
        if not count.isdecimal():
            raise ValueError(name)
        (length,) = query.getlist("period") or ["day"] if period is None else [period]
        days_of = {"day": 1, "week": 7}[length]
        return _Asked(parse_day(start), start, add_days(start, (int(count) + 1) * days_of - 1))

    return days


# Each view with its routes, and how the days of a request to them are read.
VIEWS: Mapping[str, Mapping[str, _Days]] = {
    "overview": {
        "/stats/dau": _of_range,
        "/stats/actives": _of_periods,
        "/stats/lifecycle": _of_periods,
        "/stats/stickiness": _of_range,
        "/stats/top-events": _of_range,
        "/stats/retention/table": _of_periods,
        "/stats/retention": _windows("windows", 3),
        "/stats/cohort": _windows("window", 8, "week"),
    }
}


def check_shared(request: Request, share: Share) -> None:
    """Refuse what a share does not let its holder ask; raises `Refused`."""
    days_of = VIEWS.get(share.view, {}).get(request.scope["route"].path)
    if days_of is None or request.method != "GET":
        _refuse("this is no part of what is shared")
    query = request.query_params
    if any(project != share.project.name for project in query.getlist("project")):
        _refuse("another project is not shared", "project")
    if sorted(query.getlist("segment")) != sorted(share.segment):
        _refuse("what is shared is about its own segment alone", "segment")
    calendar = service(request, Projects).calendar(share.project)
    earliest, latest = share.reach(calendar)
    try:
        asked = days_of(request)
    except (ValueError, KeyError, OverflowError):
        _refuse("the days have to be named, and be days that are shared")
    # Windows and periods may end after a range that ends today: nothing is there yet.
    over = asked.end is not None and asked.end > latest and share.days is None
    if not earliest <= asked.first <= asked.last <= latest or over:
        _refuse(f"days from {earliest} to {latest} are shared")


def _refuse(message: str, parameter: str | None = None) -> NoReturn:
    raise Refused(403, "not_shared", message, parameter=parameter)
