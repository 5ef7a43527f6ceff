"""GET /stats/dau and /stats/top-events, the receipts, the health checks and the documentation."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall import aws
from rollcall.dynamo import Dynamo
from rollcall.health import Health
from rollcall.http import batches, meta, stats
from rollcall.http.app import create_app, serve
from rollcall.receipts import Receipts
from rollcall.settings import HealthSettings, StatsSettings
from rollcall.stats import Stats

logger = Logger()
settings = StatsSettings.read(os.environ)
dynamodb = aws.dynamodb()
dynamo = Dynamo(dynamodb)
app = create_app(
    stats.router,
    batches.router,
    meta.router,
    logger=logger,
    stats=Stats(dynamo, settings.tables, settings.calendar),
    calendar=settings.calendar,
    receipts=Receipts(dynamo, settings.tables),
    health=Health(HealthSettings.read(os.environ), dynamodb, aws.sqs(), aws.s3()),
)
answer = serve(app)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
