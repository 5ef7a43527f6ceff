"""`rollcall stats`."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from scripts import show
from scripts.commands.common import (
    QUESTION_SECONDS,
    AsJson,
    KeyText,
    ProjectName,
    Raw,
    StackName,
    api,
    output,
    output_json,
)
from scripts.commands.events import day_option
from scripts.commands.projects import calendar_of
from scripts.operate import stacks
from scripts.terminal import SafeTable, write_csv

RANGE_DAYS = 30

Asked = dict[str, str | int | list[str]]

app = typer.Typer(
    help="Answers: active users, their lifecycle, stickiness, top events, retention, names and values.",
    no_args_is_help=True,
)

First = Annotated[
    date | None,
    typer.Option("--from", parser=day_option, metavar="DAY", help="First day; 30 days up to the last one without it."),
]
Last = Annotated[
    date | None, typer.Option("--to", parser=day_option, metavar="DAY", help="Last day; the stack's today without it.")
]
Segment = Annotated[
    list[str] | None,
    typer.Option("--segment", help="Of these events alone: event_type:VALUE or properties.NAME:VALUE; may come again."),
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]


class Period(StrEnum):
    """The length of a retention window."""

    day = "day"
    week = "week"


class Span(StrEnum):
    """What distinct users are counted in."""

    day = "day"
    week = "week"
    month = "month"


class Rolling(StrEnum):
    """Days up to each day."""

    week = "7"
    weeks = "28"
    month = "30"


class Cohort(StrEnum):
    """The users in a cohort: all who are active on its day or in its period, or those first seen then."""

    active = "active"
    new = "new"


class On(StrEnum):
    """When a user of a cohort has to be active to count for a later period."""

    exactly = "exactly"
    or_after = "or_after"


@app.command()
def dau(
    first: First = None,
    last: Last = None,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show the number of users who were active on each day."""
    ask(
        "/stats/dau",
        lambda today: range_of(first, last or today) | _of(segment),
        show.daily_actives,
        "data",
        (as_json, as_csv, raw),
        (stack, key, project),
    )


