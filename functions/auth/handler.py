"""The routes of accounts, sessions and API keys."""

import os
from typing import Any

import rollcall.stack.collector  # noqa: F401
from rollcall.access.accounts import Accounts, LoginRules
from rollcall.access.api_keys import ApiKeys
from rollcall.access.buckets import Buckets
from rollcall.access.directory import Directory
from rollcall.access.gate import build as build_gate
from rollcall.access.passwords import Passwords
from rollcall.access.shares import Shares
from rollcall.access.sign_in import SignIn
from rollcall.http.app import create_app, serve
from rollcall.http.routes import accounts, auth, keys, projects, sessions, shares
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import AccessSettings, AccountSettings, ProjectSettings
from rollcall.stack.telemetry import make_logger

logger = make_logger(os.environ)
settings = AccountSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
kept = ProjectSettings.read(os.environ)
dynamo = Dynamo(clients.dynamodb())
rules = LoginRules(settings.login_limit, settings.account_limit, settings.session_days * 86_400)
gate = build_gate(who_may, dynamo, clients.later(clients.ssm))
people = Accounts(dynamo, who_may.table, gate.tokens, Passwords(), rules)
app = create_app(
    auth.router,
    sessions.router,
    accounts.router,
    keys.router,
    shares.router,
    projects.router,
    logger=logger,
    gate=gate,
    services=[
        settings,
        people,
        Shares(dynamo, who_may.table),
        SignIn(dynamo, who_may.table, gate, people),
        Directory(dynamo, who_may.table),
        ApiKeys(dynamo, who_may.table),
        Buckets(dynamo, who_may.table),
        Projects(dynamo, kept.stats_table, kept.calendar),
    ],
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
