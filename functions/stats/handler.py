"""The routes of daily actives, top events, event lookup, batches, health, metrics and the documentation."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.access.api_keys import ApiKeys
from rollcall.access.gate import build as build_gate
from rollcall.core.projects import DEFAULT
from rollcall.counting.receipts import Receipts
from rollcall.http.app import create_app, serve
from rollcall.http.routes import arrivals, batches, docs, health, ledger, live, meta, metrics, rejects, stats
from rollcall.intake.rejects import Rejects
from rollcall.operation.health import Health
from rollcall.operation.monitor import Monitor
from rollcall.questions.asking import Asking
from rollcall.questions.from_counters import Counters
from rollcall.questions.ledgers import Ledgers
from rollcall.questions.remote import build as build_segments
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import (
    AccessSettings,
    AskSettings,
    DocsSettings,
    HealthSettings,
    RejectsSettings,
    StatsSettings,
    TopEventsSettings,
)
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = StatsSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
watched = HealthSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
sqs, cloudwatch = clients.later(clients.sqs), clients.later(clients.cloudwatch)
named_types = TopEventsSettings.read(os.environ).named_types
counters = Counters(dynamo, settings.tables, DEFAULT, settings.calendar, named_types=named_types)
api_keys = ApiKeys(dynamo, who_may.table)
ledgers = Ledgers(dynamo, settings.tables)
projects = Projects(dynamo, settings.tables.stats, settings.calendar)
app = create_app(
    stats.router,
    meta.router,
    live.router,
    arrivals.router,
    batches.router,
    ledger.router,
    rejects.router,
    health.router,
    metrics.router,
    docs.router,
    logger=logger,
    gate=build_gate(who_may, dynamo, clients.later(clients.ssm)),
    services=[
        projects,
        DocsSettings.read(os.environ),
        Asking(counters, projects.calendar, build_segments(AskSettings.read(os.environ))),
        Receipts(dynamo, settings.tables),
        ledgers,
        Rejects(clients.later(clients.s3), RejectsSettings.read(os.environ).bucket),
        api_keys,
        Health(watched, dynamo.client, sqs, clients.later(clients.s3)),
        Monitor(
            counters, projects, api_keys, ledgers, sqs, cloudwatch, watched.queue_url, watched.dead_letter_queue_url
        ),
    ],
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
