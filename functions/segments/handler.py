"""Answers questions about segments from the archive, for the functions behind the API."""

import os
import tempfile
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from rollcall.questions import build
from rollcall.settings import SegmentsSettings

logger = Logger()
segments = build(SegmentsSettings.read(os.environ), Path(tempfile.gettempdir()) / "archive", logger)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Answer a question."""
    return segments.handle(event)
