"""`rollcall dlq`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from scripts import show
from scripts.commands.common import AsJson, Failed, StackName, output, output_json, say, tell
from scripts.operate import dlq, stacks

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
    """List the failed messages and the reasons, oldest first."""
    where = stacks.find(stack)
    if as_json:
        with dlq.received(where, _as_dict) as described:
            pass
        output_json(described)
        return
    with dlq.received(where, dlq.Summary.of) as found:
        pass
    if found:
        output(show.failures(found))
    else:
        say("Nothing failed.")


@app.command("show")
def show_one(
    message_id: Annotated[str, typer.Argument(metavar="ID", help="As `rollcall dlq list` shows it.")],
    events: Annotated[bool, typer.Option("--events", help="Print the whole events, users and properties too.")] = False,
    stack: StackName = None,
) -> None:
    """Show the content of a message."""
    with _named(stacks.find(stack), [message_id]) as found:
        (failure,) = found
    output(show.failure(failure))
    if failure.batch and events:
        for event in failure.batch.events:
            tell(dlq.as_json_line(event))
    elif failure.batch:
        output(show.failed_events(failure))
    elif not failure.files:
        output(failure.body[:SHOWN_CHARACTERS])


@app.command()
def redrive(
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="As `rollcall dlq list` shows them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All but what no consumer can read.")] = False,
    stack: StackName = None,
) -> None:
    """Send messages back to where they failed; nothing is counted twice.

    A message is deleted after it has been sent back. With --all, two kinds of messages stay: those that cannot be
    decoded, which can be sent back by their ids, and those that come while this runs.
    """
    if bool(message_ids) == everything:
        raise typer.BadParameter("name messages by their ids, or all by --all")
    where = stacks.find(stack)
    done = {"sent": 0, "left": 0}

    def sent(failure: dlq.Failure) -> None:
        done["sent"] += 1
        say(f"{failure.message_id} is sent back: {failure.content}")

    def left(failure: dlq.Failure, why: str) -> None:
        done["left"] += 1
        say(f"{failure.message_id} stays: {why}")

    if everything:
        dlq.redrive_all(where, sent, left)
    else:
        with _named(where, message_ids or []) as found:
            for failure in found:
                dlq.redrive(where, failure)
                sent(failure)
    tell(f"{done['sent']} sent back, {done['left']} left")


@contextmanager
def _named(where: stacks.Stack, message_ids: Sequence[str]) -> "Iterator[list[dlq.Failure]]":
    wanted = frozenset(message_ids)
    with dlq.received(where, lambda failure: failure if failure.message_id in wanted else None) as found:
        by_id = {failure.message_id: failure for failure in found}
        missing = [message_id for message_id in message_ids if message_id not in by_id]
        if missing:
            raise Failed(f"there is no message {', '.join(missing)}, or somebody else has it just now")
        yield [by_id[message_id] for message_id in dict.fromkeys(message_ids)]


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
