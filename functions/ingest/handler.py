"""POST /events."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall import aws
from rollcall.http import ingest
from rollcall.http.app import create_app, serve
from rollcall.intake import BatchQueue, Intake
from rollcall.settings import IngestSettings

logger = Logger()
settings = IngestSettings.read(os.environ)
app = create_app(
    ingest.router, logger=logger, intake=Intake(BatchQueue(aws.sqs(), settings.queue_url), settings.calendar)
)
answer = serve(app)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
