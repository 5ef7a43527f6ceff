import gc
import re
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from scripts.local.ministack import MiniStack, free_port
from scripts.paths import ROOT

pytest_plugins = ["pytester"]

# How fast this machine is says nothing about the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# API keys, refresh tokens, codes, tokens of shares and access, hashes, and what all passwords of the tests hold.
CREDENTIAL = re.compile(
    r"rc_[0-9a-f]{16}_[0-9a-f]{48}|rt_[0-9a-f]{16,32}_|(?:cd|sh_[0-9a-f]{16})_[0-9a-f]{48}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]+\.|\$argon2id\$|green bottles"
)

# Where tests/e2e finds its stack.
TARGETS = {
    "direct": "deployed to MiniStack as make run does",
    "sam": "deployed to MiniStack by sam build and sam deploy",
    "sam-local": "the API from containers by sam local, all else as direct",
    "localstack": "deployed by samlocal to a LocalStack that runs already",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    described = "; ".join(f"{name}: {what}" for name, what in TARGETS.items())
    parser.addoption(
        "--target", choices=[*TARGETS], default="direct", help=f"Stack of the end-to-end tests. {described}"
    )


def pytest_collection_finish() -> None:
    """Have the garbage collector leave out what lives until the end: the modules, and the tests themselves."""
    gc.collect()
    gc.freeze()
    # Its youngest generation is looked through a fifth as often as Python would.
    gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail every test under which a credential is logged or printed."""
    report = yield
    for name, text in report.sections:
        # Those of earlier phases are there too.
        if name.endswith(report.when or "") and CREDENTIAL.search(text):
            report.outcome = "failed"
            report.longrepr = f"a credential is in the {name.lower()}"
    return report


@pytest.fixture(scope="session")
def ministack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """A local AWS of this test process, with nothing in it but what its tests put there."""
    folder: Path = tmp_path_factory.mktemp("ministack")
    # What sam built is for the runtime's Python, and is to find nothing but what it ships.
    built = pytestconfig.getoption("--target") == "sam"
    python = str(ROOT / ".venv/runtime/bin/python") if built else sys.executable
    with MiniStack(free_port(), folder / "log", python=python) as stack:
        yield stack
        logged = "\n".join(function_logs(stack.client("logs")))
    assert not CREDENTIAL.search(logged), "a function logged a credential"
    assert not CREDENTIAL.search((folder / "log").read_text(errors="replace")), "the local AWS logged a credential"


def function_logs(client: Any) -> Iterator[str]:
    """All that the deployed functions logged."""
    for groups in client.get_paginator("describe_log_groups").paginate():
        for group in groups["logGroups"]:
            for events in client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from (event["message"] for event in events["events"])
