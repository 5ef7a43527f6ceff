"""/accounts: an admin looks an account up, lists and ends its sessions, and disables it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response, Security
from pydantic import BaseModel

from rollcall.access.accounts import MAX_EMAIL_CHARACTERS, account_id_of
from rollcall.access.directory import Directory, UnknownAccount, UnknownSession
from rollcall.access.directory import KnownAccount as Stored
from rollcall.access.gate import Principal
from rollcall.http.json_bodies import Scope
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service

router = APIRouter(
    prefix="/accounts",
    tags=["accounts"],
    dependencies=[Security(admitted, scopes=["admin"])],
    responses={**REFUSALS, **problem_responses(404)},
)

Admin = Annotated[Principal, Security(admitted, scopes=["admin"])]
AccountId = Annotated[str, Path(description="`account_id` of the account")]
SessionId = Annotated[str, Path(description="`session_id` of the session")]


class KnownAccount(BaseModel):
    """An account, as an admin sees it. `disabled_at` is null unless it is disabled."""

    account_id: str
    email: str
    scopes: list[Scope]
    project: str
    """The project that it is for; `*` for all."""
    disabled_at: str | None


class KnownAccounts(BaseModel):
    """All accounts within the admin's reach, by email."""

    accounts: list[KnownAccount]


class Session(BaseModel):
    """A session. It ends at `expires_at` unless it is refreshed before, and at `ends_at` in any case.

    `began_at` and `ends_at` are null for a session of a version that did not note them.
    """

    session_id: str
    began_at: str | None
    refreshed_at: str | None
    expires_at: str
    ends_at: str | None


class Sessions(BaseModel):
    """The sessions of an account."""

    sessions: list[Session]


@router.get("", summary="All accounts, or that of an email", responses=problem_responses(422))
async def accounts(
    request: Request,
    admin: Admin,
    email: Annotated[
        str | None, Query(max_length=MAX_EMAIL_CHARACTERS, description="Email of the account; all accounts without it")
    ] = None,
) -> KnownAccounts | KnownAccount:
    """Which accounts there are, with which scopes, and whether they are disabled. With `email`, the account itself.

    An account that an earlier version made is in the list once it has logged in."""
    directory = service(request, Directory)
    if email is None:
        return KnownAccounts(accounts=[_shown(each) for each in directory.all(admin.reach)])
    with _of_known("email"):
        return _shown(directory.find(account_id_of(email), admin.reach))


@router.get("/{account_id}/sessions", summary="The sessions of an account")
async def sessions(request: Request, admin: Admin, account_id: AccountId) -> Sessions:
    """The sessions that have not ended, the newest last."""
    with _of_known():
        listed = service(request, Directory).sessions(account_id, admin.reach)
    return Sessions(sessions=[Session.model_validate(each._asdict()) for each in listed])


@router.delete("/{account_id}/sessions", status_code=204, summary="End all sessions of an account")
async def end_sessions(request: Request, admin: Admin, account_id: AccountId) -> Response:
    """Their refresh and access tokens are refused from now on."""
    with _of_known():
        service(request, Directory).end_sessions(account_id, admin.reach)
    return Response(status_code=204)


@router.delete("/{account_id}/sessions/{session_id}", status_code=204, summary="End a session of an account")
async def end_session(request: Request, admin: Admin, account_id: AccountId, session_id: SessionId) -> Response:
    """The session's refresh and access tokens are refused from now on."""
    with _of_known():
        service(request, Directory).end_session(account_id, session_id, admin.reach)
    return Response(status_code=204)


@router.post("/{account_id}/disable", status_code=204, summary="Disable an account")
async def disable(request: Request, admin: Admin, account_id: AccountId) -> Response:
    """Nobody can log in to the account from now on, and all its sessions end. API keys are not touched."""
    with _of_known():
        service(request, Directory).disable(account_id, admin.reach)
    return Response(status_code=204)


@router.post("/{account_id}/enable", status_code=204, summary="Enable a disabled account")
async def enable(request: Request, admin: Admin, account_id: AccountId) -> Response:
    """The account can be logged in to again, with the password it had."""
    with _of_known():
        service(request, Directory).enable(account_id, admin.reach)
    return Response(status_code=204)


def _shown(account: Stored) -> KnownAccount:
    return KnownAccount.model_validate(
        account._asdict() | {"scopes": list(account.scopes), "project": str(account.reach)}
    )


@contextmanager
def _of_known(parameter: str = "account_id") -> Iterator[None]:
    """Answer with a 404 where there is no such account or session. `parameter` names the account."""
    try:
        yield
    except UnknownAccount:
        raise Refused(404, "unknown_account", "There is no such account.", parameter=parameter) from None
    except UnknownSession:
        raise Refused(404, "unknown_session", "The account has no such session.", parameter="session_id") from None
