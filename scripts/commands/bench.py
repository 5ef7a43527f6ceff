"""`rollcall bench`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from scripts.bench import tables
from scripts.bench.archive import archive_costs
from scripts.bench.aws_like import Proxy
from scripts.bench.calling import settings_of
from scripts.bench.cold import cold, environment, functions
from scripts.bench.cpu import cpu
from scripts.bench.imports import ImportMemory, dry_run_targets, import_memory, write_csv
from scripts.bench.pipeline import pipeline
from scripts.bench.reads import reads, tables_of
from scripts.bench.report import Report, Target
from scripts.bench.retention import retention
from scripts.bench.shards import shards
from scripts.bench.writes import users_for, writes
from scripts.commands.common import AsJson, Failed, output, output_json, say
from scripts.commands.cost import comparison, of_anonymous
from scripts.local import deploy
from scripts.local.ministack import MiniStack, free_port

app = typer.Typer(help="Measure what it costs, how fast it is, and whether that holds.", no_args_is_help=True)

# On a shared machine, the median of fewer rounds varies by a tenth.
CPU_ROUNDS = 15

Into = Annotated[Path | None, typer.Option(help="Folder to write the report into, as NAME.json.")]


@app.command("write")
def write_path(
    events: Annotated[int, typer.Option(min=1, help="Events to store, in time order.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days they are spread over.")] = 30,
    new_user_days: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, help="Share of events that bring a new (day, user) pair; sets the users."),
    ] = None,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Count DynamoDB's units and requests on the write path, and in a design with one request for each write."""
    _tell(_write(events, users, days, new_user_days), as_json=as_json, into=into)


