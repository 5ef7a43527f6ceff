"""Compacts the archive, on a schedule."""

import os
from typing import Any

from rollcall.archive.bucket import Archive
from rollcall.archive.compaction import OTHER_MEGABYTES, Compaction, Compactor
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import ArchiveSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ArchiveSettings.read(os.environ)
compactor = Compactor(
    Archive(clients.s3(), settings.bucket),
    Dynamo(clients.dynamodb()),
    settings.stats_table,
    settings.memory_megabytes - OTHER_MEGABYTES,
)
compaction = Compaction(compactor, logger, metrics)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(_: dict[str, Any], context: Any) -> None:
    """Compact the batches that are counted, for as long as the function has time."""
    compaction.handle(context.get_remaining_time_in_millis)
