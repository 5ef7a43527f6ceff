import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, cast

import boto3
import pytest
from aws_lambda_powertools import Logger
from fastapi.testclient import TestClient
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from rollcall.access import reach
from rollcall.access.api_keys import ApiKeys
from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar, add_days
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.http.app import create_app
from rollcall.http.routes import metrics as metrics_routes
from rollcall.http.services import service
from rollcall.operation.monitor import Monitor
from rollcall.questions.from_counters import Counters
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, counts_key
from rollcall.stack.projects import Projects
from tests.integration.conftest import REGION, Queue, WholeApi
from tests.support import KeptDeadLetters, OpenGate, create_tables, delete_tables, rejected_alone

NOW = datetime(2025, 9, 1, 12, tzinfo=UTC)
ALL = {
    "events",
    "http_requests",
    "rejected_events",
    "event_processing_seconds",
    "queue_depth",
    "oldest_message_age_seconds",
    "dead_letters",
}

Labels = frozenset[tuple[str, str]]


def read(client: TestClient, key: str = "key") -> dict[str, Metric]:
    """The figures as Prometheus reads them, by their family."""
    response = client.get("/metrics", headers={"X-API-Key": key})
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    return {family.name: family for family in families}


def value(metric: Metric, name: str | None = None) -> float:
    """The one figure of the stack, or of its one project."""
    (found,) = [sample for sample in metric.samples if sample.name == (name or metric.name)]
    assert found.labels in ({}, {"project": "default"})
    return float(found.value)


def by(metric: Metric, label: str) -> dict[str, float]:
    """The figures of a counter of one project, by another label."""
    assert {sample.name for sample in metric.samples} <= {f"{metric.name}_total"}
    assert all(sample.labels.keys() == {"project", label} for sample in metric.samples)
    assert {sample.labels["project"] for sample in metric.samples} <= {"default"}
    found = {sample.labels[label]: float(sample.value) for sample in metric.samples}
    assert len(found) == len(metric.samples)
    return found


@dataclass
class FilledStats:
    """The consumer and the reader of tables of their own."""

    client: Any
    counters: Counters
    claims: Claims
    projects: Projects
    tables: Tables

    def consume(self, source: str, seconds: float, *events: Event) -> None:
        """Have events delivered twice that came at the door so long ago."""
        received = (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
        for _ in range(2):
            self.claims.apply(make_batch(DEFAULT, events, source, received))


def event(day: str) -> Event:
    return Event(uuid.uuid4().hex, f"{day}T12:00:00Z", "u", "open", "{}")


@pytest.fixture
def filled(dynamodb: Any) -> Iterator[FilledStats]:
    tables, calendar = create_tables(dynamodb), Calendar("UTC")
    dynamo = Dynamo(dynamodb)
    claims = Claims(dynamo, tables, lambda _: calendar, KeptDeadLetters(), now=lambda: NOW)
    yield FilledStats(
        dynamodb, Counters(dynamo, tables, DEFAULT, calendar), claims, Projects(dynamo, tables.stats, calendar), tables
    )
    delete_tables(dynamodb, tables)


class NoKeys:
    def all(self, _within: object) -> list[object]:
        return []


class EmptyQueues:
    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, dict[str, str]]:  # noqa: N803
        return {"Attributes": dict.fromkeys(AttributeNames, "0")}


def test_events_are_counted_by_their_source_over_all_days(filled: FilledStats, logger: Logger) -> None:
    monitor = Monitor(
        filled.counters,
        filled.projects,
        cast(ApiKeys, NoKeys()),
        Ledgers(Dynamo(filled.client), filled.tables),
        cast(Any, EmptyQueues()),
        cast(Any, None),
        "batches",
        "dead",
    )
    app = create_app(metrics_routes.router, logger=logger, gate=OpenGate(), services=[monitor])
    client = TestClient(app)
    before = read(client)

    known = event("2025-08-01")
    filled.consume("shop", 1.5, known, event("2025-08-01"), event("2025-08-02"))
    filled.consume("shop", 0, event("2023-02-28"))
    filled.consume("app.ios", 0.25, event("2025-08-01"), event("2025-08-31"))
    filled.consume("import", 60, known)
    after = read(client)

    assert by(before["events"], "source") == {}
    assert value(before["event_processing_seconds"], "event_processing_seconds_count") == 0
    assert after["events"].type == "counter"
    assert by(after["events"], "source") == {"shop": 4, "app.ios": 2}
    assert after["event_processing_seconds"].type == "summary"
    assert value(after["event_processing_seconds"], "event_processing_seconds_count") == 6
    assert value(after["event_processing_seconds"], "event_processing_seconds_sum") == pytest.approx(3 * 1.5 + 2 * 0.25)


