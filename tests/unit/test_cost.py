import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from rollcall.core.events import parse_event
from scripts.cli import app
from scripts.local import deploy, sample
from scripts.operate import cost
from scripts.operate.anonymous import ceilings
from scripts.operate.cost import (
    DAYS_A_MONTH,
    MILLION,
    NEW_USER_SHARE,
    Load,
    Part,
    Price,
    Prices,
    Stack,
    UnknownPrice,
    batch_units,
    estimate,
    idle,
    transaction_units,
)
from tests.unit.test_observability import EMITTED

PRICES = Prices.read()
STACK = Stack(
    memory={"IngestFunction": 1024, "ConsumerFunction": 512, "StatsFunction": 1024, "CompactFunction": 1769},
    consumers=10,
    counter_shards=4,
    upload_days=30,
    polled_queues=2,
    alarm_metrics=13,
    dashboards=1,
    lambda_lines=False,
)
MEMORY = {**STACK.memory, "AuthFunction": 1769, "RetentionFunction": 1769, "PageFunction": 512}
LOAD = Load(events=100_000, users=10_000, requests=1_000, scrapes=1_440, uploaded_gb=0.5)


@pytest.fixture
def rollcall() -> Callable[..., Any]:
    return lambda *arguments: CliRunner().invoke(app, ["cost", *(str(each) for each in arguments)])


def test_the_units_of_a_batch_of_500_add_up() -> None:
    units = batch_units(LOAD, STACK)
    # 500 events, 50 new user-days, two for each new user; the token, the mark, the receipt, the counters, the ledger;
    # the lease of bundling, three times for a hundred batches.
    assert units.write_units == pytest.approx(500 + 50 + 2 * 50 * NEW_USER_SHARE + 1 + 1 + 2 + 2 + 2 + 3 / 100)
    # The gate, the receipt, and again when the batch is bundled, the first days; a pair is asked for by those of 10
    # consumers that 10 events fall to.
    assert units.read_units == pytest.approx(1 + 1 + 1 + 50 / 2 + 50 * 10 * (1 - 0.9**10) / 2)
    # 500 events are half a chunk: sent, received, deleted.
    assert units.sqs_requests == 3
    # Ingest, the consumer, and bundling once in 64 batches.
    assert units.invocations == 2 + 1 / 64
    # Bundling lists a thousand objects at a time and gets each. Each run of it lists once; for a bundle of a hundred
    # batches, it lists again, and three tiers, and puts, and the bundle is got twice.
    assert units.s3_puts == pytest.approx(1.001 + 1 / 64 + 5 / 100)
    assert units.s3_gets == 1 + 2 / 100


def test_the_units_are_those_that_the_benchmark_counts() -> None:
    # docs/performance.md, "The write path": of 200 batches, some reach over midnight.
    floor = 100_000 + 85_070 + 2 * 9_999
    assert floor + 200 * transaction_units(500, 20) == pytest.approx(205_926, rel=0.001)


def test_a_request_of_a_thousand_events_makes_two_batches() -> None:
    units, half = batch_units(replace(LOAD, batch_size=1_000), STACK), batch_units(LOAD, STACK)
    # The token alone is shared.
    assert units.write_units == pytest.approx(2 * half.write_units - 1)
    # Sent together they just fill a chunk; each is received and deleted.
    assert units.sqs_requests == 1 + 2 * 2


def test_more_messages_than_a_call_takes_are_sent_in_several() -> None:
    assert cost._sends([100] * 25) == [1_000, 1_000, 500]
    assert cost._sends([200 * 1024, 200 * 1024]) == [200 * 1024, 200 * 1024]


