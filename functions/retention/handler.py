"""The routes that read the users of days: retention, and active users of weeks and months."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.access.gate import build as build_gate
from rollcall.core.projects import DEFAULT
from rollcall.http.app import create_app, serve
from rollcall.http.routes import actives, retention
from rollcall.questions.asking import Asking
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.remote import build as build_segments
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import AccessSettings, AskSettings, RetentionSettings, WeekSettings
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = RetentionSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
tables, calendar = settings.stats.tables, settings.stats.calendar
dynamo = Dynamo(clients.dynamodb())
kept = KeptDays(clients.later(clients.s3), settings.bucket)
counters = Counters(dynamo, tables, DEFAULT, calendar, DayUsers(dynamo, tables, kept))
projects = Projects(dynamo, tables.stats, calendar)
app = create_app(
    retention.router,
    actives.router,
    logger=logger,
    gate=build_gate(who_may, dynamo, clients.later(clients.ssm)),
    services=[
        projects,
        WeekSettings.read(os.environ),
        Asking(counters, projects.calendar, build_segments(AskSettings.read(os.environ))),
    ],
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