@app.command("cpu")
def cpu_time(
    rounds: Annotated[int, typer.Option(min=1, help="Times that all is measured in turn.")] = CPU_ROUNDS,
    batches: Annotated[int, typer.Option(min=1, help="Batches of 500 events that the consumer is given a round.")] = 10,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time goes, too.")] = False,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure the CPU time of an event from the door to the counters, without the network."""
    _tell(_cpu(rounds, batches, profile=profile), as_json=as_json, into=into)


@app.command("pipeline")
def whole_pipeline(
    events: Annotated[int, typer.Option(min=1, help="Events to send.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days they are spread over.")] = 30,
    batch_size: Annotated[int, typer.Option(min=1, max=5_000, help="Events in a request.")] = 500,
    aws_like: Annotated[
        bool, typer.Option("--aws-like", help="Have transactions conflict, and tables and keys throttle, as on AWS.")
    ] = False,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure how fast a whole local stack takes in and counts events."""
    _tell(_pipeline(events, users, days, batch_size, aws_like=aws_like), as_json=as_json, into=into)


@app.command("shards")
def counter_shards(as_json: AsJson = False, into: Into = None) -> None:
    """Compute what a counter shard takes, where transactions on one item conflict as on AWS; the same everywhere."""
    _tell(_shards(), as_json=as_json, into=into)


@app.command("reads")
def answers(
    events: Annotated[list[int] | None, typer.Option(min=1, help="Events of a stack; may come several times.")] = None,
    long_events: Annotated[int, typer.Option(min=1, help="Events of the stack of 365 days.")] = 100_000,
    rounds: Annotated[int, typer.Option(min=1, help="Times that all is asked in turn.")] = 50,
    users: Annotated[
        list[int] | None, typer.Option(min=1, help="Users of a stack that is asked over HTTP; may come several times.")
    ] = None,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure how long answers take, at first and later, and what they read, by stored events and users."""
    found = _reads(events or [10_000, 100_000, 1_000_000], long_events, rounds, users or [2_000, 50_000])
    _tell(found, as_json=as_json, into=into)


@app.command("retention")
def cohorts(
    users: Annotated[list[int] | None, typer.Option(min=1, help="Users of a day; may come several times.")] = None,
    windows: Annotated[int, typer.Option(min=1, max=90, help="Days after the cohort's.")] = 3,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure the time, read units and memory of retention, by the size of the cohort."""
    _tell(_retention(users or [1_000, 10_000, 100_000], windows), as_json=as_json, into=into)


@app.command("cold")
def cold_start(
    rounds: Annotated[int, typer.Option(min=1, help="Times that all functions are started in turn.")] = 5,
    only: Annotated[list[str] | None, typer.Option("--function", help="A function alone; may come again.")] = None,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure the cold start of each function, compared with that of a bare boto3 client."""
    if unknown := set(only or ()) - functions().keys():
        raise Failed(f"there is no function {min(unknown)}; there are {', '.join(sorted(functions()))}")
    _tell(_cold(rounds, only or ()), as_json=as_json, into=into)


@app.command("import")
def imports(
    megabytes: Annotated[list[int] | None, typer.Option(min=1, help="Size of a file; may come several times.")] = None,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure the memory of an import and of a dry run, and the CPU of a dry run, by the size of the file."""
    _tell(_imports(megabytes or [2, 20, 200]), as_json=as_json, into=into)


@app.command("archive")
def archive(
    events: Annotated[int, typer.Option(min=1, help="Events to archive.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    as_json: AsJson = False,
    into: Into = None,
) -> None:
    """Measure the size of the archive, the time and memory of compaction, and the time of a segment's answer."""
    _tell(_archive(events, users), as_json=as_json, into=into)


@app.command("all")
def everything(
    into: Annotated[Path, typer.Option(help="Folder to write the reports into.")] = Path(".local/figures"),
) -> None:
    """Measure everything, as the published figures do; takes about half an hour."""
    measurements: list[tuple[str, Callable[[], Report]]] = [
        ("the write path", lambda: _write(100_000, 10_000, 30, None)),
        ("the write path, half of the events with a new user-day", lambda: _write(100_000, 10_000, 30, 0.5)),
        ("CPU time", lambda: _cpu(CPU_ROUNDS, 10, profile=False)),
        ("cold starts", lambda: _cold(5, ())),
        ("a whole local stack", lambda: _pipeline(100_000, 10_000, 30, 500)),
        ("counter shards", _shards),
        ("reads", lambda: _reads([10_000, 100_000, 1_000_000], 100_000, 50, [2_000, 50_000])),
        ("retention", lambda: _retention([1_000, 10_000, 100_000], 3)),
        ("imports", lambda: _imports([2, 20, 200])),
        ("the archive", lambda: _archive(1_000_000, 10_000)),
        ("dollars", comparison),
        ("dollars of requests without a credential", of_anonymous),
    ]
    targets: list[Target] = []
    for what, measure in measurements:
        say(f"Measuring {what}")
        report = measure()
        typer.echo(f"{report.text}\n")
        report.write(into)
        targets += report.targets
    output(tables.targets(targets))
    say(f"The reports are in {into}.")


def _tell(report: Report, *, as_json: bool, into: Path | None) -> None:
    if into:
        report.write(into)
    if as_json:
        output_json(report.as_dict())
    else:
        typer.echo(report.text)


@contextmanager
def _ministack(port: int | None = None, variables: Mapping[str, str] | None = None) -> Iterator[MiniStack]:
    with (
        TemporaryDirectory() as folder,
        MiniStack(port or free_port(), Path(folder) / "log", variables=variables) as stack,
    ):
        yield stack


def _write(events: int, users: int, days: int, new_user_days: float | None) -> Report:
    if new_user_days is not None:
        users = users_for(events, days, new_user_days)
    with _ministack() as stack:
        stacks = [deploy.deploy(stack.client, name, {}) for name in ("bench-ours", "bench-literal")]
        names = [tables_of(settings_of(stack, outputs["ConsumerFunctionName"])) for outputs in stacks]
        found = writes(stack, names, events, users, days)
    name, option = ("write", "") if new_user_days is None else ("write_new", f" --new-user-days {new_user_days:g}")
    targets = found.targets(new_user_days)
    shown = tables.writes(found), tables.targets(targets)
    return Report.of(name, f"rollcall bench write{option}", found.figures(), targets, *shown)


def _cpu(rounds: int, batches: int, *, profile: bool) -> Report:
    found = cpu(environment("ingest", "consumer"), rounds, batches, profile=profile)
    shown = [tables.cpu(found), tables.ingest_cpu(found), tables.targets(found.targets)]
    if profile:
        shown += [tables.profile("Consumer", found.consumer_profile), tables.profile("Ingest", found.ingest_profile)]
    command = f"rollcall bench cpu{' --profile' if profile else ''}"
    return Report.of("cpu", command, found.figures(), found.targets, *shown)


def _pipeline(events: int, users: int, days: int, batch_size: int, *, aws_like: bool = False) -> Report:
    if not aws_like:
        with _ministack() as stack:
            found = pipeline(stack, events, users, days, batch_size)
        return Report.of("pipeline", "rollcall bench pipeline", found.figures(), [], tables.pipeline(found))
    port = free_port()
    with Proxy(port) as proxy, _ministack(port, {"AWS_ENDPOINT_URL_DYNAMODB": proxy.endpoint}) as stack:
        found = replace(pipeline(stack, events, users, days, batch_size), aws_like=dict(proxy.model.answers))
    shown = tables.pipeline(found), tables.aws_like(found)
    return Report.of("pipeline_aws_like", "rollcall bench pipeline --aws-like", found.figures(), [], *shown)


def _shards() -> Report:
    found = shards()
    figures = [one.figures() for one in found]
    return Report.of("shards", "rollcall bench shards", figures, [], tables.shards(found))


def _reads(events: list[int], long_events: int, rounds: int, users: list[int]) -> Report:
    with _ministack() as stack:
        found = reads(stack, events, long_events, rounds, users)
    targets = found.targets()
    shown = tables.reads(found), tables.http_reads(found.http), tables.targets(targets)
    return Report.of("reads", "rollcall bench reads", found.figures(), targets, *shown)


def _retention(users: list[int], windows: int) -> Report:
    with _ministack() as stack:
        found = retention(stack, users, windows)
    figures = [asdict(one) for one in found]
    return Report.of("retention", "rollcall bench retention", figures, [], tables.cohorts(found))


def _cold(rounds: int, only: Sequence[str]) -> Report:
    found = cold(rounds, only)
    if not found.built:
        say("no package sizes: sam build was not run")
    shown = tables.cold(found), tables.targets(found.targets)
    return Report.of("cold", "rollcall bench cold", found.figures(), found.targets, *shown)


def _imports(megabytes: list[int]) -> Report:
    found: list[ImportMemory] = []
    with TemporaryDirectory() as folder:
        for size in megabytes:
            file = Path(folder) / f"{size}.csv"
            write_csv(file, size)
            found.append(import_memory(file))
            file.unlink()
    figures = [asdict(one) for one in found]
    targets = dry_run_targets(found)
    shown = tables.import_memory(found), tables.targets(targets)
    return Report.of("import", "rollcall bench import", figures, targets, *shown)


def _archive(events: int, users: int) -> Report:
    found = archive_costs(events, users)
    return Report.of("archive", "rollcall bench archive", found.figures(), [], tables.archive_costs(found))
