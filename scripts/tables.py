"""The API's answers as tables for people."""

from typing import Any

from rich.table import Table

from scripts.bench import WritePath

BAR_WIDTH = 30


def daily_actives(answer: dict[str, Any]) -> Table:
    """Of GET /stats/dau."""
    table = _table(f"Daily active users ({answer['timezone']})", "date", "dau")
    most = max((day["dau"] for day in answer["data"]), default=0)
    for day in answer["data"]:
        table.add_row(day["date"], f"{day['dau']:,}", _bar(day["dau"], most))
    return table


def top_events(answer: dict[str, Any]) -> Table:
    """Of GET /stats/top-events."""
    table = _table(f"Top events, {answer['from']} to {answer['to']}", "event type", "events")
    most = max((row["count"] for row in answer["data"]), default=0)
    for row in answer["data"]:
        # An event type may hold anything; what a terminal would act on is shown, not done.
        name = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in row["event_type"])
        table.add_row(name, f"{row['count']:,}", _bar(row["count"], most))
    return table


def retention(answer: dict[str, Any]) -> Table:
    """Of GET /stats/retention and /stats/cohort."""
    period = answer["period"]
    title = f"Retention of the {answer['cohort_size']:,} {answer['cohort']} users of {answer['cohort_date']}"
    table = _table(title, period, "came back")
    for window in answer["retention"]:
        rate = f"{window['retention_rate']:6.2f} %" + ("" if window["complete"] else " so far")
        table.add_row(f"{window[period]} ({window['date']})", f"{window['retained_users']:,}", rate)
    return table


def _table(title: str, first: str, second: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, min_width=64)
    table.add_column(first)
    table.add_column(second, justify="right")
    table.add_column("")
    return table


def _bar(value: int, most: int) -> str:
    return "█" * round(BAR_WIDTH * value / most) if most else ""


def write_path(found: WritePath) -> Table:
    """Of `rollcall bench`."""
    table = Table(title=f"Write path, {found.events:,} events", title_justify="left", title_style="bold", box=None)
    table.add_column("what")
    table.add_column("figure", justify="right")
    per_thousand = 1000 / found.events
    for what, figure in (
        ("new (day, user) pairs", f"{found.new_user_days:,}"),
        ("new users", f"{found.new_users:,}"),
        ("write units", f"{found.write_units:,}"),
        ("events + new user-days + 2 x new users", f"{found.floor:,}"),
        ("write units over that", f"{found.units_over_floor:.4f}"),
        ("read units", f"{found.read_units:,.0f}"),
        ("requests per 1,000 events", f"{found.requests_per_thousand_events:.1f}"),
        *((f"  {name}", f"{count * per_thousand:.1f}") for name, count in found.requests.items()),
    ):
        table.add_row(what, figure)
    return table
