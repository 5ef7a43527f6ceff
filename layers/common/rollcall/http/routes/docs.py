"""Health checks and the documentation of the whole API."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response

from rollcall.http.problems import Refused

router = APIRouter(tags=["operation"])

# By relative addresses, so that the page works behind a stage prefix, a custom domain and an emulator's path alike.
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon.png": "image/png"}
# The page's own script is in it; it asks nobody but the API.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


@router.get("/openapi.json", include_in_schema=False)
def openapi() -> JSONResponse:
    """The description of the whole API, whichever functions it runs on."""
    # It takes the routes of them all: who asks for a number does not wait for that.
    from rollcall.http.document import describe

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
