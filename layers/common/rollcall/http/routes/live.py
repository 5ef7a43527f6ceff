"""GET /live."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Security
from pydantic import BaseModel, Field

from rollcall.access.gate import Principal
from rollcall.core.projects import Project
from rollcall.http.problems import problem_responses
from rollcall.http.projects import project_of
from rollcall.http.routes.stats import TypeCount
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.operation.monitor import Monitor
from rollcall.questions.asking import Asking
from rollcall.questions.ledgers import Ledgers
from rollcall.questions.top_events import TopEvents
from rollcall.stack.projects import Projects

MOST_TYPES = 1_000

router = APIRouter(tags=["operation"])


class CodeCount(BaseModel):
    """Events that were rejected with a code."""

    code: str
    count: int


class QueueNow(BaseModel):
    """The queue of all projects."""

    waiting: int = Field(description="Batches that wait or are being counted")
    oldest_seconds: float | None = Field(description="For how long the oldest has waited; null if not known yet")
    dead_letters: int


class LiveAnswer(BaseModel):
    """What a project has counted today so far, and what stands before it."""

    as_of: str = Field(description="Every event that was counted by this time is in `events`")
    day: str
    timezone: str
    events: list[TypeCount] = Field(description="Of today, most frequent type first")
    rejected_in_all: list[CodeCount] = Field(
        description="Since the project began, of events that API keys sent, most frequent code first"
    )
    queue: QueueNow | None = Field(description="Null for a caller of one project that is not `default`")


@router.get("/live", summary="What comes in now", responses={**REFUSALS, **problem_responses(404, 422)})
async def live(
    request: Request,
    caller: Annotated[Principal, Security(admitted, scopes=["read"])],
    project: Annotated[Project, Security(project_of, scopes=["read"])],
) -> LiveAnswer:
    """Made to be asked again and again. What two answers of the same day differ by came in between them."""
    calendar = service(request, Projects).calendar(project)
    today = calendar.today(datetime.now(UTC))
    told = service(request, Asking).ask(project, TopEvents(today, today, MOST_TYPES))
    rejected = sum(service(request, Ledgers).rejections(project).values(), Counter[str]())
    queues = service(request, Monitor).queues(caller.reach)
    return LiveAnswer(
        as_of=told.as_of,
        day=today,
        timezone=calendar.name,
        events=[TypeCount(event_type=each.event_type, count=each.events) for each in told.answer],
        rejected_in_all=[
            CodeCount(code=code, count=count)
            for code, count in sorted(rejected.items(), key=lambda entry: (-entry[1], entry[0]))
        ],
        queue=queues
        and QueueNow(
            waiting=queues.depth, oldest_seconds=queues.oldest_message_seconds, dead_letters=queues.dead_letters
        ),
    )
