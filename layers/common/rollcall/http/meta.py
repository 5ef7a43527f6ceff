"""Health checks and the documentation of the whole API."""

from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel

from rollcall.health import Health
from rollcall.http import batches, ingest, retention, stats
from rollcall.http.problems import Problem, Refused

router = APIRouter(tags=["operation"])

# By relative addresses, so that the page works behind a stage prefix, a custom domain and an emulator's path alike.
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon.png": "image/png"}
# The page's own script is in it; it asks nobody but the API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


class Alive(BaseModel):
    """The API answers."""

    status: Literal["ok"]


class Dependencies(BaseModel):
    """Each dependency, `ok` or what is wrong with it."""

    status: Literal["ok", "unavailable"]
    dependencies: dict[str, str]


@router.get("/health", summary="Whether the API answers")
def health() -> Alive:
    """Asks no dependency."""
    return Alive(status="ok")


@router.get(
    "/healthz",
    summary="Whether all it depends on answers",
    response_model=Dependencies,
    responses={503: {"model": Dependencies, "description": "At least one dependency is unavailable"}},
)
def healthz(request: Request) -> JSONResponse:
    """Asks each table, queue and bucket once."""
    checked: Health = request.app.state.health
    failures = checked.check()
    down = any(failures.values())
    answer = Dependencies(
        status="unavailable" if down else "ok",
        dependencies={name: reason or "ok" for name, reason in failures.items()},
    )
    return JSONResponse(answer.model_dump(), 503 if down else 200)


@router.get("/openapi.json", include_in_schema=False)
def openapi() -> JSONResponse:
    """The description of the whole API, whichever functions it runs on."""
    return JSONResponse(describe())


@router.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    """The description as a page to read and try."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Rollcall",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )
    page.headers["Content-Security-Policy"] = _PAGE_POLICY
    return page


@router.get("/docs/{asset}", include_in_schema=False)
def docs_asset(asset: str) -> Response:
    """The page's script and style, so that it needs no other site."""
    if asset not in _ASSETS:
        raise Refused(404, "not_found", f"There is no {asset}.")
    content = files("fastapi_offline").joinpath("static", asset).read_bytes()
    return Response(content, media_type=_ASSETS[asset], headers={"Cache-Control": "public, max-age=86400"})


@cache
def describe() -> dict[str, Any]:
    """The OpenAPI document of all routes."""
    whole = FastAPI(openapi_url=None)
    for part in (ingest.router, batches.router, stats.router, retention.router, router):
        whole.include_router(part)
    document = get_openapi(
        title="Rollcall",
        version="1",
        summary="Event ingestion and product analytics",
        routes=whole.routes,
        servers=[{"url": "./"}],
    )
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    return document
