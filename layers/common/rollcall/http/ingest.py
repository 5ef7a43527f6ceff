"""POST /events."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rollcall.bodies import MAX_EVENTS, MAX_SENT_BYTES, BodyTooLarge, UnreadableBody, read_events
from rollcall.events import MAX_EVENT_BYTES
from rollcall.http.problems import Refused, problem_responses
from rollcall.intake import Intake, Taken

SOURCE = "http"
RETRY_AFTER_SECONDS = 2

router = APIRouter(tags=["events"])

_EVENT_SCHEMA = {
    "type": "object",
    "required": ["event_id", "occurred_at", "user_id", "event_type"],
    "properties": {
        "event_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "occurred_at": {"type": "string", "format": "date-time"},
        "user_id": {"anyOf": [{"type": "string", "minLength": 1, "maxLength": 256}, {"type": "integer"}]},
        "event_type": {"type": "string", "minLength": 1, "maxLength": 128},
        "properties": {"type": ["object", "null"]},
    },
}
_EXAMPLE = [
    {
        "event_id": "7b5ed1eb-83df-4255-a283-87fd4140b95e",
        "occurred_at": "2025-08-03T13:04:15+03:00",
        "user_id": "42",
        "event_type": "login",
        "properties": {"country": "PL"},
    }
]


class RejectedEvent(BaseModel):
    """An event that was not taken in, by its place in the request."""

    index: int
    event_id: str | None
    code: str
    message: str


class EventsTaken(BaseModel):
    """What became of a request's events."""

    batch_ids: list[str]
    accepted: int
    rejected: list[RejectedEvent]
    duplicates_in_request: int


async def _body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/events",
    status_code=202,
    summary="Take events in",
    response_model=EventsTaken,
    responses={
        422: {"model": EventsTaken, "description": "Every event was rejected"},
        **problem_responses(400, 413, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            {"type": "array", "maxItems": MAX_EVENTS, "items": _EVENT_SCHEMA},
                            {
                                "type": "object",
                                "required": ["events"],
                                "properties": {"events": {"type": "array", "items": _EVENT_SCHEMA}},
                            },
                        ]
                    },
                    "example": _EXAMPLE,
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/msgpack": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
    description=(
        f"Up to {MAX_EVENTS:,} events as a JSON array, as an object with `events`, as NDJSON or as MessagePack, plain "
        f"or gzip, told apart by their bytes. At most {MAX_SENT_BYTES // 1024**2} MB sent, 8 MB expanded, "
        f"{MAX_EVENT_BYTES // 1024} KB an event. Good events are accepted, bad ones listed with their place and "
        "reason. Sending the same events again counts nothing twice."
    ),
)
def post_events(request: Request, body: Annotated[bytes, Depends(_body)]) -> Response:
    """Queue the good events and name the bad ones."""
    intake: Intake = request.app.state.intake
    try:
        raws = read_events(body)
    except BodyTooLarge as error:
        raise Refused(413, error.code, str(error)) from None
    except UnreadableBody as error:
        raise Refused(400, error.code, str(error)) from None
    taken = intake.take(raws, SOURCE, _request_id(request))
    if taken.queue_errors:
        request.app.state.logger.error("the queue refuses batches", extra={"queue_errors": taken.queue_errors})
    if taken.unavailable:
        raise Refused(
            503, "queue_unavailable", "no event could be queued; send them again", retry_after=RETRY_AFTER_SECONDS
        )
    answer = EventsTaken(
        batch_ids=taken.batch_ids,
        accepted=taken.accepted,
        rejected=[RejectedEvent(**asdict(rejection)) for rejection in taken.rejected],
        duplicates_in_request=taken.duplicates,
    )
    return JSONResponse(answer.model_dump(), _status(taken))


def _status(taken: Taken) -> int:
    if taken.accepted or not taken.rejected:
        return 202
    if all(rejection.code == "event_too_large" for rejection in taken.rejected):
        return 413
    return 422


def _request_id(request: Request) -> str:
    context = request.scope.get("aws.event", {}).get("requestContext", {})
    return str(context.get("requestId") or "-")
