"""Errors as `application/problem+json` (RFC 9457). `code` and `message` are there for SDKs that read those."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from rollcall.questions.question import SegmentsFailed, SegmentsSlow
from rollcall.stack.dynamo import Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2


class Problem(BaseModel):
    """What went wrong with a request."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    message: str
    parameter: str | None = None


class Refused(Exception):
    """A request that is answered with a problem.

    `retry_after` is in seconds. `challenge` is the value of `WWW-Authenticate`, and `codings` of `Accept-Encoding`.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        parameter: str | None = None,
        retry_after: int | None = None,
        challenge: str | None = None,
        codings: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.parameter = parameter
        self.headers = {
            name: str(value)
            for name, value in (
                ("Retry-After", retry_after),
                ("WWW-Authenticate", challenge),
                ("Accept-Encoding", codings),
            )
            if value is not None
        }


def problem_response(
    status: int, code: str, message: str, *, parameter: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer that tells a problem."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, message=message, parameter=parameter)
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a route's problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def in_a_sentence(message: str) -> str:
    """A message of pydantic's after a name and a colon. What it quotes, such as a pattern, stays as it is."""
    return message[:1].lower() + message[1:]


def install(app: FastAPI, logger: Logger) -> None:
    """Make an app answer every error with a problem. It logs the errors that it does not expect."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return problem_response(
            error.status, error.code, error.message, parameter=error.parameter, headers=error.headers
        )

    @app.exception_handler(SegmentsSlow)
    async def slow(_: Request, error: Exception) -> JSONResponse:
        logger.error("the archive answers too late", exc_info=error)
        message = "the archive does not answer this in time; ask for fewer days, or query it by rollcall query"
        return problem_response(504, "too_slow", message)

    @app.exception_handler(SegmentsFailed)
    @app.exception_handler(BotoCoreError)
    @app.exception_handler(ClientError)
    @app.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        logger.error("a dependency does not answer", exc_info=error)
        message = "what this needs cannot be reached now; try again"
        return problem_response(503, "unavailable", message, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        parameter = str(first["loc"][-1])
        return problem_response(
            422, "invalid_parameter", f"{parameter}: {in_a_sentence(first['msg'])}", parameter=parameter
        )

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        answer = problem_response(status, status.name.lower(), f"{status.description or status.phrase}.")
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("request failed", exc_info=error)
        return problem_response(500, "internal_error", "The request failed; the reason is in the logs.")
