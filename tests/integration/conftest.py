import asyncio
import importlib.util
import io
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, cast

import argon2
import boto3
import botocore.session
import pytest
from anyio.from_thread import start_blocking_portal
from aws_lambda_powertools import Logger, Metrics
from fastapi import FastAPI
from fastapi.testclient import TestClient
from moto import mock_aws
from starlette.types import Receive, Scope, Send

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.core.batch import Batch, decode
from rollcall.http.headers import with_headers
from rollcall.http.services import provide
from rollcall.questions.asking import Asking
from rollcall.questions.remote import SegmentClient
from rollcall.stack import clients
from rollcall.stack.dynamo import Dynamo
from scripts.local.ministack import LOADER
from scripts.paths import ROOT
from tests.conftest import CREDENTIAL
from tests.dynamodb import ENDPOINT
from tests.roles import Watch
from tests.support import (
    BELOW_VERSION,
    UNKNOWN,
    create_access_table,
    create_buckets,
    create_tables,
    delete_tables,
    routes,
    settings_for,
)

REGION = "us-east-1"
# A DynamoDB for all tests here in place of the one in their process, such as http://127.0.0.1:8000.
DYNAMODB = os.environ.get("ROLLCALL_TEST_DYNAMODB") or ENDPOINT
# Has the functions' clients find it.
DYNAMODB_SETTINGS = {"AWS_ENDPOINT_URL_DYNAMODB": DYNAMODB}


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


@pytest.fixture(scope="session", autouse=True)
def portal() -> Iterator[None]:
    """One event loop for the requests of all test clients: to begin one takes longer than a request does."""
    with start_blocking_portal() as portal, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(TestClient, "portal", portal)
        yield


@pytest.fixture(scope="session")
def dynamodb(aws_clients: dict[str, Any]) -> Any:
    """A client of a DynamoDB with PartiQL, for threads too."""
    return aws_clients["dynamodb"]


@pytest.fixture(scope="session")
def aws_clients() -> dict[str, Any]:
    """Clients by their service, for tests that use the `aws` fixture; that of DynamoDB for all."""
    # Making a client takes far longer than a test.
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv("AWS_PROFILE", raising=False)
        session = boto3.Session("testing", "testing", region_name=REGION)
        return {
            "dynamodb": session.client("dynamodb", endpoint_url=DYNAMODB),
            "s3": session.client("s3", endpoint_url="https://s3.amazonaws.com"),
            "sqs": session.client("sqs", endpoint_url=f"https://sqs.{REGION}.amazonaws.com"),
        }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS in this process, with nothing in it."""
    # Where the profile is not there, moto fails.
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # What asks AWS by the library requests is not asked for here, and takes moto longer than all else to begin with.
    monkeypatch.setattr("moto.core.models.RESPONSES_METHODS", [])
    with mock_aws():
        yield


@pytest.fixture
def queue(aws: None, aws_clients: dict[str, Any]) -> Queue:
    sqs = aws_clients["sqs"]
    return Queue(sqs, sqs.create_queue(QueueName="batches")["QueueUrl"])


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    written = io.StringIO()
    yield written
    assert not CREDENTIAL.search(written.getvalue())


@pytest.fixture
def logger(logs: io.StringIO) -> Logger:
    """A logger that writes to `logs`."""
    # Powertools keeps the stream of the first logger of a name.
    return Logger(service=uuid.uuid4().hex, stream=logs)


@contextmanager
def event_loop() -> Iterator[None]:
    """The event loop that Mangum expects to be there; one that it has to make itself it does not close."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.fixture
def event_loop_of_lambda() -> Iterator[None]:
    with event_loop():
        yield


@pytest.fixture
def access_table(aws: None, aws_clients: dict[str, Any]) -> Iterator[str]:
    client = aws_clients["dynamodb"]
    name = create_access_table(client)
    yield name
    # A test may have deleted it.
    with suppress(client.exceptions.ResourceNotFoundException):
        client.delete_table(TableName=name)


@pytest.fixture
def api_key(access_table: str, aws_clients: dict[str, Any]) -> str:
    """The text of a key that may everything."""
    return ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table).create("test", SCOPES, "http")[1]


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time, for tests that are not about them."""
    cheap = partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("rollcall.access.passwords.PasswordHasher", cheap)


@pytest.fixture(scope="session")
def core() -> botocore.session.Session:
    """What all handlers' clients are made by. To make one takes longer than to make a client."""
    # The default session would keep the credentials that it finds first, and read all models of AWS anew.
    made = botocore.session.get_session()
    made.register_component("data_loader", LOADER)
    made.set_credentials("testing", "testing")
    return made


