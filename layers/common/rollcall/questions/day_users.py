"""Reads the users who were active on a day, and those who were first seen on it.

The table has an item for each (day, user). Reading 100,000 items takes seconds, and reading fifty takes longer than one
object. So a day that is over is also kept as one object in S3, and its new users as another.

An object is never out of date, because its key holds what its users follow from. A user is never taken from a day. So a
day whose counter says the same number has the same users. A late event raises the counter, and a reader then looks for
another key. The new users of a day are those of its users whose first day it is. Where an event moves somebody's first
day away, the consumer then adds to what has `left` the day. So a day with the same two numbers has the same new users.
"""

import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgpack

from rollcall.core.projects import Project
from rollcall.questions.user_sets import Numbering, Users, union
from rollcall.stack.dynamo import KEYS_PER_CALL, Dynamo
from rollcall.stack.keys import (
    Tables,
    bundled_users_object,
    day_users_object,
    first_day_key,
    indexed_day,
    new_users_object,
    users_key,
)
from rollcall.stack.objects import Gone, read_object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")

READERS = 16
DAYS_AT_ONCE = 8
# Of so many users, it is looked up one by one whether a day is their first.
MOST_LOOKED_UP = 100_000
# What is remembered between two questions: users of all projects together, and bytes of their sets.
MOST_USERS = 1_000_000
MOST_BYTES = 64 * 1024 * 1024
# Of projects with more, no bundle is made: it would take longer to read than a few days.
MOST_BUNDLED = 500_000


class Counted(NamedTuple):
    """What a day's counters say of its users."""

    users: int = 0
    left: int = 0
    """A number that grew whenever the first day of some of them was moved to an earlier one."""


class _Place(NamedTuple):
    """What is remembered of a project's day: its users, or its new ones."""

    project: Project
    day: str
    new: bool


class Bundle(NamedTuple):
    """Sets of users of many days. Each says under which key the same users are kept, so no bundle is out of date."""

    names: list[str]
    sets: list[tuple[str, bool, str, bytes]]
    """Of each set the day, whether it has the new users, the key, and a bit for each of the names."""


class KeptDays:
    """What is kept in a bucket, each as one object: MessagePack in zlib, of sorted user ids or of a `Bundle`."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def get(self, key: str) -> list[str] | None:
        """The users who are kept under a key, or None where there is no such object."""
        try:
            body = b"".join(read_object(self._s3, self._bucket, key).chunks)
        except Gone:
            return None
        users: list[str] = msgpack.unpackb(zlib.decompress(body))
        return users

    def put(self, key: str, users: Iterable[str]) -> None:
        """Keep users under a key."""
        body = zlib.compress(msgpack.packb(sorted(users)), 1)
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body)

    def get_bundle(self, project: Project) -> Bundle | None:
        """The bundle of a project, or None where there is none."""
        found: Any = self.get(bundled_users_object(project))
        return found and Bundle(*found)

    def put_bundle(self, project: Project, bundle: Bundle) -> None:
        """Keep a project's bundle, in place of the one before."""
        body = zlib.compress(msgpack.packb(bundle), 1)
        self._s3.put_object(Bucket=self._bucket, Key=bundled_users_object(project), Body=body)


