"""`rollcall bench`."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from rollcall.keys import Tables
from scripts import deploy, tables
from scripts.bench import users_for, write_path
from scripts.bench_cold import cold, environment, functions
from scripts.bench_cpu import cpu
from scripts.bench_import import ImportMemory, import_memory, write_csv
from scripts.commands.common import AsJson, Failed, say, show, show_json
from scripts.ministack import MiniStack, free_port

app = typer.Typer(help="Measure what it costs.", no_args_is_help=True)


@app.command("write")
def write(
    events: Annotated[int, typer.Option(min=1, help="Events to store, in time order.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days they are spread over.")] = 30,
    new_user_days: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, help="Share of events that bring a new (day, user) pair; sets the users."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count what the write path costs: DynamoDB units and requests, by the kind of call."""
    if new_user_days is not None:
        users = users_for(events, days, new_user_days)
    with TemporaryDirectory() as folder, MiniStack(free_port(), Path(folder) / "log") as stack:
        outputs = deploy.deploy(stack.client, "bench", {})
        shards = {
            name: int(deploy.template()["Parameters"][name]["Default"]) for name in ("UserShards", "CounterShards")
        }
        names = Tables(outputs["EventsTableName"], outputs["StatsTableName"], *shards.values())
        found = write_path(stack.client("dynamodb"), stack.client("dynamodb"), names, events, users, days)
    if as_json:
        show_json(found.figures(new_user_days))
    else:
        show(tables.write_path(found), tables.targets(found.targets(new_user_days)))


@app.command("import")
def imports(
    megabytes: Annotated[list[int] | None, typer.Option(min=1, help="Size of a file; may come several times.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the memory that an import takes, by the size of the file."""
    found: list[ImportMemory] = []
    with TemporaryDirectory() as folder:
        for size in megabytes or [2, 20, 200]:
            file = Path(folder) / f"{size}.csv"
            write_csv(file, size)
            found.append(import_memory(file))
            file.unlink()
    if as_json:
        show_json([asdict(one) for one in found])
    else:
        show(tables.import_memory(found))


@app.command("cpu")
def cpu_time(
    rounds: Annotated[int, typer.Option(min=1, help="Times that all is measured in turn.")] = 7,
    batches: Annotated[int, typer.Option(min=1, help="Batches of 500 events that the consumer is given a round.")] = 10,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time goes, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the CPU time of an event, from the door to the counter, with only the socket left out."""
    found = cpu(environment("ingest", "consumer"), rounds, batches, profile=profile)
    if as_json:
        show_json(found.figures())
        return
    show(tables.cpu(found), tables.ingest_cpu(found), tables.targets(found.targets))
    if profile:
        show(tables.profile("Consumer", found.consumer_profile), tables.profile("Ingest", found.ingest_profile))


@app.command("cold")
def cold_start(
    rounds: Annotated[int, typer.Option(min=1, help="Times that all functions are started in turn.")] = 5,
    only: Annotated[list[str] | None, typer.Option("--function", help="A function alone; may come again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure what the start of each function takes, against that of a bare boto3 client."""
    if unknown := set(only or ()) - functions().keys():
        raise Failed(f"there is no function {min(unknown)}; there are {', '.join(sorted(functions()))}")
    found = cold(rounds, only or ())
    if as_json:
        show_json(found.figures())
        return
    show(tables.cold(found), tables.targets(found.targets))
    if not found.built:
        say("no package sizes: sam build was not run")
