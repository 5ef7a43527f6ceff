"""GET /stats/dau and /stats/top-events, the receipts, the health checks, the metrics and the documentation."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall import access, aws
from rollcall.apikeys import ApiKeys
from rollcall.asking import build as build_segments
from rollcall.dynamo import Dynamo
from rollcall.health import Health
from rollcall.http import batches, meta
from rollcall.http import stats as stats_routes
from rollcall.http.app import create_app, serve
from rollcall.monitor import Monitor
from rollcall.receipts import Receipts
from rollcall.settings import AccessSettings, AskSettings, HealthSettings, StatsSettings
from rollcall.stats import Stats

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
    meta.router,
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
