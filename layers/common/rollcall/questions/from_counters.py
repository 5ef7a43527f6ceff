"""Reads the aggregates that answer questions about all events. What an answer costs depends on its days, shards and
event types, never on the number of events.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from itertools import chain, islice, starmap
from typing import Any, NamedTuple, TypeVar

from rollcall.core.days import Calendar
from rollcall.core.projects import Project
from rollcall.questions.day_users import Counted, DayUsers
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import (
    DAILY_ACTIVES,
    LEFT,
    PROCESSING,
    Tables,
    counted_source,
    counts_key,
    indexed_day,
    overflow_key,
)
from rollcall.stack.layout import check_layout

_T = TypeVar("_T")

READERS = 16
PROJECTS_AT_ONCE = 8
NAMED_TYPES = 10_000

Place = tuple[str, int]
"""A day and a counter shard."""


class Overflow(NamedTuple):
    """Types that found no room in the counter item of a place, with their numbers, in the order of their names."""

    place: Place
    counts: dict[str, int]
    whole: bool
    """Whether there are no further ones."""


class Counters:
    """A project in the stats table, for any number of threads.

    The project has to be laid out as `tables` and `calendar` say; every method raises `BadSetting` where it is not.
    `day_users` reads the users of a day, by default without keeping any. Of the event types that found no room in the
    counter items of their days, a question reads `named_types` counters.
    """

    def __init__(
        self,
        dynamo: Dynamo,
        tables: Tables,
        project: Project,
        calendar: Calendar,
        day_users: DayUsers | None = None,
        named_types: int = NAMED_TYPES,
    ) -> None:
        self.named_types = named_types
        self._dynamo = dynamo
        self._tables = tables
        self._project = project
        self._calendar = calendar
        self._checked: set[Project] = set()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="counters")
        # Whoever reads a project waits for readers, so it is none of them.
        self._projects = ThreadPoolExecutor(PROJECTS_AT_ONCE, thread_name_prefix="projects")
        self._day_users = day_users or DayUsers(dynamo, tables)

    def of(self, project: Project, calendar: Calendar) -> "Counters":
        """Another project in the same table, for a question. It shares the threads and the memory of this one."""
        self._day_users.trim()
        other = copy(self)
        other._project, other._calendar = project, calendar
        return other

    def of_each(
        self, calendars: Mapping[Project, Calendar], read: Callable[["Counters"], _T]
    ) -> Iterator[tuple[Project, _T]]:
        """Call `read` with the counters of each project, `PROJECTS_AT_ONCE` projects at a time; in the same order."""
        return zip(calendars, self._projects.map(read, starmap(self.of, calendars.items())), strict=True)

    def of_days(self, first: str, last: str, attributes: Sequence[str] = ()) -> Iterator[Item]:
        """The counter items of the days from `first` to `last`, both inclusive: one for each day and shard with events.

        With `attributes` an item has those and its day alone. Strongly consistent: a read unit for each 4 KB of a
        shard's items.
        """
        projection: dict[str, Any] = {}
        if attributes:
            names = {f"#{index}": name for index, name in enumerate(("sk", *attributes))}
            projection = {"ProjectionExpression": ",".join(names), "ExpressionAttributeNames": names}
        days = {":first": {"S": first}, ":last": {"S": last}}
        return self._shards("pk = :counts AND sk BETWEEN :first AND :last", days, ConsistentRead=True, **projection)

    def overflow(self, places: Sequence[Place], most: int) -> list[Overflow]:
        """Of each day and shard, the first `most` event types that found no room in its counter item.

        Strongly consistent: a read unit for each 4 KB of the items that are read.
        """
        self._check_layout()

        def read(place: Place) -> Overflow:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression="pk = :types",
                ExpressionAttributeValues={":types": {"S": overflow_key(self._project, *place)}},
                ConsistentRead=True,
                Limit=most + 1,
            )
            items = list(islice(chain.from_iterable(pages), most + 1))
            counts = {item["sk"]["S"]: int(item["count"]["N"]) for item in items[:most]}
            return Overflow(place, counts, whole=len(items) <= most)

        return list(self._readers.map(read, places))

    def overflow_of(self, wanted: Iterable[tuple[Place, str]]) -> dict[tuple[Place, str], int]:
        """The numbers of event types in the overflow of a day and shard each, of those that are there.

        Strongly consistent: a read unit for each of them.
        """
        by_key = {(overflow_key(self._project, *place), event_type): place for place, event_type in wanted}
        keys: list[Item] = [{"pk": {"S": pk}, "sk": {"S": event_type}} for pk, event_type in by_key]
        found = {}
        for item in self._dynamo.get(self._tables.stats, keys, ["pk", "sk", "count"], consistent=True):
            pk, event_type = item["pk"]["S"], item["sk"]["S"]
            found[by_key[pk, event_type], event_type] = int(item["count"]["N"])
        return found

    def counted(self, first: str, last: str) -> dict[str, Counted]:
        """What the counters say of the users of the days from `first` to `last`, without days that have none.

        One item for each day and counter shard, strongly consistent: a read unit for each 4 KB of a shard's items.
        """
        found: dict[str, Counted] = {}
        for item in self.of_days(first, last, [DAILY_ACTIVES, LEFT]):
            day = item["sk"]["S"]
            users, left = found.get(day, Counted())
            found[day] = Counted(users + _number(item, DAILY_ACTIVES), left + _number(item, LEFT))
        return found

    def of_users(self, days: Sequence[str], today: str) -> "UsersOfDays":
        """The users of some days, which ascend. Reads their counters."""
        return UsersOfDays(self, self.counted(days[0], days[-1]) if days else {}, days, today)

    def users(self, day: str, counted: int, *, over: bool) -> Set[str]:
        """The users of a day, as `DayUsers.read` reads them."""
        return self._day_users.read(self._project, day, counted, over=over)

    def first_seen(self, day: str, counted: Counted, *, over: bool) -> Set[str]:
        """The users first seen on a day, as `DayUsers.first_seen` reads them if the day is over."""
        if not counted.users:
            return frozenset()
        users = self._day_users.first_seen(self._project, day, counted) if over else None
        return self.new_users(day) if users is None else users

    def remembered(self, day: str, counted: Counted, *, new: bool) -> Set[str] | None:
        """The users of a day that is over, or its new ones, if they are remembered."""
        return self._day_users.remembered(self._project, day, counted, new=new)

    def keep(self, day: str, counted: Counted) -> bool:
        """Keep the users of a day that is over, as `DayUsers.keep` does."""
        return self._day_users.keep(self._project, day, counted)

    def bundle(self, days: Mapping[str, Counted]) -> None:
        """Keep the users of some days in one object besides, as `DayUsers.bundle` does."""
        self._day_users.bundle(self._project, days)

    def new_users(self, day: str) -> Set[str]:
        """The users first seen on a day, from an index that is eventually consistent."""
        self._check_layout()
        found = self._query(
            IndexName="first_day",
            KeyConditionExpression="first_day = :day",
            ProjectionExpression="user_id",
            ExpressionAttributeValues={":day": {"S": indexed_day(self._project, day)}},
        )
        return {item["user_id"]["S"] for item in found}

    def map_days(self, work: Callable[[str], _T], days: Iterable[str]) -> Iterator[_T]:
        """Call `work` with each day, several at a time. The results are in the order of the days."""
        return self._day_users.map(work, days)

    def totals(self) -> tuple[Counter[str], float]:
        """All events ever counted, by source, and the seconds that they took from door to counter, added up.

        Reads one item for each day and counter shard, eventually consistent: half a read unit for each 4 KB of a
        shard's items.
        """
        events: Counter[str] = Counter()
        milliseconds = 0
        for item in self._shards("pk = :counts", {}):
            milliseconds += int(item.get(PROCESSING, {"N": "0"})["N"])
            for attribute, value in item.items():
                source = counted_source(attribute)
                if source is not None:
                    events[source] += int(value["N"])
        return events, milliseconds / 1000

    def _shards(self, condition: str, values: Mapping[str, Any], **options: Any) -> Iterator[Item]:
        """The items of all counter shards that meet a condition on `:counts`, a shard's partition."""
        self._check_layout()

        def read(shard: int) -> list[Item]:
            return self._query(
                KeyConditionExpression=condition,
                ExpressionAttributeValues={":counts": {"S": counts_key(self._project, shard)}, **values},
                **options,
            )

        shards = range(self._tables.counter_shards)
        # To hand the only one to a thread would take longer, and gain nothing.
        found = self._readers.map(read, shards) if len(shards) > 1 else map(read, shards)
        yield from chain.from_iterable(found)

    def _query(self, **request: Any) -> list[Item]:
        pages = self._dynamo.query(TableName=self._tables.stats, **request)
        return [item for page in pages for item in page]

    def _check_layout(self) -> None:
        if self._project not in self._checked:
            check_layout(self._dynamo, self._tables, self._project, self._calendar)
            self._checked.add(self._project)


