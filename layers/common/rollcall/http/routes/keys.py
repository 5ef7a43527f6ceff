"""/keys: an admin makes, lists, rotates and revokes API keys."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response, Security
from pydantic import BaseModel, Field

from rollcall.access import api_keys as apikeys
from rollcall.access.api_keys import (
    LABEL,
    MAX_BURST,
    MAX_GRACE_SECONDS,
    MAX_RATE,
    MIN_RATE,
    ApiKeys,
    BadKey,
    KeyChanged,
    KeyRevoked,
    UnknownKey,
)
from rollcall.access.gate import Principal
from rollcall.core.limits import Limit
from rollcall.http.json_bodies import Body, Scope, described, json_body
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import NewReach, reach_of_new
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service

router = APIRouter(
    prefix="/keys", tags=["keys"], dependencies=[Security(admitted, scopes=["admin"])], responses=REFUSALS
)

_BODY = problem_responses(400, 413, 415, 422)
Admin = Annotated[Principal, Security(admitted, scopes=["admin"])]
KeyId = Annotated[str, Path(description="`key_id` of the key")]


class NewKey(Body):
    """A key to make."""

    # What `json_schema_extra` says is checked where keys are made.
    name: Annotated[
        str, Field(description="What people know it by", json_schema_extra={"minLength": 1, "maxLength": 100})
    ]
    scopes: Annotated[list[Scope], Field(json_schema_extra={"minItems": 1})]
    source: Annotated[
        str, Field(description="What its events are counted under", json_schema_extra={"pattern": f"^{LABEL}$"})
    ] = "http"
    rate: Annotated[
        float | None,
        Field(
            description="Requests a second in the long run; the stack's unless given",
            json_schema_extra={"minimum": MIN_RATE, "maximum": MAX_RATE},
        ),
    ] = None
    burst: Annotated[
        int | None,
        Field(
            description="Requests at once; the stack's unless given",
            json_schema_extra={"minimum": 1, "maximum": MAX_BURST},
        ),
    ] = None
    expires_in_days: Annotated[int | None, Field(ge=1, le=3_650)] = None
    project: NewReach = None


class Rotation(Body):
    """How to replace the secret of a key."""

    grace_seconds: Annotated[
        int, Field(ge=0, le=MAX_GRACE_SECONDS, description="How long the present secret works yet")
    ] = 0


class Key(BaseModel):
    """A key, without its secret."""

    key_id: str
    name: str
    scopes: list[Scope]
    source: str
    project: str
    """The project that it is for; `*` for all."""
    rate: float | None
    burst: int | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    requests: int

    @classmethod
    def of(cls, key: apikeys.ApiKey) -> "Key":
        """As an answer."""
        rate, burst = key.limit or (None, None)
        shown = key._asdict() | {"rate": rate, "burst": burst, "requests": sum(key.requests.values())}
        shown["project"] = str(key.reach)
        return cls.model_validate({name: value for name, value in shown.items() if name in cls.model_fields})


class CreatedKey(Key):
    """A key with its text, which authenticates requests. The text is shown in this answer only."""

    key: str


class Keys(BaseModel):
    """The keys that the caller may manage."""

    keys: list[Key]


class RotatedKey(BaseModel):
    """The new text of a key, which authenticates requests from now on. It is shown in this answer only."""

    key_id: str
    key: str


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    responses={**_BODY, **problem_responses(404)},
    openapi_extra=described(NewKey, {"name": "shop backend", "scopes": ["ingest"], "source": "shop"}),
)
async def create(request: Request, admin: Admin, wanted: Annotated[NewKey, Depends(json_body(NewKey))]) -> CreatedKey:
    """The answer has the key's text. It is kept nowhere and shown only once."""
    keys = service(request, ApiKeys)
    if (wanted.rate is None) != (wanted.burst is None):
        missing = "burst" if wanted.burst is None else "rate"
        raise Refused(422, "invalid_field", "rate and burst go together", parameter=missing)
    limit = None if wanted.rate is None or wanted.burst is None else Limit(wanted.rate, wanted.burst)
    lifetime = timedelta(days=wanted.expires_in_days) if wanted.expires_in_days else None
    reach = reach_of_new(request, admin.reach, wanted.project, wanted.scopes)
    try:
        key, text = keys.create(wanted.name, wanted.scopes, wanted.source, limit, lifetime, reach)
    except BadKey as error:
        raise Refused(422, "invalid_field", str(error), parameter=error.field) from None
    return CreatedKey(**Key.of(key).model_dump(), key=text)


@router.get("", summary="All API keys")
async def listed(request: Request, admin: Admin) -> Keys:
    """All keys of the caller's project or of all projects, revoked ones too, oldest first. `requests` counts the
    requests of the key that were let through."""
    return Keys(keys=[Key.of(key) for key in service(request, ApiKeys).all(admin.reach)])


@router.post(
    "/{key_id}/rotate",
    summary="Give an API key another secret",
    responses={**_BODY, **problem_responses(404, 409)},
    openapi_extra=described(Rotation, {"grace_seconds": 3600}),
)
async def rotate(
    request: Request, admin: Admin, key_id: KeyId, rotation: Annotated[Rotation, Depends(json_body(Rotation))]
) -> RotatedKey:
    """The key gets a new secret. Everything else about it stays."""
    try:
        text = service(request, ApiKeys).rotate(key_id, admin.reach, timedelta(seconds=rotation.grace_seconds))
    except UnknownKey:
        raise unknown_key() from None
    except KeyRevoked:
        raise Refused(409, "key_revoked", "the key is revoked, and stays so", parameter="key_id") from None
    except KeyChanged:
        raise Refused(409, "key_changed", "the key was rotated at the same moment", parameter="key_id") from None
    return RotatedKey(key_id=key_id, key=text)


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key", responses=problem_responses(404))
async def revoke(request: Request, admin: Admin, key_id: KeyId) -> Response:
    """The key is refused from the next request on. It stays in the list."""
    try:
        service(request, ApiKeys).revoke(key_id, admin.reach)
    except UnknownKey:
        raise unknown_key() from None
    return Response(status_code=204)


def unknown_key() -> Refused:
    """A 404 for a key that is not there, or of which the caller may not know."""
    return Refused(404, "unknown_key", "There is no such key.", parameter="key_id")