@pytest.mark.parametrize(
    ("events", "types", "units"),
    [
        (500, 1, 4),
        (1, 20, 4),
        (500, 50, 6),
        # 128 types are in the day's item of 4 KB, the others in their own.
        (500, 130, 2 + 8 + 2 * 2),
        (1, 1_000, 2 + 8 + 2),
        (500, 1_000, 6 * (2 + 8) + 2 * 500),
    ],
)
def test_event_types_cost_by_the_size_of_the_counters_and_those_that_overflow(
    events: int, types: int, units: int
) -> None:
    assert transaction_units(events, types) == units


def test_twice_the_load_costs_twice_but_for_what_stands() -> None:
    double = Load(events=200_000, users=20_000, requests=2_000, scrapes=2_880, uploaded_gb=1.0)
    one, two = estimate(LOAD, STACK, PRICES), estimate(double, STACK, PRICES)
    for part in (Part.INTAKE, Part.READS, Part.STORAGE):
        assert one.dollars(part) > 0
        assert two.dollars(part) == pytest.approx(2 * one.dollars(part))
    # Conflicts are twice as frequent, and the hours that have one.
    assert two.dollars(Part.STANDING) == pytest.approx(one.dollars(Part.STANDING), rel=1e-4)
    assert two.per_million(Part.INTAKE) == pytest.approx(one.per_million(Part.INTAKE))


def test_the_lines_add_up_however_they_are_grouped() -> None:
    found = estimate(LOAD, STACK, PRICES)
    total = sum(line.quantity * line.price.dollars / line.price.per for line in found.lines)
    assert found.dollars() == pytest.approx(total)
    assert sum(found.services().values()) == pytest.approx(total)
    assert sum(found.dollars(part) for part in Part) == pytest.approx(total)
    assert found.per_million() == pytest.approx(total / (100_000 * DAYS_A_MONTH) * MILLION)
    assert list(found.services().values()) == sorted(found.services().values(), reverse=True)


def test_an_idle_stack_has_what_stands_and_nothing_else() -> None:
    found = idle(STACK, PRICES)
    assert {line.part for line in found.lines} == {Part.STANDING}
    # Two queues polled by five every 20 seconds, 13 metrics of alarms, a dashboard.
    polls = 2 * 5 * 3 * 60 * 24 * DAYS_A_MONTH
    # And the archive, which is listed each hour, with a line about it, and the projects, whose days may be kept.
    run = cost.COMPACTION_RUN_SECONDS * 1769 / 1024 * 0.0000133334 + (0.2 + 5 + 4 * 0.125) / MILLION
    compaction = 24 * DAYS_A_MONTH * (run + cost.COMPACTION_LINE_BYTES * 0.5 / cost.GB)
    assert found.dollars() == pytest.approx(polls * 0.4 / MILLION + compaction + 13 * 0.10 + 3)


def test_each_batch_is_a_put_of_the_archive() -> None:
    for size, puts in ((1, MILLION), (500, 2_000), (1_000, 2_000)):
        found = cost.of_batch_size(size, STACK, PRICES)
        quantities = {
            line.what: line.quantity for line in found.lines if (line.service, line.part) == ("S3", Part.INTAKE)
        }
        gets = quantities.pop("compaction, GET")
        (listed_and_put,) = quantities.values()
        assert listed_and_put / found.events * MILLION == pytest.approx(puts * (1.051 + 1 / 64))
        assert gets / found.events * MILLION == pytest.approx(puts * 1.02)


def test_the_tables_have_an_index_whose_storage_is_paid_and_not_its_recovery() -> None:
    lines = {line.what: line.quantity for line in estimate(LOAD, STACK, PRICES).lines if line.part == Part.STORAGE}
    new_users = 10_000 * NEW_USER_SHARE * DAYS_A_MONTH
    assert lines["index's storage"] * cost.GB == pytest.approx(new_users * (47 + 100))
    assert lines["recovery"] == lines["storage"]


