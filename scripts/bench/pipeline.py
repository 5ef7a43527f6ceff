"""Measures how fast a whole local stack is: events a second from the first request to the last counter."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

import httpx2

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo
from scripts.bench.load import FIRST_MOMENT, made_raws
from scripts.local import deploy
from scripts.local.ministack import MiniStack, api_url
from scripts.waiting import poll

SENDERS = 4
REQUEST_SECONDS = 60.0
COUNT_SECONDS = 1_800


@dataclass(frozen=True)
class Pipeline:
    """The measurements of a local stack."""

    events: int
    batch_size: int
    senders: int
    sent_seconds: float
    """Seconds from the first request to the last answer."""
    counted_seconds: float
    """Seconds from the first request to the last counter."""
    aws_like: dict[str, int] | None = None
    """The numbers of transactions, of conflicts with them and of throttled parts of requests, where they were made."""

    @property
    def events_per_second(self) -> float:
        """The events that are taken in and counted each second."""
        return self.events / self.counted_seconds

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {**asdict(self), "events_per_second": self.events_per_second}


def pipeline(stack: MiniStack, events: int, users: int, days: int, batch_size: int) -> Pipeline:
    """Deploy a stack, send made-up events to its API from several threads, and wait until all are counted."""
    outputs = deploy.deploy(stack.client, "bench-pipeline", {"ThrottlingRate": "10000", "ThrottlingBurst": "10000"})
    dynamodb = stack.client("dynamodb")
    _, key = ApiKeys(Dynamo(dynamodb), outputs["AccessTableName"]).create(
        "bench", SCOPES, "bench", limit=Limit(500, 5_000)
    )
    raws = made_raws(events, users, days)
    requests, lock = iter(lambda: list(islice(raws, batch_size)), []), threading.Lock()
    url = api_url(stack.endpoint, outputs)
    started = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as senders:
        list(senders.map(lambda _: _send(url, key, requests, lock), range(SENDERS)))
    sent = time.perf_counter() - started
    span = {"from": FIRST_MOMENT.date().isoformat(), "to": (FIRST_MOMENT + timedelta(days=days)).date().isoformat()}
    with httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=REQUEST_SECONDS, trust_env=False) as api:

        def counted() -> bool:
            answer = api.get("/stats/top-events", params={**span, "limit": "1000"}).raise_for_status()
            return bool(sum(row["count"] for row in answer.json()["data"]) == events)

        poll(lambda: counted() or None, COUNT_SECONDS, "not all events are counted")
    return Pipeline(events, batch_size, SENDERS, sent, time.perf_counter() - started)


def _send(url: str, key: str, requests: Iterator[list[dict[str, Any]]], lock: threading.Lock) -> None:
    with httpx2.Client(base_url=url, headers={"X-API-Key": key}, timeout=REQUEST_SECONDS, trust_env=False) as api:
        while True:
            with lock:
                request = next(requests, None)
            if request is None:
                return
            answer = api.post("/events", json=request)
            if answer.status_code != 202 or answer.json()["rejected"]:
                raise AssertionError(f"a made-up event is not taken in: {answer.text}")
