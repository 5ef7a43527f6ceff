"""Compacts the archive on a schedule, and bundles it when a consumer asks for it."""

import os
from typing import Any

from rollcall.archive.backlog import asks_to_bundle
from rollcall.archive.bucket import Archive
from rollcall.archive.bundling import Bundler, Bundling
from rollcall.archive.compaction import OTHER_MEGABYTES, Compaction, Compactor
from rollcall.core.projects import DEFAULT
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import ArchiveSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ArchiveSettings.read(os.environ)
archive = Archive(clients.s3(), settings.bucket, DEFAULT)
dynamo = Dynamo(clients.dynamodb())
compactor = Compactor(archive, dynamo, settings.stats_table, settings.memory_megabytes - OTHER_MEGABYTES)
compaction = Compaction(compactor, logger, metrics)
bundling = Bundling(Bundler(archive, dynamo, settings.stats_table), logger)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Compact what is counted, or bundle it if the event asks for that, for as long as the function has time."""
    if asks_to_bundle(event):
        bundling.handle(context.get_remaining_time_in_millis)
    else:
        compaction.handle(context.get_remaining_time_in_millis)
