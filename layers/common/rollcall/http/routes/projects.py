"""/projects: an admin makes, lists, renames and archives projects."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Security
from pydantic import BaseModel, Field

from rollcall.access.gate import Principal
from rollcall.core.projects import DEFAULT, NAME, BadProject, Project
from rollcall.http.json_bodies import Body, described, json_body
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import unknown_project
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.stack.projects import (
    MAX_DISPLAY_NAME_CHARACTERS,
    BadRecord,
    ProjectExists,
    Projects,
    Record,
    TimezoneFixed,
    UnknownProject,
)

router = APIRouter(prefix="/projects", tags=["projects"], responses=REFUSALS)

_BODY = problem_responses(400, 413, 415, 422)

Admin = Annotated[Principal, Security(admitted, scopes=["admin"])]
Name = Annotated[str, Path(description="`name` of the project")]
# What `json_schema_extra` says is checked where projects are made.
DisplayName = Annotated[
    str,
    Field(
        description="What people know it by",
        json_schema_extra={"minLength": 1, "maxLength": MAX_DISPLAY_NAME_CHARACTERS},
    ),
]


async def admin_of_all(caller: Admin) -> Principal:
    """An admin for all projects; raises `Refused` for any other caller, whether or not the project exists."""
    if caller.reach.project:
        raise Refused(403, "all_projects_required", "this needs a credential for all projects")
    return caller


class NewProject(Body):
    """A project to make."""

    name: Annotated[str, Field(description="For programs; never changes", json_schema_extra={"pattern": f"^{NAME}$"})]
    display_name: DisplayName | None = None
    timezone: Annotated[
        str | None,
        Field(description="IANA name of the timezone of its days; the stack's unless given"),
    ] = None


class ProjectChange(Body):
    """What to change of a project."""

    display_name: DisplayName | None = None
    timezone: Annotated[str | None, Field(description="Only until its first event is stored")] = None
    archived: Annotated[bool | None, Field(description="Whether it takes in no events")] = None


class ProjectState(BaseModel):
    """A project. `created_at` is null for `default`, and `archived_at` unless it is archived."""

    name: str
    display_name: str
    timezone: str
    created_at: str | None
    archived_at: str | None

    @classmethod
    def of(cls, record: Record) -> "ProjectState":
        """As an answer."""
        return cls.model_validate({"name": record.project.name} | record._asdict())


class ProjectList(BaseModel):
    """Projects by their names, the default one first."""

    projects: list[ProjectState]


@router.post(
    "",
    status_code=201,
    summary="Make a project",
    dependencies=[Security(admin_of_all, scopes=["admin"])],
    responses={**_BODY, **problem_responses(409)},
    openapi_extra=described(NewProject, {"name": "shop", "display_name": "The shop", "timezone": "Europe/Warsaw"}),
)
async def create(request: Request, wanted: Annotated[NewProject, Depends(json_body(NewProject))]) -> ProjectState:
    """The project takes in events at once. Its name never changes, and it is never deleted."""
    projects = service(request, Projects)
    name = wanted.name if wanted.display_name is None else wanted.display_name
    timezone = projects.calendar(DEFAULT).name if wanted.timezone is None else wanted.timezone
    with _refusals():
        return ProjectState.of(projects.create(Project(wanted.name), name, timezone))


@router.get("", summary="The projects")
async def listed(request: Request, caller: Admin) -> ProjectList:
    """All projects, archived ones too; for an admin of one project, that one alone."""
    projects = service(request, Projects)
    own = caller.reach.project
    return ProjectList(projects=[ProjectState.of(each) for each in ([projects.find(own)] if own else projects.all())])


@router.get("/{name}", summary="A project", responses=problem_responses(404))
async def found(request: Request, caller: Admin, name: Name) -> ProjectState:
    """Its display name and its timezone, and whether it is archived."""
    own = caller.reach.project
    if own and name != own.name:
        raise unknown_project("name")
    with _refusals():
        return ProjectState.of(service(request, Projects).find(_named(name)))


@router.patch(
    "/{name}",
    summary="Change a project",
    dependencies=[Security(admin_of_all, scopes=["admin"])],
    responses={**_BODY, **problem_responses(404, 409)},
    openapi_extra=described(ProjectChange, {"display_name": "The old shop", "archived": True}),
)
async def change(
    request: Request, name: Name, wanted: Annotated[ProjectChange, Depends(json_body(ProjectChange))]
) -> ProjectState:
    """A project gets another display name or timezone, is archived, or takes in events again. What an archived project
    has can still be read. Functions that are running follow within half a minute."""
    projects = service(request, Projects)
    with _refusals():
        changed = projects.change(_named(name), wanted.display_name, wanted.timezone, archived=wanted.archived)
    return ProjectState.of(changed)


def _named(name: str) -> Project:
    """The project of a name in a path; raises `Refused` where none can have it, as where none has."""
    try:
        return Project(name)
    except BadProject:
        raise unknown_project("name") from None


@contextmanager
def _refusals() -> Iterator[None]:
    """Answer with a problem where a project cannot be made or changed so."""
    try:
        yield
    except UnknownProject:
        raise unknown_project("name") from None
    except BadProject as error:
        raise Refused(422, "invalid_field", f"name: {error}", parameter="name") from None
    except BadRecord as error:
        raise Refused(422, "invalid_field", str(error), parameter=error.field) from None
    except ProjectExists:
        raise Refused(409, "project_exists", "there is a project of this name", parameter="name") from None
    except TimezoneFixed as error:
        raise Refused(409, "timezone_fixed", str(error), parameter="timezone") from None
