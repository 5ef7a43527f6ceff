"""What a route asks of its caller: `Security(admitted, scopes=["read"])`. The OpenAPI document shows it, too."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Annotated

from aws_lambda_powertools import Logger
from fastapi import HTTPException, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from fastapi.security import SecurityScopes as Scopes

from rollcall.access.gate import Gate, Principal, Unauthenticated
from rollcall.core.limits import Allowance, TooFast
from rollcall.http.headers import add_headers
from rollcall.http.parameters import check_parameters
from rollcall.http.problems import RETRY_AFTER_SECONDS, Refused, problem_responses
from rollcall.http.services import service
from rollcall.http.views import check_shared

# What any route that asks for a credential may answer.
REFUSALS = problem_responses(401, 403, 429, 503)
# The longest that a function behind API Gateway answers.
FUNCTION_SECONDS = 29

_api_key = APIKeyHeader(name="X-API-Key", scheme_name="ApiKey", description="An API key", auto_error=False)
_bearer = HTTPBearer(scheme_name="Bearer", description="An access token of an account, or an API key", auto_error=False)


class _Basic(HTTPBasic):
    async def __call__(self, request: HTTPConnection) -> HTTPBasicCredentials | None:  # type: ignore[override]
        """The user name and password, or None where they cannot be read. The gate then refuses the request."""
        try:
            return await super().__call__(request)
        except HTTPException:
            return None


_basic = _Basic(scheme_name="Basic", description="An API key as the user name", auto_error=False)


async def credential_of(
    api_key: Annotated[str | None, Security(_api_key)] = None,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None,
    basic: Annotated[HTTPBasicCredentials | None, Security(_basic)] = None,
) -> str | None:
    """The credential that a request brings, or None."""
    if api_key:
        return api_key
    if bearer:
        return bearer.credentials
    return basic.username if basic else None


async def admitted(
    request: Request, scopes: Scopes, credential: Annotated[str | None, Security(credential_of)]
) -> Principal:
    """The caller. Raises `Refused` as `admit` does, and for parameters that the route does not have."""
    principal = await admit(request, credential, scopes.scopes)
    check_parameters(request)
    return principal


async def admit(request: Request, credential: str | None, scopes: Sequence[str]) -> Principal:
    """The caller. Raises `Refused` without a good credential or one of the scopes, for what is not shared, or if the
    caller is too fast.
    """
    if not credential:
        raise unauthenticated("unauthenticated", "send an API key as X-API-Key, or an access token as Bearer")
    try:
        principal, allowance = service(request, Gate).admit(credential, request.method, request.scope["route"].path)
    except Unauthenticated as error:
        raise unauthenticated(error.code, str(error)) from None
    except TooFast as error:
        raise too_fast(request, error) from None
    show_allowance(request, allowance)
    service(request, Logger).append_keys(principal=principal.name)
    if principal.share:
        check_shared(request, principal.share)
    missing = [scope for scope in scopes if scope not in principal.scopes]
    if missing:
        raise Refused(403, "missing_scope", f"this needs the scope {missing[0]}")
    return principal


async def parameters_of_anybody(request: Request) -> None:
    """Refuse parameters that a route does not have, if it asks for no credential; `admitted` does so for all others.

    Who may not call a route is not told what it takes.
    """
    if not _asks_for_credential(request.scope["route"].dependant):
        check_parameters(request)


def _asks_for_credential(dependant: Dependant) -> bool:
    return dependant.call is admitted or any(map(_asks_for_credential, dependant.dependencies))


def unauthenticated(code: str, message: str) -> Refused:
    """A 401 that says how to authenticate."""
    return Refused(401, code, message, challenge="Bearer")


def too_fast(request: Request, error: TooFast) -> Refused:
    """A 429 that says in how many seconds the bucket has a token again."""
    show_allowance(request, error.allowance)
    return Refused(429, "too_many_requests", str(error), retry_after=max(1, error.allowance.seconds))


@contextmanager
def one_of_few(request: Request, caller: Principal, functions: int = 1) -> Iterator[None]:
    """Hold a place of the caller's for each function that a question may keep busy for long.

    Raises `Refused` where not so many are left.
    """
    with ExitStack() as places:
        for _ in range(functions):
            if not places.enter_context(service(request, Gate).hold(caller, FUNCTION_SECONDS)):
                message = "too many questions of this caller that take long are being answered; try again"
                raise Refused(429, "too_many_at_once", message, retry_after=RETRY_AFTER_SECONDS)
        yield


def show_allowance(request: Request, allowance: Allowance) -> None:
    """Put what is left of the bucket into the answer's headers (draft-ietf-httpapi-ratelimit-headers)."""
    limit = allowance.limit
    add_headers(
        request,
        {
            "RateLimit-Policy": f'"bucket";q={limit.burst};w={ceil(limit.burst / limit.rate)}',
            "RateLimit": f'"bucket";r={allowance.remaining};t={allowance.seconds}',
        },
    )
