"""Cuts the files that are uploaded under uploads/ into parts, and queues the parts."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.files.planner import Planner
from rollcall.files.progress import ImportLog
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from rollcall.stack.settings import PlanSettings
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = PlanSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
log = ImportLog(dynamo, settings.stats_table)
queue = BatchQueue(clients.sqs(), settings.import_queue_url)
projects = Projects(dynamo, settings.stats_table, settings.calendar)
planner = Planner(clients.s3(), queue, log, logger, projects, settings.most_bytes)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Cut the files that S3 notifications name, which come from a queue."""
    with dynamo.patient(context.get_remaining_time_in_millis):
        planner.handle(event)
