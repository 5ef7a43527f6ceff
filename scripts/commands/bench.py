"""`rollcall bench`."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from rollcall.keys import Tables
from scripts import deploy, tables
from scripts.bench import write_path
from scripts.bench_import import ImportMemory, import_memory, write_csv
from scripts.commands.common import AsJson, show, show_json
from scripts.ministack import MiniStack, free_port

app = typer.Typer(help="Measure what it costs.", no_args_is_help=True)


@app.command("write")
def write(
    events: Annotated[int, typer.Option(min=1, help="Events to store, in time order.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days they are spread over.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Count what the write path costs: DynamoDB units and requests, by the kind of call."""
    with TemporaryDirectory() as folder, MiniStack(free_port(), Path(folder) / "log") as stack:
        outputs = deploy.deploy(stack.client, "bench", {})
        shards = {
            name: int(deploy.template()["Parameters"][name]["Default"]) for name in ("UserShards", "CounterShards")
        }
        names = Tables(outputs["EventsTableName"], outputs["StatsTableName"], *shards.values())
        found = write_path(stack.client("dynamodb"), stack.client("dynamodb"), names, events, users, days)
    if as_json:
        figures = {**asdict(found), "units_over_floor": found.units_over_floor}
        show_json({**figures, "requests_per_1000_events": found.requests_per_thousand_events})
    else:
        show(tables.write_path(found))


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
