import asyncio
import importlib.util
import io
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import boto3
import pytest
from aws_lambda_powertools import Logger
from moto import mock_aws

from rollcall.batch import Batch, decode
from scripts.deploy import ROOT
from tests.support import create_tables

REGION = "us-east-1"


@dataclass
class Queue:
    """An SQS queue, read to its end; what was read before is not read again."""

    client: Any
    url: str

    def messages(self) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = []
        while page := self.client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, VisibilityTimeout=600, MessageAttributeNames=["All"]
        ).get("Messages"):
            received += page
        return received

    def batches(self) -> list[Batch]:
        return [decode(message["Body"]) for message in self.messages()]


@pytest.fixture(scope="session")
def aws_clients() -> dict[str, Any]:
    """Clients by their service, for tests that use the `aws` fixture."""
    # Making a client takes far longer than a test.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        session = boto3.Session("testing", "testing", region_name=REGION)
        return {
            "dynamodb": session.client("dynamodb", endpoint_url=f"https://dynamodb.{REGION}.amazonaws.com"),
            "s3": session.client("s3", endpoint_url="https://s3.amazonaws.com"),
            "sqs": session.client("sqs", endpoint_url=f"https://sqs.{REGION}.amazonaws.com"),
        }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS in this process, with nothing in it."""
    # Where the profile is not there, moto fails.
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


@pytest.fixture
def queue(aws: None, aws_clients: dict[str, Any]) -> Queue:
    sqs = aws_clients["sqs"]
    return Queue(sqs, sqs.create_queue(QueueName="batches")["QueueUrl"])


@pytest.fixture
def logs() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(logs: io.StringIO) -> Logger:
    """A logger that writes to `logs`."""
    # Powertools keeps the stream of the first logger of a name.
    return Logger(service=uuid.uuid4().hex, stream=logs)


@pytest.fixture
def event_loop_of_lambda() -> Iterator[None]:
    """The event loop that Mangum expects to be there."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def load_handler(
    monkeypatch: pytest.MonkeyPatch, queue: Queue, aws_clients: dict[str, Any], event_loop_of_lambda: None
) -> Callable[[str], ModuleType]:
    """Loads the handler of a function, by its folder, as Lambda does."""
    tables = create_tables(aws_clients["dynamodb"])
    for name in list(os.environ):
        if name.startswith("AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name)
    settings = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "QUEUE_URL": queue.url,
        "EVENTS_TABLE": tables.events,
        "STATS_TABLE": tables.stats,
        "USER_SHARDS": str(tables.user_shards),
        "COUNTER_SHARDS": str(tables.counter_shards),
        "REPORTING_TIMEZONE": "UTC",
        "POWERTOOLS_SERVICE_NAME": uuid.uuid4().hex,
        "POWERTOOLS_METRICS_NAMESPACE": "Rollcall",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The default session keeps the credentials that it finds first.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    return _load


def _load(function: str) -> ModuleType:
    # Anew, and under no package's name.
    spec = importlib.util.spec_from_file_location("handler", ROOT / f"functions/{function}/handler.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
