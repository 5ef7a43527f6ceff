import json
import logging
import uuid

import pytest

from rollcall.stack.telemetry import make_logger, make_metrics
from tests.unit.test_template import PARAMETERS


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What Lambda and the template tell a function; Lambda's level is the one of the template."""
    # The loggers of the standard library stay for the whole process.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", uuid.uuid4().hex)
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "INFO")
    return {}


@pytest.mark.parametrize("level", PARAMETERS["LogLevel"]["AllowedValues"])
def test_the_parameter_decides_what_a_function_logs_although_lambda_has_a_level_of_its_own(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], level: str
) -> None:
    # Powertools reads it too, and warns of levels below Lambda's; warnings fail the tests.
    monkeypatch.setenv("LOG_LEVEL", level)
    logger = make_logger({"LOG_LEVEL": level})
    names = ("info", "warning", "error")

    for name in names:
        getattr(logger, name)(name)

    logged = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert logged == [name for name in names if logging.getLevelNamesMapping()[name.upper()] >= logger.log_level]
    assert logging.getLevelName(logger.log_level) == level


def test_a_function_that_nobody_told_a_level_logs_from_info_on(environment: dict[str, str]) -> None:
    assert make_logger(environment).log_level == logging.INFO


def test_an_invocation_that_measures_nothing_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "stack")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Rollcall")
    metrics = make_metrics()
    metrics.clear_metrics()

    metrics.flush_metrics()

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
