"""GET /metrics."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Request, Security
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from rollcall.access.gate import Principal
from rollcall.http.security import REFUSALS, admitted
from rollcall.http.services import service
from rollcall.operation.monitor import Figures, Monitor, Queues

router = APIRouter(tags=["operation"])


class _FiguresCollector(Collector):
    """The figures in the form of Prometheus."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Each metric with its help."""
        figures = self._figures
        events = CounterMetricFamily("events_total", "Events stored and counted.", labels=["project", "source"])
        processing = SummaryMetricFamily(
            "event_processing_seconds", "From the arrival of an event at a door to its counters.", labels=["project"]
        )
        for project, totals in figures.totals.items():
            for source, count in sorted(totals.events.items()):
                events.add_metric([project.name, source], count)
            processing.add_metric([project.name], totals.events.total(), totals.processing_seconds)
        yield events
        requests = CounterMetricFamily(
            "http_requests_total",
            "Requests with a good API key, within its rate.",
            labels=["key_id", "project", "source", "method", "route"],
        )
        for key in figures.keys:
            for place, count in sorted(key.requests.items()):
                requests.add_metric([key.key_id, str(key.reach), key.source, *place.split(" ", 1)], count)
        yield requests
        rejected = CounterMetricFamily(
            "rejected_events_total",
            "Events that API keys sent and the doors rejected.",
            labels=["project", "key_id", "code"],
        )
        for (project, key_id), codes in sorted(figures.rejected.items()):
            for code, count in sorted(codes.items()):
                rejected.add_metric([project.name, key_id, code], count)
        yield rejected
        yield processing
        if figures.queues is not None:
            yield from _of_queues(figures.queues)


def _of_queues(queues: Queues) -> Iterator[Metric]:
    yield GaugeMetricFamily("queue_depth", "Batches that wait or are being counted.", value=queues.depth)
    if queues.oldest_message_seconds is not None:
        yield GaugeMetricFamily(
            "oldest_message_age_seconds", "Of the batch that waits longest.", value=queues.oldest_message_seconds
        )
    yield GaugeMetricFamily("dead_letters", "Messages in the dead-letter queue.", value=queues.dead_letters)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    responses=REFUSALS,
)
async def metrics(request: Request, caller: Annotated[Principal, Security(admitted, scopes=["read"])]) -> Response:
    """Events by source, requests and rejected events by key, time from door to counter, and the depth of the queues. A
    caller of one project is told of that one alone; the queues are told to callers of `default` and of all projects."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_FiguresCollector(service(request, Monitor).read(caller.reach)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
