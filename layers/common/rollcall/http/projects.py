"""The project of a request: the credential's own, or for a credential of all projects the parameter `project`.

`Security(project_of, scopes=["read"])` admits the caller as `admitted` does. A caller of one project gets the same
refusals for a project that exists as for one that does not.
"""

from collections.abc import Collection
from typing import Annotated

from fastapi import Query, Request, Security
from pydantic import Field

from rollcall.access.gate import Principal
from rollcall.access.reach import ALL, Reach, unnamed
from rollcall.core.projects import DEFAULT, BadProject, Project
from rollcall.http.problems import Refused
from rollcall.http.security import admitted
from rollcall.http.services import service
from rollcall.stack.projects import ProjectArchived, Projects, UnknownProject

NewReach = Annotated[
    str | None,
    Field(
        description="The project that it is for, or `*` for all. Unless given, that of the caller; of a caller for "
        "all, `*` with the scope `admin` and `default` without"
    ),
]
"""The field `project` of a credential to make, for `reach_of_new`."""


async def project_of(
    request: Request,
    caller: Annotated[Principal, Security(admitted)],
    project: Annotated[
        str | None,
        Query(description="For a credential of all projects: the project that is meant, `default` without it"),
    ] = None,
) -> Project:
    """The project that a request is about; raises `Refused`.

    Nothing is read for a credential of one project, nor for the default one, which is always there.
    """
    own = caller.reach.project
    if own is not None:
        if project not in (None, own.name):
            raise _other_project()
        return own
    return DEFAULT if project is None else _known_project(request, project)


async def project_or_all(
    request: Request,
    caller: Annotated[Principal, Security(admitted)],
    project: Annotated[
        str | None,
        Query(
            description="For a credential of all projects: the project that is meant, `default` without it, or `*` for "
            "all of them side by side and in sum"
        ),
    ] = None,
) -> Project | None:
    """The project that a request is about, or None where it is about all; raises `Refused`."""
    if caller.reach == ALL and project == str(ALL):
        return None
    return await project_of(request, caller, project)


async def taking_project(request: Request, project: Annotated[Project, Security(project_of)]) -> Project:
    """The project that a request brings events for; raises `Refused` if it takes in none."""
    if project == DEFAULT:
        return project
    try:
        service(request, Projects).check_open(project)
    except UnknownProject:
        raise unknown_project() from None
    except ProjectArchived:
        raise Refused(409, "project_archived", "the project is archived, and takes in no events") from None
    return project


def reach_of_new(request: Request, creator: Reach, wanted: str | None, scopes: Collection[str]) -> Reach:
    """The reach of a credential that somebody makes, from the field `project` of the body; raises `Refused`.

    A creator of one project makes credentials of that project alone. Where one of all projects names none, an admin is
    for all projects and others are for the default one: whoever reads a key in a web page is not to reach the projects
    that are made later.
    """
    if creator.project:
        if wanted not in (None, str(creator)):
            raise _other_project()
        return creator
    if wanted is None:
        return unnamed(scopes)
    if wanted == str(ALL):
        return ALL
    try:
        Project(wanted)
    except BadProject as error:
        raise Refused(422, "invalid_field", f"project: {error}, or *", parameter="project") from None
    return Reach(_known_project(request, wanted))


def unknown_project(parameter: str = "project") -> Refused:
    """A 404 for a project that is not there, or of which the caller may not know."""
    return Refused(404, "unknown_project", "There is no such project.", parameter=parameter)


def _known_project(request: Request, name: str) -> Project:
    try:
        project = Project(name)
        return project if project == DEFAULT else service(request, Projects).known(project).project
    except (BadProject, UnknownProject):
        raise unknown_project() from None


def _other_project() -> Refused:
    message = "the credential is for one project, and project names another"
    return Refused(403, "other_project", message, parameter="project")
