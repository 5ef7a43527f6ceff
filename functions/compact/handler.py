"""Compacts the archive, on a schedule."""

import os
from typing import Any

from aws_lambda_powertools import Logger, Metrics

from rollcall.compaction import build
from rollcall.settings import ArchiveSettings

logger = Logger()
metrics = Metrics()
compaction = build(ArchiveSettings.read(os.environ), logger, metrics)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_: dict[str, Any], context: Any) -> None:
    """Compact what is finished, while there is time."""
    compaction.handle(context.get_remaining_time_in_millis)
