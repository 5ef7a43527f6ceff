"""Errors as `application/problem+json` (RFC 9457), with `code` and `message` for SDKs that read those."""

from http import HTTPStatus
from typing import Any

from aws_lambda_powertools import Logger
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """What went wrong with a request."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    message: str
    parameter: str | None = None


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(
        self, status: int, code: str, message: str, *, parameter: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retry_after = retry_after


def problem_response(
    status: int, code: str, message: str, *, parameter: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """A problem as an answer; `retry_after` is in seconds."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, code=code, message=message, parameter=parameter)
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status,
        headers=None if retry_after is None else {"Retry-After": str(retry_after)},
        media_type=MEDIA_TYPE,
    )


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of a route's problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI, logger: Logger) -> None:
    """Have an app answer every error with a problem, and log those it did not expect."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return problem_response(
            error.status, error.code, error.message, parameter=error.parameter, retry_after=error.retry_after
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        parameter = str(first["loc"][-1])
        return problem_response(422, "invalid_parameter", f"{parameter}: {first['msg'].lower()}", parameter=parameter)

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
