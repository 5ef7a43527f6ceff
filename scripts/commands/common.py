"""What the commands share: options, output and the report of failures."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import httpx2
import typer
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.access.api_keys import BadKey, KeyChanged, KeyRevoked, UnknownKey
from rollcall.access.directory import UnknownAccount, UnknownSession
from rollcall.archive.bucket import ArchiveError
from rollcall.archive.compaction import Contended
from rollcall.core.projects import BadProject
from rollcall.stack.dynamo import Unavailable
from rollcall.stack.projects import BadRecord, ProjectExists, TimezoneFixed, UnknownProject
from scripts.api import Api, ApiError
from scripts.local import stack as local
from scripts.local.ministack import MiniStackError
from scripts.operate import stacks
from scripts.operate.audit import CannotRepair
from scripts.operate.smoke import Wrong
from scripts.terminal import SafeConsole, as_json, safe

# For output into a pipe, which has no width of its own. Wide enough that tables are rarely cut.
PIPE_WIDTH = 200
PROJECT_VARIABLE = "ROLLCALL_PROJECT"
# How long commands that only read may retry.
QUESTION_SECONDS = 15.0

StackName = Annotated[
    str | None, typer.Option("--stack", help="A deployed stack, where boto3 looks; the local one without it.")
]


def _told_that_it_shows(key: str | None) -> str | None:
    if key is not None:
        say("--key shows in the list of processes, to every user of this machine; ROLLCALL_KEY does not.")
    return key


KeyText = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="An API key, which ps shows; else ROLLCALL_KEY, else for the local stack the one that it made.",
        callback=_told_that_it_shows,
    ),
]
ProjectName = Annotated[
    str | None,
    typer.Option(
        "--project",
        envvar=PROJECT_VARIABLE,
        help="The project that is meant; without it the key's, or default for a key of all projects.",
    ),
]
OneProject = Annotated[
    str, typer.Option("--project", envvar=PROJECT_VARIABLE, help="The project that is meant.", show_default=True)
]
AllProjects = Annotated[
    bool, typer.Option("--all-projects", help="All projects are meant, whatever ROLLCALL_PROJECT names.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Raw = Annotated[
    bool, typer.Option("--raw", help="In CSV, put no ' before a text that a spreadsheet would take for a formula.")
]


class Failed(Exception):
    """A command cannot do what the user asked for; the text says why."""


# Failures that the user can act on. All others are bugs.
TOLD = (
    Failed,
    ApiError,
    ArchiveError,
    BadKey,
    BadProject,
    BadRecord,
    CannotRepair,
    Contended,
    KeyChanged,
    KeyRevoked,
    ProjectExists,
    TimezoneFixed,
    UnknownAccount,
    UnknownKey,
    UnknownProject,
    UnknownSession,
    MiniStackError,
    Unavailable,
    Wrong,
    local.CannotStart,
    local.NotKept,
    local.NotRunning,
    stacks.NoStack,
    BotoCoreError,
    ClientError,
    httpx2.TransportError,
    TimeoutError,
    OSError,
)


def explain(error: BaseException) -> str:
    """Describe a failure in a line."""
    if isinstance(error, UnknownKey):
        return f"there is no key {error}"
    if isinstance(error, UnknownAccount):
        return "there is no account of this email"
    if isinstance(error, UnknownSession):
        return f"the account has no session {error}"
    if isinstance(error, KeyRevoked):
        return f"the key {error} is revoked, and stays so"
    if isinstance(error, KeyChanged):
        return f"the key {error} was rotated at the same moment; look at rollcall keys list"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def api(
    stack: stacks.Stack,
    name: str | None,
    key: str | None,
    patience: float = QUESTION_SECONDS,
    project: str | None = None,
) -> Api:
    """The API of a stack, with the given key or the one that `stacks.key_for` finds."""
    return Api(stack.api_url, stacks.key_for(name, key, os.environ), patience, project=project)


def check_one_or_all(context: typer.Context, *, all_projects: bool) -> None:
    """Check that a command with `OneProject` and `AllProjects` was not given both."""
    source = context.get_parameter_source("project")
    if all_projects and source is not None and source.name == "COMMANDLINE":
        raise typer.BadParameter("--project and --all-projects exclude each other")


def say(text: str) -> None:
    """Print a line to standard error, apart from the results."""
    typer.echo(safe(text), err=True)


def tell(text: str) -> None:
    """Print a result of one line."""
    typer.echo(safe(text))


def output(*results: Any) -> None:
    """Print results for people, in colour on a terminal and plain elsewhere."""
    console = SafeConsole(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for result in results:
        console.print(result)


def output_json(result: Any, default: Callable[[Any], Any] | None = None) -> None:
    """Print a result as JSON, for programs. `default` makes JSON of what `json` does not know."""
    typer.echo(as_json(result, indent=2, default=default))
