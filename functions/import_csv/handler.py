"""Imports the files that are uploaded under uploads/."""

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from rollcall.imports import build
from rollcall.settings import IngestSettings

logger = Logger()
metrics = Metrics()
importer = build(IngestSettings.read(os.environ), logger, metrics)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Import the objects of an S3 notification."""
    importer.handle(event, context.aws_request_id)
