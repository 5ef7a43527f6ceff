"""Stores and counts the batches of the queue."""

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from rollcall.consumer import build
from rollcall.settings import ConsumerSettings

logger = Logger()
metrics = Metrics()
consumer = build(ConsumerSettings.read(os.environ), logger, metrics)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle an SQS event; the messages that failed are reported one by one."""
    return consumer.handle(event, context.get_remaining_time_in_millis)
