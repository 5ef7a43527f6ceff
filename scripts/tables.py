"""The API's answers as tables for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from rollcall.apikeys import ApiKey
from scripts.audit import Drift
from scripts.bench import Target, WritePath
from scripts.bench_cold import ColdStarts
from scripts.bench_cpu import CpuCosts, ProfileLine
from scripts.bench_import import ImportMemory
from scripts.cost import Estimate, Part
from scripts.dlq import Failure, Summary
from scripts.importing import Reject, Report, Survey

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
        table.add_row(shown(row["event_type"]), f"{row['count']:,}", _bar(row["count"], most))
    return table


def retention(answer: dict[str, Any]) -> Table:
    """Of GET /stats/retention and /stats/cohort."""
    period = answer["period"]
    title = f"Retention of the {answer['cohort_size']:,} {answer['cohort']} users of {answer['cohort_date']}"
    table = _table(title, period, "came back")
    for window in answer["retention"]:
        rate = f"{window['retention_rate']:6.2f} %" + ("" if window["complete"] else " so far")
        table.add_row(
            f"{window[period]} ({window['date']})",
            f"{window['retained_users']:,}",
            Text(rate).append("  ").append(_bar(window["retention_rate"], 100), _heat(window["retention_rate"])),
        )
    return table


def shown(text: str) -> Text:
    """Text that may hold anything: what a terminal would act on is shown, not done."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))


def _table(title: str, first: str, second: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, min_width=64)
    table.add_column(first)
    table.add_column(second, justify="right")
    table.add_column("")
    return table


def _bar(value: float, most: float) -> str:
    return "█" * round(BAR_WIDTH * value / most) if most else ""


def _heat(percent: float) -> str:
    """From blue for nobody to red for everybody."""
    share = min(1.0, percent / 100)
    return f"rgb({round(255 * share)},{round(90 + 60 * share)},{round(220 * (1 - share))})"


def api_keys(keys: Sequence[ApiKey]) -> Table:
    """Of `rollcall keys list`."""
    table = Table("id", "name", "scopes", "source", "limit", "requests", "state", box=None, pad_edge=False)
    for key in keys:
        limit = f"{key.limit.rate:g}/s, {key.limit.burst} at once" if key.limit else "the stack's"
        state = (
            f"revoked {key.revoked_at}" if key.revoked_at else f"until {key.expires_at}" if key.expires_at else "good"
        )
        requests = f"{sum(key.requests.values()):,}"
        table.add_row(key.key_id, shown(key.name), " ".join(key.scopes), key.source, limit, requests, state)
    return table


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


def import_report(report: Report) -> Table:
    """Of `rollcall import`."""
    outcomes = [
        ("  inserted", report.inserted),
        ("  duplicate", report.duplicates),
        ("  conflict", report.conflicts),
        # Rare enough to be told only where there are some.
        *([("  never storable", report.refused)] if report.refused else []),
    ]
    return _figures(
        [
            ("rows", report.rows),
            ("accepted", report.accepted),
            *(outcomes if report.added_up else []),
            ("rejected", report.rejected),
        ]
    )


def survey(found: Survey) -> Table:
    """Of `rollcall import --dry-run`."""
    table = _figures(
        [
            ("rows", found.rows),
            ("good", found.good),
            ("  duplicate in the file", found.duplicates),
            ("bad", found.bad.total()),
            *((f"  {code}", count) for code, count in sorted(found.bad.items())),
            ("users", len(found.users)),
            ("days (UTC)", len(found.days)),
        ]
    )
    if found.days:
        table.add_row("  from", min(found.days))
        table.add_row("  to", max(found.days))
    return table


def rejects(rejected: Sequence[Reject], more: int) -> Table:
    """Rejected rows by line; `more` are left out."""
    table = Table("line", "code", "message", title="Rejected rows", title_justify="left", box=None, pad_edge=False)
    for reject in rejected:
        table.add_row(str(reject.line or ""), reject.code, shown(reject.message))
    if more:
        table.add_row("...", "", f"and {more:,} more")
    return table


