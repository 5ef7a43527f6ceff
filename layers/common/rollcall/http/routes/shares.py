"""/shares: an admin shares a view of a project by a link that needs no account."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response, Security
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access import shares as kept
from rollcall.access.gate import Principal
from rollcall.access.reach import ALL
from rollcall.access.shares import MAX_DAYS, MAX_LIFETIME, BadShare, Shares, UnknownShare
from rollcall.core.projects import DEFAULT
from rollcall.http.json_bodies import Body, described, json_body
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import reach_of_new
from rollcall.http.ranges import DAY
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.http.views import View
from rollcall.questions.actives import Period
from rollcall.questions.segment import MAX_CONDITIONS, BadSegment, parse_segment

router = APIRouter(
    prefix="/shares", tags=["shares"], dependencies=[Security(admitted, scopes=["admin"])], responses=REFUSALS
)

_BODY = problem_responses(400, 413, 415, 422)
Admin = Annotated[Principal, Security(admitted, scopes=["admin"])]
_Condition = Annotated[str, Field(json_schema_extra={"pattern": "^(event_type:.+|properties[.][^:]+:.*)$"})]


class NewShare(Body):
    """A share to make: of the days from `from` to `to`, or of the last `days`."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"oneOf": [{"required": ["days"]}, {"required": ["from", "to"]}]},
    )

    # What `json_schema_extra` says is checked where shares are made.
    name: Annotated[
        str, Field(description="What people know it by", json_schema_extra={"minLength": 1, "maxLength": 100})
    ]
    view: View
    project: Annotated[
        str | None, Field(description="Unless given, that of the caller; of a caller for all, `default`")
    ] = None
    segment: Annotated[list[_Condition], Field(default_factory=list, json_schema_extra={"maxItems": MAX_CONDITIONS})]
    first: Annotated[str | None, Field(alias="from", json_schema_extra=DAY)] = None
    last: Annotated[str | None, Field(alias="to", json_schema_extra=DAY)] = None
    days: Annotated[
        int | None,
        Field(
            description="Up to the day on which somebody looks", json_schema_extra={"minimum": 1, "maximum": MAX_DAYS}
        ),
    ] = None
    period: Annotated[Period | None, Field(description="How the view begins")] = None
    expires_at: Annotated[
        str,
        Field(
            description=f"RFC 3339 with an offset, {MAX_LIFETIME.days} days ahead at most",
            json_schema_extra={"format": "date-time"},
        ),
    ]


class Share(BaseModel):
    """What is shared: the days from `from` to `to`, or the last `days`; the others are null."""

    model_config = ConfigDict(populate_by_name=True)

    share_id: str
    name: str
    view: View
    project: str
    segment: list[str]
    first: str | None = Field(alias="from")
    last: str | None = Field(alias="to")
    days: int | None
    period: Period | None
    created_at: str
    expires_at: str

    @classmethod
    def fields_of(cls, share: kept.Share) -> dict[str, Any]:
        """A share, as the fields of an answer."""
        return share._asdict() | {"project": share.project.name, "segment": list(share.segment)}

    @classmethod
    def of(cls, share: kept.Share) -> "Share":
        """As an answer."""
        return cls.model_validate(cls.fields_of(share))


class CreatedShare(Share):
    """A share with its token, which opens it. The token is shown in this answer only."""

    token: str


class AllShares(BaseModel):
    """The shares that the caller may manage."""

    shares: list[Share]


@router.post(
    "",
    status_code=201,
    summary="Share a view",
    responses={**_BODY, **problem_responses(404)},
    openapi_extra=described(
        NewShare, {"name": "for the board", "view": "overview", "days": 30, "expires_at": "2027-01-31T00:00:00Z"}
    ),
)
async def create(
    request: Request, admin: Admin, wanted: Annotated[NewShare, Depends(json_body(NewShare))]
) -> CreatedShare:
    """Whoever has the token sees this view of this project, with this segment and these days, without an account. The
    page's address with `#share=...` shows it. The token is kept nowhere and shown only once."""
    if wanted.project == str(ALL):
        raise Refused(422, "invalid_field", "project has to be one project", parameter="project")
    named = DEFAULT.name if wanted.project is None and admin.reach == ALL else wanted.project
    project = reach_of_new(request, admin.reach, named, kept.SCOPES).project or DEFAULT
    try:
        if len(wanted.segment) > MAX_CONDITIONS:
            raise BadShare("segment", f"has {len(wanted.segment)} conditions, {MAX_CONDITIONS} are allowed")
        for condition in wanted.segment:
            parse_segment(condition)
        fields = wanted.model_dump() | {"project": project}
        share, token = service(request, Shares).create(kept.NewShare(**fields))
    except BadSegment as error:
        raise Refused(422, "invalid_field", f"segment {error}", parameter="segment") from None
    except BadShare as error:
        raise Refused(422, "invalid_field", str(error), parameter=error.field) from None
    return CreatedShare.model_validate({**Share.fields_of(share), "token": token})


@router.get("", summary="All shares")
async def listed(request: Request, admin: Admin) -> AllShares:
    """The shares of the caller's project or of all projects that have not ended, oldest first, without their tokens."""
    return AllShares(shares=[Share.of(share) for share in service(request, Shares).all(admin.reach)])


@router.delete("/{share_id}", status_code=204, summary="Revoke a share", responses=problem_responses(404))
async def revoke(
    request: Request, admin: Admin, share_id: Annotated[str, Path(description="`share_id` of the share")]
) -> Response:
    """Whoever has its token sees nothing more, from the next request on."""
    try:
        service(request, Shares).revoke(share_id, admin.reach)
    except UnknownShare:
        raise Refused(404, "unknown_share", "There is no such share.", parameter="share_id") from None
    return Response(status_code=204)
