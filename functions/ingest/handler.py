"""The routes that take in events and files, and the answer to what no route has."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.access.buckets import Buckets
from rollcall.access.gate import build as build_gate
from rollcall.counting.receipts import Receipts
from rollcall.files.progress import ImportLog
from rollcall.files.uploads import Uploads
from rollcall.http.app import create_app, serve
from rollcall.http.routes import dialects, events, imports
from rollcall.intake.idempotency import IdempotencyKeys
from rollcall.intake.intake import Intake
from rollcall.intake.rejects import Rejects
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.queues import BatchQueue
from rollcall.stack.settings import AccessSettings, IngestSettings, RejectsSettings, StatsSettings
from rollcall.stack.telemetry import make_logger, make_metrics

logger = make_logger(os.environ)
metrics = make_metrics()
settings = IngestSettings.read(os.environ)
tables = StatsSettings.read(os.environ).tables
who_may = AccessSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
log = ImportLog(dynamo, tables.stats)
projects = Projects(dynamo, tables.stats, settings.calendar)
app = create_app(
    events.router,
    imports.router,
    dialects.router,
    logger=logger,
    gate=build_gate(who_may, dynamo, clients.later(clients.ssm)),
    services=[
        settings,
        metrics,
        projects,
        Intake(BatchQueue(clients.sqs(), settings.queue_url), projects.calendar),
        log,
        Uploads(clients.later(clients.s3), settings.upload_bucket, log),
        Rejects(clients.later(clients.s3), RejectsSettings.read(os.environ).bucket),
        Receipts(dynamo, tables),
        IdempotencyKeys(dynamo, tables),
        Buckets(dynamo, who_may.table),
    ],
)
answer = serve(app, who_may.cors_origins, settings.prefix)


@metrics.log_metrics
@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
