"""The figures of a stack for `GET /metrics`: events counted, requests and rejected events by key, and messages in the
queues. `GET /live` has the last of these.
"""

import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from rollcall.access.api_keys import ApiKey, ApiKeys
from rollcall.access.reach import Reach
from rollcall.core.projects import DEFAULT, Project
from rollcall.questions.from_counters import Counters
from rollcall.questions.ledgers import Ledgers
from rollcall.stack.projects import Projects

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.literals import QueueAttributeNameType


# CloudWatch measures the age of a queue each minute, and shows it some minutes later.
_AGE_MINUTES = 10
# For so long an age is shown again. The page asks every few seconds, and CloudWatch bills each question.
_REMEMBERED_SECONDS = 20
_DEPTH: "tuple[QueueAttributeNameType, ...]" = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class Totals(NamedTuple):
    """Sums over all events of a project that were ever counted."""

    events: Counter[str]
    """The number of events by source."""
    processing_seconds: float
    """The sum of the events' times from a door to their counters."""


class Queues(NamedTuple):
    """The queues of a stack, which all its projects share."""

    depth: int
    """The number of batches that wait or are being counted."""
    oldest_message_seconds: float | None
    """The age of the message that waits longest. None if the queue is not empty but CloudWatch has no age yet."""
    dead_letters: int


class Figures(NamedTuple):
    """The figures of a stack at one moment, as far as who asks may see them."""

    totals: dict[Project, Totals]
    keys: list[ApiKey]
    rejected: dict[tuple[Project, str], Counter[str]]
    """The events that the doors rejected, by project, API key and code."""
    queues: Queues | None
    """None for who may see another project than the default one alone: the queues tell how much others send."""


class Monitor:
    """Reads the stack's counters, keys and queues. `clock` gives seconds, as `time.time`."""

    def __init__(
        self,
        counters: Counters,
        projects: Projects,
        api_keys: ApiKeys,
        ledgers: Ledgers,
        sqs: "SQSClient",
        cloudwatch: "CloudWatchClient",
        queue_url: str,
        dead_letter_queue_url: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._projects = projects
        self._api_keys = api_keys
        self._ledgers = ledgers
        self._sqs = sqs
        self._cloudwatch = cloudwatch
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._clock = clock
        self._age: tuple[float, float | None] = (-math.inf, None)

    def read(self, within: Reach) -> Figures:
        """All figures within a reach. Raises `rollcall.stack.dynamo.Unavailable` and botocore's errors.

        Half a read unit for each 4 KB of all days' counters of each project, what `Projects.laid_out` reads, one read
        unit for each key, and half a one for each 4 KB of a shard's sums of rejected events.
        """
        own = within.project
        return Figures(
            self._totals([own] if own else [one.project for one in self._projects.all()]),
            self._api_keys.all(within),
            self._ledgers.rejections(own),
            self.queues(within),
        )

    def _totals(self, projects: list[Project]) -> dict[Project, Totals]:
        found = dict(self._counters.of_each(self._projects.laid_out(projects), Counters.totals))
        return {project: Totals(*found.get(project, (Counter(), 0.0))) for project in projects}

    def queues(self, within: Reach) -> Queues | None:
        """The queues, or None within a reach that may not see them. Raises botocore's errors."""
        if not within.covers(Reach(DEFAULT)):
            return None
        depth = queue_depth(self._sqs, self._queue_url)
        return Queues(
            depth=depth,
            oldest_message_seconds=self._oldest_message() if depth else 0.0,
            dead_letters=queue_depth(self._sqs, self._dead_letter_queue_url),
        )

    def _oldest_message(self) -> float | None:
        asked_at, age = self._age
        moment = self._clock()
        if asked_at <= moment < asked_at + _REMEMBERED_SECONDS:
            return age
        now = datetime.fromtimestamp(moment, UTC)
        (result,) = self._cloudwatch.get_metric_data(
            StartTime=now - timedelta(minutes=_AGE_MINUTES),
            EndTime=now,
            ScanBy="TimestampDescending",
            MetricDataQueries=[
                {
                    "Id": "age",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/SQS",
                            "MetricName": "ApproximateAgeOfOldestMessage",
                            "Dimensions": [{"Name": "QueueName", "Value": self._queue_url.rpartition("/")[2]}],
                        },
                        "Period": 60,
                        "Stat": "Maximum",
                    },
                }
            ],
        )["MetricDataResults"]
        self._age = (moment, result["Values"][0] if result["Values"] else None)
        return self._age[1]


def queue_depth(sqs: "SQSClient", url: str) -> int:
    """The number of messages in a queue: those that wait, are being received, or are delayed."""
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=_DEPTH)["Attributes"]
    return sum(int(found[name]) for name in _DEPTH)
