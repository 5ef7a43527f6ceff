"""GET /events."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Security
from pydantic import BaseModel, Field

from rollcall.core.events import InvalidEvent, canonical_event_id
from rollcall.core.projects import Project
from rollcall.counting.receipts import Receipts, State
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import project_of
from rollcall.http.security import REFUSALS
from rollcall.http.services import service
from rollcall.stack.projects import Projects

router = APIRouter(tags=["events"])


class Arrival(BaseModel):
    """An event that is stored. Who sent an event may ask whether it came, and is not told of users or properties."""

    event_id: str = Field(description="As it is stored: a UUID in small letters with dashes, however it was sent")
    event_type: str
    day: str = Field(description="The day that it counts on, in the project's timezone")
    occurred_at: str
    received_at: str
    source: str
    state: State = Field(
        description="`counted`; `pending` while its batch is not counted; `stored` for a profile call, in no number"
    )


@router.get("/events", summary="Whether an event arrived", responses={**REFUSALS, **problem_responses(404, 422)})
async def arrival(
    request: Request,
    project: Annotated[Project, Security(project_of, scopes=["read"])],
    event_id: Annotated[str, Query(description="The event's `event_id`, as it was sent")],
) -> Arrival:
    """What is stored under an id, and whether it is counted. Of events with the same id, the first one is stored."""
    try:
        known_as = canonical_event_id(event_id)
    except InvalidEvent as error:
        raise Refused(422, "invalid_parameter", error.message, parameter="event_id") from None
    trace = service(request, Receipts).trace(project, known_as)
    if trace is None:
        message = (
            "No event with this id is stored in the project. It may wait in the queue, have been rejected or refused, "
            "have been sent to another project, or have been received more than HotDays days ago."
        )
        raise Refused(404, "unknown_event", message, parameter="event_id")
    day = service(request, Projects).calendar(project).day_of(trace.occurred_at)
    return Arrival(event_id=known_as, day=day, **trace._asdict())
