"""Who was active on a day.

The truth is an item for each (day, user). A large day that is over is kept in one object of S3 besides. The object's
key says how many users it holds, and users are never taken from a day: as long as the day's counter says the same
number, they are the same users. A late event raises the counter, and with it the key to look for.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgpack
from botocore.exceptions import ClientError

from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, day_users_object, users_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")

READERS = 16
DAYS_AT_ONCE = 8
# From here on a page of items takes longer than an object.
LARGE_DAY = 5_000


class KeptDays:
    """Whole days of users in a bucket: MessagePack of the sorted ids, zlib."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def get(self, day: str, count: int) -> set[str] | None:
        """A day's users as they were when there were `count`, or None where nobody kept them."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=day_users_object(day, count))
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchKey":
                raise
            return None
        return set(msgpack.unpackb(zlib.decompress(answer["Body"].read())))

    def put(self, day: str, users: set[str]) -> None:
        """Keep a day's users."""
        body = zlib.compress(msgpack.packb(sorted(users)), 1)
        self._s3.put_object(Bucket=self._bucket, Key=day_users_object(day, len(users)), Body=body)


class DayUsers:
    """Reads the users of days; any thread may use it. Days of `large_day` users and more are `kept`."""

    def __init__(
        self, dynamo: Dynamo, tables: Tables, kept: KeptDays | None = None, large_day: int = LARGE_DAY
    ) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._kept = kept
        self._large_day = large_day
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="day-users")
        self._days = ThreadPoolExecutor(DAYS_AT_ONCE, thread_name_prefix="days")

    def read(self, day: str, counted: int, *, over: bool) -> set[str]:
        """The users of a day, `over` or not, whose counter has just said `counted`, strongly consistent.

        A large day that was read before takes one GET. Any other takes half a read unit for each 4 KB of its items,
        at about 100 bytes an item; a large one that is over takes twice that, and a PUT.
        """
        if not counted:
            return set()
        if self._kept is None or not over or counted < self._large_day:
            return self._stored(day, consistent=False)
        users = self._kept.get(day, counted)
        if users is None:
            users = self._stored(day, consistent=True)
            # Whoever was counted is among them. Whoever else is has been claimed, not counted: then there are more.
            if len(users) == counted:
                self._kept.put(day, users)
        return users

    def map(self, work: Callable[[str], _T], days: Iterable[str]) -> Iterator[_T]:
        """Do some work on each day, `DAYS_AT_ONCE` days at a time; the results come in the order of the days."""
        return self._days.map(work, days)

    def _stored(self, day: str, *, consistent: bool) -> set[str]:
        def of_shard(shard: int) -> set[str]:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression="pk = :users",
                ProjectionExpression="sk",
                ExpressionAttributeValues={":users": {"S": users_key(day, shard)}},
                ConsistentRead=consistent,
            )
            return {item["sk"]["S"] for page in pages for item in page}

        return set().union(*self._readers.map(of_shard, range(self._tables.user_shards)))
