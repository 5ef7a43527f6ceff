"""GET /keys/{key_id}/ledger."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.api_keys import ApiKeys, UnknownKey
from rollcall.access.gate import Principal
from rollcall.access.reach import ALL
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DayRange, day_range
from rollcall.http.routes.keys import unknown_key
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.projects import Projects

router = APIRouter(tags=["keys"])


class LedgerDay(BaseModel):
    """A key's events of a day of receipt. `received` is `accepted` and all of `rejected`. `accepted` is the sum of the
    numbers that follow it, as soon as all events are counted."""

    date: str
    received: int
    accepted: int
    rejected: dict[str, int]
    """By code."""
    counted: int
    duplicates: int
    conflicts: int
    refused: int


class LedgerAnswer(BaseModel):
    """A key's ledger. A day without events has zeros."""

    model_config = ConfigDict(populate_by_name=True)

    key_id: str
    first: str = Field(alias="from")
    last: str = Field(alias="to")
    timezone: str
    data: list[LedgerDay]


async def _named_project(
    request: Request,
    caller: Annotated[Principal, Security(admitted)],
    project: Annotated[
        str | None,
        Query(
            description="For a key and a credential of all projects: the project that the key sent to, `default` "
            "without it"
        ),
    ] = None,
) -> Project | None:
    """The project that a request names or whose credential it has; None if it may be any."""
    if caller.reach == ALL and project is None:
        return None
    return await project_of(request, caller, project)


@router.get(
    "/keys/{key_id}/ledger",
    summary="What became of the events that an API key sent",
    responses={**REFUSALS, **problem_responses(404, 422)},
)
async def ledger(
    request: Request,
    caller: Annotated[Principal, Security(admitted, scopes=["read"])],
    named: Annotated[Project | None, Security(_named_project, scopes=["read"])],
    key_id: Annotated[str, Path(description="`key_id` of the key")],
    days: Annotated[DayRange, Depends(day_range)],
) -> LedgerAnswer:
    """By the days on which the events came, in the project's timezone. Events of the codes `retry` and `too_many_days`
    are in it when they come again."""
    try:
        own = service(request, ApiKeys).find(key_id, caller.reach).reach.project
    except UnknownKey:
        raise unknown_key() from None
    if own is not None and named not in (None, own):
        raise unknown_key()
    project = own or named or DEFAULT
    calendar = service(request, Projects).calendar(project)
    lines = service(request, Ledgers).read(project, calendar, key_id, *days)
    return LedgerAnswer(
        key_id=key_id,
        first=days.first,
        last=days.last,
        timezone=calendar.name,
        data=[LedgerDay(date=day, **line._asdict()) for day, line in lines.items()],
    )
