"""`rollcall up`, `down` and `status`."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from prometheus_client.parser import text_string_to_metric_families

from scripts import show
from scripts.api import Api, checked, reason
from scripts.commands.common import AsJson, KeyText, StackName, api, output, output_json, say, tell
from scripts.local import stack as local
from scripts.operate import stacks
from scripts.terminal import SafeConsole

DEPTH = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def up(
    seed: Annotated[
        Path | None, typer.Option(help="CSV or JSONL to begin with instead of the sample; also ROLLCALL_SEED.")
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="IANA timezone whose days are counted, fixed with the first event; ROLLCALL_TIMEZONE."
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Web origin whose pages may call the API, or *; repeatable. ROLLCALL_CORS_ORIGINS, between commas.",
        ),
    ] = None,
    ingest_prefix: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="Path below which events are taken in too, such as /t9; ROLLCALL_INGEST_PREFIX."
        ),
    ] = None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    ROLLCALL_STATE sets the data folder (.local/) and ROLLCALL_PORT the port (that of the folder's last start, at first
    4566). With ROLLCALL_SAMPLE=0, no sample data is sent.
    """
    settings = local.LocalSettings.read(os.environ, seed, timezone, cors_origin or (), ingest_prefix)
    local.up(settings, SafeConsole())


def down() -> None:
    """Stop the `rollcall up` of this state folder and wait until its data is saved."""
    local.down(local.LocalSettings.read(os.environ))
    say("It is stopped, and its data is saved.")


def status(stack: StackName = None, key: KeyText = None, as_json: AsJson = False) -> None:
    """Show a stack's health, waiting batches and counted events; exits with 1 if the health is not ok."""
    found = stacks.find(stack)
    client = api(found, stack, key)
    waiting, working = _depth(found, "BatchQueueUrl")
    health = _health(client)
    told = {
        "api": client.url,
        "health": health,
        "waiting": waiting,
        "working": working,
        "dead_letters": sum(_depth(found, "DeadLetterQueueUrl")),
        "failed_imports": sum(_depth(found, "FailedImportsQueueUrl")),
        "events": _events(client) if stacks.key_for(stack, key, os.environ) else None,
    }
    if as_json:
        output_json(told)
    else:
        output(show.status(told))
    if health != "ok":
        raise typer.Exit(1)


def page(
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Hours that the link is good for.")] = 1,
    stack: StackName = None,
    key: KeyText = None,
) -> None:
    """Print a link that opens the page of a stack, signed in with the key. It is good once."""
    tell(api(stacks.find(stack), stack, key).page_link(round(hours * 3_600)))


def _health(client: Api) -> str:
    """`ok`, or the dependencies that fail as far as the key may know them."""
    # An unhealthy stack is an answer here, so its status must not cause a retry.
    answer = client.request("GET", "/healthz", transient=())
    try:
        told = answer.json()
        status: str = told["status"]
        dependencies: dict[str, str] = told.get("dependencies", {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{answer.status_code}: {reason(answer)}"
    if not dependencies:
        return status if status == "ok" else f"{status}; a key with the scope admin is told what"
    return "; ".join(f"{name}: {state}" for name, state in dependencies.items() if state != "ok") or "ok"


def _events(client: Api) -> dict[str, int]:
    """The number of counted events by source, of all projects that the key may see."""
    text = checked(client.request("GET", "/metrics")).text
    (family,) = (each for each in text_string_to_metric_families(text) if each.name == "events")
    counted: Counter[str] = Counter()
    for sample in family.samples:
        counted[sample.labels["source"]] += int(sample.value)
    return dict(counted)


def _depth(stack: stacks.Stack, output: str) -> tuple[int, int]:
    """The number of messages that wait in a queue, and of those that a receiver has."""
    sqs: Any = stack.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=stack.output(output), AttributeNames=list(DEPTH))["Attributes"]
    waiting, working = (int(found[name]) for name in DEPTH)
    return waiting, working
