"""`rollcall accounts`."""

from typing import Annotated, Any

import typer

from rollcall.access.accounts import account_id_of
from rollcall.access.directory import Directory, KnownAccount
from rollcall.access.reach import ALL
from rollcall.stack.dynamo import Dynamo
from scripts import show
from scripts.commands.common import AsJson, StackName, output, output_json, say
from scripts.operate import stacks

app = typer.Typer(help="Accounts of people: their sessions, and who may log in.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="The account's email.")]


@app.command("list")
def list_all(stack: StackName = None, as_json: AsJson = False) -> None:
    """List all accounts, and whether they may log in."""
    known = _directory(stack).all(ALL)
    if as_json:
        output_json([_as_json(each) for each in known])
    else:
        output(show.accounts(known))


@app.command("show")
def show_one(email: Email, stack: StackName = None, as_json: AsJson = False) -> None:
    """Show an account and its sessions."""
    directory, account_id = _directory(stack), account_id_of(email)
    account, sessions = directory.find(account_id, ALL), directory.sessions(account_id, ALL)
    if as_json:
        output_json({**_as_json(account), "sessions": [session._asdict() for session in sessions]})
    else:
        output(show.account(account), show.sessions(sessions))


@app.command()
def end(
    email: Email,
    session: Annotated[str | None, typer.Option(help="The id of one session; all sessions without it.")] = None,
    stack: StackName = None,
) -> None:
    """End the sessions of an account; their tokens are refused from now on."""
    if session is None:
        _directory(stack).end_sessions(account_id_of(email), ALL)
        say(f"all sessions of {email} have ended")
    else:
        _directory(stack).end_session(account_id_of(email), session, ALL)
        say(f"session {session} of {email} has ended")


@app.command()
def disable(email: Email, stack: StackName = None) -> None:
    """Let nobody log in to an account, and end all its sessions."""
    _directory(stack).disable(account_id_of(email), ALL)
    say(f"{email} is disabled, and all its sessions have ended")


@app.command()
def enable(email: Email, stack: StackName = None) -> None:
    """Let a disabled account be logged in to again."""
    _directory(stack).enable(account_id_of(email), ALL)
    say(f"{email} can log in again")


def _as_json(account: KnownAccount) -> dict[str, Any]:
    shown = {**account._asdict(), "project": str(account.reach)}
    return {name: value for name, value in shown.items() if name != "reach"}


def _directory(stack: str | None) -> Directory:
    found = stacks.find(stack)
    return Directory(Dynamo(found.client("dynamodb")), found.output("AccessTableName"))