class UsersOfDays:
    """Reads the users of some days, several days at a time. A day before `today` is over."""

    def __init__(self, counters: Counters, counted: Mapping[str, Counted], days: Sequence[str], today: str) -> None:
        self._counters = counters
        self._counted = counted
        self._days = days
        self._today = today

    def active(self, days: Sequence[str] | None = None) -> Iterator[Set[str]]:
        """The users of each of the days, or of some of them, in their order."""

        def of(day: str) -> Set[str]:
            return self._counters.users(day, self._of(day).users, over=day < self._today)

        return self._map(of, days, new=False)

    def first_seen(self, days: Sequence[str] | None = None) -> Iterator[Set[str]]:
        """The users who were first seen on each of the days, or of some of them, in their order."""

        def of(day: str) -> Set[str]:
            return self._counters.first_seen(day, self._of(day), over=day < self._today)

        return self._map(of, days, new=True)

    def _map(self, read: Callable[[str], Set[str]], days: Sequence[str] | None, *, new: bool) -> Iterator[Set[str]]:
        """The sets of the days: those that are remembered, and the others read, several at a time."""
        days = self._days if days is None else days
        found: dict[str, Set[str]] = {}
        for day in days:
            users = self._counters.remembered(day, self._of(day), new=new) if day < self._today else None
            if users is not None:
                found[day] = users
        # To hand a day to a thread takes longer than what is remembered.
        others = self._counters.map_days(read, [day for day in days if day not in found])
        return (found[day] if day in found else next(others) for day in days)

    def _of(self, day: str) -> Counted:
        return self._counted.get(day, Counted())


def _number(item: Item, attribute: str) -> int:
    return int(item[attribute]["N"]) if attribute in item else 0
