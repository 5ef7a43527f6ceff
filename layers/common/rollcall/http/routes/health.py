"""GET /health and /healthz."""

from contextlib import suppress
from typing import Annotated, Literal

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from pydantic import BaseModel

from rollcall.access.reach import Reach
from rollcall.core.projects import DEFAULT
from rollcall.http.problems import Refused
from rollcall.http.security import admitted, credential_of
from rollcall.http.services import service
from rollcall.operation.health import Health
from rollcall.stack.dynamo import Unavailable

router = APIRouter(tags=["operation"])


class Alive(BaseModel):
    """The API answers."""

    status: Literal["ok"]


class Dependencies(BaseModel):
    """Whether all dependencies answer. For an admin, each by its name: `ok`, or the reason why it does not answer."""

    status: Literal["ok", "unavailable"]
    dependencies: dict[str, str] | None = None


async def is_admin(
    request: Request, scopes: SecurityScopes, credential: Annotated[str | None, Security(credential_of)]
) -> bool:
    """Whether the caller is known to have the scopes, and is not for another project alone.

    Anybody else gets the answer that everybody may have. That holds too while the access table cannot be read: whether
    the stack is well has to be answered then as well.
    """
    if not credential:
        return False
    with suppress(Refused, Unavailable, BotoCoreError, ClientError):
        caller = await admitted(request, scopes, credential)
        # The tables and queues are those of all projects.
        if caller.reach.covers(Reach(DEFAULT)):
            return True
    # What `admitted` says of the caller's bucket is no part of the answer that everybody gets.
    request.state.headers = {}
    return False


@router.get("/health", summary="Whether the API answers")
async def health() -> Alive:
    """The function answers. No dependency is asked."""
    return Alive(status="ok")


@router.get(
    "/healthz",
    summary="Whether all it depends on answers",
    response_model=Dependencies,
    responses={503: {"model": Dependencies, "description": "At least one dependency is unavailable"}},
    # No credential is needed.
    openapi_extra={"security": [{}]},
)
async def healthz(request: Request, admin: Annotated[bool, Security(is_admin, scopes=["admin"])]) -> JSONResponse:
    """Each table, queue and bucket is asked every few seconds at most. An admin is told which of them does not answer
    and why, anybody else whether all of them answer."""
    failures = service(request, Health).check()
    down = {name: reason for name, reason in failures.items() if reason}
    if down:
        service(request, Logger).error("a dependency does not answer", extra={"dependencies": down})
    answer = Dependencies(status="unavailable" if down else "ok")
    if admin:
        answer.dependencies = {name: reason or "ok" for name, reason in failures.items()}
    return JSONResponse(answer.model_dump(exclude_none=True), 503 if down else 200)
