"""The proxy before DynamoDB, with an emulator behind it and a consumer before it, in a time of the test's own."""

from typing import Any

import boto3
import httpx2
import pytest
from botocore.config import Config

from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt
from rollcall.stack.dynamo import Dynamo
from scripts.bench.aws_like import Limits, Proxy
from scripts.local.ministack import MiniStack
from tests.support import (
    RECEIVED_AT,
    KeptDeadLetters,
    assert_counters_equal_recount,
    create_tables,
    delete_tables,
)

UTC = Calendar("UTC")


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def client(ministack: MiniStack) -> Any:
    return ministack.client("dynamodb")


def test_a_consumer_behind_the_proxy_counts_everything_though_tables_and_keys_throttle(
    ministack: MiniStack, client: Any
) -> None:
    tables = create_tables(client)
    time = Time()
    limits = Limits(table_writes=40, table_reads=40, key_writes=10, key_reads=10)
    events = [Event(f"e{one}", "2025-08-01T12:00:00Z", f"u{one}", "open", "{}") for one in range(60)]
    try:
        with Proxy(ministack.port, limits, time.clock, time.sleep) as proxy:
            # Without retries of its own, which would wait in our time.
            config = Config(retries={"mode": "standard", "max_attempts": 1})
            session = boto3.Session("testing", "testing", region_name="us-east-1")
            dynamo = Dynamo(session.client("dynamodb", endpoint_url=proxy.endpoint, config=config), time.sleep)
            claims = Claims(dynamo, tables, lambda _: UTC, KeptDeadLetters())
            with dynamo.patient(lambda: 60_000):
                batches = [make_batch(DEFAULT, events[start:], "test", RECEIVED_AT) for start in (0, 30)]
                receipts = [claims.apply(batch).receipt for batch in (*batches, batches[0])]
        assert receipts == [Receipt(60, 60, 0, 0, 0), Receipt(30, 0, 30, 0, 0), Receipt(60, 60, 0, 0, 0)]
        assert proxy.model.answers["throttled"] > 0
        assert proxy.model.answers["transactions"] == 2
        # 60 first days of one key of the index, of which the first second takes ten.
        assert time.now > 4
        assert_counters_equal_recount(client, tables, UTC)
    finally:
        delete_tables(client, tables)


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_the_proxy_answers_no_page(ministack: MiniStack, headers: dict[str, str]) -> None:
    asked = {"X-Amz-Target": "DynamoDB_20120810.ListTables", **headers}
    with Proxy(ministack.port) as proxy:
        assert httpx2.post(proxy.endpoint, content=b"{}", headers=asked, trust_env=False).status_code == 403
