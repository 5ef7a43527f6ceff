"""GET /metrics."""

from collections.abc import Iterator

from fastapi import APIRouter, Request, Security
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.operation.monitor import Figures, Monitor

router = APIRouter(tags=["operation"])


class _FiguresCollector(Collector):
    """The figures in the form of Prometheus."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Each metric with its help."""
        figures = self._figures
        events = CounterMetricFamily("events_total", "Events stored and counted.", labels=["source"])
        for source, count in sorted(figures.totals.events.items()):
            events.add_metric([source], count)
        yield events
        requests = CounterMetricFamily(
            "http_requests_total",
            "Requests with a good API key, within its rate.",
            labels=["key_id", "source", "method", "route"],
        )
        for key in figures.keys:
            for place, count in sorted(key.requests.items()):
                requests.add_metric([key.key_id, key.source, *place.split(" ", 1)], count)
        yield requests
        yield SummaryMetricFamily(
            "event_processing_seconds",
            "From the arrival of an event at a door to its counters.",
            count_value=figures.totals.events.total(),
            sum_value=figures.totals.processing_seconds,
        )
        yield GaugeMetricFamily("queue_depth", "Batches that wait or are being counted.", value=figures.queue_depth)
        if figures.oldest_message_seconds is not None:
            yield GaugeMetricFamily(
                "oldest_message_age_seconds", "Of the batch that waits longest.", value=figures.oldest_message_seconds
            )
        yield GaugeMetricFamily("dead_letters", "Messages in the dead-letter queue.", value=figures.dead_letters)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Security(admitted, scopes=["read"])],
    response_class=PlainTextResponse,
    responses=REFUSALS,
)
def metrics(request: Request) -> Response:
    """Events by source, requests by key, time from door to counter, and the depth of the queues."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FiguresCollector(service(request, Monitor).read()))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
