"""GET /stats/retention and /stats/cohort."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall.access import gate as access
from rollcall.http.app import create_app, serve
from rollcall.http.routes import retention
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Stats
from rollcall.questions.remote import build as build_segments
from rollcall.stack import clients as aws
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.settings import AccessSettings, AskSettings, RetentionSettings

logger = Logger()
settings = RetentionSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
tables, calendar = settings.stats.tables, settings.stats.calendar
dynamo = Dynamo(aws.dynamodb())
kept = KeptDays(aws.later(aws.s3), settings.bucket)
segments = build_segments(AskSettings.read(os.environ))
app = create_app(
    retention.router,
    logger=logger,
    gate=access.build(who_may, dynamo, aws.later(aws.ssm)),
    stats=Stats(dynamo, tables, calendar, DayUsers(dynamo, tables, kept)),
    calendar=calendar,
    segments=segments,
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