def failures(found: Sequence[Summary]) -> Table:
    """Of `rollcall dlq list`."""
    table = Table("id", "queue", "since", "content", "reason", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.message_id, each.queue, each.sent_at, shown(each.content), shown(each.reason))
    return table


def failure(each: Failure) -> Table:
    """Of `rollcall dlq show`, without the events."""
    table = _pairs()
    for name, value in (
        ("id", each.message_id),
        ("queue", each.queue),
        ("since", each.sent_at),
        ("reason", each.reason),
        ("correlation id", each.correlation_id),
        ("batch", each.batch and each.batch.batch_id),
        ("source", each.batch and each.batch.source),
        ("received at", each.batch and each.batch.received_at),
        ("events", each.batch and f"{len(each.batch.events):,}"),
        ("files", ", ".join(each.files)),
    ):
        if value:
            table.add_row(name, shown(value))
    return table


def failed_events(each: Failure) -> Table:
    """The events of a dead letter, without what says anything about a person."""
    table = Table("event id", "occurred at", "event type", box=None, pad_edge=False)
    for event in each.batch.events if each.batch else ():
        table.add_row(shown(event.event_id), shown(event.occurred_at), shown(event.event_type))
    return table


def status(found: dict[str, Any]) -> Table:
    """Of `rollcall status`."""
    table = _pairs()
    table.add_row("API", found["api"])
    table.add_row("health", found["health"])
    table.add_row("queue", f"{found['waiting']:,} batches waiting, {found['working']:,} being counted")
    table.add_row("dead letters", f"{found['dead_letters']:,}")
    table.add_row("failed imports", f"{found['failed_imports']:,}")
    events = found["events"]
    if events is None:
        table.add_row("events", "told to a key with the scope read: --key or ROLLCALL_KEY")
    else:
        table.add_row("events", f"{sum(events.values()):,}")
        for source, count in events.items():
            table.add_row(f"  from {source}", f"{count:,}")
    return table


def drifts(found: Sequence[Drift]) -> Table:
    """Of `rollcall audit`."""
    table = Table("what", "day", "counted", "stored", title="Drift", title_justify="left", box=None, pad_edge=False)
    for drift in found:
        table.add_row(shown(drift.what), drift.day, str(drift.counted), str(drift.stored))
    return table


