"""GET /batches/{batch_id}."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rollcall.core.projects import Project
from rollcall.counting.receipts import Receipts, UnknownBatch
from rollcall.http.problems import Refused, problem_responses
from rollcall.http.projects import project_of
from rollcall.http.security import REFUSALS
from rollcall.http.services import service

router = APIRouter(tags=["events"])


class PendingBatch(BaseModel):
    """A batch that the consumer has not counted yet."""

    batch_id: str
    status: Literal["pending"]


class DoneBatch(BaseModel):
    """The outcome of a counted batch. Each received event is in one of the other numbers."""

    batch_id: str
    status: Literal["done"]
    received: int
    inserted: int
    duplicates: int
    conflicts: int
    refused: int


@router.get(
    "/batches/{batch_id}",
    summary="What became of a batch",
    response_model=PendingBatch | DoneBatch,
    responses={**REFUSALS, **problem_responses(404)},
)
async def batch(
    request: Request,
    project: Annotated[Project, Security(project_of, scopes=["ingest"])],
    batch_id: Annotated[str, Path(description="One of the `batch_ids` of POST /events")],
) -> JSONResponse:
    """The status is `pending` until the consumer has stored and counted the batch, then `done`."""
    try:
        receipt = service(request, Receipts).find(project, batch_id)
    except UnknownBatch:
        raise Refused(404, "unknown_batch", "There is no such batch.", parameter="batch_id") from None
    if receipt is None:
        return JSONResponse({"batch_id": batch_id, "status": "pending"})
    return JSONResponse({"batch_id": batch_id, "status": "done", **receipt._asdict()})
