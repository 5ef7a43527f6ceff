"""POST /auth/...: accounts and their sessions."""

import hashlib
import ipaddress
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.security import SecurityScopes
from pydantic import AfterValidator, BaseModel, Field, SecretStr
from pydantic_core import PydanticCustomError

from rollcall.access.accounts import (
    MAX_EMAIL_CHARACTERS,
    MAX_PASSWORD_CHARACTERS,
    MIN_PASSWORD_CHARACTERS,
    AccountExists,
    Accounts,
    BadAccount,
    WrongPassword,
)
from rollcall.access.buckets import Buckets
from rollcall.access.gate import Principal
from rollcall.access.reach import Reach
from rollcall.access.sessions import REFRESH_SECONDS, InvalidRefreshToken, TokenPair
from rollcall.access.tokens import ACCESS_SECONDS
from rollcall.core.limits import TooFast
from rollcall.core.projects import DEFAULT
from rollcall.http.json_bodies import Body, Scope, described, json_body
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import NewReach, reach_of_new
from rollcall.http.security import REFUSALS, admitted, credential_of, show_allowance, too_fast, unauthenticated
from rollcall.http.services import service
from rollcall.stack.keys import bucket_key
from rollcall.stack.settings import AccountSettings

router = APIRouter(prefix="/auth", tags=["accounts"])

# The scopes of somebody who registers without being asked.
OPEN_SCOPES: list[Scope] = ["read"]

_EXAMPLE = {"email": "ada@example.com", "password": "nine green bottles"}
_BODY = problem_responses(400, 413, 415, 422)
_ANONYMOUS = problem_responses(401, 429, 503)


def _check_unicode(secret: SecretStr) -> SecretStr:
    # Unlike other text, pydantic takes a secret that has half a character in it.
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "Input should be valid Unicode") from None
    return secret


Email = Annotated[str, Field(max_length=MAX_EMAIL_CHARACTERS)]
Password = Annotated[SecretStr, Field(max_length=MAX_PASSWORD_CHARACTERS), AfterValidator(_check_unicode)]
# What `json_schema_extra` says is checked where accounts are made.
NewPassword = Annotated[Password, Field(json_schema_extra={"minLength": MIN_PASSWORD_CHARACTERS})]
Secret = Annotated[SecretStr, Field(max_length=512), AfterValidator(_check_unicode)]


class Login(Body):
    """The email and the password of an account."""

    email: Email
    password: Password


class Registration(Login):
    """An account to make. Only an admin may give `scopes` and `project`."""

    email: Annotated[Email, Field(json_schema_extra={"format": "email"})]
    password: NewPassword
    scopes: list[Scope] | None = None
    project: NewReach = None


class RefreshToken(Body):
    """A refresh token."""

    refresh_token: Secret


class PasswordChange(Body):
    """The present password and the new one."""

    current_password: Password
    new_password: NewPassword


class Account(BaseModel):
    """An account."""

    account_id: str
    email: str
    scopes: list[Scope]
    project: str
    """The project that it is for; `*` for all."""


class Tokens(BaseModel):
    """`access_token` authenticates requests, `refresh_token` gets the next tokens. Times are in seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: Annotated[int, Field(description=f"{ACCESS_SECONDS}, or less where the session ends before")]
    refresh_token: str
    refresh_expires_in: Annotated[int, Field(description=f"{REFRESH_SECONDS}, or less where the session ends before")]

    @classmethod
    def of(cls, pair: TokenPair) -> "Tokens":
        """As an answer."""
        return cls(
            access_token=pair.access_token,
            expires_in=pair.access_seconds,
            refresh_token=pair.refresh_token,
            refresh_expires_in=pair.refresh_seconds,
        )


def network_of(request: Request) -> str:
    """The network of one subscriber that the caller has: an IPv4 address, or an IPv6 network of 64 bits.

    It is of the address that API Gateway saw, whatever a header says.
    """
    address = request.client.host if request.client else ""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address


async def anonymous(request: Request) -> None:
    """Take a token from the bucket of the caller's address; raises `Refused` where it is empty."""
    address = network_of(request)
    limit = service(request, AccountSettings).address_limit
    key = bucket_key("address", hashlib.sha256(address.encode()).hexdigest())
    try:
        show_allowance(request, service(request, Buckets).take_for(key, limit))
    except TooFast as error:
        raise too_fast(request, error) from None


async def registrar(
    request: Request, scopes: SecurityScopes, credential: Annotated[str | None, Security(credential_of)]
) -> Principal | None:
    """The admin who registers an account; raises `Refused`.

    None where anybody may register, and the request brings no credential.
    """
    if credential is None and service(request, AccountSettings).open_registration:
        await anonymous(request)
        return None
    return await admitted(request, scopes, credential)


