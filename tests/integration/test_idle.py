"""What a stack does while nobody calls, against the estimate of `rollcall cost`."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest

from rollcall.archive.compaction import LEAST_MILLISECONDS
from scripts.operate import cost
from scripts.operate.cost import COMPACTION_LINE_BYTES, GB, HOURS_A_MONTH, Load, Prices, estimate, stack_of_this_version
from tests.support import LAMBDA_CONTEXT, create_buckets
from tests.unit.test_template import FUNCTIONS

IN_TIME = SimpleNamespace(
    **{
        **vars(LAMBDA_CONTEXT),
        "get_remaining_time_in_millis": lambda: LEAST_MILLISECONDS,
        "function_name": "rollcall-compact",
    }
)
# Each operation that the function of an idle hour may call, as a bill names it.
BILLED = {
    "ListObjectsV2": "s3_puts",
    "PutObject": "s3_puts",
    "GetObject": "s3_gets",
    "BatchGetItem": "dynamodb_read_units",
    "GetItem": "dynamodb_read_units",
    "Query": "dynamodb_read_units",
}


@pytest.fixture
def called(load_handler: Callable[[str], ModuleType], aws_clients: dict[str, Any]) -> Counter[str]:
    """The requests to AWS, by operation, that functions make whose handlers are loaded from now on."""
    create_buckets(aws_clients["s3"])
    found: Counter[str] = Counter()
    # Functions have threads that read.
    noting = threading.Lock()

    def note(operation_name: str, **_: Any) -> None:
        with noting:
            found[operation_name] += 1

    assert boto3.DEFAULT_SESSION
    boto3.DEFAULT_SESSION.events.register("request-created", note)
    return found


def of_an_hour() -> dict[str, float]:
    """The units of an idle stack's hour, by price, as the estimate of a load of nothing has them."""
    found: dict[str, float] = {}
    prices = Prices.read()
    names = {id(price): name for name, price in prices.table.items()}
    for line in estimate(Load(0, 0), stack_of_this_version(), prices).lines:
        if line.quantity:
            name = names[id(line.price)]
            found[name] = found.get(name, 0.0) + line.quantity / HOURS_A_MONTH
    return found


def test_compaction_is_all_that_runs_while_nobody_calls() -> None:
    scheduled = {
        name
        for name, properties in FUNCTIONS.items()
        for source in properties.get("Events", {}).values()
        if source["Type"] not in ("Api", "S3", "SQS")
    }

    assert scheduled == {"CompactFunction"}


def test_an_idle_hour_calls_and_logs_what_the_estimate_says_and_measures_nothing(
    load_handler: Callable[[str], ModuleType], called: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    load_handler("compact").handler({}, IN_TIME)

    reckoned = of_an_hour()
    billed: Counter[str] = Counter()
    for operation, requests in called.items():
        billed[BILLED[operation]] += requests
    assert billed == {name: units for name, units in reckoned.items() if name in BILLED.values()}
    assert billed == {"s3_puts": 1, "dynamodb_read_units": 4}
    assert reckoned["lambda_requests"] == 1
    logged = capsys.readouterr()
    (line,) = logged.out.splitlines()
    assert json.loads(line)["message"] == "archive compacted"
    assert "_aws" not in json.loads(line)
    assert "custom_metrics" not in reckoned
    assert logged.err == ""
    # The name of the function and the id of the request are shorter or longer elsewhere.
    assert len(line) == pytest.approx(COMPACTION_LINE_BYTES, rel=0.1)
    assert reckoned["log_ingestion"] * GB == COMPACTION_LINE_BYTES


def test_the_estimate_of_no_load_is_that_of_an_idle_stack() -> None:
    idle = cost.idle(stack_of_this_version(), Prices.read())

    assert idle.dollars() == pytest.approx(estimate(Load(0, 0), stack_of_this_version(), Prices.read()).dollars())
    assert all(line.quantity for line in idle.lines)
