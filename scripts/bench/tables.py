"""The results of the benchmarks as tables."""

from collections.abc import Callable, Sequence

from rich.table import Table

from scripts.bench.archive import ArchiveCosts
from scripts.bench.cold import ColdStarts
from scripts.bench.cpu import SDK_SIZE, CpuCosts, ProfileLine
from scripts.bench.http_reads import HttpReads
from scripts.bench.imports import ImportMemory
from scripts.bench.pipeline import Pipeline
from scripts.bench.reads import Reads
from scripts.bench.report import Target
from scripts.bench.retention import CohortCost
from scripts.bench.shards import Shard
from scripts.bench.writes import WritePath, Writes


def targets(found: Sequence[Target]) -> Table:
    """The table of targets."""
    table = Table(box=None, pad_edge=False)
    table.add_column("target")
    for name in ("figure", "bound", ""):
        table.add_column(name, justify="right")
    for one in found:
        bound = f"{'≥' if one.at_least else '≤'} {one.bound:g}"
        table.add_row(one.what, f"{one.figure:.4g}", bound, "met" if one.met else "missed")
    return table


def writes(found: Writes) -> Table:
    """The table of `rollcall bench write`."""
    ours, literal = found.ours, found.literal
    table = _table(f"Write path, {ours.events:,} events; a request for each write with {literal.events:,} of them")
    table.add_column("what")
    for name in ("ours", "a request for each write"):
        table.add_column(name, justify="right")
    rows: list[tuple[str, Callable[[WritePath], str]]] = [
        ("new (day, user) pairs", lambda path: f"{path.new_user_days:,}"),
        ("new users", lambda path: f"{path.new_users:,}"),
        ("write units", lambda path: f"{path.write_units:,}"),
        ("events + new user-days + 2 x new users", lambda path: f"{path.floor:,}"),
        ("write units ÷ that", lambda path: f"{path.units_over_floor:.4f}"),
        ("write units per 1,000 events", lambda path: f"{path.write_units_per_thousand_events:,.1f}"),
        ("read units per 1,000 events", lambda path: f"{1000 * path.read_units / path.events:,.1f}"),
        ("requests per 1,000 events", lambda path: f"{path.requests_per_thousand_events:,.1f}"),
        *(
            (f"  {name}", lambda path, name=name: f"{1000 * path.requests.get(name, 0) / path.events:,.1f}")
            for name in sorted({**ours.requests, **literal.requests})
        ),
        ("CPU µs an event, the emulator's socket included", lambda path: f"{path.cpu_microseconds:,.1f}"),
    ]
    for what, figure in rows:
        table.add_row(what, figure(ours), "" if what == "new users" else figure(literal))
    return table


def cpu(found: CpuCosts) -> Table:
    """The table of `rollcall bench cpu`."""
    table = _table("CPU time of an event")
    table.add_column("what")
    for name in ("µs", "json.dumps", "requests per 1,000 events"):
        table.add_column(name, justify="right")
    consumer = 1000 * sum(found.consumer_requests.values()) / found.consumer_events
    literal = 1000 * sum(found.literal_requests.values()) / found.literal_events
    for what, figure, in_dumps, requests in (
        ("consumer, 1 in 10 a new user-day", found.consumer, None, f"{consumer:,.1f}"),
        ("  with no user-day remembered", found.consumer_unremembered, None, ""),
        ("  with the archive switched off", found.consumer_unarchived, None, ""),
        ("literal design, a request for each write", found.literal, None, f"{literal:,.1f}"),
        ("ingest, 500 in a request", found.ingest_of_500, None, ""),
        (f"Segment batch of {SDK_SIZE}", found.segment, None, ""),
        ("door to counter", found.door_to_counter, found.door_to_counter_in_dumps, ""),
        ("json.dumps of the event", found.json_dumps, None, ""),
    ):
        table.add_row(what, f"{figure:,.1f}", f"{in_dumps or figure / found.json_dumps:,.1f}", requests)
    return table


def ingest_cpu(found: CpuCosts) -> Table:
    """The second table of `rollcall bench cpu`: ingest by the number of events in a request."""
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
    """A profile of `rollcall bench cpu --profile`."""
    table = _table(f"{what}: most own time")
    table.add_column("share", justify="right")
    table.add_column("calls an event", justify="right")
    table.add_column("where", overflow="fold")
    for line in lines:
        table.add_row(f"{line.share:.1%}", f"{line.calls_per_event:.2f}", line.where)
    return table


def cold(found: ColdStarts) -> Table:
    """The table of `rollcall bench cold`."""
    table = _table("Imports in a fresh process, CPU time")
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


def import_memory(found: Sequence[ImportMemory]) -> Table:
    """The table of `rollcall bench import`."""
    title = "Imports: peak resident set of the processes, and the CPU of a dry run"
    table = _table(title)
    names = ("file", "rows", "parts", "plan", "import", "plan time", "import time, one by one")
    for name in (*names, "dry run", "dry run time", "÷ plain csv + json"):
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
            f"{one.dry_run_peak_mb:.0f} MB",
            f"{one.dry_run_seconds:.1f} s",
            f"{one.dry_run_over_plain:.2f}",
        )
    return table