def test_transactions_conflict_by_the_share_of_time_that_a_shards_item_is_held() -> None:
    # 8 batches a second on 4 shards hold each for 2 x 15 ms a second.
    busy = Load(events=8 * 86_400, users=86_400, batch_size=1)
    assert cost.conflicts(busy, STACK) == pytest.approx(0.03 / 0.97)
    assert cost.conflicts(busy, replace(STACK, counter_shards=8)) == pytest.approx(0.015 / 0.985)
    # However many there are, a stack whose retries keep up has shards for them.
    assert cost.conflicts(replace(busy, events=86_400_000), STACK) == 1


def test_a_transaction_that_is_cancelled_is_paid_and_waited_for() -> None:
    load = Load(events=8 * 86_400, users=86_400, batch_size=1)
    few, many = replace(STACK, counter_shards=64), replace(STACK, counter_shards=1)
    cancelled = cost.conflicts(load, many) - cost.conflicts(load, few)
    units, more = batch_units(load, few), batch_units(load, many)
    assert more.write_units - units.write_units == pytest.approx(cancelled * (transaction_units(1, 20) + 2))
    assert more.consumer_gb_seconds > units.consumer_gb_seconds


def test_the_consumer_waits_for_its_put(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = batch_units(LOAD, STACK).consumer_gb_seconds
    monkeypatch.setattr(cost, "PUT_MILLISECONDS", 0.0)
    assert waited - batch_units(LOAD, STACK).consumer_gb_seconds == pytest.approx(0.030 * 512 / 1024)


def test_small_batches_cost_more_to_compact() -> None:
    small, large = cost.of_batch_size(1, STACK, PRICES), cost.of_batch_size(500, STACK, PRICES)
    one, other = (
        sum(line.dollars for line in found.lines if line.what.startswith("compaction") and line.part == Part.INTAKE)
        for found in (small, large)
    )
    assert one > 10 * other


def test_lines_that_lambda_writes_are_paid_where_it_writes_them() -> None:
    loud = batch_units(LOAD, replace(STACK, lambda_lines=True))
    assert loud.log_bytes - batch_units(LOAD, STACK).log_bytes == pytest.approx((2 + 1 / 64) * cost.LAMBDA_LINES_BYTES)
    assert loud.log_bytes == pytest.approx((2 + 1 / 64) * 360 + 500 + 210 + 600 + 330 + 420 / 100)


def test_a_custom_metric_is_paid_for_the_hours_in_which_it_is_emitted() -> None:
    # Two requests a day are in two hours. Four metrics of the events, and three of compaction an hour later.
    assert cost.metric_months(Load(events=2, users=2, batch_size=1), STACK) == pytest.approx(7 * 2 / 24, rel=1e-3)
    assert cost.metric_months(Load(events=24_000, users=2, batch_size=1_000), STACK) == pytest.approx(7, rel=1e-3)
    uploads = Load(events=24_000, users=2, batch_size=1_000, uploaded_gb=1)
    assert cost.metric_months(uploads, STACK) == pytest.approx(8, rel=1e-3)
    # With a conflict in each hour, that too.
    assert cost.metric_months(Load(events=MILLION, users=MILLION, batch_size=1), STACK) == 8
    assert cost.metric_months(Load(events=0, users=0), STACK) == 0


def test_the_estimate_knows_every_metric_that_the_code_emits() -> None:
    known = [
        *(*cost.METRICS_OF_EVENTS, *cost.METRICS_OF_COMPACTION, *cost.METRICS_OF_UPLOADS),
        *(*cost.METRICS_OF_CONFLICTS, *cost.OTHER_METRICS),
    ]
    assert sorted(known) == sorted(EMITTED)


def test_larger_requests_cost_less_an_event() -> None:
    by_size = [cost.of_batch_size(size, STACK, PRICES).per_million(Part.INTAKE) for size in (1, 10, 100, 500, 1_000)]
    assert by_size == sorted(by_size, reverse=True)


def test_a_million_events_in_batches_of_500_are_taken_in_for_85_cents() -> None:
    found = cost.of_batch_size(500, cost.stack_of_this_version(), PRICES)
    # No less than the write units of the events and of the new pairs.
    assert 1.1 * 0.625 < found.per_million(Part.INTAKE) <= 0.85
    assert next(iter(found.services())) == "DynamoDB"


def test_slower_functions_cost_more_and_smaller_ones_take_longer() -> None:
    units = batch_units(LOAD, STACK)
    assert batch_units(replace(LOAD, consumer_microseconds=80), STACK).consumer_gb_seconds > units.consumer_gb_seconds
    assert batch_units(replace(LOAD, ingest_microseconds=80), STACK).ingest_gb_seconds > units.ingest_gb_seconds
    assert cost.seconds(1_000, 0, 512) == pytest.approx(cost.seconds(1_000, 0, 1_769) * 1_769 / 512)
    assert cost.seconds(1_000, 0, 3_538) == cost.seconds(1_000, 0, 1_769) == 0.001


def test_sample_events_are_of_the_size_that_is_reckoned_with() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    events = [parse_event(raw, now) for raw in sample.generate(1_000, 100, 30, date(2026, 11, 21), 1)]
    # The names of the other attributes and their values are the same for all.
    rest = "event_idoccurred_atuser_idevent_typepropertiesbatchfingerprint"
    rest += "received_at2026-11-22T00:00:00.000000Zsourcehttp"
    sizes = [len(rest) + 32 + len(event.fingerprint()) + sum(len(text.encode()) for text in event) for event in events]
    assert max(sizes) < 1024
    assert sum(sizes) / len(sizes) == pytest.approx(cost.EVENT_BYTES, rel=0.05)


def test_the_stack_is_read_from_the_template() -> None:
    stack = cost.stack_of_this_version()
    assert stack.memory["ConsumerFunction"] == 512
    assert stack.memory["IngestFunction"] == 1024
    assert (stack.polled_queues, stack.dashboards, stack.upload_days) == (3, 1, 30)
    # Six alarms on a metric, one on the throttles of nine functions, one on a share.
    assert stack.alarm_metrics == 6 + 9 + 2
    assert not stack.lambda_lines
    loud = deepcopy(deploy.template())
    loud["Parameters"]["SystemLogLevel"]["Default"] = "INFO"
    assert Stack.of_template(loud).lambda_lines


def test_prices_have_a_date_a_region_and_each_a_unit_and_a_page() -> None:
    assert (PRICES.date, PRICES.region) == ("2026-11-22", "us-east-1")
    for price in PRICES.table.values():
        assert price.dollars > 0
        assert price.per > 0
        assert price.unit
        assert "Pricing" in price.page
        assert price.checked


def test_every_price_is_used() -> None:
    used: set[str] = set()

    class Noted(dict[str, Price]):
        def __getitem__(self, name: str) -> Price:
            used.add(name)
            return super().__getitem__(name)

    noting = replace(PRICES, table=Noted(PRICES.table))
    estimate(LOAD, STACK, noting)
    list(ceilings(replace(STACK, memory=MEMORY), noting, deploy.template()["Parameters"]))
    assert used == PRICES.table.keys()


def test_what_a_million_anonymous_requests_cost_adds_up() -> None:
    parameters = deploy.template()["Parameters"]
    found = {each.kind.what: each for each in ceilings(replace(STACK, memory=MEMORY), PRICES, parameters)}

    login, asset = found["POST /auth/login"], found["GET /docs/{asset}"]
    assert login.dollars["gateway"] == pytest.approx(3.5)
    assert login.dollars["DynamoDB"] == pytest.approx(3 * 0.625 + 5 * 0.125)
    assert login.a_million == pytest.approx(sum(login.dollars.values()))
    assert asset.dollars["data out"] == pytest.approx(1e6 * (asset.kind.answer_bytes + 1_500) / 1024**3 * 0.09)
    assert login.rate == parameters["PublicRate"]["Default"]
    assert login.a_day == pytest.approx(login.a_million * login.rate * 0.0864)
    assert found["other routes, no key"].rate == parameters["ThrottlingRate"]["Default"]


def test_the_table_of_anonymous_requests_is_printed_and_is_json_on_request(rollcall: Callable[..., Any]) -> None:
    done = rollcall("--anonymous")
    assert done.exit_code == 0
    said = json.loads(rollcall("--anonymous", "--json").stdout)
    for what, each in said.items():
        assert f"{what} " in done.stdout
        assert f"{each['dollars_a_million']:,.2f}" in done.stdout


def test_a_price_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownPrice, match="there is no price eventbridge"):
        PRICES["eventbridge"]


