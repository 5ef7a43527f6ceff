"""The command line: what an operator or developer runs."""

import os

import typer
from rich.console import Console

from scripts import local
from scripts.ministack import MiniStackError

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


if __name__ == "__main__":
    app()
