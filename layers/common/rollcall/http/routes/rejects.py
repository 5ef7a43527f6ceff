"""GET /rejects."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Security
from pydantic import BaseModel

from rollcall.core.projects import Project
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.ranges import DayRange, day_range, refuse
from rollcall.http.security import REFUSALS
from rollcall.http.services import service
from rollcall.intake.rejects import NO_KEY, BadCursor, Rejects

router = APIRouter(tags=["events"])

MAX_REJECTS = 1_000
_SENDER = re.compile(f"[0-9a-f]{{16}}|{NO_KEY}")


class KeptReject(BaseModel):
    """An event that was not accepted."""

    date: str
    """The day of receipt, in the project's timezone."""
    received_at: str
    dialect: str
    code: str
    message: str
    event_id: str | None
    item: str
    """As it was sent, as JSON, without credentials; the first 32 KB of it."""


class RejectsAnswer(BaseModel):
    """Events of an API key that were not accepted, by the day of receipt. `next` is null at the end of the list."""

    data: list[KeptReject]
    next: str | None


@router.get(
    "/rejects",
    summary="Events of other services' SDKs that were not accepted",
    responses={**REFUSALS, **problem_responses(404, 422)},
)
async def rejects(
    request: Request,
    project: Annotated[Project, Security(project_of, scopes=["read"])],
    days: Annotated[DayRange, Depends(day_range)],
    key: Annotated[
        str | None,
        Query(
            description="`key_id` of the API key that sent them; `account` for people", examples=["3c7e0a91d2b4f685"]
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_REJECTS, description="Events to list at most")] = 100,
    after: Annotated[str | None, Query(description="`next` of the answer that the list goes on after")] = None,
) -> RejectsAnswer:
    """Those that the answer to the SDK did not name, with the reasons. They are kept for `RejectRetentionDays` days. An
    answer may have fewer than `limit` events, and goes on with `next`."""
    if key is None:
        raise refuse("key", "is missing")
    if not _SENDER.fullmatch(key):
        raise refuse("key", f"has to be the id of an API key, or {NO_KEY}")
    try:
        page = service(request, Rejects).list(project, key, days.first, days.last, limit, after)
    except BadCursor as error:
        raise refuse("after", str(error)) from None
    shown = [KeptReject(date=each.day, received_at=each.received_at, **each.reject._asdict()) for each in page.rejects]
    return RejectsAnswer(data=shown, next=page.after)
