"""The step from a route to the queue."""

from collections.abc import Iterable

from aws_lambda_powertools import Logger
from fastapi import Request

from rollcall.access.gate import Principal
from rollcall.core.projects import Project
from rollcall.http.services import service
from rollcall.intake.intake import Intake, Taken


def take(request: Request, caller: Principal, project: Project, raws: Iterable[object]) -> Taken:
    """Take a caller's raw events in, as `Intake.take` does, and log what the queue refuses."""
    context = request.scope.get("aws.event", {}).get("requestContext", {})
    taken = service(request, Intake).take(project, raws, caller.sender, str(context.get("requestId") or "-"))
    logger = service(request, Logger)
    if taken.queue_errors:
        logger.error("the queue refuses batches", extra={"queue_errors": taken.queue_errors})
    if taken.ledger_errors:
        logger.error("the ledger lacks events", extra={"queue_errors": taken.ledger_errors})
    return taken
