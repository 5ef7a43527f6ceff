"""The page, and the files that it needs."""

import os
from pathlib import Path
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.http.page import Page
from rollcall.stack.settings import PageSettings
from rollcall.stack.telemetry import make_logger

HERE = Path(__file__).parent

logger = make_logger(os.environ)
page = Page(HERE / "site", HERE / "vendor/echarts.min.js", PageSettings.read(os.environ))


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    answer = page.answer(event)
    # The route and not the path, which anybody may make up.
    request = {"method": event["httpMethod"], "route": event["resource"]}
    logger.info("request answered", extra={**request, "status": answer["statusCode"]})
    return answer
