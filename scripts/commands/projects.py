"""`rollcall projects`."""

from typing import Annotated

import typer

from rollcall.access.reach import ALL, Reach
from rollcall.core.days import Calendar
from rollcall.core.projects import DEFAULT, Project
from scripts import show
from scripts.commands.common import AsJson, StackName, output, output_json, say
from scripts.operate import stacks

app = typer.Typer(help="Projects: namespaces of events and numbers in one stack.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The project's name.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name for programs: 1 to 32 of a-z, 0-9 and -, a letter first.")],
    display_name: Annotated[
        str | None, typer.Option("--name", help="What people know it by; its name without it.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="IANA timezone of its days, fixed with its first event; the stack's without it.")
    ] = None,
    stack: StackName = None,
) -> None:
    """Make a project."""
    found = stacks.find(stack)
    shown = name if display_name is None else display_name
    made = found.projects.create(Project(name), shown, found.calendar.name if timezone is None else timezone)
    say(f"project {made.project.name} is made, with the days of {made.timezone}")


@app.command("list")
def show_all(stack: StackName = None, as_json: AsJson = False) -> None:
    """List all projects, archived ones included."""
    found = stacks.find(stack).projects.all()
    if as_json:
        shown = [{"name": each.project.name, **each._asdict()} for each in found]
        output_json([{name: value for name, value in each.items() if name != "project"} for each in shown])
    else:
        output(show.projects(found))


@app.command()
def rename(
    name: Name,
    display_name: Annotated[str, typer.Argument(help="What people know it by from now on.")],
    stack: StackName = None,
) -> None:
    """Give a project another display name; its name for programs stays."""
    _change(stack, name, display_name)
    say(f"project {name} is shown as {display_name}")


@app.command()
def archive(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Take in events again.")] = False,
    stack: StackName = None,
) -> None:
    """Take in no events of a project any more; what it has can still be read."""
    _change(stack, name, archived=not undo)
    say(f"project {name} {'takes in events again' if undo else 'is archived'}, in all functions within half a minute")


def calendar_of(found: stacks.Stack, project: str | None) -> Calendar:
    """The days of a project. Raises `BadProject` or `UnknownProject`."""
    if project in (None, DEFAULT.name, str(ALL)):
        return found.calendar
    return found.projects.calendar(Project(project))


def known_reach(found: stacks.Stack, text: str) -> Reach:
    """One project of a stack, or all for `*`. Raises `BadProject` or `UnknownProject`."""
    reach = Reach.read(text)
    if reach.project:
        found.projects.find(reach.project)
    return reach


def _change(stack: str | None, name: str, display_name: str | None = None, *, archived: bool | None = None) -> None:
    stacks.find(stack).projects.change(Project(name), display_name, archived=archived)
