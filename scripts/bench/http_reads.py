"""Measures the answers of a local stack over HTTP: the first of a function that has just started, and later ones."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median, quantiles
from typing import Any

import httpx2

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.core.days import Calendar
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT
from rollcall.questions.day_users import DayUsers, KeptDays
from rollcall.questions.from_counters import Counters
from rollcall.questions.keeping import DayKeeper
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from rollcall.stack.settings import StatsSettings
from rollcall.stack.telemetry import make_logger
from scripts.bench.calling import dynamodb
from scripts.bench.load import FIRST_MOMENT
from scripts.bench.report import Target
from scripts.local.ministack import MiniStack, api_url

REQUEST_SECONDS = 60.0
PLENTY_OF_MILLISECONDS = 10_000_000
HEALTH = "/health"
FIRST = FIRST_MOMENT.date()
# The most milliseconds that an answer may take at the median. Of those without a number it is twice that of `HEALTH`.
BOUNDS: dict[str, float | None] = {
    HEALTH: None,
    "/stats/dau": None,
    "/stats/top-events": None,
    "/stats/retention, 7 days": 40,
    "/stats/retention, 7 days, new users": 40,
    "/stats/cohort, 4 weeks": 100,
    "/stats/actives by week": 100,
    "/stats/actives by month": 100,
    "/stats/lifecycle by week": 100,
    "/stats/retention/table, 30 x 30": 400,
}
FIRST_BOUND = 1_000


@dataclass(frozen=True)
class HttpRead:
    """The measurements of an answer. All of its days were kept before."""

    route: str
    events: int
    users: int
    first_milliseconds: float | None
    """Of the first answer of a function that has just started; None where it is not measured."""
    p50_milliseconds: float
    p95_milliseconds: float


@dataclass(frozen=True)
class HttpReads:
    """The measurements of all stacks."""

    rounds: int
    reads: list[HttpRead]

    def targets(self) -> list[Target]:
        """The targets for these figures."""
        found = []
        health = {read.users: read.p50_milliseconds for read in self.reads if read.route == HEALTH}
        for read in self.reads:
            bound = BOUNDS[read.route]
            whose = f"{read.route}, {read.users:,} users"
            if bound is not None:
                found.append(Target(f"{whose}, p50 ms", read.p50_milliseconds, bound))
            elif read.route != HEALTH:
                found.append(Target(f"{whose}, p50 ÷ {HEALTH}", read.p50_milliseconds / health[read.users], 2))
            if read.first_milliseconds is not None:
                found.append(Target(f"{whose}, first, ms", read.first_milliseconds, FIRST_BOUND))
        return found

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return asdict(self)


def questions(days: int) -> list[tuple[str, str, dict[str, Any]]]:
    """The questions about the first `days` days: a description, a path and the parameters of each."""
    span = {"from": FIRST.isoformat(), "to": (FIRST + timedelta(days=days - 1)).isoformat()}
    cohort = {"start_date": FIRST.isoformat()}
    asked: list[dict[str, Any]] = [
        {},
        span,
        span,
        {**cohort, "windows": 7},
        {**cohort, "windows": 7, "cohort": "new"},
        {**cohort, "window": 4},
        {**span, "period": "week"},
        {**span, "period": "month"},
        {**span, "period": "week"},
        {**span, "period": "day"},
    ]
    return [(what, what.split(",")[0].split(" ")[0], query) for what, query in zip(BOUNDS, asked, strict=True)]


def keep_days(stack: MiniStack, settings: dict[str, str], days: int) -> None:
    """Keep all days, as the run that compacts does on the day after the last of them."""
    dynamo, tables, calendar = Dynamo(dynamodb(stack)), StatsSettings.read(settings).tables, Calendar("UTC")
    s3, bucket = stack.client("s3"), settings["UPLOAD_BUCKET"]
    day_users = DayUsers(dynamo, tables, KeptDays(s3, bucket))
    after = (FIRST_MOMENT + timedelta(days=days, hours=1)).timestamp()
    keeper = DayKeeper(
        Counters(dynamo, tables, DEFAULT, calendar, day_users),
        Projects(dynamo, tables.stats, calendar),
        s3,
        bucket,
        make_logger({"LOG_LEVEL": "WARNING"}),
        lambda: after,
    )
    keeper.handle(lambda: PLENTY_OF_MILLISECONDS)


def measure(
    stack: MiniStack, outputs: dict[str, str], events: int, users: int, days: int, rounds: int
) -> Sequence[HttpRead]:
    """Ask a stack whose days are kept: each question of the users of days first, and then all of them in turn."""
    _, key = ApiKeys(Dynamo(stack.client("dynamodb")), outputs["AccessTableName"]).create(
        "bench", SCOPES, "bench", limit=Limit(500, 5_000)
    )
    firsts: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    asked = questions(days)
    with httpx2.Client(
        base_url=api_url(stack.endpoint, outputs),
        headers={"X-API-Key": key},
        timeout=REQUEST_SECONDS,
        trust_env=False,
    ) as api:

        def ask(path: str, query: dict[str, Any]) -> float:
            started = time.perf_counter()
            api.get(path, params=query).raise_for_status()
            return 1000 * (time.perf_counter() - started)

        for what, path, query in asked:
            if BOUNDS[what] is not None:
                _restart(stack, outputs["RetentionFunctionName"])
                firsts[what] = ask(path, query)
            else:
                ask(path, query)
        for _ in range(rounds):
            for what, path, query in asked:
                times.setdefault(what, []).append(ask(path, query))
    return [
        HttpRead(
            what,
            events,
            users,
            firsts.get(what),
            median(took),
            quantiles(took, n=20)[-1] if len(took) > 1 else took[0],
        )
        for what, took in times.items()
    ]


def _restart(stack: MiniStack, function: str) -> None:
    """Have a function start anew at its next request."""
    functions = stack.client("lambda")
    settings = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    # With other variables, what runs with these is ended.
    settings["STARTED_ANEW"] = str(time.time_ns())
    functions.update_function_configuration(FunctionName=function, Environment={"Variables": settings})
