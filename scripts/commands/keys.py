"""`rollcall keys`."""

from datetime import date, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer

from rollcall.access.api_keys import ApiKey, ApiKeys
from rollcall.access.reach import ALL
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo
from scripts import show
from scripts.commands.common import (
    PROJECT_VARIABLE,
    AsJson,
    KeyText,
    ProjectName,
    StackName,
    output,
    output_json,
    say,
    tell,
)
from scripts.commands.projects import known_reach
from scripts.commands.stats import Asked, First, Last, ask, range_of
from scripts.operate import stacks

app = typer.Typer(help="API keys: who may send events and read answers.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(help="The key's id, as `rollcall keys list` shows it.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people know it by.")],
    scope: Annotated[list[str], typer.Option(help="ingest, read, admin or import; may come several times.")],
    source: Annotated[str, typer.Option(help="What its events are counted under.")] = "http",
    rate: Annotated[float | None, typer.Option(help="Requests a second in the long run.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days after which it expires.")] = None,
    project: Annotated[
        str | None,
        typer.Option(
            envvar=PROJECT_VARIABLE,
            help="Project that it is for, or * for all; without it, all for the scope admin and default for others.",
        ),
    ] = None,
    stack: StackName = None,
) -> None:
    """Make a key and print it; it is not shown again."""
    if (rate is None) != (burst is None):
        raise typer.BadParameter("--rate and --burst go together")
    limit = None if rate is None or burst is None else Limit(rate, burst)
    reach = None if project is None else known_reach(stacks.find(stack), project)
    lifetime = timedelta(days=days) if days else None
    key, text = _api_keys(stack).create(name, scope, source, limit, lifetime, reach)
    belongs = "" if project is None else f", project {key.reach}"
    say(f"key {key.key_id}, scopes {', '.join(key.scopes)}, source {key.source}{belongs}, shown this once:")
    tell(text)


@app.command("list")
def show_all(stack: StackName = None, as_json: AsJson = False) -> None:
    """List all keys without their secrets, revoked ones included."""
    found = _api_keys(stack).all(ALL)
    if as_json:
        output_json([_as_json(key) for key in found])
    else:
        output(show.api_keys(found))


@app.command()
def rotate(
    key_id: KeyId,
    grace_hours: Annotated[float, typer.Option(min=0, max=168, help="Hours that the present secret works yet.")] = 24,
    stack: StackName = None,
) -> None:
    """Give a key a new secret and print it; the present secret works for --grace-hours more."""
    text = _api_keys(stack).rotate(key_id, ALL, timedelta(hours=grace_hours))
    say(f"the former secret works for {grace_hours:g} hours yet; the new one, shown this once:")
    tell(text)


@app.command()
def revoke(key_id: KeyId, stack: StackName = None) -> None:
    """Revoke a key; it is refused from now on."""
    _api_keys(stack).revoke(key_id, ALL)
    say(f"key {key_id} is revoked")


@app.command()
def ledger(
    key_id: KeyId,
    first: First = None,
    last: Last = None,
    as_json: AsJson = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show what became of the events that a key sent, by the days on which they came."""

    def asked(today: date) -> Asked:
        return range_of(first, last or today)

    # Whatever is typed is one part of the path.
    path = f"/keys/{quote(key_id, safe='')}/ledger"
    ask(path, asked, show.ledger, "data", (as_json, False, False), (stack, key, project))


def rejects(
    key_id: Annotated[str, typer.Argument(help="The key's id, or account for what people sent.")],
    first: First = None,
    last: Last = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="Events to list at most.")] = 100,
    as_json: AsJson = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Show events that a key sent by another service's SDK and that were not accepted, with the reasons."""

    def asked(today: date) -> Asked:
        return {"key": key_id, **range_of(first, last or today), "limit": limit}

    ask("/rejects", asked, show.rejected_events, "data", (as_json, False, False), (stack, key, project))


def _as_json(key: ApiKey) -> dict[str, Any]:
    shown = {**key._asdict(), "limit": key.limit and key.limit._asdict(), "project": str(key.reach)}
    return {name: value for name, value in shown.items() if name != "reach"}


def _api_keys(stack: str | None) -> ApiKeys:
    found = stacks.find(stack)
    return ApiKeys(Dynamo(found.client("dynamodb")), found.output("AccessTableName"))
