"""Cuts the files that are uploaded under uploads/ into parts for a queue."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall.imports import build_planner
from rollcall.settings import PlanSettings

logger = Logger()
planner = build_planner(PlanSettings.read(os.environ), logger)


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], _: Any) -> None:
    """Plan the objects of an S3 notification."""
    planner.handle(event)