@dataclass
class Watched:
    """The whole API, and what its figures are about."""

    api: WholeApi
    key: str
    queue: Queue
    dead_letters: Queue
    cloudwatch: Any
    tables: Tables
    dynamodb: Any
    keys: ApiKeys

    def call(self, method: str, path: str, key: str) -> int:
        client = TestClient(self.api, raise_server_exceptions=False)
        return client.request(method, path, headers={"X-API-Key": key}).status_code

    def figures(self, key: str | None = None) -> dict[str, Metric]:
        return read(TestClient(self.api), key or self.key)

    def measure(self, seconds: float, *, minutes_ago: float = 2, queue: str = "batches") -> None:
        """Have CloudWatch know the age of a queue's oldest message."""
        datum = {
            "MetricName": "ApproximateAgeOfOldestMessage",
            "Dimensions": [{"Name": "QueueName", "Value": queue}],
            "Timestamp": datetime.now(UTC) - timedelta(minutes=minutes_ago),
            "Value": seconds,
        }
        self.cloudwatch.put_metric_data(Namespace="AWS/SQS", MetricData=[datum])

    def pass_time(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        """Have the monitor's clock be so much later."""
        monitor = service(self.api.apps["stats"], Monitor)
        now = time.time() + seconds
        monkeypatch.setattr(monitor, "_clock", lambda: now)

    def put_counters(self, shard: int, day: str, **counters: int) -> None:
        item = {"pk": {"S": counts_key(DEFAULT, shard)}, "sk": {"S": day}}
        item |= {name: {"N": str(count)} for name, count in counters.items()}
        self.dynamodb.put_item(TableName=self.tables.stats, Item=item)


@pytest.fixture
def watched(
    load_handler: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    queue: Queue,
    aws_clients: dict[str, Any],
    access_table: str,
    api_key: str,
) -> Watched:
    sqs, dynamodb = aws_clients["sqs"], aws_clients["dynamodb"]
    dead_letters = Queue(sqs, sqs.create_queue(QueueName="dead-letters")["QueueUrl"])
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", dead_letters.url)
    modules = {name: load_handler(name) for name in ("ingest", "stats")}
    api = WholeApi({name: module.app for name, module in modules.items()})
    cloudwatch = boto3.client("cloudwatch", region_name=REGION)
    keys = ApiKeys(Dynamo(dynamodb), access_table)
    tables = modules["stats"].settings.tables
    return Watched(api, api_key, queue, dead_letters, cloudwatch, tables, dynamodb, keys)


def test_an_idle_stack_has_every_figure(watched: Watched) -> None:
    figures = watched.figures()

    assert figures.keys() == ALL
    assert by(figures["events"], "source") == {}
    for name in ("queue_depth", "dead_letters", "oldest_message_age_seconds"):
        assert figures[name].type == "gauge"
        assert value(figures[name]) == 0


def test_the_events_of_all_shards_and_days_are_added_up_and_no_other_counter(watched: Watched) -> None:
    watched.put_counters(0, "2025-08-01", **{"@shop": 3, "@app": 1, "#shop": 100, "dau": 50, "processing_ms": 1_500})
    watched.put_counters(1, "2025-08-01", **{"@shop": 4, "#@app": 100, "overflow": 100})
    watched.put_counters(1, "2019-12-31", **{"@app": 5, "processing_ms": 250})

    figures = watched.figures()

    assert by(figures["events"], "source") == {"shop": 7, "app": 6}
    assert value(figures["event_processing_seconds"], "event_processing_seconds_count") == 13
    assert value(figures["event_processing_seconds"], "event_processing_seconds_sum") == 1.75


def test_requests_are_counted_by_key_and_by_the_route_as_it_is_described(watched: Watched) -> None:
    shop, shop_key = watched.keys.create("shop", ["ingest"], "shop.eu-1")
    reader, reader_key = watched.keys.create("reader", ["read"], "http")
    watched.keys.create("never used", ["read"], "http")
    calls = [
        ("POST", "/events", shop_key),
        ("POST", "/events", shop_key),
        ("GET", f"/batches/{'0' * 32}", shop_key),
        ("GET", f"/batches/{'1' * 32}", shop_key),
        ("GET", "/stats/dau", reader_key),
        ("GET", "/stats/dau", f"{reader_key[:-48]}{'0' * 48}"),
        ("GET", "/stats/dau", ""),
        ("GET", "/health", reader_key),
    ]

    statuses = [watched.call(*call) for call in calls]
    watched.keys.revoke(shop.key_id, reach.ALL)
    figures = watched.figures(reader_key)

    assert statuses == [400, 400, 404, 404, 422, 401, 401, 200]
    assert figures["http_requests"].type == "counter"
    found = {
        tuple(sample.labels[name] for name in ("key_id", "project", "source", "method", "route")): sample.value
        for sample in figures["http_requests"].samples
    }
    assert found == {
        (shop.key_id, "default", "shop.eu-1", "POST", "/events"): 2,
        (shop.key_id, "default", "shop.eu-1", "GET", "/batches/{batch_id}"): 2,
        (reader.key_id, "default", "http", "GET", "/stats/dau"): 1,
        (reader.key_id, "default", "http", "GET", "/metrics"): 1,
    }


def test_rejected_events_are_counted_by_key_and_code_within_the_reach_of_who_asks(watched: Watched) -> None:
    claims = Claims(Dynamo(watched.dynamodb), watched.tables, lambda _: Calendar("UTC"), KeptDeadLetters())
    shop = Project("shop")
    sent = [
        (DEFAULT, "a" * 16, (("too_old", 2), ("missing_field", 1))),
        (DEFAULT, "a" * 16, (("too_old", 3),)),
        (DEFAULT, "b" * 16, (("too_old", 1),)),
        (shop, "a" * 16, (("invalid_user_id", 4),)),
    ]
    for number, (project, key_id, rejected) in enumerate(sent):
        for _ in range(2):
            claims.apply(rejected_alone(project, number, key_id, rejected=rejected))
    _, of_shop = watched.keys.create("reader", ["read"], "http", reach=reach.Reach(shop))

    def found(key: str | None) -> dict[tuple[str, ...], float]:
        samples = watched.figures(key)["rejected_events"].samples
        return {tuple(one.labels[name] for name in ("project", "key_id", "code")): one.value for one in samples}

    mine = {("shop", "a" * 16, "invalid_user_id"): 4}
    assert found(of_shop) == mine
    assert found(None) == mine | {
        ("default", "a" * 16, "too_old"): 5,
        ("default", "a" * 16, "missing_field"): 1,
        ("default", "b" * 16, "too_old"): 1,
    }


def test_the_figures_hold_no_secret_of_a_key(watched: Watched) -> None:
    watched.figures()

    text = TestClient(watched.api).get("/metrics", headers={"X-API-Key": watched.key}).text

    assert watched.key.split("_")[1] in text
    assert watched.key.split("_")[2] not in text


def test_batches_that_wait_are_retried_or_are_being_counted_are_the_queues_depth(watched: Watched) -> None:
    for delay in (0, 0, 600):
        watched.queue.client.send_message(QueueUrl=watched.queue.url, MessageBody="batch", DelaySeconds=delay)
    watched.dead_letters.client.send_message(QueueUrl=watched.dead_letters.url, MessageBody="letter")
    received = watched.queue.client.receive_message(
        QueueUrl=watched.queue.url, MaxNumberOfMessages=1, VisibilityTimeout=600
    )

    figures = watched.figures()
    (message,) = received["Messages"]
    watched.queue.client.delete_message(QueueUrl=watched.queue.url, ReceiptHandle=message["ReceiptHandle"])
    after = watched.figures()

    assert (value(figures["queue_depth"]), value(figures["dead_letters"])) == (3, 1)
    assert (value(after["queue_depth"]), value(after["dead_letters"])) == (2, 1)


def test_the_age_is_the_last_that_was_measured_of_the_own_queue(watched: Watched) -> None:
    watched.queue.client.send_message(QueueUrl=watched.queue.url, MessageBody="batch")
    watched.measure(600, minutes_ago=6)
    watched.measure(42.5, minutes_ago=2)
    watched.measure(900, queue="dead-letters")

    assert value(watched.figures()["oldest_message_age_seconds"]) == 42.5


def test_the_age_is_0_where_nothing_waits_whatever_was_measured_before(watched: Watched) -> None:
    watched.measure(600)

    assert value(watched.figures()["oldest_message_age_seconds"]) == 0


@pytest.mark.parametrize("minutes_ago", [None, 30])
def test_the_age_is_absent_where_something_waits_that_was_not_measured_yet(
    watched: Watched, minutes_ago: int | None
) -> None:
    watched.queue.client.send_message(QueueUrl=watched.queue.url, MessageBody="batch")
    if minutes_ago:
        watched.measure(600, minutes_ago=minutes_ago)

    assert watched.figures().keys() == ALL - {"oldest_message_age_seconds"}


def ask_live(watched: Watched, key: str | None = None, **query: str) -> dict[str, Any]:
    response = TestClient(watched.api).get("/live", headers={"X-API-Key": key or watched.key}, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_an_age_is_asked_for_once_in_twenty_seconds(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.queue.client.send_message(QueueUrl=watched.queue.url, MessageBody="batch")
    watched.measure(42.5)
    first = ask_live(watched)["queue"]["oldest_seconds"]
    watched.measure(90, minutes_ago=1)

    again = ask_live(watched)["queue"]["oldest_seconds"]
    watched.pass_time(monkeypatch, 20)
    later = ask_live(watched)["queue"]["oldest_seconds"]

    assert (first, again, later) == (42.5, 42.5, 90)


def test_live_tells_the_events_of_today_what_was_rejected_and_what_waits(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = Claims(Dynamo(watched.dynamodb), watched.tables, lambda _: Calendar("UTC"), KeptDeadLetters())
    before = ask_live(watched)
    # A test that runs over midnight finds another day.
    day = before["day"]
    of_today = [event(day)._replace(event_type=kind) for kind in ("open", "close", "close")]
    claims.apply(make_batch(DEFAULT, [*of_today, event("2025-08-01")], "http", f"{day}T12:00:01Z"))
    for number, rejected in enumerate([(("too_old", 2), ("missing_field", 3)), (("too_old", 2),)]):
        claims.apply(rejected_alone(DEFAULT, number, f"{number:016x}", rejected=rejected))
    watched.queue.client.send_message(QueueUrl=watched.queue.url, MessageBody="batch")
    watched.dead_letters.client.send_message(QueueUrl=watched.dead_letters.url, MessageBody="letter")
    unmeasured = ask_live(watched)
    watched.measure(42.5)
    watched.pass_time(monkeypatch, 20)

    after = ask_live(watched)

    assert before == {
        "as_of": before["as_of"],
        "day": day,
        "timezone": "UTC",
        "events": [],
        "rejected_in_all": [],
        "queue": {"waiting": 0, "oldest_seconds": 0, "dead_letters": 0},
    }
    assert after["day"] == day
    assert after["events"] == [{"event_type": "close", "count": 2}, {"event_type": "open", "count": 1}]
    assert after["rejected_in_all"] == [{"code": "too_old", "count": 4}, {"code": "missing_field", "count": 3}]
    assert unmeasured["queue"] == {"waiting": 1, "oldest_seconds": None, "dead_letters": 1}
    assert after["queue"] == {"waiting": 1, "oldest_seconds": 42.5, "dead_letters": 1}


def test_live_tells_a_caller_of_another_project_nothing_of_others_nor_of_the_queue_that_all_share(
    watched: Watched,
) -> None:
    shop = Project("shop")
    projects = Projects(Dynamo(watched.dynamodb), watched.tables.stats, Calendar("UTC"))
    projects.create(shop, "Shop", "Pacific/Kiritimati")
    claims = Claims(Dynamo(watched.dynamodb), watched.tables, projects.calendar, KeptDeadLetters())
    _, of_shop = watched.keys.create("reader", ["read"], "http", reach=reach.Reach(shop))
    day = ask_live(watched, of_shop)["day"]
    for number, project in enumerate([DEFAULT, shop]):
        kind = f"of {project.name}"
        # The morning of that day in Kiritimati, which is 14 hours ahead.
        today = event(day)._replace(occurred_at=f"{add_days(day, -1)}T12:00:00Z", event_type=kind)
        claims.apply(make_batch(project, [today], "http", f"{day}T12:00:01Z"))
        claims.apply(rejected_alone(project, number, rejected=((f"code_{number}", 1),)))

    own, all_of_it = ask_live(watched, of_shop), ask_live(watched, project="shop")

    assert own["timezone"] == "Pacific/Kiritimati"
    assert own["events"] == [{"event_type": "of shop", "count": 1}]
    assert own["rejected_in_all"] == [{"code": "code_1", "count": 1}]
    assert own["queue"] is None
    assert {**all_of_it, "as_of": own["as_of"], "queue": None} == own
    assert all_of_it["queue"] is not None
