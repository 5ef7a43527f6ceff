"""POST /events."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall import aws
from rollcall.dynamo import Dynamo
from rollcall.http import ingest
from rollcall.http.app import create_app, serve
from rollcall.idempotency import IdempotencyKeys
from rollcall.intake import BatchQueue, Intake
from rollcall.receipts import Receipts
from rollcall.settings import IngestSettings, StatsSettings

logger = Logger()
settings = IngestSettings.read(os.environ)
tables = StatsSettings.read(os.environ).tables
dynamo = Dynamo(aws.dynamodb())
app = create_app(
    ingest.router,
    logger=logger,
    intake=Intake(BatchQueue(aws.sqs(), settings.queue_url), settings.calendar),
    receipts=Receipts(dynamo, tables),
    idempotency_keys=IdempotencyKeys(dynamo, tables),
)
answer = serve(app)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