@router.post(
    "/register",
    status_code=201,
    summary="Make an account",
    responses={**REFUSALS, **_BODY, **problem_responses(404, 409)},
    openapi_extra=described(Registration, {**_EXAMPLE, "scopes": ["read"]}),
)
async def register(
    request: Request,
    admin: Annotated[Principal | None, Security(registrar, scopes=["admin"])],
    wanted: Annotated[Registration, Depends(json_body(Registration))],
) -> Account:
    """An admin makes accounts. Where the stack's parameter OpenRegistration is true, anybody may make one that has the
    scope `read`."""
    if admin is None and wanted.scopes is not None and wanted.scopes != OPEN_SCOPES:
        raise Refused(403, "missing_scope", "only an admin gives scopes", parameter="scopes")
    if admin is None and wanted.project not in (None, DEFAULT.name):
        raise Refused(403, "missing_scope", "only an admin gives a project", parameter="project")
    accounts = service(request, Accounts)
    scopes = OPEN_SCOPES if wanted.scopes is None else wanted.scopes
    reach = reach_of_new(request, admin.reach if admin else Reach(DEFAULT), wanted.project, scopes)
    try:
        made = accounts.register(wanted.email, wanted.password.get_secret_value(), scopes, reach)
    except BadAccount as error:
        raise Refused(422, "invalid_field", str(error), parameter=error.field) from None
    except AccountExists:
        raise Refused(409, "account_exists", "there is an account of this email", parameter="email") from None
    return Account.model_validate(made._asdict() | {"project": str(made.reach)})


@router.post(
    "/login",
    summary="Begin a session",
    dependencies=[Depends(anonymous)],
    responses={**_ANONYMOUS, **_BODY},
    openapi_extra=described(Login, _EXAMPLE),
)
async def login(request: Request, who: Annotated[Login, Depends(json_body(Login))]) -> Tokens:
    """An access token for 15 minutes, and a refresh token for 7 days. However often it is refreshed, the session ends
    after the stack's `SessionDays`. A disabled account is answered as a wrong password is."""
    accounts = service(request, Accounts)
    try:
        return Tokens.of(accounts.login(who.email, who.password.get_secret_value(), network_of(request)))
    except WrongPassword:
        raise unauthenticated("wrong_credentials", "the email or the password is wrong") from None
    except TooFast as error:
        raise too_fast(request, error) from None


@router.post(
    "/refresh",
    summary="Exchange a refresh token for new tokens",
    dependencies=[Depends(anonymous)],
    responses={**_ANONYMOUS, **_BODY},
    openapi_extra=described(RefreshToken, {"refresh_token": "rt_..."}),
)
async def refresh(request: Request, token: Annotated[RefreshToken, Depends(json_body(RefreshToken))]) -> Tokens:
    """A refresh token is good once. The session ends when it comes a second time."""
    accounts = service(request, Accounts)
    try:
        return Tokens.of(accounts.refresh(token.refresh_token.get_secret_value()))
    except InvalidRefreshToken as error:
        raise unauthenticated("invalid_refresh_token", str(error)) from None


@router.post(
    "/logout",
    status_code=204,
    summary="End a session",
    dependencies=[Depends(anonymous)],
    responses={**problem_responses(429, 503), **_BODY},
    openapi_extra=described(RefreshToken, {"refresh_token": "rt_..."}),
)
async def logout(request: Request, token: Annotated[RefreshToken, Depends(json_body(RefreshToken))]) -> Response:
    """The session's refresh and access tokens are refused from now on. An unknown token is no error."""
    service(request, Accounts).logout(token.refresh_token.get_secret_value())
    return Response(status_code=204)


@router.post(
    "/change-password",
    status_code=204,
    summary="Change one's password and end all of one's sessions",
    responses={**REFUSALS, **_BODY},
    openapi_extra=described(
        PasswordChange, {"current_password": "nine green bottles", "new_password": "eight green bottles"}
    ),
)
async def change_password(
    request: Request,
    principal: Annotated[Principal, Security(admitted)],
    change: Annotated[PasswordChange, Depends(json_body(PasswordChange))],
) -> Response:
    """The caller sends an access token of the account. All sessions of the account end."""
    if principal.account_id is None or principal.session_id is None:
        raise Refused(403, "account_required", "an API key has no password; send an access token")
    accounts = service(request, Accounts)
    present, new = change.current_password.get_secret_value(), change.new_password.get_secret_value()
    try:
        accounts.change_password(principal.account_id, principal.session_id, present, new)
    except WrongPassword:
        raise Refused(403, "wrong_password", "current_password is wrong", parameter="current_password") from None
    except BadAccount as error:
        raise Refused(422, "invalid_field", str(error), parameter=error.field) from None
    except TooFast as error:
        raise too_fast(request, error) from None
    return Response(status_code=204)
