"""Keeps days that have ended and compacts the archive on a schedule. Bundles it when a consumer asks for that."""

import os
import random
from collections.abc import Iterable
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.archive.backlog import asks_to_bundle
from rollcall.archive.bucket import Archive, waiting_projects
from rollcall.archive.bundling import Bundler, Bundling
from rollcall.archive.compaction import OTHER_MEGABYTES, Compaction, Compactor
from rollcall.core.projects import DEFAULT, Project
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.keeping import DayKeeper
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import ArchiveSettings, RetentionSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = ArchiveSettings.read(os.environ)
# What keeping days leaves compaction of the function's time.
FOR_COMPACTION_MILLISECONDS = 600_000
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


days = RetentionSettings.read(os.environ)
tables, calendar = days.stats.tables, days.stats.calendar
keeper = DayKeeper(
    Counters(dynamo, tables, DEFAULT, calendar, DayUsers(dynamo, tables, KeptDays(s3, days.bucket))),
    Projects(dynamo, tables.stats, calendar),
    s3,
    days.bucket,
    logger,
)
compaction = Compaction(compactors, logger, metrics)
bundling = Bundling(bundler, logger)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> None:
    """Keep days and compact what is counted, or bundle it if the event asks for that, as long as there is time."""
    project = asks_to_bundle(event)
    if project:
        bundling.handle(project, context.get_remaining_time_in_millis)
        return
    try:
        # Somebody may wait for the days, and nobody for compaction.
        keeper.handle(lambda: context.get_remaining_time_in_millis() - FOR_COMPACTION_MILLISECONDS)
    finally:
        compaction.handle(context.get_remaining_time_in_millis)
