"""Reads the users who were active on a day.

The table has an item for each (day, user). Reading 100,000 items takes seconds, so a large day that is over is also
kept as one object in S3. The object's key holds the number of its users. A user is never taken from a day. So a day
whose counter says the same number has the same users. A late event raises the counter, and a reader then looks for
another key.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgpack

from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, day_users_object, users_key
from rollcall.stack.objects import Gone, read_object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")

READERS = 16
DAYS_AT_ONCE = 8
# A day with as many users is read faster as an object than as items.
LARGE_DAY = 5_000


class KeptDays:
    """The days that are kept in a bucket, each as one object: MessagePack of the sorted user ids, zlib."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def get(self, project: Project, day: str, count: int) -> set[str] | None:
        """The users of a project's day when it had `count` of them, or None where the day was not kept then."""
        try:
            body = b"".join(read_object(self._s3, self._bucket, day_users_object(project, day, count)).chunks)
        except Gone:
            return None
        return set(msgpack.unpackb(zlib.decompress(body)))

    def put(self, project: Project, day: str, users: set[str]) -> None:
        """Keep the users of a project's day."""
        body = zlib.compress(msgpack.packb(sorted(users)), 1)
        self._s3.put_object(Bucket=self._bucket, Key=day_users_object(project, day, len(users)), Body=body)


class DayUsers:
    """Reads the users of days. Any number of threads may share it.

    With `kept`, it keeps the days of `large_day` users and more that are over.
    """

    def __init__(
        self, dynamo: Dynamo, tables: Tables, kept: KeptDays | None = None, large_day: int = LARGE_DAY
    ) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._kept = kept
        self._large_day = large_day
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="day-users")
        self._days = ThreadPoolExecutor(DAYS_AT_ONCE, thread_name_prefix="days")

    def read(self, project: Project, day: str, counted: int, *, over: bool) -> set[str]:
        """The users of a project's day whose counter said `counted` when it was read just now, strongly consistent.

        `over` says whether the day is over.

        A large day that was read before takes one GET. Any other takes half a read unit for each 4 KB of its items,
        at about 100 bytes an item; a large one that is over takes twice that, and a PUT.
        """
        if not counted:
            return set()
        if self._kept is None or not over or counted < self._large_day:
            return self._stored(project, day, consistent=False)
        users = self._kept.get(project, day, counted)
        if users is None:
            users = self._stored(project, day, consistent=True)
            # A consumer claims a user before it counts the user. So these are all counted users, and more than
            # `counted` where some are claimed but not counted yet.
            if len(users) == counted:
                self._kept.put(project, day, users)
        return users

    def map(self, work: Callable[[str], _T], days: Iterable[str]) -> Iterator[_T]:
        """Call `work` with each day, `DAYS_AT_ONCE` days at a time. The results are in the order of the days."""
        return self._days.map(work, days)

    def _stored(self, project: Project, day: str, *, consistent: bool) -> set[str]:
        def of_shard(shard: int) -> set[str]:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression="pk = :users",
                ProjectionExpression="sk",
                ExpressionAttributeValues={":users": {"S": users_key(project, day, shard)}},
                ConsistentRead=consistent,
            )
            return {item["sk"]["S"] for page in pages for item in page}

        return set().union(*self._readers.map(of_shard, range(self._tables.user_shards)))
