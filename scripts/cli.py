"""The command line: what an operator or developer runs."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from rollcall.keys import Tables
from scripts import deploy, local, tables
from scripts.bench import write_path
from scripts.ministack import MiniStack, MiniStackError, free_port

app = typer.Typer(help="Rollcall: who showed up, from your own events.", no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Rollcall: who showed up, from your own events."""


@app.command()
def up() -> None:
    """Run the whole stack on this machine until Ctrl-C.

    ROLLCALL_PORT (4566), ROLLCALL_STATE (.local/) and ROLLCALL_SAMPLE (0 for no sample data) change how.
    """
    try:
        local.up(local.LocalSettings.read(os.environ), Console())
    except (local.CannotStart, MiniStackError) as error:
        typer.echo(f"rollcall: {error}", err=True)
        raise typer.Exit(1) from None


@app.command()
def bench(
    events: Annotated[int, typer.Option(min=1, help="Events to store, in time order.")] = 100_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, help="Days they are spread over.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
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
        typer.echo(json.dumps({**figures, "requests_per_1000_events": found.requests_per_thousand_events}, indent=2))
    else:
        Console().print(tables.write_path(found))


if __name__ == "__main__":
    app()
