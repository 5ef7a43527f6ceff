"""Answers questions about segments from the archive, for the functions behind the API."""

import os
import tempfile
from pathlib import Path
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.archive.bucket import Archive
from rollcall.archive.snapshots import Snapshots
from rollcall.core.projects import Project
from rollcall.questions.remote_handler import OTHER_MEGABYTES, SegmentFunction
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import SegmentsSettings
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = SegmentsSettings.read(os.environ)
s3, dynamo = clients.s3(), Dynamo(clients.dynamodb())


def snapshots(project: Project) -> Snapshots:
    """Those of a project's archive. All projects share the disk."""
    return Snapshots(
        Archive(s3, settings.archive.bucket, project),
        dynamo,
        settings.archive.stats_table,
        Path(tempfile.gettempdir()) / "archive",
        settings.storage_megabytes - OTHER_MEGABYTES,
    )


segments = SegmentFunction(snapshots, settings.archive.memory_megabytes - OTHER_MEGABYTES)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer a question."""
    return segments.handle(event)
