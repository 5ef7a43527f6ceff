"""Answers from the aggregates. What one costs depends on its days, shards and event types, never on the events."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from rollcall.core.days import Calendar, add_days, days_between
from rollcall.questions.answers import DailyActives, EventCount, Retention, Window
from rollcall.questions.day_users import DayUsers
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import (
    DAILY_ACTIVES,
    OVERFLOW,
    PROCESSING,
    Tables,
    counted_source,
    counted_type,
    counts_key,
    overflow_key,
)
from rollcall.stack.layout import check_layout

READERS = 16
DAYS_AT_ONCE = 8


class Stats:
    """Reads the stats table, which has to be laid out as `tables` and `calendar` say; else `BadSetting` is raised.

    `day_users` is what retention reads, by default one that keeps nothing.
    """

    def __init__(self, dynamo: Dynamo, tables: Tables, calendar: Calendar, day_users: DayUsers | None = None) -> None:
        self._dynamo = dynamo
        self._tables = tables
        self._calendar = calendar
        self._checked = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="stats")
        self._day_users = day_users or DayUsers(dynamo, tables)
        self._days = ThreadPoolExecutor(DAYS_AT_ONCE, thread_name_prefix="retention")

    def daily_actives(self, first: str, last: str) -> list[DailyActives]:
        """Daily actives of each day from `first` to `last`, both inclusive, days without events at 0.

        Reads one item for each day and counter shard, strongly consistent: a read unit for each 4 KB of a shard.
        """
        self._check_layout()
        actives: Counter[str] = Counter()
        for item in self._counters(first, last, [DAILY_ACTIVES]):
            if DAILY_ACTIVES in item:
                actives[item["sk"]["S"]] += int(item[DAILY_ACTIVES]["N"])
        return [DailyActives(day, actives[day]) for day in days_between(first, last)]

    def top_events(self, first: str, last: str, limit: int) -> list[EventCount]:
        """The `limit` most frequent event types from `first` to `last`, equals by name.

        Reads what `daily_actives` does, and besides one item for each event type that overflowed.
        """
        self._check_layout()
        counts: Counter[str] = Counter()
        overflowed: list[str] = []
        for item in self._counters(first, last):
            for attribute, value in item.items():
                event_type = counted_type(attribute)
                if event_type is not None:
                    counts[event_type] += int(value["N"])
            if OVERFLOW in item:
                shard = int(item["pk"]["S"].rpartition("#")[2])
                overflowed.append(overflow_key(item["sk"]["S"], shard))
        for items in self._readers.map(self._overflow, overflowed):
            for item in items:
                counts[item["sk"]["S"]] += int(item["count"]["N"])
        ranked = heapq.nsmallest(limit, counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return [EventCount(*entry) for entry in ranked]

    def totals(self) -> tuple[Counter[str], float]:
        """All events ever counted, by source, and the seconds that they took from door to counter, added up.

        Reads one item for each day and counter shard, eventually consistent: half a read unit for each 4 KB of a shard.
        """
        self._check_layout()
        events: Counter[str] = Counter()
        milliseconds = 0
        for item in self._shards("pk = :counts", {}):
            milliseconds += int(item.get(PROCESSING, {"N": "0"})["N"])
            for attribute, value in item.items():
                source = counted_source(attribute)
                if source is not None:
                    events[source] += int(value["N"])
        return events, milliseconds / 1000

    def retention(self, day: str, windows: int, window_days: int, *, new_users: bool, today: str) -> Retention:
        """How many of a day's users came back in each window of `window_days` days after it.

        Window k begins k x `window_days` days after the cohort's day. The cohort is everyone active on that day, or
        with `new_users` everyone first seen on it. Exact, late events included. Raises `OverflowError` where the
        last window ends after the year 9999.

        Reads the counters of all these days, and their users up to `today` as `DayUsers` does: a GET for each large
        day that was read before, else some 1,200 read units for each 100,000 users of a day, $0.00015 on demand.
        Memory holds the cohort, the users of `DAYS_AT_ONCE` days, and a byte a user of the cohort for each window.
        """
        self._check_layout()
        starts = [add_days(day, number * window_days) for number in range(1, windows + 1)]
        ends = [add_days(start, window_days - 1) for start in starts]
        last = max(day, min(ends[-1], today))
        counted = {actives.date: actives.dau for actives in self.daily_actives(day, last)}

        def active(on: str) -> set[str]:
            return self._day_users.read(on, counted[on], over=on < today)

        cohort = list(self._new_users(day) if new_users else active(day))

        def returned(on: str) -> int:
            """A byte for each of the cohort, 1 where active on the day: what has 100,000 users is 100 KB."""
            return int.from_bytes(bytes(map(active(on).__contains__, cohort)), "little") if cohort else 0

        of_days = self._days.map(returned, days_between(starts[0], last))
        answers = []
        for number, (start, end) in enumerate(zip(starts, ends, strict=True), 1):
            came_back = 0
            for of_day in islice(of_days, len(days_between(start, min(end, today)))):
                came_back |= of_day
            answers.append(Window(number, start, came_back.bit_count(), complete=end < today))
        return Retention(len(cohort), answers)

    def _check_layout(self) -> None:
        if not self._checked:
            check_layout(self._dynamo, self._tables, self._calendar)
            self._checked = True

    def _new_users(self, day: str) -> set[str]:
        """The users first seen on a day."""
        pages = self._dynamo.query(
            TableName=self._tables.stats,
            IndexName="first_day",
            KeyConditionExpression="first_day = :day",
            ProjectionExpression="user_id",
            ExpressionAttributeValues={":day": {"S": day}},
        )
        return {item["user_id"]["S"] for page in pages for item in page}

    def _counters(self, first: str, last: str, attributes: Sequence[str] = ()) -> Iterator[Item]:
        """The counter items of the days, with the named attributes (and their day) or all."""
        projection: dict[str, Any] = {}
        if attributes:
            names = {f"#{index}": name for index, name in enumerate(("sk", *attributes))}
            projection = {"ProjectionExpression": ",".join(names), "ExpressionAttributeNames": names}

        days = {":first": {"S": first}, ":last": {"S": last}}
        return self._shards("pk = :counts AND sk BETWEEN :first AND :last", days, ConsistentRead=True, **projection)

    def _shards(self, condition: str, values: Mapping[str, Any], **options: Any) -> Iterator[Item]:
        """The items of all counter shards that meet a condition on `:counts`, a shard's partition."""

        def read(shard: int) -> list[Item]:
            pages = self._dynamo.query(
                TableName=self._tables.stats,
                KeyConditionExpression=condition,
                ExpressionAttributeValues={":counts": {"S": counts_key(shard)}, **values},
                **options,
            )
            return [item for page in pages for item in page]

        for items in self._readers.map(read, range(self._tables.counter_shards)):
            yield from items

    def _overflow(self, key: str) -> list[Item]:
        pages = self._dynamo.query(
            TableName=self._tables.stats,
            KeyConditionExpression="pk = :types",
            ExpressionAttributeValues={":types": {"S": key}},
            ConsistentRead=True,
        )
        return [item for page in pages for item in page]
