"""Accounts, their sessions, and the API keys."""

import os
from typing import Any

from aws_lambda_powertools import Logger

from rollcall import access, aws
from rollcall.accounts import Accounts
from rollcall.apikeys import ApiKeys
from rollcall.dynamo import Dynamo
from rollcall.http import apikeys, auth
from rollcall.http.app import create_app, serve
from rollcall.passwords import Passwords
from rollcall.ratelimit import Buckets
from rollcall.settings import AccessSettings, AccountSettings

logger = Logger()
settings = AccountSettings.read(os.environ)
who_may = AccessSettings.read(os.environ)
dynamo = Dynamo(aws.dynamodb())
gate = access.build(who_may, dynamo, aws.later(aws.ssm))
app = create_app(
    auth.router,
    apikeys.router,
    logger=logger,
    gate=gate,
    accounts=Accounts(dynamo, who_may.table, gate.tokens, Passwords(), settings.login_limit),
    account_settings=settings,
    api_keys=ApiKeys(dynamo, who_may.table),
    buckets=Buckets(dynamo, who_may.table),
)
answer = serve(app, who_may.cors_origins)


@logger.inject_lambda_context(correlation_id_path="requestContext.requestId", clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an API Gateway request."""
    return answer(event, context)
