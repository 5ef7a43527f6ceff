"""The routes of other services' SDKs. One function serves them all; `rollcall.intake.dialects` says how each speaks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Request, Response, Security

from rollcall.access.gate import Principal
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.json_bodies import body_bytes, expanded
from rollcall.http.parameters import ANY_PARAMETERS_TAG
from rollcall.http.problems import RETRY_AFTER_SECONDS, Refused
from rollcall.http.projects import taking_project
from rollcall.http.security import REFUSALS, admit, credential_of
from rollcall.http.sent import sent_of
from rollcall.http.services import service
from rollcall.http.taking import take
from rollcall.intake.bodies import BodyTooLarge, UnreadableBody, check_count
from rollcall.intake.dialects.dialect import Answer, Dialect, Item, Outcome, Refusal, Sent, credential_in, rfc_3339
from rollcall.intake.dialects.registry import dialect_of, routes
from rollcall.intake.intake import TOO_MANY_DAYS, Rejection
from rollcall.intake.rejects import Reject, Rejects
from rollcall.stack.dynamo import Unavailable
from rollcall.stack.projects import Projects
from rollcall.stack.telemetry import add_count

router = APIRouter(tags=[ANY_PARAMETERS_TAG])


async def answer_sdk(request: Request, credential: Annotated[str | None, Security(credential_of)]) -> Response:
    """Take in what an SDK sends, and answer as it wants to be answered."""
    sent = sent_of(request)
    dialect = dialect_of(sent)
    try:
        sent = replace(sent, body=expanded(await body_bytes(request)))
        dialect = dialect_of(sent)
        reading = dialect.read(sent)
        check_count(reading.items)
        found = credential_in(credential) or credential_in(request.headers.get("x-write-key")) or reading.credential
        caller = await admit(request, found, ["ingest"])
        project = await taking_project(request, caller.reach.project or DEFAULT)
        rejected, answer = _take(request, caller, project, dialect, sent, reading.items)
        _keep(request, caller, project, dialect, sent, found or "", _unnamed(rejected, answer, reading.items))
    except BodyTooLarge as error:
        answer = dialect.refused(sent, Refusal(413, error.code, str(error)))
    except UnreadableBody as error:
        answer = dialect.refused(sent, Refusal(400, error.code, str(error)))
    except Refused as error:
        answer = dialect.refused(sent, Refusal(error.status, error.code, error.message))
        return _response(answer, error.headers)
    except (BotoCoreError, ClientError, Unavailable) as error:
        service(request, Logger).error("a dependency does not answer", exc_info=error)
        message = "what this needs cannot be reached now; try again"
        answer = dialect.refused(sent, Refusal(503, "unavailable", message))
        return _response(answer, {"Retry-After": str(RETRY_AFTER_SECONDS)})
    return _response(answer, {})


for _route, _methods in routes().items():
    for _method in _methods:
        router.add_api_route(
            _route,
            answer_sdk,
            methods=[_method],
            response_class=Response,
            responses=REFUSALS,
            summary="For SDKs of other services",
        )


def _take(
    request: Request, caller: Principal, project: Project, dialect: Dialect, sent: Sent, items: Sequence[Item]
) -> tuple[Sequence[Rejection], Answer]:
    """The events that were not accepted, and the answer; raises `Refused` where all are to be sent again."""
    accepted, duplicates, rejected = _queue(request, caller, project, items)
    metrics = service(request, Metrics)
    add_count(metrics, "EventsAccepted", accepted)
    add_count(metrics, "EventsRejected", len(rejected))
    unsent = [items[each.index] for each in rejected if each.code == "retry"]
    told = dialect.tells_retry and (accepted or duplicates) and all(each.name for each in unsent)
    if unsent and not told:
        message = "not all events could be queued; send them again"
        raise Refused(503, "queue_unavailable", message, retry_after=RETRY_AFTER_SECONDS)
    rejected = [dialect.in_words(each) for each in rejected]
    if rejected and not accepted and not duplicates:
        first = rejected[0]
        message = f"none of {len(rejected)} events is good: {first.message}" if len(rejected) > 1 else first.message
        return rejected, dialect.refused(sent, Refusal(400, first.code, message, rejected))
    return rejected, dialect.taken(sent, Outcome(items, rejected))


def _unnamed(
    rejected: Sequence[Rejection], answer: Answer, items: Sequence[Item]
) -> Sequence[tuple[Rejection, object]]:
    """The bad events that the answer does not name, as they were sent. An event that is to come again is not bad."""
    return [
        (each, items[each.index].sent) for each in rejected if each.index not in answer.named and each.code != "retry"
    ]


def _keep(
    request: Request,
    caller: Principal,
    project: Project,
    dialect: Dialect,
    sent: Sent,
    credential: str,
    rejected: Sequence[tuple[Rejection, object]],
) -> None:
    """Keep bad events for `GET /rejects`. Where that fails, the SDK has to send all again: nothing counts twice."""
    if not rejected:
        return
    received_at = rfc_3339(sent.received)
    day = service(request, Projects).calendar(project).day_of(received_at)
    rejects = [Reject.of(each.code, each.message, each.event_id, item, dialect.name) for each, item in rejected]
    service(request, Rejects).keep(project, caller.sender.key_id, day, received_at, rejects, credential)


def _queue(
    request: Request, caller: Principal, project: Project, items: Sequence[Item]
) -> tuple[int, int, list[Rejection]]:
    """The number of events that were queued and of those that repeat one, and the others."""
    accepted = duplicates = 0
    rejected: list[Rejection] = []
    places: Sequence[int] = range(len(items))
    while places:
        taken = take(request, caller, project, [items[place].raw for place in places])
        accepted += taken.accepted
        duplicates += taken.duplicates
        put_off = []
        for each in taken.rejected:
            if each.code == TOO_MANY_DAYS:
                put_off.append(places[each.index])
            else:
                rejected.append(replace(each, index=places[each.index]))
        # No SDK could send these in another request.
        places = put_off
    return accepted, duplicates, sorted(rejected)


def _response(answer: Answer, headers: dict[str, str]) -> Response:
    return Response(answer.body, answer.status, headers, answer.media_type)
