"""Compacts the archive on a schedule, and bundles it when a consumer asks for it."""

import os
import random
from collections.abc import Iterable
from typing import Any

from rollcall.archive.backlog import asks_to_bundle
from rollcall.archive.bucket import Archive, waiting_projects
from rollcall.archive.bundling import Bundler, Bundling
from rollcall.archive.compaction import OTHER_MEGABYTES, Compaction, Compactor
from rollcall.core.projects import Project
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import ArchiveSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ArchiveSettings.read(os.environ)
s3, dynamo = clients.s3(), Dynamo(clients.dynamodb())


def compactor(project: Project) -> Compactor:
    """That of a project's archive."""
    archive = Archive(s3, settings.bucket, project)
    return Compactor(archive, dynamo, settings.stats_table, settings.memory_megabytes - OTHER_MEGABYTES)


def compactors() -> Iterable[Compactor]:
    """Those of all projects that there is something to compact of."""
    waiting = sorted(waiting_projects(s3, settings.bucket))
    # So that no project is always the one that there is no time for.
    random.shuffle(waiting)
    return map(compactor, waiting)


def bundler(project: Project) -> Bundler:
    """That of a project's archive."""
    return Bundler(Archive(s3, settings.bucket, project), dynamo, settings.stats_table)


compaction = Compaction(compactors, logger, metrics)
bundling = Bundling(bundler, logger)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Compact what is counted, or bundle it if the event asks for that, for as long as the function has time."""
    project = asks_to_bundle(event)
    if project:
        bundling.handle(project, context.get_remaining_time_in_millis)
    else:
        compaction.handle(context.get_remaining_time_in_millis)
