"""The health check: whether the tables, queues and buckets of a stack answer.

Anybody may ask, and each check is seven calls to AWS. An instance therefore asks at most once in a few seconds.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from rollcall.stack.settings import HealthSettings

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient


REMEMBERED_SECONDS = 5.0


class Health:
    """Calls each table, queue and bucket of a stack. `clock` gives seconds, as `time.monotonic`."""

    def __init__(
        self,
        settings: HealthSettings,
        dynamodb: "DynamoDBClient",
        sqs: "SQSClient",
        s3: "S3Client",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._found: dict[str, str | None] = {}
        self._found_at = -float("inf")
        tables = settings.tables
        self._checks: dict[str, Callable[[], object]] = {
            "events_table": lambda: dynamodb.get_item(TableName=tables.events, Key={"event_id": {"S": "-"}}),
            "stats_table": lambda: dynamodb.get_item(TableName=tables.stats, Key={"pk": {"S": "-"}, "sk": {"S": "-"}}),
            "access_table": lambda: dynamodb.get_item(
                TableName=settings.access_table, Key={"pk": {"S": "-"}, "sk": {"S": "-"}}
            ),
            "queue": lambda: sqs.get_queue_attributes(QueueUrl=settings.queue_url, AttributeNames=["QueueArn"]),
            "dead_letter_queue": lambda: sqs.get_queue_attributes(
                QueueUrl=settings.dead_letter_queue_url, AttributeNames=["QueueArn"]
            ),
            "upload_bucket": lambda: s3.head_bucket(Bucket=settings.upload_bucket),
        }
        archive_bucket = settings.archive_bucket
        if archive_bucket:
            self._checks["archive_bucket"] = lambda: s3.head_bucket(Bucket=archive_bucket)

    def check(self) -> dict[str, str | None]:
        """For each dependency, the error code with which it fails, or None if it answers.

        What was found is remembered for `REMEMBERED_SECONDS`, failures too.
        """
        if self._clock() - self._found_at >= REMEMBERED_SECONDS:
            with ThreadPoolExecutor(len(self._checks)) as pool:
                self._found = dict(zip(self._checks, pool.map(_failure, self._checks.values()), strict=True))
            self._found_at = self._clock()
        return self._found


def _failure(ask: Callable[[], object]) -> str | None:
    try:
        ask()
    except ClientError as error:
        return error.response.get("Error", {}).get("Code", "unknown error")
    except BotoCoreError as error:
        return type(error).__name__
    return None