@pytest.fixture(scope="session")
def functions_session(core: botocore.session.Session) -> boto3.Session:
    return boto3.Session(botocore_session=core)


@pytest.fixture
def load_handler(
    cheap_hashes: None,
    monkeypatch: pytest.MonkeyPatch,
    queue: Queue,
    aws_clients: dict[str, Any],
    access_table: str,
    event_loop_of_lambda: None,
    core: botocore.session.Session,
    functions_session: boto3.Session,
) -> Iterator[Callable[[str], ModuleType]]:
    """Loads the handler of a function, by its folder, as Lambda does, and holds it to its role."""
    tables = create_tables(aws_clients["dynamodb"])
    for name in list(os.environ):
        if name.startswith("AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name)
    settings = settings_for(tables, access_table, queue.url) | DYNAMODB_SETTINGS
    # Tests log in and begin imports as often as they like.
    settings |= {"ADDRESS_REQUESTS_PER_MINUTE": "600", "ADDRESS_BURST": "1000"}
    settings |= {"LOGINS_PER_MINUTE": "600", "LOGIN_BURST": "1000"}
    settings |= {"ACCOUNT_LOGINS_PER_HOUR": "36000", "ACCOUNT_LOGIN_BURST": "1000"}
    settings |= {"IMPORTS_PER_MINUTE": "600", "IMPORT_BURST": "1000"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", functions_session)
    # All instances share what is not yet written.
    Metrics(namespace="Rollcall").clear_metrics()
    watches: dict[str, Watch] = {}

    later = clients.later

    def load(function: str) -> ModuleType:
        watch = watches.setdefault(function, Watch(function, os.environ))

        def watched(make: Callable[[], Any]) -> Any:
            # Clients keep the handlers that are there when they are made.
            watch.register(core)
            try:
                return make()
            finally:
                watch.unregister(core)

        monkeypatch.setattr(clients, "later", lambda make: later(lambda: watched(make)))
        return cast(ModuleType, watched(lambda: load_module(function)))

    yield load
    delete_tables(aws_clients["dynamodb"], tables)
    denied = {function: watch.denied for function, watch in watches.items()}
    assert not any(denied.values()), denied


class WholeApi:
    """All functions behind one door, each for its routes in template.yaml, as an ASGI app."""

    def __init__(self, apps: dict[str, FastAPI], origins: Sequence[str] = ()) -> None:
        self.apps = apps
        self._origins = origins
        self._routes = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), method, function)
            for function in apps
            for path, method in routes(function)
            if path not in (UNKNOWN, BELOW_VERSION)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = [(method, function) for pattern, method, function in self._routes if pattern.fullmatch(scope["path"])]
        if not found:
            raise AssertionError(f"template.yaml has no route {scope['path']}")
        # Functions share a path by its methods. One that is not in the template may go to any of them.
        taken = [function for method, function in found if method in (scope["method"].lower(), "any")]
        function = (taken or [function for _, function in found])[0]
        await with_headers(self.apps[function], self._origins)(scope, receive, send)


@pytest.fixture
def whole_api(load_handler: Callable[[str], ModuleType], aws_clients: dict[str, Any]) -> WholeApi:
    """Every function as its handler composes it, on an AWS in this process that has nothing but its tables."""
    create_buckets(aws_clients["s3"])
    handlers = {name: load_handler(name) for name in ("auth", "ingest", "retention", "stats")}
    segments = SegmentClient(cast(Any, EmptyArchive()), "segments")
    for name in ("retention", "stats"):
        provide(handlers[name].app, Asking(handlers[name].counters, handlers[name].projects.calendar, segments))
    return WholeApi({name: handler.app for name, handler in handlers.items()})


class EmptyArchive:
    """Lambda, with a function that answers from an archive of nothing."""

    def invoke(self, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        nothing: dict[str, Any] = {"retention": (0, []), "properties": ([], 0)}
        answer = nothing.get(json.loads(Payload)["question"], [])
        return {"Payload": io.BytesIO(json.dumps({"as_of": "2025-09-01T00:00:00Z", "answer": answer}).encode())}


def load_module(function: str) -> ModuleType:
    """The handler of a function, by its folder: anew, and under no package's name."""
    spec = importlib.util.spec_from_file_location("handler", ROOT / f"functions/{function}/handler.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