class DayUsers:
    """Reads the users of days. Any number of threads may share it.

    It remembers sets of days that are over, as long as they are few, and with `kept` it keeps them there.
    """

    def __init__(self, dynamo: Dynamo, tables: Tables, kept: KeptDays | None = None) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._kept = kept
        self._numberings: dict[Project, Numbering] = {}
        # Of each day its users, and its new users: the latest that were read, and their key.
        self._remembered: dict[_Place, tuple[str, Users]] = {}
        self._unbundling = threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="day-users")
        self._days = ThreadPoolExecutor(DAYS_AT_ONCE, thread_name_prefix="days")

    def trim(self) -> None:
        """Forget everything where it is much; to be called between questions, whose sets have one numbering."""
        users = sum(map(len, self._numberings.values()))
        if users > MOST_USERS or sum(users.size for _, users in self._remembered.values()) > MOST_BYTES:
            self._numberings, self._remembered = {}, {}

    def remembered(self, project: Project, day: str, counted: Counted, *, new: bool) -> Set[str] | None:
        """The users of a day, or its new ones, if they are remembered. At first, the project's bundle takes a GET."""
        self._numbering(project)
        key = new_users_object(project, day, *counted) if new else day_users_object(project, day, counted.users)
        known, users = self._remembered.get(_Place(project, day, new), ("", None))
        return users if known == key else None

    def read(self, project: Project, day: str, counted: int, *, over: bool) -> Set[str]:
        """The users of a project's day whose counter said `counted` when it was read just now, strongly consistent.

        `over` says whether the day is over.

        A day that is remembered takes nothing, and a kept one a GET. Any other takes half a read unit for each 4 KB of
        its items, at about 100 bytes an item; one that is over takes twice that, and a PUT.
        """
        if not counted:
            return self._numbering(project).users(())
        if not over:
            return self._numbering(project).users(self._stored(project, day, consistent=False))
        place, key = _Place(project, day, new=False), day_users_object(project, day, counted)
        users = self._find(place, key)
        if users is None:
            users = self._numbering(project).users(self._stored(project, day, consistent=True))
            # A consumer claims a user before it counts the user. So these are all counted users, and more than
            # `counted` where some are claimed but not counted yet.
            if len(users) == counted:
                self._keep(place, key, users)
        return users

    def first_seen(
        self, project: Project, day: str, counted: Counted, most: int | None = MOST_LOOKED_UP
    ) -> Set[str] | None:
        """The users whose first day is a day that is over, of which the counters said `counted` just now.

        None where they are neither remembered nor kept, and more than `most` users would have to be looked up.

        What is remembered takes nothing, and what is kept a GET. Else it takes what `read` takes, a PUT, and a read
        unit for each of the day's users who is not remembered to have been active before.
        """
        place, key = _Place(project, day, new=True), new_users_object(project, day, *counted)
        users = self._find(place, key)
        if users is None:
            active = self.read(project, day, counted.users, over=True)
            unknown = active - union(self._before(project, day))
            if most is not None and len(unknown) > most:
                return None
            users = self._numbering(project).users(self._first_seen(project, day, unknown))
            # A consumer counts a user after it has stored the first day, and counts who has left the day after that.
            # So what is read after the counters is no older than they are. If it is younger, the counters will change.
            if len(active) == counted.users:
                self._keep(place, key, users)
        return users

    def keep(self, project: Project, day: str, counted: Counted) -> bool:
        """Keep the users and the new users of a day that is over; returns whether that was done.

        It cannot be done while a consumer is at the day's events. Forgets what is much.
        """
        whole = len(self.read(project, day, counted.users, over=True)) == counted.users
        if whole:
            self.first_seen(project, day, counted, most=None)
        self.trim()
        return whole

    def bundle(self, project: Project, days: Mapping[str, Counted]) -> None:
        """Keep the sets of those of the days that are kept in one object besides, unless it is of too many users.

        A GET for each set that is neither in the bundle before nor remembered, and a PUT.
        """
        if self._kept is None:
            return
        sets = []
        for day, counted in sorted(days.items()):
            for new, key in (
                (False, day_users_object(project, day, counted.users)),
                (True, new_users_object(project, day, *counted)),
            ):
                users = self._find(_Place(project, day, new), key)
                if users is not None:
                    sets.append((day, new, key, users.to_bytes()))
            if len(self._numbering(project)) > MOST_BUNDLED:
                return
        if sets:
            self._kept.put_bundle(project, Bundle(self._numbering(project).names, sets))

    def map(self, work: Callable[[str], _T], days: Iterable[str]) -> Iterator[_T]:
        """Call `work` with each day, `DAYS_AT_ONCE` days at a time. The results are in the order of the days."""
        return self._days.map(work, days)

    def _numbering(self, project: Project) -> Numbering:
        """The numbers of a project's users. At first they are those of its bundle, whose sets are then remembered."""
        with self._unbundling:
            if project not in self._numberings:
                numbering = Numbering()
                bundle = self._kept.get_bundle(project) if self._kept is not None else None
                if bundle is not None:
                    numbering.users(bundle.names)
                    for day, new, key, bits in bundle.sets:
                        self._remembered[_Place(project, day, new)] = key, Users.of_bytes(numbering, bits)
                self._numberings[project] = numbering
            return self._numberings[project]

    def _find(self, place: "_Place", key: str) -> Users | None:
        numbering = self._numbering(place.project)
        known, users = self._remembered.get(place, ("", None))
        if known == key:
            return users
        names = self._kept.get(key) if self._kept is not None else None
        if names is None:
            return None
        users = numbering.users(names)
        self._remembered[place] = key, users
        return users

    def _keep(self, place: "_Place", key: str, users: Users) -> None:
        if self._kept is not None:
            self._kept.put(key, users)
        self._remembered[place] = key, users

    def _before(self, project: Project, day: str) -> list[Users]:
        """Sets of users of earlier days: what is remembered of these, also where it is not all of them any more."""
        return [
            users
            for place, (_, users) in list(self._remembered.items())
            if place.project == project and place.day < day
        ]

    def _first_seen(self, project: Project, day: str, users: Set[str]) -> list[str]:
        """Those of the users of a day whose first day it is, strongly consistent."""
        keys = [{"pk": {"S": first_day_key(project, user)}, "sk": {"S": "-"}} for user in users]

        def read(start: int) -> list[str]:
            some = keys[start : start + KEYS_PER_CALL]
            items = self._dynamo.get(self._tables.stats, some, ["user_id", "first_day"], consistent=True)
            return [item["user_id"]["S"] for item in items if item["first_day"]["S"] == indexed_day(project, day)]

        return [user for some in self._readers.map(read, range(0, len(keys), KEYS_PER_CALL)) for user in some]

    def _stored(self, project: Project, day: str, *, consistent: bool) -> list[str]:
        def of_shard(shard: int) -> list[str]:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression="pk = :users",
                ProjectionExpression="sk",
                ExpressionAttributeValues={":users": {"S": users_key(project, day, shard)}},
                ConsistentRead=consistent,
            )
            return [item["sk"]["S"] for page in pages for item in page]

        return [user for some in self._readers.map(of_shard, range(self._tables.user_shards)) for user in some]
