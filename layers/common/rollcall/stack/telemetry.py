"""The logs and metrics of a function."""

import logging
import warnings
from collections.abc import Mapping

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit


def make_logger(environment: Mapping[str, str]) -> Logger:
    """The logger of a function, at `LOG_LEVEL` or else INFO.

    Powertools prefers Lambda's own level of application logs to `LOG_LEVEL`. The template leaves Lambda's at INFO,
    because metrics are lines of that level and would be lost under a higher one.
    """
    logger = Logger()
    logging.getLogger(logger.service).setLevel(environment.get("LOG_LEVEL", "INFO"))
    return logger


def make_metrics() -> Metrics:
    """The metrics of a function. An invocation that measures nothing emits none."""
    warnings.filterwarnings("ignore", "No application metrics to publish")
    return Metrics()


def add_count(metrics: Metrics, name: str, number: int) -> None:
    """Add a count to the metrics of an invocation, unless it is 0.

    CloudWatch bills a metric for each hour in which it is emitted, whatever its value is.
    """
    if number:
        metrics.add_metric(name, MetricUnit.Count, number)
