"""Other services' SDKs for Python, unchanged, against a stack. `make sdks` runs those for node and browsers, too."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx2
import pytest

from rollcall.core.projects import DEFAULT
from scripts.api import Api
from scripts.operate import stacks
from scripts.sdks.archived import archived
from scripts.sdks.drivers import Drivers
from scripts.sdks.registry import SDKS
from scripts.sdks.suite import Result, Suite
from tests.e2e.conftest import DeployedStack

pytestmark = pytest.mark.xdist_group("stack")

PYTHON = {sdk.name: sdk for sdk in SDKS if sdk.runtime == "python"}


@pytest.fixture(scope="module")
def results(stack: DeployedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Result]]:
    """What became of the load of each SDK."""
    stack.drain()
    url = str(stack.http.base_url).rstrip("/")
    deployed = stacks.Stack("rollcall", stack.client, stack.outputs, {})
    folder: Path = tmp_path_factory.mktemp("archive")
    with httpx2.HTTPTransport() as transport:
        reading = Api(url, stack.key, transport=transport)
        suite = Suite(url, stack.key, reading, Drivers(), archived(deployed, DEFAULT, folder))
        yield {result.sdk.name: result for result in suite.run_together(list(PYTHON.values()), at_once=2)}


@pytest.mark.parametrize("name", PYTHON)
def test_an_sdk_s_events_are_counted_once_and_stored_as_sent_without_an_error_or_a_retry(
    results: Mapping[str, Result], name: str
) -> None:
    result = results[name]
    assert result.skipped == ""
    assert result.faults == []
    assert result.duplicates == (3 if result.sdk.ids else 0)
