"""The query parameters that several routes have: days and ranges of days."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

from fastapi import Query

from rollcall.core.days import EVER, add_days, day_count, parse_day
from rollcall.http.problems import Refused

MAX_DAYS = 366
RECENT_DAYS = 30
# What the document says of a day, beyond its type.
DAY = {"format": "date"}


class DayRange(NamedTuple):
    """Days from `first` to `last`, both inclusive."""

    first: str
    last: str


def refuse(parameter: str, message: str) -> Refused:
    """A 422 that names the parameter."""
    return Refused(422, "invalid_parameter", f"{parameter} {message}", parameter=parameter)


def read_day(parameter: str, text: str | None) -> str:
    """The day in a query parameter; raises `Refused` where it is missing or does not exist."""
    if text is None:
        raise refuse(parameter, "is missing")
    try:
        return parse_day(text)
    except ValueError as error:
        raise refuse(parameter, str(error)) from None


_First = Annotated[
    str | None,
    Query(alias="from", description="First day, inclusive", examples=["2025-08-01"], json_schema_extra=DAY),
]
_Last = Annotated[
    str | None, Query(alias="to", description="Last day, inclusive", examples=["2025-08-31"], json_schema_extra=DAY)
]
_FirstDate = Annotated[str | None, Query(description="The same as `from`", json_schema_extra=DAY)]
_LastDate = Annotated[str | None, Query(description="The same as `to`", json_schema_extra=DAY)]


async def day_range(
    first: _First = None, last: _Last = None, from_date: _FirstDate = None, to_date: _LastDate = None
) -> DayRange:
    """The range that a request asks for; raises `Refused`, which names the parameter as it was sent."""
    return _range(first, last, from_date, to_date)


async def recent_range(
    first: _First = None, last: _Last = None, from_date: _FirstDate = None, to_date: _LastDate = None
) -> Callable[[str], DayRange]:
    """The range that a request asks for, from today: the `RECENT_DAYS` days up to the last one, which is today unless
    it is given. Raises `Refused` as `day_range` does."""

    def of(today: str) -> DayRange:
        end = last
        if end is None and to_date is None:
            end = today
        start = first
        if start is None and from_date is None:
            # Of a range that begins before the calendar does, the first day is the calendar's.
            until = read_day("to_date" if end is None else "to", to_date if end is None else end)
            start = EVER if day_count(EVER, until) < RECENT_DAYS else add_days(until, 1 - RECENT_DAYS)
        return _range(start, end, from_date, to_date)

    return of


def _range(first: str | None, last: str | None, from_date: str | None, to_date: str | None) -> DayRange:
    from_name, from_text = ("from_date", from_date) if first is None and from_date is not None else ("from", first)
    to_name, to_text = ("to_date", to_date) if last is None and to_date is not None else ("to", last)
    start, end = read_day(from_name, from_text), read_day(to_name, to_text)
    for name, one, other in (("from_date", first, from_date), ("to_date", last, to_date)):
        if one is not None and other is not None:
            raise refuse(name, f"is another name of {name.removesuffix('_date')}, which comes too")
    if start > end:
        raise refuse(from_name, f"is {start}, after {to_name}, which is {end}")
    if day_count(start, end) > MAX_DAYS:
        most = f"a range has {MAX_DAYS} days at most"
        raise refuse(to_name, f"is more than {MAX_DAYS - 1} days after {from_name}: {most}")
    return DayRange(start, end)
