"""The documentation of the whole API, where the stack shows it."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response

from rollcall.http.fixed_headers import FOR_A_YEAR
from rollcall.http.problems import Refused
from rollcall.http.services import service
from rollcall.stack.settings import DocsSettings


async def _shown(request: Request) -> None:
    """Raises `HTTPException`, as for a route that is not there."""
    if not service(request, DocsSettings).shown:
        raise HTTPException(404)


router = APIRouter(tags=["operation"], dependencies=[Depends(_shown)])

# By relative addresses, so that the page works behind a stage prefix, a custom domain and an emulator's path alike.
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon.png": "image/png"}
# The page's own script is in it; it asks nobody but the API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


class _Asset(NamedTuple):
    media_type: str
    content: bytes
    hashed_name: str


@router.get("/openapi.json", include_in_schema=False)
async def openapi() -> JSONResponse:
    """The description of the whole API, whichever functions it runs on."""
    # It takes the routes of them all: who asks for a number does not wait for that.
    from rollcall.http.document import describe

    return JSONResponse(describe())


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The description as a page to read and try."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Rollcall",
        swagger_js_url=f"docs/{_asset('swagger-ui-bundle.js').hashed_name}",
        swagger_css_url=f"docs/{_asset('swagger-ui.css').hashed_name}",
        swagger_favicon_url=f"docs/{_asset('favicon.png').hashed_name}",
    )
    page.headers["Content-Security-Policy"] = _PAGE_POLICY
    return page


@router.get("/docs/{asset}", include_in_schema=False)
async def docs_asset(asset: str) -> Response:
    """The page's script and style, so that it needs no other site."""
    if asset in _ASSETS:
        # The content under this name may change, so that nobody keeps it.
        return Response(_asset(asset).content, media_type=_ASSETS[asset])
    for known in map(_asset, _ASSETS):
        if asset == known.hashed_name:
            return Response(known.content, media_type=known.media_type, headers={"Cache-Control": FOR_A_YEAR})
    raise Refused(404, "not_found", "The page has no such part.")


@cache
def _asset(name: str) -> _Asset:
    content = files("fastapi_offline").joinpath("static", name).read_bytes()
    stem, _, suffix = name.rpartition(".")
    return _Asset(_ASSETS[name], content, f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{suffix}")
