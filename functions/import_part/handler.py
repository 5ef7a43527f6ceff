"""Takes in the parts of uploaded files."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.files.importer import Importer
from rollcall.files.progress import ImportLog
from rollcall.intake.intake import Intake
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from rollcall.stack.settings import ImportSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ImportSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
log = ImportLog(dynamo, settings.stats_table)
projects = Projects(dynamo, settings.stats_table, settings.calendar)
intake = Intake(BatchQueue(clients.sqs(), settings.queue_url), projects.calendar)
importer = Importer(clients.s3(), intake, log, logger, metrics, settings.most_bytes)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Take in the parts of an SQS event."""
    with dynamo.patient(context.get_remaining_time_in_millis):
        importer.handle(event)