@app.command()
def actives(
    first: First = None,
    last: Last = None,
    period: Annotated[Span | None, typer.Option(help="Distinct users of each.")] = None,
    rolling: Annotated[
        Rolling | None, typer.Option(help="Distinct users of the last so many days up to each day, without --period.")
    ] = None,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show the number of distinct users of each day, week or month, or of the days up to each day."""
    spans: Asked = {"rolling": rolling.value} if rolling else {}
    if period or not rolling:
        spans["period"] = (period or Span.week).value

    def asked(today: date) -> Asked:
        return range_of(first, last or today) | spans | _of(segment)

    ask("/stats/actives", asked, show.actives, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command()
def lifecycle(
    first: First = None,
    last: Last = None,
    period: Annotated[Span, typer.Option(help="Users of each, by their past.")] = Span.week,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show how many users of each day, week or month are new, came back or are gone."""

    def asked(today: date) -> Asked:
        return range_of(first, last or today) | {"period": period.value} | _of(segment)

    ask("/stats/lifecycle", asked, show.lifecycle, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command()
def stickiness(
    first: First = None,
    last: Last = None,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show which share of the users of 30 days was active on each day."""

    def asked(today: date) -> Asked:
        return range_of(first, last or today) | _of(segment)

    ask("/stats/stickiness", asked, show.stickiness, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command("retention-table")
def retention_table(
    first: First = None,
    last: Last = None,
    period: Annotated[Span, typer.Option(help="A cohort for each.")] = Span.week,
    cohort: Annotated[
        Cohort, typer.Option(help="Everyone active in the period, or those first seen in it.")
    ] = Cohort.active,
    on: Annotated[
        On, typer.Option(help="Active exactly so many periods later, or in that period or any later one.")
    ] = On.exactly,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show how many users of each day, week or month came back in each later one."""

    def asked(today: date) -> Asked:
        table: Asked = {"period": period.value, "cohort": cohort.value, "on": on.value}
        return range_of(first, last or today) | table | _of(segment)

    ask("/stats/retention/table", asked, show.retention_table, "cohorts", (as_json, as_csv, raw), (stack, key, project))


@app.command("top-events")
def top_events(
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Event types to list.")] = 10,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show the most frequent event types."""

    def asked(today: date) -> Asked:
        return range_of(first, last or today) | {"limit": limit} | _of(segment)

    ask("/stats/top-events", asked, show.top_events, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command("event-types")
def event_types(
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Event types to list.")] = 1_000,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show which event types there are, and when they were seen."""

    def asked(today: date) -> Asked:
        return range_of(first, last or today) | {"limit": limit} | _of(segment)

    ask("/meta/event-types", asked, show.event_types, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command()
def properties(
    event_type: Annotated[str | None, typer.Option(help="Of the events of this type alone.")] = None,
    first: First = None,
    last: Last = None,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show which properties events have, and their most frequent values."""

    def asked(today: date) -> Asked:
        of_type: Asked = {"event_type": event_type} if event_type else {}
        return range_of(first, last or today) | of_type | _of(segment)

    ask("/meta/properties", asked, show.properties, "data", (as_json, as_csv, raw), (stack, key, project))


@app.command()
def retention(
    start_date: Annotated[
        date | None, typer.Option(parser=day_option, metavar="DAY", help="The cohort's day; 29 days ago without it.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, max=90, help="Days or weeks after it; up to 90 or 52.")] = 7,
    period: Annotated[Period, typer.Option(help="Length of a window.")] = Period.day,
    cohort: Annotated[
        Cohort, typer.Option(help="Everyone active on the day, or those first seen on it.")
    ] = Cohort.active,
    segment: Segment = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show how many users of a day came back later, and when."""

    def asked(today: date) -> Asked:
        return {
            "start_date": (start_date or today - timedelta(days=RANGE_DAYS - 1)).isoformat(),
            "windows": windows,
            "period": period.value,
            "cohort": cohort.value,
            **_of(segment),
        }

    ask("/stats/retention", asked, show.retention, "retention", (as_json, as_csv, raw), (stack, key, project))


def ask(
    path: str,
    asked: Callable[[date], Asked],
    table: Callable[[dict[str, Any]], SafeTable],
    rows: str,
    forms: tuple[bool, bool, bool],
    where: tuple[str | None, str | None, str | None],
) -> None:
    """Ask for what `asked` makes of the stack's today, and print the answer."""
    as_json, as_csv, raw = forms
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if raw and not as_csv:
        raise typer.BadParameter("--raw is about --csv")
    stack, key, project = where
    found = stacks.find(stack)
    today = date.fromisoformat(calendar_of(found, project).today(datetime.now(UTC)))
    answer = api(found, stack, key, QUESTION_SECONDS, project).get(path, asked(today))
    if as_json:
        output_json(answer)
    elif as_csv:
        # The columns are those of the first row. An answer always has one, because the API takes no empty range.
        known = {
            "/stats/dau": ("date", "dau", "complete"),
            "/stats/top-events": ("event_type", "count"),
            "/meta/event-types": ("event_type", "count", "first_seen", "last_seen", "condition"),
            "/meta/properties": ("property", "value", "kind", "count", "condition"),
            "/stats/actives": ("from", "to", "active_users", "complete"),
            "/stats/lifecycle": (
                *("from", "to", "active_users", "previous", "new", "returning", "resurrected", "gone", "complete"),
            ),
            "/stats/stickiness": ("date", "dau", "mau", "stickiness", "complete"),
            "/stats/retention/table": (
                *("cohort", "cohort_size", "number", "from", "to", "retained_users", "retention_rate", "complete"),
            ),
        }
        columns = known.get(path) or tuple(answer[rows][0])
        # A day that clocks skipped has an empty cell.
        shown = ({**row, "dau": ""} if row.get("no_day") else row for row in _flat(answer[rows]))
        write_csv(columns, ([row[column] for column in columns] for row in shown), raw=raw)
    else:
        # An answer about all projects is followed by that about each.
        output(table(answer), *(table({**answer, **each}) for each in answer.get("projects", ())))


def _flat(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows, with one for each window of a cohort, and one for each value of a property."""
    for row in rows:
        if "retained" in row:
            yield from ({**row, "cohort": row["from"], **window} for window in row["retained"])
        elif "values" in row:
            yield from ({**row, **value} for value in row["values"])
        else:
            yield row


def _of(segment: list[str] | None) -> Asked:
    return {"segment": segment} if segment else {}


def range_of(first: date | None, last: date) -> Asked:
    """The parameters of a range of days, of `RANGE_DAYS` up to the last one where no first one is given."""
    start = first or last - timedelta(days=RANGE_DAYS - 1)
    return {"from": start.isoformat(), "to": last.isoformat()}