def test_more_users_than_events_are_refused() -> None:
    with pytest.raises(ValueError, match="more users than events"):
        estimate(Load(events=1, users=2), STACK, PRICES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the load by --events-per-day and --users, or ask for --table"),
        (("--users", 5), "name the load by --events-per-day and --users"),
        (("--events-per-day", 0, "--users", 5), "Invalid value for '--events-per-day'"),
        (("--events-per-day", -1, "--users", 5), "Invalid value for '--events-per-day'"),
        (("--events-per-day", 5, "--users", 0), "Invalid value for '--users'"),
        (("--events-per-day", 5, "--users", 6), "--users is more than --events-per-day"),
        (("--events-per-day", 5, "--users", 5, "--batch-size", 0), "Invalid value for '--batch-size'"),
        (("--events-per-day", 5, "--users", 5, "--batch-size", 5_001), "Invalid value for '--batch-size'"),
        (("--events-per-day", 5, "--users", 5, "--event-types", 0), "Invalid value for '--event-types'"),
        (("--events-per-day", 5, "--users", 5, "--requests-per-day", -1), "Invalid value for '--requests-per-day'"),
        (("--table", "--users", 5), "--table is of a load of its own"),
        (("--anonymous", "--users", 5), "--anonymous is of a load of its own"),
        (("--anonymous", "--table"), "--table is of a load of its own"),
    ],
)
def test_a_load_that_is_none_is_a_usage_error(
    rollcall: Callable[..., Any], arguments: tuple[object, ...], said: str
) -> None:
    done = rollcall(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_load_is_answered_by_line_with_what_dominates(rollcall: Callable[..., Any]) -> None:
    load = ("--events-per-day", 1_000_000, "--users", 100_000)
    done = rollcall(*load)
    assert done.exit_code == 0
    for service in ("API Gateway", "Lambda", "SQS", "DynamoDB", "S3", "CloudWatch Logs", "CloudWatch"):
        assert any(line.startswith(f"{service} ") for line in done.stdout.splitlines())
    assert "DynamoDB is " in done.stdout
    assert "the most is writes" in done.stdout
    said = json.loads(rollcall(*load, "--json").stdout)
    assert said["dollars_a_month"] == pytest.approx(sum(said["parts"].values()))
    assert said["dollars_a_month"] == pytest.approx(sum(line["dollars_a_month"] for line in said["lines"]))
    per_million = said["dollars_per_million_events"]
    assert per_million["taking_in"] == pytest.approx(sum(said["taking_in_by_service"].values()))


def test_of_a_small_load_most_is_what_stands(rollcall: Callable[..., Any]) -> None:
    done = rollcall("--events-per-day", 10, "--users", 5)
    assert "CloudWatch is " in done.stdout


def test_the_table_compares_batch_sizes_and_shows_the_idle_stack(rollcall: Callable[..., Any]) -> None:
    done = rollcall("--table")
    assert done.exit_code == 0
    sizes = [line.split()[0] for line in done.stdout.splitlines()[2:7]]
    assert sizes == ["1", "10", "100", "500", "1,000"]
    assert "The idle stack" in done.stdout
    said = json.loads(rollcall("--table", "--json").stdout)
    assert list(said["batch_sizes"]) == ["1", "10", "100", "500", "1000"]
    assert said["idle"]["parts"]["taking in"] == 0
