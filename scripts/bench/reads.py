"""Measures the answers of the stats by the number of stored events: the time of an answer and what it reads.

    python -m scripts.bench.reads ROUNDS     ask the stacks that standard input describes; prints JSON

The functions' own code answers in one process, from an emulated table. So the times can be compared only with each
other. Each round asks all stacks and routes in turn, so a slow phase of the machine affects all of them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import boto3

from rollcall.core.days import Calendar
from rollcall.counting.claims import Claims
from rollcall.stack.keys import Tables
from scripts.bench.calling import dynamodb, get, load, process_environment, settings_of
from scripts.bench.http_reads import HttpRead, HttpReads, keep_days
from scripts.bench.http_reads import measure as measure_http
from scripts.bench.load import EVENTS_PER_BATCH, FIRST_MOMENT, NoDeadLetters, Uncollected, batches, made_events
from scripts.bench.meter import Meter
from scripts.bench.report import Target
from scripts.local import deploy
from scripts.local.ministack import MiniStack
from scripts.local.stack import ONE_SHARD
from scripts.paths import ROOT

USERS = 2_000
DAYS = 30
LONG_DAYS = 365
# A month's events do not arrive in a few large batches. With this number, a batch has at most two hours' events.
BATCHES_A_DAY = 12
DAU = "/stats/dau"


@dataclass(frozen=True)
class Filled:
    """A deployed stack with made-up events."""

    events: int
    users: int
    days: int
    outputs: dict[str, str]
    """Of the stack."""
    stats: dict[str, str]
    """The settings of the stats function."""
    retention: dict[str, str]


@dataclass(frozen=True)
class Read:
    """The measurements of an answer of a warm function."""

    route: str
    events: int
    """The number of stored events."""
    days: int
    """The number of days with events, which are also the days in the question."""
    p50_milliseconds: float
    p95_milliseconds: float
    items: int
    read_units: float


@dataclass(frozen=True)
class Reads:
    """The measurements of all routes and stacks."""

    rounds: int
    users: int
    reads: list[Read]
    http: HttpReads

    @property
    def growth(self) -> float:
        """The time of the daily actives of 30 days with the most events, as a multiple of that with the fewest."""
        of_dau = sorted((read for read in self.reads if (read.route, read.days) == (DAU, DAYS)), key=_events)
        return of_dau[-1].p50_milliseconds / of_dau[0].p50_milliseconds

    def targets(self) -> list[Target]:
        """The targets for these figures."""
        events = sorted({read.events for read in self.reads if read.days == DAYS})
        growth = Target(f"DAU of {DAYS} days, p50, {events[-1]:,} events ÷ {events[0]:,}", self.growth, 1.2)
        return [growth, *self.http.targets()]

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {**asdict(self), "dau_growth": self.growth}


def _events(read: Read) -> int:
    return read.events


def reads(
    stack: MiniStack, sizes: Sequence[int], long_events: int, rounds: int, users: Sequence[int] = (USERS,)
) -> Reads:
    """Fill a stack for each size, and one with a year's events, and measure the answers of all.

    Then measure the answers over HTTP, of stacks like the local one: with the most events, and each number of users.
    """
    filled = [fill(stack, events, DAYS) for events in sizes]
    filled.append(fill(stack, long_events, LONG_DAYS))
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.reads", str(rounds)],
        input=json.dumps([asdict(one) for one in filled]),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=ROOT,
        env=process_environment(stack),
    )
    over_http: list[HttpRead] = []
    _discard(stack, filled)
    for number in users:
        one = fill(stack, max(sizes), DAYS, number, ONE_SHARD)
        keep_days(stack, one.retention, one.days)
        over_http += measure_http(stack, one.outputs, one.events, one.users, one.days, rounds)
    return Reads(rounds, USERS, [Read(**one) for one in json.loads(done.stdout)], HttpReads(rounds, over_http))


def fill(
    stack: MiniStack, events: int, days: int, users: int = USERS, shards: Mapping[str, str] | None = None
) -> Filled:
    """Deploy a stack, and store and count made-up events in it with the consumer's own code."""
    parameters = {"ThrottlingRate": "10000", "ThrottlingBurst": "10000", **(shards or {})}
    name = f"bench-{events}-{days}-{users}{'-local' if shards else ''}"
    outputs = deploy.deploy(stack.client, name, parameters)
    settings = {name: settings_of(stack, outputs[f"{name}FunctionName"]) for name in ("Stats", "Retention")}
    tables = tables_of(settings["Stats"])
    dynamo = Uncollected(dynamodb(stack), tables.events)
    claims = Claims(dynamo, tables, lambda _: Calendar("UTC"), NoDeadLetters())
    most = min(EVENTS_PER_BATCH, max(1, events // (BATCHES_A_DAY * days)))
    for batch in batches(made_events(events, users, days), most):
        claims.apply(batch)
    return Filled(events, users, days, outputs, settings["Stats"], settings["Retention"])


def _discard(stack: MiniStack, filled: Sequence[Filled]) -> None:
    """Have the emulator forget the events, which it holds in memory."""
    client = stack.client("dynamodb")
    for one in filled:
        client.delete_table(TableName=one.outputs["EventsTableName"])


def tables_of(settings: Mapping[str, str]) -> Tables:
    """The tables in a function's settings."""
    return Tables(
        settings["EVENTS_TABLE"],
        settings["STATS_TABLE"],
        int(settings["USER_SHARDS"]),
        int(settings["COUNTER_SHARDS"]),
    )


def questions(days: int) -> list[tuple[str, str, dict[str, Any]]]:
    """The questions: a description, a path and the parameters of each."""
    first = FIRST_MOMENT.date()
    span = {"from": first.isoformat(), "to": (first + timedelta(days=days - 1)).isoformat()}
    asked: list[tuple[str, str, dict[str, Any]]] = [(DAU, DAU, span), ("/stats/top-events", "/stats/top-events", span)]
    if days == DAYS:
        cohort = {"start_date": first.isoformat(), "windows": 7}
        asked += [
            ("/stats/retention, 7 days", "/stats/retention", cohort),
            ("/stats/retention, 7 days, new users", "/stats/retention", {**cohort, "cohort": "new"}),
            ("/stats/cohort, 4 weeks", "/stats/cohort", {"start_date": first.isoformat(), "window": 4}),
        ]
    return asked


def measure(filled: Sequence[Filled], rounds: int) -> list[Read]:
    """Ask all questions of all stacks, round by round."""
    asked = []
    for one in filled:
        modules = {"retention": load("retention", one.retention), "stats": load("stats", one.stats)}
        for what, path, query in questions(one.days):
            module = modules["stats" if path in (DAU, "/stats/top-events") else "retention"]
            asked.append((one, what, module, path, query))
    took: list[list[float]] = [[] for _ in asked]
    for number in range(rounds + 1):
        for times, (_, _, module, path, query) in zip(took, asked, strict=True):
            started = time.perf_counter()
            get(module.handler, path, **query)
            # The first round is left out, because the functions are cold and retention has not kept large days yet.
            if number:
                times.append(1000 * (time.perf_counter() - started))
    found = []
    for times, (one, what, module, path, query) in zip(took, asked, strict=True):
        items, read_units = metered(module, path, query)
        p95 = quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        found.append(Read(what, one.events, one.days, median(times), p95, items, read_units))
    return found


def metered(module: Any, path: str, query: Mapping[str, Any]) -> tuple[int, float]:
    """The number of items that an answer reads, and the read units that it takes."""
    meter = Meter(module.dynamo.client, boto3.client("dynamodb"))
    get(module.handler, path, **query)
    meter.stop()
    return meter.items_read, meter.read_units


def main(rounds: int) -> None:
    """Measure and print the results as JSON."""
    filled = [Filled(**one) for one in json.load(sys.stdin)]
    # Discard the functions' logs.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        found = measure(filled, rounds)
    print(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
