"""POST /events."""

import re
from collections.abc import Container
from dataclasses import asdict
from typing import Annotated, NamedTuple

from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Depends, Header, Query, Request, Response, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from rollcall.access.gate import Gate, Principal
from rollcall.core.events import MAX_EVENT_BYTES
from rollcall.core.projects import Project
from rollcall.core.strict_json import MAX_VALUES
from rollcall.counting.receipts import Outcome, Receipts
from rollcall.http.json_bodies import body_bytes, expanded
from rollcall.http.preferences import preferences
from rollcall.http.problems import RETRY_AFTER_SECONDS, Refused, problem_responses
from rollcall.http.projects import taking_project
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.sent import sent_of
from rollcall.http.services import service
from rollcall.http.taking import take
from rollcall.intake.bodies import (
    MAX_REQUEST_EVENTS,
    MAX_SENT_BYTES,
    BodyTooLarge,
    UnreadableBody,
    check_count,
    parse_events,
)
from rollcall.intake.dialects.cloudevents import (
    VERSION,
    CloudEvents,
    announced,
    content_of,
    is_cloud_event,
    native_of,
)
from rollcall.intake.dialects.dialect import rfc_3339
from rollcall.intake.idempotency import MAX_KEY_CHARACTERS, IdempotencyKeyReused, IdempotencyKeys
from rollcall.intake.intake import MAX_DAYS, Intake, Taken
from rollcall.stack.dynamo import Unavailable
from rollcall.stack.settings import IngestSettings
from rollcall.stack.telemetry import add_count

MAX_WAIT_SECONDS = 10

router = APIRouter(tags=["events"])

_CLOUD_EVENTS = CloudEvents()

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
_CLOUD_EVENT_SCHEMA = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": VERSION},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1, "format": "uri-reference"},
        "type": {"type": "string", "minLength": 1, "maxLength": 128},
        "time": {"type": ["string", "null"], "format": "date-time"},
        "userid": {"type": ["string", "integer", "null"], "maxLength": 256},
        "subject": {"type": ["string", "null"]},
        "datacontenttype": {"type": ["string", "null"]},
        "data": {},
        "data_base64": {"type": ["string", "null"]},
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
    """An event that was rejected. `index` is its place in the request, from 0."""

    index: int
    event_id: str | None
    code: str
    message: str


class EventsTaken(BaseModel):
    """The outcome of a request, before its events are counted."""

    batch_ids: list[str]
    accepted: int
    rejected: list[RejectedEvent]
    duplicates_in_request: int
    dedupe_days: int | None = Field(
        default=None, description="Days for which an `event_id` is known to be taken; for ever where this is left out"
    )


class EventsStored(EventsTaken):
    """The outcome of a request that waited until its events were counted: ids by outcome."""

    inserted: list[str]
    duplicates: list[str]
    conflicts: list[str]


class Waiting(NamedTuple):
    """For how long a request waits, and whether its header Prefer says so."""

    seconds: int
    preferred: bool


async def _waiting(
    prefer: Annotated[list[str] | None, Header(description="`wait=N`: answer when the events are counted")] = None,
    wait: Annotated[int | None, Query(ge=0, le=MAX_WAIT_SECONDS, description="The same as `Prefer: wait=N`")] = None,
) -> Waiting:
    if wait is not None:
        return Waiting(wait, preferred=False)
    asked = preferences(", ".join(prefer)).get("wait", "") if prefer else ""
    # A preference may be honoured in part (RFC 7240), so that a longer one is cut and a broken one passed over.
    if not re.fullmatch("[0-9]+", asked):
        return Waiting(0, preferred=False)
    digits = asked.lstrip("0") or "0"
    return Waiting(MAX_WAIT_SECONDS if len(digits) > 3 else min(MAX_WAIT_SECONDS, int(digits)), preferred=True)