def import_memory(found: Sequence[ImportMemory]) -> Table:
    """Of `rollcall bench import`."""
    title = "Imports: peak resident set of the functions' processes"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("file", "rows", "parts", "plan", "import", "plan time", "import time, one by one"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(
            f"{one.megabytes:.0f} MB",
            f"{one.rows:,}",
            str(one.parts),
            f"{one.plan_peak_mb:.0f} MB",
            f"{one.import_peak_mb:.0f} MB",
            f"{one.plan_seconds:.1f} s",
            f"{one.import_seconds:.1f} s",
        )
    return table


def targets(found: Sequence[Target]) -> Table:
    """What figures are held to."""
    table = Table(box=None, pad_edge=False)
    table.add_column("target")
    for name in ("figure", "bound", ""):
        table.add_column(name, justify="right")
    for one in found:
        bound = f"{'≥' if one.at_least else '≤'} {one.bound:g}"
        table.add_row(one.what, f"{one.figure:.4g}", bound, "met" if one.met else "missed")
    return table


def cpu(found: CpuCosts) -> Table:
    """Of `rollcall bench cpu`."""
    table = Table(title="CPU time of an event", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("what")
    for name in ("µs", "json.dumps", "requests per 1,000 events"):
        table.add_column(name, justify="right")
    consumer = 1000 * sum(found.consumer_requests.values()) / found.consumer_events
    literal = 1000 * sum(found.literal_requests.values()) / found.literal_events
    for what, figure, requests in (
        ("consumer, 1 in 10 a new user-day", found.consumer, f"{consumer:,.1f}"),
        ("  with no user-day remembered", found.consumer_unremembered, ""),
        ("literal design, a request for each write", found.literal, f"{literal:,.1f}"),
        ("ingest, 500 in a request", found.ingest_of_500, ""),
        ("door to counter", found.door_to_counter, ""),
        ("json.dumps of the event", found.json_dumps, ""),
    ):
        table.add_row(what, f"{figure:,.1f}", f"{figure / found.json_dumps:,.1f}", requests)
    return table


def ingest_cpu(found: CpuCosts) -> Table:
    """Of `rollcall bench cpu`, by how many events come in a request."""
    table = Table(box=None, pad_edge=False)
    for name in ("events in a request", "µs an event", "json.dumps", "events a second and core"):
        table.add_column(name, justify="right")
    for one in found.ingest:
        table.add_row(
            f"{one.size:,}",
            f"{one.microseconds:,.1f}",
            f"{one.microseconds / found.json_dumps:,.1f}",
            f"{one.accepted_per_second:,.0f}",
        )
    return table


def profile(what: str, lines: Sequence[ProfileLine]) -> Table:
    """Of `rollcall bench cpu --profile`."""
    table = Table(title=f"{what}: most own time", title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("share", justify="right")
    table.add_column("calls an event", justify="right")
    table.add_column("where", overflow="fold")
    for line in lines:
        table.add_row(f"{line.share:.1%}", f"{line.calls_per_event:.2f}", line.where)
    return table


def cold(found: ColdStarts) -> Table:
    """Of `rollcall bench cold`."""
    table = Table(title="Imports in a fresh process, CPU time", title_justify="left", title_style="bold", box=None)
    table.add_column("function")
    for name in ("ms", "÷ bare client", "ms, compiling all", "÷ bare client", "modules", "package"):
        table.add_column(name, justify="right")
    for one in found.starts:
        table.add_row(
            one.function,
            f"{one.milliseconds:,.0f}",
            f"{one.over_bare:.2f}",
            f"{one.compiling_milliseconds:,.0f}",
            f"{one.compiling_over_bare:.2f}",
            f"{one.modules:,}",
            "" if one.package_mb is None else f"{one.package_mb:.1f} MB",
        )
    if found.layer_mb is not None:
        table.add_row("the common layer", *[""] * 5, f"{found.layer_mb:.1f} MB")
    return table


def costs(found: Estimate, title: str = "A month on AWS") -> Table:
    """Of `rollcall cost`."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("service", "what", "for"):
        table.add_column(name)
    table.add_column("quantity", justify="right")
    table.add_column("unit")
    table.add_column("$ a month", justify="right")
    if found.events:
        table.add_column("$ a million events", justify="right")
    for line in found.lines:
        if line.quantity or line.service == "S3":
            table.add_row(
                line.service,
                line.what,
                line.part.value,
                f"{line.quantity:,.0f}" if line.quantity >= 100 else f"{line.quantity:,.2f}",
                line.price.unit,
                f"{line.dollars:,.2f}",
                *([f"{line.dollars / found.events * 1_000_000:,.4f}"] if found.events else []),
            )
    return table


def costs_by_batch_size(by_size: Mapping[int, Estimate]) -> Table:
    """Of `rollcall cost --table`."""
    title = "Dollars to take in a million events, one new user-day for each 10"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    services = list(next(iter(by_size.values())).services(Part.INTAKE))
    services = [
        name for name in services if any(found.dollars(Part.INTAKE, service=name) for found in by_size.values())
    ]
    for name in ("events in a request", *services, "all", "keeping them, a month"):
        table.add_column(name, justify="right")
    for size, found in by_size.items():
        table.add_row(
            f"{size:,}",
            *(f"{found.per_million(Part.INTAKE, service=name):,.3f}" for name in services),
            f"{found.per_million(Part.INTAKE):,.3f}",
            f"{found.per_million(Part.STORAGE):,.3f}",
        )
    return table


def _pairs() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _figures(figures: Iterable[tuple[str, int]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figures:
        table.add_row(name, f"{value:,}")
    return table
