"""POST /imports, GET /imports/{import_id} and GET /imports/{import_id}/rejects."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request, Security
from pydantic import BaseModel, Field

from rollcall.access.buckets import Buckets
from rollcall.access.gate import Principal
from rollcall.core.limits import TooFast
from rollcall.core.projects import Project
from rollcall.files.numbering import WARNING
from rollcall.files.progress import ImportLog, Progress, UnknownImport
from rollcall.files.uploads import Uploads
from rollcall.http.json_bodies import Body, described, json_body
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import project_of, taking_project
from rollcall.http.security import REFUSALS, admitted, too_fast
from rollcall.http.services import service
from rollcall.stack.keys import bucket_key, is_invited_key
from rollcall.stack.objects import Gone
from rollcall.stack.settings import IngestSettings

INVITATION_SECONDS = 3600
# Whoever has the URL reads the rows, so it lives no longer than a click and its retries.
REJECTS_SECONDS = 300

router = APIRouter(prefix="/imports", tags=["imports"], responses=REFUSALS)

Importing = Annotated[Principal, Security(admitted, scopes=["import"])]
ImportId = Annotated[str, Path(description="`import_id` of POST /imports")]


class NewImport(Body):
    """A file to upload."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            description="Of the file; what it holds is told by its bytes",
        ),
    ]
    bytes: Annotated[
        int | None,
        Field(ge=0, description="Size of the file. A file of another size is refused, and so is a second PUT"),
    ] = None


class Invitation(BaseModel):
    """A PUT of the file's bytes to `url` with `headers` uploads it, within `expires_in` seconds and without a
    credential. The URL takes one file if its size was named."""

    import_id: str
    key: str
    url: str
    headers: dict[str, str]
    expires_in: int


class Parts(BaseModel):
    """The number of parts of the file. `planned` is null until the planner has read the file through."""

    planned: int | None
    done: int


class CountedRows(BaseModel):
    """The accepted rows whose batches are counted, by outcome."""

    inserted: int
    duplicates: int
    conflicts: int
    refused: int
    pending_batches: int


class FileWarning(BaseModel):
    """What is likely to be wrong with a file all of whose rows may be good."""

    code: Literal["row_number_ids"]
    message: str


class ImportState(BaseModel):
    """The state of an import."""

    import_id: str
    key: str
    status: Literal["waiting", "reading", "importing", "done", "gone"]
    done: bool
    bytes: int
    parts: Parts
    rows: int
    accepted: int
    rejected: int
    duplicates_in_file: int
    counted: CountedRows | None
    rejects: str | None
    warnings: list[FileWarning]
    started_at: str


class RejectedRows(BaseModel):
    """A GET of `url` downloads the CSV file of the rows that do not count, within `expires_in` seconds and without a
    credential."""

    url: str
    expires_in: int


@router.post(
    "",
    status_code=201,
    summary="Begin an import",
    responses=problem_responses(400, 404, 409, 413, 415, 422),
    openapi_extra=described(NewImport, {"name": "august.csv", "bytes": 1_204_331}),
)
async def create(
    request: Request,
    principal: Importing,
    project: Annotated[Project, Security(taking_project, scopes=["import"])],
    wanted: Annotated[NewImport, Depends(json_body(NewImport))],
) -> Invitation:
    """The answer has a URL to upload a CSV or JSONL file to, plain or gzip. The file is imported when it lands. Each
    key and each account has a rate of imports of its own."""
    settings = service(request, IngestSettings)
    most = settings.max_upload_bytes
    if wanted.bytes is not None and wanted.bytes > most:
        raise Refused(422, "invalid_field", f"bytes: is {wanted.bytes}, and {most} are allowed", parameter="bytes")
    try:
        service(request, Buckets).take_for(bucket_key("imports", principal.name), settings.import_limit)
    except TooFast as error:
        raise too_fast(request, error) from None
    upload = service(request, Uploads).invite(project, wanted.name, wanted.bytes, INVITATION_SECONDS)
    return Invitation(**upload._asdict(), expires_in=INVITATION_SECONDS)


@router.get(
    "/{import_id}",
    summary="How far an import has come",
    responses=problem_responses(404),
)
async def state(
    request: Request,
    principal: Importing,
    project: Annotated[Project, Security(project_of, scopes=["import"])],
    import_id: ImportId,
) -> ImportState:
    """A row is `accepted` when it is queued, and in `counted` once its batch is counted. `counted` is null for an
    import of more than 5,000 batches. The status is `gone` where the file was deleted or replaced before it was
    imported. The id of an import that did not begin with `POST /imports` follows from the object's name, so the scope
    `admin` is needed for it too."""
    progress = _known(request, principal, project, import_id)
    numbered = any(part.numbered for part in progress.parts)
    counted = service(request, ImportLog).counted(progress)
    return ImportState(
        import_id=import_id,
        key=progress.key,
        status=_status(progress),
        done=progress.done,
        bytes=progress.size,
        parts=Parts(planned=progress.planned, done=len(progress.parts)),
        rows=sum(part.rows for part in progress.parts),
        accepted=sum(part.accepted for part in progress.parts),
        rejected=sum(part.rejected for part in progress.parts),
        duplicates_in_file=sum(part.duplicates for part in progress.parts),
        counted=None if counted is None else CountedRows(**counted._asdict()),
        rejects=progress.rejects,
        warnings=[FileWarning(code="row_number_ids", message=WARNING)] if numbered else [],
        started_at=progress.started_at,
    )


@router.get(
    "/{import_id}/rejects",
    summary="A URL to download an import's rejected rows from",
    responses=problem_responses(404),
)
async def rejects(
    request: Request,
    principal: Importing,
    project: Annotated[Project, Security(project_of, scopes=["import"])],
    import_id: ImportId,
) -> RejectedRows:
    """The file has the rows that were rejected, and those in conflict with a row near them. The code is `no_rejects`
    until the import is done, where there is no such row, and once the file was deleted."""
    progress = _known(request, principal, project, import_id)
    if not progress.done:
        raise _no_rejects(f"The import is not done: its status is {_status(progress)}.")
    if progress.rejects is None:
        raise _no_rejects("No row was rejected, and none is in conflict with a row near it.")
    name = f"{progress.key.rpartition('/')[2].removesuffix('.csv')}-rejects.csv"
    try:
        url = service(request, Uploads).hand_out(progress.rejects, name, REJECTS_SECONDS)
    except Gone:
        raise _no_rejects("The file of the rejected rows was deleted. Import the file again.") from None
    return RejectedRows(url=url, expires_in=REJECTS_SECONDS)


def _known(request: Request, principal: Principal, project: Project, import_id: str) -> Progress:
    """The progress of an import of which the caller may know. Refuses others as if they were not there."""
    try:
        progress = service(request, ImportLog).read(project, import_id)
        if not (is_invited_key(progress.key) or "admin" in principal.scopes):
            raise UnknownImport(import_id)
    except UnknownImport:
        raise Refused(404, "unknown_import", "There is no such import.", parameter="import_id") from None
    return progress


def _no_rejects(message: str) -> Refused:
    return Refused(404, "no_rejects", message)


def _status(progress: Progress) -> Literal["waiting", "reading", "importing", "done", "gone"]:
    if progress.gone:
        return "gone"
    if progress.run is None:
        return "waiting"
    if progress.planned is None:
        return "reading"
    return "done" if progress.done else "importing"
