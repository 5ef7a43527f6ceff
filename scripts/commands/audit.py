"""`rollcall audit`."""

from typing import Annotated

import typer

from rollcall.core.days import parse_day
from rollcall.core.projects import DEFAULT, Project
from scripts import show
from scripts.commands.common import AsJson, OneProject, StackName, output, output_json, say, tell
from scripts.operate import audit as auditing
from scripts.operate import stacks


def audit(
    day: Annotated[str | None, typer.Option(help="Compare one day alone.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Count what is stored of batches that will not be delivered again.")
    ] = False,
    project: OneProject = DEFAULT.name,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Recount the stored events of a project and compare with the counters; exits with 1 if they differ.

    Scans both tables, and needs the rights to do so.
    """
    if day is not None:
        try:
            parse_day(day)
        except ValueError as error:
            raise typer.BadParameter(f"--day {error}") from None
    where = stacks.find(stack)
    auditor = auditing.of_stack(where, Project(project))
    found = auditor.audit(day)
    if repair and found.unfinished:
        auditing.refuse_deliverable(where)
        say(f"{len(found.unfinished):,} batches are given up; waiting for the consumers that may be at them.")
        repaired = auditor.repair(found)
        say(f"{repaired:,} batches that were stored and not counted are counted now.")
        found = auditor.audit(day)
    if as_json:
        output_json(
            {
                "events": found.events,
                "days": found.days,
                "drift": [drift._asdict() for drift in found.drifts],
                "moving": found.moving,
                "unfinished": {batch_id: len(events) for batch_id, events in found.unfinished.items()},
            }
        )
    else:
        if found.drifts:
            output(show.drifts(found.drifts))
        tell(f"{found.events:,} events on {found.days:,} days recounted: drift {len(found.drifts)}")
    if found.moving:
        say(f"{found.moving:,} counters changed while they were read; audit again when it is quiet.")
    if found.unfinished:
        events = sum(map(len, found.unfinished.values()))
        say(
            f"{len(found.unfinished):,} batches with {events:,} stored events have no receipt. "
            "They are on their way or in the dead-letter queue; if in neither, --repair counts them."
        )
    if found.drifts:
        raise typer.Exit(1)
