import gc
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache as cached
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import botocore.session
import httpx2
import pytest
from localstack_client.session import Session as LocalStack
from typer.testing import CliRunner

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo
from scripts.browsers import BROWSERS, SETTING
from scripts.cli import app
from scripts.local.deploy import ClientFactory, deploy
from scripts.local.ministack import CREDENTIAL, LOADER, REGION, MiniStack, api_url, free_port
from scripts.local.sam import Sam, prepare, reachable
from scripts.paths import ROOT
from tests.conftest import CREDENTIAL as SECRET

DRAIN_SECONDS = 90.0
NO_BROWSER = f"no chromium: none of {', '.join(BROWSERS)} is on the PATH, and {SETTING} names none; .ci/run brings it"
# A message that was met by killed consumers, or by slow ones, is not to be given up.
PARAMETERS = {"ConsumerTimeout": "30", "MaxReceives": "100"}
# The browsers of all tests have one address.
PARAMETERS |= {"AddressRequestsPerMinute": "6000", "AddressBurst": "1000"}


class DeployedStack:
    """A whole stack, deployed from template.yaml, as its users and its operator reach it."""

    def __init__(self, outputs: dict[str, str], endpoint: str, client: ClientFactory, url: str) -> None:
        self.outputs = outputs
        self.client = cached(client)
        self.endpoint = endpoint
        # No test is to meet a limit that is not its own.
        self.api_keys = ApiKeys(Dynamo(client("dynamodb")), outputs["AccessTableName"])
        _, self.key = self.api_keys.create("tests", SCOPES, "http", Limit(500, 5_000))
        self.http = httpx2.Client(base_url=url, timeout=60, trust_env=False, headers={"X-API-Key": self.key})

    @property
    def environment(self) -> dict[str, str]:
        """Of an operator whose boto3 is set up for where the stack is."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
            "AWS_DEFAULT_REGION": REGION,
        }

    def get(self, path: str, **parameters: str | int) -> Any:
        answer = self.http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def invoke(self, function: str, payload: str) -> str:
        """Run a function of the template; returns its answer as JSON."""
        answer = self.client("lambda").invoke(FunctionName=self.outputs[f"{function}Name"], Payload=payload)
        said: str = answer["Payload"].read().decode()
        assert "FunctionError" not in answer, said
        return said

    def messages(self, output: str = "BatchQueueUrl") -> int:
        """Messages that wait or are being worked on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def count(self, events: list[dict[str, Any]]) -> None:
        """Send events and wait until they are counted, which on a busy machine takes longer than a request may."""
        answer = self.http.post("/events", json=events)
        assert answer.status_code == 202, answer.text
        assert answer.json()["rejected"] == []
        for batch_id in answer.json()["batch_ids"]:
            wait_until(lambda path=f"/batches/{batch_id}": self.get(path)["status"] == "done")  # type: ignore[misc]

    def drain(self) -> None:
        """Wait until every batch is counted, those of uploads that are being read included."""
        wait_until(lambda: self.messages("UploadQueueUrl") == 0)
        wait_until(lambda: self.messages("ImportQueueUrl") == 0)
        wait_until(lambda: self.messages() == 0)


class StackInContainers(DeployedStack):
    """A stack whose API's functions run in SAM's containers."""

    def __init__(self, outputs: dict[str, str], ministack: MiniStack, sam: Sam, url: str) -> None:
        super().__init__(outputs, ministack.endpoint, ministack.client, url)
        self._sam = sam

    def invoke(self, function: str, payload: str) -> str:
        return self._sam.invoke(function, payload)


Done = subprocess.CompletedProcess[str]


def rollcall_process(arguments: Sequence[object], environment: Mapping[str, str]) -> Done:
    """Run the command line as its users do."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.cli", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rollcall_here(arguments: Sequence[object], environment: Mapping[str, str]) -> Done:
    """Run the command line in this process, which has its modules and the models of AWS already."""
    core = botocore.session.get_session()
    core.register_component("data_loader", LOADER)
    session = boto3.Session(botocore_session=core)
    texts = [str(argument) for argument in arguments]
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(boto3, "DEFAULT_SESSION", session),
        warnings.catch_warnings(),
    ):
        # Connections that a process leaves open until its end.
        warnings.simplefilter("ignore", ResourceWarning)
        result = CliRunner().invoke(app, texts)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        done = Done(texts, result.exit_code, result.stdout, result.stderr)
        del result
        if done.returncode:
            gc.collect()  # what the failure held on to
    return done


def wait_until(condition: Callable[[], object], seconds: float = DRAIN_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command line keeps what it fetches: not with the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@contextmanager
def direct(request: pytest.FixtureRequest) -> Iterator[DeployedStack]:
    ministack: MiniStack = request.getfixturevalue("ministack")
    outputs = deploy(ministack.client, "rollcall", PARAMETERS)
    yield DeployedStack(outputs, ministack.endpoint, ministack.client, ministack.api_url)


@contextmanager
def by_sam(request: pytest.FixtureRequest) -> Iterator[DeployedStack]:
    ministack: MiniStack = request.getfixturevalue("ministack")
    sam: Sam = request.getfixturevalue("sam")
    sam.deploy("rollcall", PARAMETERS)
    yield DeployedStack(sam.outputs("rollcall"), ministack.endpoint, ministack.client, ministack.api_url)


@contextmanager
def in_containers(request: pytest.FixtureRequest) -> Iterator[DeployedStack]:
    ministack: MiniStack = request.getfixturevalue("ministack")
    sam: Sam = request.getfixturevalue("sam")
    outputs = deploy(ministack.client, "rollcall", PARAMETERS)
    port, log = free_port(), request.getfixturevalue("tmp_path_factory").mktemp("sam") / "log"
    with reachable(ministack.port) as reached, log.open("wb") as file:
        prepare(ministack.client, outputs, reached)
        with sam.api(port, file):
            yield StackInContainers(outputs, ministack, sam, f"http://127.0.0.1:{port}")
    assert not SECRET.search(log.read_text(errors="replace")), "a function in a container logged a credential"


@contextmanager
def on_localstack(_request: pytest.FixtureRequest) -> Iterator[DeployedStack]:
    client = LocalStack(region_name=REGION).client
    endpoint = client("cloudformation").meta.endpoint_url
    samlocal = Sam(endpoint, "samlocal")
    samlocal.build()
    samlocal.deploy("rollcall", PARAMETERS | {"DataProtection": "Delete"})
    outputs = samlocal.outputs("rollcall")
    yield DeployedStack(outputs, endpoint, client, api_url(endpoint, outputs))


PLACES = {"direct": direct, "sam": by_sam, "sam-local": in_containers, "localstack": on_localstack}


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config) -> str:
    """Where the stack is."""
    return str(pytestconfig.getoption("--target"))


@pytest.fixture(scope="session")
def sam(ministack: MiniStack) -> Sam:
    """The SAM CLI, with the template built."""
    cli = Sam(ministack.endpoint)
    cli.build()
    return cli


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, target: str) -> Iterator[DeployedStack]:
    with PLACES[target](request) as deployed:
        # A request that waits for its events does so for ten seconds, and first starts of functions may take that long.
        deployed.count(
            [{"event_id": "warm", "occurred_at": "2007-01-01T00:00:00Z", "user_id": "warm", "event_type": "open"}]
        )
        yield deployed
        deployed.http.close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("targets"):
        if item.config.getoption("--target") not in marker.args:
            pytest.skip(marker.kwargs["reason"])
