"""GET /stats/dau and /stats/top-events, the receipts, the health checks, the metrics and the documentation."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall.access import gate as access
from rollcall.access.api_keys import ApiKeys
from rollcall.counting.receipts import Receipts
from rollcall.http.app import create_app, serve
from rollcall.http.routes import batches, docs, health, metrics
from rollcall.http.routes import stats as stats_routes
from rollcall.operation.health import Health
from rollcall.operation.monitor import Monitor
from rollcall.questions.from_counters import Stats
from rollcall.questions.remote import build as build_segments
from rollcall.stack import clients as aws
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import AccessSettings, AskSettings, HealthSettings, StatsSettings

logger = Logger()
settings = StatsSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
watched = HealthSettings.read(os.environ)
dynamo = Dynamo(aws.dynamodb())
sqs = aws.later(aws.sqs)
stats = Stats(dynamo, settings.tables, settings.calendar)
api_keys = ApiKeys(dynamo, who_may.table)
segments = build_segments(AskSettings.read(os.environ))
app = create_app(
    stats_routes.router,
    batches.router,
    health.router,
    metrics.router,
    docs.router,
    logger=logger,
    gate=access.build(who_may, dynamo, aws.later(aws.ssm)),
    stats=stats,
    calendar=settings.calendar,
    segments=segments,
    receipts=Receipts(dynamo, settings.tables),
    health=Health(watched, dynamo.client, sqs, aws.later(aws.s3)),
    monitor=Monitor(stats, api_keys, sqs, aws.later(aws.cloudwatch), watched.queue_url, watched.dead_letter_queue_url),
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
