"""/auth/session: the page signs in, refreshes and signs out. POST /auth/codes: a code that signs in once."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response, Security
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rollcall.access.accounts import WrongPassword
from rollcall.access.gate import Principal, Unauthenticated
from rollcall.access.sessions import InvalidRefreshToken, NotLetIn
from rollcall.access.shares import UnknownShare
from rollcall.access.sign_in import MAX_CODE_SECONDS, BadCode, SignedIn, SignIn
from rollcall.core.days import timestamp
from rollcall.core.limits import TooFast
from rollcall.http.json_bodies import Body, Scope, described, json_body
from rollcall.http.pages import cookie_of, delete_cookie, of_json, own_page, set_cookie
from rollcall.http.problems import problem_responses
from rollcall.http.routes.auth import Email, Password, Secret, anonymous, network_of
from rollcall.http.routes.shares import Share
from rollcall.http.security import REFUSALS, admitted, too_fast, unauthenticated
from rollcall.http.services import service

router = APIRouter(prefix="/auth", tags=["page"])

_EXAMPLE = {"email": "ada@example.com", "password": "nine green bottles"}
_PAGE = [Depends(own_page), Depends(anonymous)]
_REFUSED = problem_responses(401, 403, 429, 503)
_BODY = problem_responses(400, 413, 415, 422)
_FORMS = (("email", "password"), ("key",), ("code",), ("share",))


class NewSession(Body):
    """Who signs in: an account by `email` and `password`, a `key`, whoever made a `code`, or who has a `share`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"oneOf": [{"required": list(form)} for form in _FORMS]},
    )

    email: Email | None = None
    password: Password | None = None
    key: Secret | None = None
    code: Secret | None = None
    share: Secret | None = None

    @model_validator(mode="after")
    def _of_one_form(self) -> "NewSession":
        if tuple(name for name in type(self).model_fields if getattr(self, name) is not None) not in _FORMS:
            raise PydanticCustomError("forms", "Input should have email and password, or key, or code, or share")
        return self


class NewCode(Body):
    """A code to make."""

    expires_in: Annotated[int, Field(ge=1, le=MAX_CODE_SECONDS, description="Seconds that it is good for")] = 600


class Shown(BaseModel):
    """Who is signed in."""

    name: str
    """The email of an account, the name of a key."""
    kind: Literal["account", "key", "share"]
    scopes: list[Scope]
    project: str
    """The project that it is for; `*` for all."""
    share: Share | None
    """What is shared; null for an account and a key."""


class PageSession(BaseModel):
    """`access_token` authenticates requests for `expires_in` seconds. The cookie gets the next one."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int
    principal: Shown

    @classmethod
    def of(cls, signed_in: SignedIn) -> "PageSession":
        """As an answer."""
        shown = {
            "name": signed_in.name,
            "kind": signed_in.kind,
            "scopes": list(signed_in.scopes),
            "project": str(signed_in.reach),
            "share": Share.of(signed_in.share) if signed_in.share else None,
        }
        pair = signed_in.pair
        principal = Shown.model_validate(shown)
        return cls(access_token=pair.access_token, expires_in=pair.access_seconds, principal=principal)


class Code(BaseModel):
    """A code that signs in as the caller, once. It is shown in this answer only."""

    code: str
    expires_at: str


@router.post(
    "/session",
    summary="Sign the page in",
    dependencies=[*_PAGE, Depends(of_json)],
    responses={**_REFUSED, **_BODY},
    openapi_extra=described(NewSession, _EXAMPLE),
)
async def sign_in(request: Request, who: Annotated[NewSession, Depends(json_body(NewSession))]) -> PageSession:
    """For the page alone: a request from another origin is refused. The refresh token is in a cookie that no script
    reads, and not in the answer. A session of a key is good while the key's text is that it began with. A share gets
    neither a session nor a cookie, and signs in anew."""
    with_whom = service(request, SignIn)
    try:
        if who.key is not None:
            signed_in = with_whom.by_key(who.key.get_secret_value())
        elif who.code is not None:
            signed_in = with_whom.by_code(who.code.get_secret_value())
        elif who.share is not None:
            signed_in = with_whom.by_share(who.share.get_secret_value())
        else:
            password = who.password.get_secret_value() if who.password else ""
            signed_in = with_whom.by_password(who.email or "", password, network_of(request))
    except WrongPassword:
        raise unauthenticated("wrong_credentials", "the email or the password is wrong") from None
    except BadCode:
        message = "the code is not known, was used before, or is no longer good"
        raise unauthenticated("wrong_credentials", message) from None
    except UnknownShare:
        raise unauthenticated("wrong_credentials", "there is no such share, or it has ended") from None
    except (Unauthenticated, NotLetIn):
        message = "there is no such API key, or it is revoked or has expired"
        raise unauthenticated("wrong_credentials", message) from None
    except TooFast as error:
        raise too_fast(request, error) from None
    return _with_cookie(request, signed_in)


@router.post("/session/refresh", summary="Get the page's next access token", dependencies=_PAGE, responses=_REFUSED)
async def refresh(request: Request) -> PageSession:
    """For the page alone. The cookie is exchanged for the next one. One that was exchanged before ends the session, but
    for 30 seconds, in which another tab may have sent it. The answer to a bad cookie deletes it."""
    try:
        return _with_cookie(request, service(request, SignIn).refresh(cookie_of(request) or ""))
    except InvalidRefreshToken:
        delete_cookie(request)
        raise unauthenticated("invalid_session", "the session has ended, or there is none; sign in") from None


@router.delete(
    "/session",
    status_code=204,
    summary="Sign the page out",
    dependencies=_PAGE,
    responses=problem_responses(403, 429, 503),
)
async def sign_out(request: Request) -> Response:
    """For the page alone. The session ends, its access tokens too, and the cookie is deleted. None is no error."""
    service(request, SignIn).sessions.end(cookie_of(request) or "")
    delete_cookie(request)
    return Response(status_code=204)


@router.post(
    "/codes",
    status_code=201,
    summary="Make a code that signs in once",
    responses={**REFUSALS, **_BODY},
    openapi_extra=described(NewCode, {"expires_in": 600}),
)
async def make_code(
    request: Request,
    caller: Annotated[Principal, Security(admitted)],
    wanted: Annotated[NewCode, Depends(json_body(NewCode))],
) -> Code:
    """The page's address with `#code=...` signs in as the caller, once, while the caller's credential is good."""
    code, until = service(request, SignIn).make_code(caller, wanted.expires_in)
    return Code(code=code, expires_at=timestamp(until))


def _with_cookie(request: Request, signed_in: SignedIn) -> PageSession:
    if signed_in.pair.refresh_token:
        set_cookie(request, signed_in.pair.refresh_token, signed_in.pair.refresh_seconds)
    return PageSession.of(signed_in)
