"""Stores and counts the batches of the queue."""

import os
from functools import partial
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.archive.backlog import Backlog
from rollcall.archive.bucket import Archive
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.counting.consumer import Consumer
from rollcall.stack import clients, layout
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.queues import DeadLetterQueue
from rollcall.stack.settings import ConsumerSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ConsumerSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
layout.hold_layout(dynamo, settings.tables, DEFAULT, settings.calendar)
# Made when something has to go there, which is hardly ever.
dead_letters = DeadLetterQueue(clients.later(clients.sqs), settings.dead_letter_queue_url)
claims = Claims(
    dynamo,
    settings.tables,
    partial(Projects(dynamo, settings.tables.stats, settings.calendar).lay_out, settings.tables),
    dead_letters,
    settings.remembered_user_days,
    archive=Archive(clients.later(clients.s3), settings.archive_bucket, DEFAULT) if settings.archive_bucket else None,
    hot_days=settings.hot_days,
)
consumer = Consumer(
    claims,
    dynamo,
    dead_letters,
    logger,
    metrics,
    backlog=Backlog(clients.later(clients.background_functions), settings.compact_function)
    if settings.compact_function
    else None,
)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Apply the batches of an SQS event. The answer names each message that failed."""
    return consumer.handle(event, context.get_remaining_time_in_millis)