def pipeline(found: Pipeline) -> Table:
    """The table of `rollcall bench pipeline`."""
    table = _table("A whole local stack, from the first request to the last counter")
    for name in ("events", "in a request", "senders", "all sent", "all counted", "events a second"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{found.events:,}",
        f"{found.batch_size:,}",
        str(found.senders),
        f"{found.sent_seconds:.1f} s",
        f"{found.counted_seconds:.1f} s",
        f"{found.events_per_second:,.0f}",
    )
    return table


def aws_like(found: Pipeline) -> Table:
    """The table of what `rollcall bench pipeline --aws-like` met."""
    table = _table("What DynamoDB refused")
    names = ("transactions", "conflicts", "throttled")
    for name in names:
        table.add_column(name, justify="right")
    table.add_row(*(f"{(found.aws_like or {}).get(name, 0):,}" for name in names))
    return table


def shards(found: Sequence[Shard]) -> Table:
    """The table of `rollcall bench shards`."""
    table = _table("What one counter shard takes")
    for name in ("consumers at once", "batches a second", "conflicts a batch"):
        table.add_column(name, justify="right")
    for one in found:
        table.add_row(str(one.consumers), f"{one.batches_per_second:.0f}", f"{one.conflicts_per_batch:.1f}")
    return table


def reads(found: Reads) -> Table:
    """The table of `rollcall bench reads`."""
    table = _table(f"Answers, {found.users:,} users, {found.rounds} times each, on the emulator's tables")
    table.add_column("route")
    for name in ("events stored", "days", "p50", "p95", "÷ fewest", "items", "read units"):
        table.add_column(name, justify="right")
    fewest: dict[tuple[str, int], float] = {}
    for read in sorted(found.reads, key=lambda read: (read.days, read.route, read.events)):
        least = fewest.setdefault((read.route, read.days), read.p50_milliseconds)
        table.add_row(
            read.route,
            f"{read.events:,}",
            str(read.days),
            f"{read.p50_milliseconds:.1f} ms",
            f"{read.p95_milliseconds:.1f} ms",
            f"{read.p50_milliseconds / least:.2f}",
            f"{read.items:,}",
            f"{read.read_units:,.1f}",
        )
    return table


def http_reads(found: HttpReads) -> Table:
    """The table of the answers over HTTP of `rollcall bench reads`."""
    table = _table(f"Over HTTP, days kept: the first answer of a new function, and {found.rounds} later ones")
    table.add_column("route")
    for name in ("events stored", "users", "first", "p50", "p95"):
        table.add_column(name, justify="right")
    for read in sorted(found.reads, key=lambda read: (read.route, read.users)):
        first = read.first_milliseconds
        table.add_row(
            read.route,
            f"{read.events:,}",
            f"{read.users:,}",
            "" if first is None else f"{first:.0f} ms",
            f"{read.p50_milliseconds:.1f} ms",
            f"{read.p95_milliseconds:.1f} ms",
        )
    return table


def cohorts(found: Sequence[CohortCost]) -> Table:
    """The table of `rollcall bench retention`."""
    windows = found[0].windows
    table = _table(f"Retention, {windows} windows of a day; every day has as many users as the cohort")
    table.add_column("users")
    table.add_column("read from")
    for name in ("CPU time", "time", "peak memory", "items", "read units"):
        table.add_column(name, justify="right")
    for one in found:
        for what, answer in (("items", one.from_items), ("kept days", one.again)):
            table.add_row(
                f"{one.users:,}",
                what,
                f"{answer.cpu_milliseconds:,.0f} ms",
                f"{answer.milliseconds:,.0f} ms",
                f"{answer.peak_mb:,.0f} MB",
                f"{answer.items:,}",
                f"{answer.read_units:,.1f}",
            )
    return table


def archive_costs(found: ArchiveCosts) -> Table:
    """The table of `rollcall bench archive`."""
    table = _table(f"Archive of {found.events:,} events")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for what, figure in (
        ("bytes an event, as batches", f"{found.batch_bytes:.1f}"),
        ("bytes an event, compacted", f"{found.parquet_bytes:.1f}"),
        (f"compaction of {found.batches:,} batches", f"{found.compaction_seconds:.1f} s"),
        ("  peak resident set", f"{found.compaction_peak_mb:.0f} MB"),
        ("daily actives of a segment, 30 days, from the start", f"{found.cold_ms:.0f} ms"),
        ("  again, p50", f"{found.warm_p50_ms:.0f} ms"),
        ("  again, p95", f"{found.warm_p95_ms:.0f} ms"),
        ("  peak resident set", f"{found.answer_peak_mb:.0f} MB"),
    ):
        table.add_row(what, figure)
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
