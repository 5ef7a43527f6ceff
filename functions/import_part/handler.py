"""Takes in the parts of uploaded files."""

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from rollcall.imports import build_importer
from rollcall.settings import ImportSettings

logger = Logger()
metrics = Metrics()
importer = build_importer(ImportSettings.read(os.environ), logger, metrics)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: Any) -> None:
    """Take in the parts of an SQS event."""
    importer.handle(event)
