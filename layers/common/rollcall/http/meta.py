"""Health checks and the documentation of the whole API."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Request, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel

from rollcall.health import Health
from rollcall.http.problems import Refused
from rollcall.http.security import REFUSALS, admitted
from rollcall.monitor import Monitor, Snapshot

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


class _Figures(Collector):
    """A snapshot as Prometheus has it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Each metric with its help."""
        snapshot = self._snapshot
        events = CounterMetricFamily("events_total", "Events stored and counted.", labels=["source"])
        for source, count in sorted(snapshot.totals.events.items()):
            events.add_metric([source], count)
        yield events
        requests = CounterMetricFamily(
            "http_requests_total",
            "Requests with a good API key, within its rate.",
            labels=["key_id", "source", "method", "route"],
        )
        for key in snapshot.keys:
            for place, count in sorted(key.requests.items()):
                requests.add_metric([key.key_id, key.source, *place.split(" ", 1)], count)
        yield requests
        yield SummaryMetricFamily(
            "event_processing_seconds",
            "From the arrival of an event at a door to its counters.",
            count_value=snapshot.totals.events.total(),
            sum_value=snapshot.totals.processing_seconds,
        )
        yield GaugeMetricFamily("queue_depth", "Batches that wait or are being counted.", value=snapshot.queue_depth)
        if snapshot.oldest_message_seconds is not None:
            yield GaugeMetricFamily(
                "oldest_message_age_seconds", "Of the batch that waits longest.", value=snapshot.oldest_message_seconds
            )
        yield GaugeMetricFamily("dead_letters", "Messages in the dead-letter queue.", value=snapshot.dead_letters)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Security(admitted, scopes=["read"])],
    response_class=PlainTextResponse,
    responses=REFUSALS,
)
def metrics(request: Request) -> Response:
    """Events by source, requests by key, time to the counters, and what waits in the queues."""
    monitor: Monitor = request.app.state.monitor
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(monitor.read()))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


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