@router.post(
    "/events",
    status_code=202,
    summary="Take events in",
    response_model=EventsTaken,
    responses={
        200: {"model": EventsStored, "description": "Every event is counted, and the request waited for it"},
        **REFUSALS,
        **problem_responses(400, 404, 409, 415),
        # Where all that is wrong is the events, they are listed one by one.
        **{status: {**problem, "model": EventsTaken} for status, problem in problem_responses(413, 422).items()},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            {"type": "array", "maxItems": MAX_REQUEST_EVENTS, "items": _EVENT_SCHEMA},
                            {
                                "type": "object",
                                "required": ["events"],
                                "properties": {"events": {"type": "array", "items": _EVENT_SCHEMA}},
                            },
                        ]
                    },
                    "example": _EXAMPLE,
                },
                "application/cloudevents+json": {"schema": _CLOUD_EVENT_SCHEMA},
                "application/cloudevents-batch+json": {
                    "schema": {"type": "array", "maxItems": MAX_REQUEST_EVENTS, "items": _CLOUD_EVENT_SCHEMA}
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/msgpack": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    },
    description=(
        f"Up to {MAX_REQUEST_EVENTS:,} events as a JSON array, as an object with `events`, as NDJSON or as "
        "MessagePack, plain or gzip, told apart by their bytes; or as CloudEvents 1.0, structured, binary or batched. "
        f"At most {MAX_SENT_BYTES // 1024**2} MB sent, 8 MB expanded, {MAX_VALUES:,} fields and elements, "
        f"{MAX_EVENT_BYTES // 1024} KB an event, events of {MAX_DAYS} days. "
        "Good events are accepted, bad ones listed with their place and reason. "
        "Sending the same events again counts nothing twice."
    ),
)
async def post_events(
    request: Request,
    principal: Annotated[Principal, Security(admitted, scopes=["ingest"])],
    project: Annotated[Project, Security(taking_project, scopes=["ingest"])],
    body: Annotated[bytes, Depends(body_bytes)],
    waiting: Annotated[Waiting, Depends(_waiting)],
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=MAX_KEY_CHARACTERS, description="May come again with the same body only"),
    ] = None,
) -> Response:
    """Good events are queued. Bad ones are listed with their place and the reason."""
    # Asynchronous like its dependencies: a thread would take longer than a small request.
    try:
        plain = expanded(body)
        raws, cloud_events = _read(request, plain)
        if idempotency_key is not None:
            # Of the expanded body: a client that compresses anew may send other bytes.
            content = content_of(request.headers, plain)
            service(request, IdempotencyKeys).hold(project, principal.name, idempotency_key, content)
    except BodyTooLarge as error:
        raise Refused(413, error.code, str(error)) from None
    except UnreadableBody as error:
        raise Refused(400, error.code, str(error)) from None
    except IdempotencyKeyReused:
        message = "Idempotency-Key came before with another body"
        raise Refused(422, "idempotency_key_reused", message, parameter="Idempotency-Key") from None
    taken = take(request, principal, project, raws)
    metrics = service(request, Metrics)
    add_count(metrics, "EventsAccepted", taken.accepted)
    add_count(metrics, "EventsRejected", len(taken.rejected))
    if taken.unavailable:
        message = "no event could be queued; send them again"
        raise Refused(503, "queue_unavailable", message, retry_after=RETRY_AFTER_SECONDS)
    hot_days = service(request, IngestSettings).hot_days
    answer = EventsTaken(
        batch_ids=[batch.batch_id for batch in taken.batches],
        accepted=taken.accepted,
        rejected=[
            RejectedEvent(**asdict(_CLOUD_EVENTS.in_words(each) if each.index in cloud_events else each))
            for each in taken.rejected
        ],
        duplicates_in_request=taken.duplicates,
        **({"dedupe_days": hot_days} if hot_days else {}),
    ).model_dump(exclude_unset=True)
    try:
        outcome = _outcome(request, principal, project, taken, waiting.seconds)
    except (BotoCoreError, ClientError, Unavailable):
        # The events are queued and will be counted, whether or not this can be told now.
        service(request, Logger).exception("the receipts cannot be reached")
        outcome = None
    if outcome is None:
        return JSONResponse(answer, _status(taken))
    applied = {"Preference-Applied": f"wait={waiting.seconds}"} if waiting.preferred else None
    return JSONResponse({**answer, **outcome._asdict()}, headers=applied)


def _read(request: Request, body: bytes) -> tuple[list[object], Container[int]]:
    """The raw events of an expanded body, and the places of those that were sent as CloudEvents.

    Raises `UnreadableBody` or `BodyTooLarge`.
    """
    headers = request.headers
    if announced(headers):
        raws = [item.raw for item in _CLOUD_EVENTS.read(sent_of(request, body)).items]
        check_count(raws)
        return raws, range(len(raws))
    raws = parse_events(body)
    if b"specversion" not in body:
        return raws, ()
    places = frozenset(place for place, raw in enumerate(raws) if is_cloud_event(raw))
    received = rfc_3339(service(request, Intake).now())
    return [native_of(raw, received) if place in places else raw for place, raw in enumerate(raws)], places


def _outcome(
    request: Request, principal: Principal, project: Project, taken: Taken, wait_seconds: int
) -> Outcome | None:
    """Mark the batches as pending. Returns the outcome of their events, or None where it is not known in time.

    Who has as many requests that wait as a caller may have does not wait: its function is free for others.
    """
    receipts = service(request, Receipts)
    batch_ids = [batch.batch_id for batch in taken.batches]
    receipts.announce(project, batch_ids)
    if not wait_seconds or not batch_ids:
        return None
    with service(request, Gate).hold(principal, wait_seconds) as held:
        if held and receipts.wait(project, batch_ids, wait_seconds):
            return receipts.outcome(project, taken.batches)
    return None


def _status(taken: Taken) -> int:
    if taken.accepted or not taken.rejected:
        return 202
    if all(rejection.code == "event_too_large" for rejection in taken.rejected):
        return 413
    return 422
