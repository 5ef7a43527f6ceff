"""`rollcall audit`."""

from typing import Annotated, Any

import typer

from rollcall.core.days import parse_day
from rollcall.core.projects import DEFAULT, Project
from scripts import show
from scripts.commands.common import (
    AllProjects,
    AsJson,
    OneProject,
    StackName,
    check_one_or_all,
    output,
    output_json,
    say,
    tell,
)
from scripts.operate import audit as auditing
from scripts.operate import stacks


def audit(
    context: typer.Context,
    day: Annotated[str | None, typer.Option(help="Compare one day alone.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Count what is stored of batches that will not be delivered again.")
    ] = False,
    project: OneProject = DEFAULT.name,
    all_projects: AllProjects = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Recount the stored events of a project and compare with the counters; exits with 1 if they differ.

    Scans both tables, and needs the rights to do so. With --all-projects, it scans them for each project.
    """
    if day is not None:
        try:
            parse_day(day)
        except ValueError as error:
            raise typer.BadParameter(f"--day {error}") from None
    check_one_or_all(context, all_projects=all_projects)
    where = stacks.find(stack)
    projects = [each.project for each in where.projects.all()] if all_projects else [Project(project)]
    found: dict[str, auditing.Audit] = {}
    refused = False
    for each in projects:
        whose = f"{each.name}: " if all_projects else ""
        auditor = auditing.of_stack(where, each)
        audited = auditor.audit(day)
        if repair and audited.unfinished:
            try:
                audited = _repaired(where, auditor, audited, day, whose)
            except auditing.CannotRepair as error:
                if not all_projects:
                    raise
                # The next project may be one that can be repaired.
                say(f"{whose}{error}")
                refused = True
        _tell(audited, whose, as_json=as_json)
        found[each.name] = audited
    events, drift = sum(each.events for each in found.values()), sum(len(each.drifts) for each in found.values())
    if as_json:
        by_project = [{"project": name, **_as_json(each)} for name, each in found.items()]
        output_json({"events": events, "projects": by_project} if all_projects else _as_json(*found.values()))
    elif all_projects:
        number = "1 project" if len(found) == 1 else f"{len(found):,} projects"
        tell(f"{number}, {events:,} events recounted: drift {drift}")
    if drift or refused:
        raise typer.Exit(1)


def _repaired(
    where: stacks.Stack, auditor: auditing.Auditor, found: auditing.Audit, day: str | None, whose: str
) -> auditing.Audit:
    """What an audit finds once the batches that it found unfinished are counted. Raises `CannotRepair`."""
    auditing.refuse_deliverable(where)
    say(f"{whose}{len(found.unfinished):,} batches are given up; waiting for the consumers that may be at them.")
    repaired = auditor.repair(found)
    say(f"{whose}{repaired:,} batches that were stored and not counted are counted now.")
    return auditor.audit(day)


def _as_json(found: auditing.Audit) -> dict[str, Any]:
    return {
        "events": found.events,
        "days": found.days,
        "drift": [drift._asdict() for drift in found.drifts],
        "moving": found.moving,
        "unfinished": {batch_id: len(events) for batch_id, events in found.unfinished.items()},
    }


def _tell(found: auditing.Audit, whose: str, *, as_json: bool) -> None:
    """Tell people what an audit of a project found. The result itself is left out where JSON has it."""
    if not as_json:
        if found.drifts:
            output(show.drifts(found.drifts))
        tell(f"{whose}{found.events:,} events on {found.days:,} days recounted: drift {len(found.drifts)}")
    if found.moving:
        say(f"{whose}{found.moving:,} counters changed while they were read; audit again when it is quiet.")
    if found.unfinished:
        events = sum(map(len, found.unfinished.values()))
        say(
            f"{whose}{len(found.unfinished):,} batches with {events:,} stored events have no receipt. "
            "They are on their way or in the dead-letter queue; if in neither, --repair counts them."
        )
