"""The command line `rollcall`, for operators and developers."""

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from scripts.commands import (
    accounts,
    archive,
    audit,
    bench,
    cost,
    dlq,
    events,
    keys,
    projects,
    sdks,
    smoke,
    stack,
    stats,
)
from scripts.commands.common import TOLD, explain, say, tell

EPILOG = "Without --stack NAME the commands are about the stack that `rollcall up` runs on this machine."
RUN, EVENTS, OPERATE = "Run it", "Events in, answers out", "Operate it"


class Commands(TyperGroup):
    """Commands that report a failure in one line. The exit status is 1, or 2 for wrong arguments."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit."""
        try:
            status = super().main(*args, **{**extra, "standalone_mode": False})
        except TyperException as error:
            # The message is empty if help has been printed instead.
            if error.format_message():
                say(f"rollcall: {' '.join(error.format_message().split())}")
            status = error.exit_code
        except typer.Abort:
            status = 1
        sys.exit(status)

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Prints failures that the user can act on, and raises all others."""
        try:
            answer = super().invoke(ctx)
            # Flush here, so that a closed pipe raises here.
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except TOLD as error:
            say(f"rollcall: {explain(error)}")
            raise typer.Exit(1) from None
        return answer


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def show_version(wanted: bool) -> None:
    """Print the version of pyproject.toml, which is in the installed package's metadata, and end."""
    if wanted:
        tell(f"rollcall {version('rollcall')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
]


@app.callback(epilog=EPILOG)
def main(_version: Version = False) -> None:
    """Rollcall: who showed up, from your own events."""


app.command(rich_help_panel=RUN)(stack.up)
app.command(rich_help_panel=RUN)(stack.down)
app.command(rich_help_panel=RUN)(stack.status)
app.command(rich_help_panel=RUN)(stack.page)
app.command(rich_help_panel=EVENTS)(events.generate)
app.command("import", rich_help_panel=EVENTS)(events.import_file)
app.add_typer(stats.app, name="stats", rich_help_panel=EVENTS)
app.command(rich_help_panel=EVENTS)(archive.query)
app.command(rich_help_panel=OPERATE)(archive.compact)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(keys.rejects)
app.add_typer(projects.app, name="projects", rich_help_panel=OPERATE)
app.add_typer(accounts.app, name="accounts", rich_help_panel=OPERATE)
app.add_typer(dlq.app, name="dlq", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(audit.audit)
app.command(rich_help_panel=OPERATE)(smoke.smoke)
app.command(rich_help_panel=OPERATE)(sdks.sdks)
app.add_typer(bench.app, name="bench", rich_help_panel=OPERATE)
app.command(rich_help_panel=OPERATE)(cost.cost)

if __name__ == "__main__":
    app()
