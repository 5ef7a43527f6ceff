import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from rollcall.apikeys import SCOPES, ApiKeys
from rollcall.dynamo import Dynamo
from rollcall.limits import Limit
from scripts.deploy import deploy
from scripts.ministack import MiniStack

DRAIN_SECONDS = 90.0


class DeployedStack:
    """A whole stack, deployed from template.yaml, as its users and its operator reach it."""

    def __init__(self, outputs: dict[str, str], url: str, client: Callable[[str], Any]) -> None:
        self.outputs = outputs
        self.client = client
        # No test is to meet a limit that is not its own.
        self.api_keys = ApiKeys(Dynamo(client("dynamodb")), outputs["AccessTableName"])
        _, self.key = self.api_keys.create("tests", SCOPES, "http", Limit(500, 5_000))
        self.http = httpx2.Client(base_url=url, timeout=60, trust_env=False, headers={"X-API-Key": self.key})

    def get(self, path: str, **parameters: str | int) -> Any:
        answer = self.http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def messages(self, output: str = "BatchQueueUrl") -> int:
        """Messages that wait or are being worked on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client("sqs").get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def drain(self) -> None:
        """Wait until every batch is counted."""
        wait_until(lambda: self.messages() == 0)


def wait_until(condition: Callable[[], object], seconds: float = DRAIN_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def stack(ministack: MiniStack) -> Iterator[DeployedStack]:
    outputs = deploy(ministack.client, "rollcall", {"ConsumerTimeout": "30"})
    deployed = DeployedStack(outputs, ministack.api_url(outputs), ministack.client)
    yield deployed
    deployed.http.close()
