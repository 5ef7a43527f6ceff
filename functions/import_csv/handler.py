"""Cuts the files that are uploaded under uploads/ into parts, and queues the parts."""

import os
from typing import Any

from rollcall.files.planner import Planner
from rollcall.files.progress import ImportLog
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.queues import BatchQueue
from rollcall.stack.settings import PlanSettings
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = PlanSettings.read(os.environ)
log = ImportLog(Dynamo(clients.dynamodb()), settings.stats_table)
planner = Planner(clients.s3(), BatchQueue(clients.sqs(), settings.import_queue_url), log, logger)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: Any) -> None:
    """Cut the files that an S3 notification names."""
    planner.handle(event)
