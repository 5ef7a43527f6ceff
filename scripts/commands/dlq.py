"""`rollcall dlq`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from scripts import dlq, stacks, tables
from scripts.commands.common import AsJson, Failed, StackName, say, show, show_json

SHOWN_CHARACTERS = 2_000

app = typer.Typer(
    help="What could not be handled: the dead letters and the failed imports.\n\n"
    "SQS has no way to look at a message without receiving it. These commands receive all messages, which hides them "
    f"from others for {dlq.HIDDEN_SECONDS} seconds at most, and show them again as soon as they are read. A message is "
    "named by its SQS message id.",
    no_args_is_help=True,
)


@app.command("list")
def show_all(stack: StackName = None, as_json: AsJson = False) -> None:
    """List what failed and why, oldest first."""
    with dlq.received(stacks.find(stack)) as found:
        pass
    if as_json:
        show_json([_as_dict(failure) for failure in found])
    elif found:
        show(tables.failures(found))
    else:
        say("Nothing failed.")


@app.command("show")
def show_one(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="As `rollcall dlq list` shows it.")],
    events: Annotated[bool, typer.Option("--events", help="Print the whole events, users and properties too.")] = False,
    stack: StackName = None,
) -> None:
    """Show what a message holds."""
    with dlq.received(stacks.find(stack)) as found:
        (failure,) = _named(found, [message_id])
    show(tables.failure(failure))
    if failure.batch and events:
        for event in failure.batch.events:
            typer.echo(dlq.as_json_line(event))
    elif failure.batch:
        show(tables.failed_events(failure))
    elif not failure.files:
        show(tables.shown(failure.body[:SHOWN_CHARACTERS]))


@app.command()
def redrive(
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="As `rollcall dlq list` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All but what no consumer can read.")] = False,
    stack: StackName = None,
) -> None:
    """Send messages back to where they failed; whatever happens, nothing is counted twice.

    A message is deleted once it is sent back. What cannot be decoded goes back by its id only.
    """
    if bool(message_ids) == everything:
        raise typer.BadParameter("name messages by their ids, or all by --all")
    where = stacks.find(stack)
    with dlq.received(where) as found:
        wanted = found if everything else _named(found, message_ids or [])
        left = [failure for failure in wanted if everything and failure.undecodable]
        for failure in wanted:
            if failure not in left:
                dlq.redrive(where, failure)
                say(f"{failure.message_id} is sent back: {failure.content}")
    for failure in left:
        say(f"{failure.message_id} stays: {failure.reason}")
    typer.echo(f"{len(wanted) - len(left)} sent back, {len(left)} left")


def _named(found: Sequence[dlq.Failure], message_ids: Sequence[str]) -> list[dlq.Failure]:
    by_id = {failure.message_id: failure for failure in found}
    missing = [message_id for message_id in message_ids if message_id not in by_id]
    if missing:
        raise Failed(f"there is no message {', '.join(missing)}, or somebody else has it just now")
    return [by_id[message_id] for message_id in dict.fromkeys(message_ids)]


def _as_dict(failure: dlq.Failure) -> dict[str, object]:
    batch = failure.batch
    return {
        "message_id": failure.message_id,
        "queue": failure.queue,
        "sent_at": failure.sent_at,
        "reason": failure.reason,
        "correlation_id": failure.correlation_id,
        "batch": batch
        and {
            "batch_id": batch.batch_id,
            "source": batch.source,
            "received_at": batch.received_at,
            "events": [{"event_id": event.event_id, "event_type": event.event_type} for event in batch.events],
        },
        "files": list(failure.files),
    }
