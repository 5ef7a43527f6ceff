"""GET /health and /healthz."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rollcall.http.services import service
from rollcall.operation.health import Health

router = APIRouter(tags=["operation"])


class Alive(BaseModel):
    """The API answers."""

    status: Literal["ok"]


class Dependencies(BaseModel):
    """Each dependency by its name: `ok`, or the reason why it does not answer."""

    status: Literal["ok", "unavailable"]
    dependencies: dict[str, str]


@router.get("/health", summary="Whether the API answers")
def health() -> Alive:
    """The function answers. No dependency is asked."""
    return Alive(status="ok")


@router.get(
    "/healthz",
    summary="Whether all it depends on answers",
    response_model=Dependencies,
    responses={503: {"model": Dependencies, "description": "At least one dependency is unavailable"}},
)
def healthz(request: Request) -> JSONResponse:
    """Each table, queue and bucket is asked once."""
    failures = service(request, Health).check()
    down = any(failures.values())
    answer = Dependencies(
        status="unavailable" if down else "ok",
        dependencies={name: reason or "ok" for name, reason in failures.items()},
    )
    return JSONResponse(answer.model_dump(), 503 if down else 200)
