"""Exactly-once counting over at-least-once delivery.

A batch claims its events, then its (day, user) pairs: the consumer inserts each that is absent, under the batch's name.
A claim never changes hands. So every delivery of a batch owns the same events and pairs, however far an earlier
delivery came. The consumer adds what the batch owns to the counters in transactions that also put the batch's receipt.
A receipt can be put only once, so each transaction happens only once. What is added to the sender's ledger with them is
in `rollcall.counting.ledger`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from rollcall.core.batch import Batch, make_batch
from rollcall.core.days import Calendar
from rollcall.core.events import Event, flaw, is_profile_call
from rollcall.core.projects import Project
from rollcall.counting import ledger
from rollcall.counting.counters import Increment, Part, Vocabulary, plan_part, tally
from rollcall.counting.receipts import PENDING_SECONDS, PROFILES, Receipt, is_last, read_standing, told_otherwise
from rollcall.stack.dynamo import Dynamo, Item, addition
from rollcall.stack.keys import (
    LEFT,
    REFUSED,
    Tables,
    counted_type,
    counts_key,
    day_of_index,
    event_key,
    first_day_key,
    indexed_day,
    moves_key,
    overflow_key,
    receipt_key,
    shard_of,
    users_key,
)

_K = TypeVar("_K")
_V = TypeVar("_V")


class DeadLetters(Protocol):
    """Where the consumer sends events that can never be stored."""

    def send(self, batch: Batch, reason: str) -> None:
        """Keep a batch with the reason; raises if that fails."""


class BatchArchive(Protocol):
    """A second store, beside the events table, of the events that batches own."""

    def keep(self, batch: Batch, events: Sequence[Event], days: Sequence[str]) -> None:
        """Keep the events of a batch, each with its day, in place of any kept before; raises if that fails."""


@dataclass
class Applied:
    """The outcome of one delivery."""

    receipt: Receipt
    repeated: bool
    """Whether an earlier delivery had done all of the work."""


class Claims:
    """Stores batches and counts them. Each warm consumer has one instance.

    `calendars` gives the days of a project, which must never change, and raises if there is no such project.

    An instance remembers up to `remember` (day, user) pairs. Without an `archive`, the events are in the events table
    only. Events expire from the table `hot_days` days after they were received; 0 means never. When an event has
    expired, another event can take its id.
    """

    def __init__(
        self,
        dynamo: Dynamo,
        tables: Tables,
        calendars: Callable[[Project], Calendar],
        dead_letters: DeadLetters,
        remember: int = 100_000,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        archive: BatchArchive | None = None,
        hot_days: int = 0,
    ) -> None:
        self._now = now
        self._archive = archive
        self._hot_days = hot_days
        self._dynamo = dynamo
        self._tables = tables
        self._calendars = calendars
        self._dead_letters = dead_letters
        # All of them by project, so that one project's pairs are no others', and together they are no more.
        self._pair_owners: Remembered[tuple[Project, str, str], str] = Remembered(remember)
        self._first_days: Remembered[tuple[Project, str], str] = Remembered(remember)
        self._vocabularies: Remembered[tuple[Project, int, str], Vocabulary] = Remembered(1_000)

    def apply(self, batch: Batch) -> Applied:
        """Store and count a batch. Safe to repeat, to interrupt at any point, and to run at the same time as others.

        Costs one write unit for each event and each new (day, user) pair, two for each new user, and usually four for
        the transaction. A ledger takes two more, and another two where events were rejected. A body that is sent again
        costs the ledger's and two for a mark. Raises `rollcall.stack.dynamo.Unavailable`, botocore's errors, or
        `RuntimeError` if the receipt or DynamoDB contradicts this delivery. After any error the batch has to be
        delivered again.
        """
        if not batch.events:
            nothing = Receipt(0, 0, 0, 0, 0)
            return Applied(nothing, repeated=not self._enter(batch, nothing, counted=False))
        first = self._first_part(batch.project, batch.batch_id)
        if first and "repaired" in first:
            # The repair counts the events that the batch stored. All others are stored and counted under another name.
            return self.apply(_successor(batch))
        done = _done(first)
        if first and done:
            self._enter_another(batch, done.receipt, first)
        return done or self._apply(batch, {})

    def give_up(self, project: Project, batch_id: str) -> None:
        """Stop consumers from storing events under a batch's name. A consumer that has already begun may still finish.

        If the batch is delivered again, its events that are not stored yet are stored and counted under another name.
        Does nothing to a batch whose counting has begun, because all of its events are stored. One write unit.
        """
        nothing = Receipt(0, 0, 0, 0, 0)
        item = self._receipt_item(project, batch_id, "0", nothing, applied=0, total=-1, repaired=1, given_up=1)
        self._dynamo.put_if_absent(self._tables.stats, item)

    def repair(self, batch: Batch) -> Applied:
        """Count the stored events of a batch that was given up; safe to repeat.

        `batch` holds the stored events that carry its name. Call this only when no consumer can still work on the
        batch: later than the template's `ConsumerTimeout` after it was given up. Raises `ValueError` if the batch was
        not given up, and the errors of `apply`.
        """
        first = self._first_part(batch.project, batch.batch_id)
        if first is None:
            raise ValueError("the batch has not been given up")
        return _done(first) or self._apply(batch, {"repaired": 1} if "repaired" in first else {})

    def _apply(self, batch: Batch, marks: Mapping[str, int]) -> Applied:
        # Before anything is stored, since it raises for an unknown project.
        calendar = self._calendars(batch.project)
        events, repeats, flawed = _sound(batch.events)
        owned, duplicates, conflicts, refused, again = self._claim_events(batch, events, repeats)
        # Before the receipt: once a batch has one, no later delivery comes this far.
        for event, reason in (*flawed, *refused):
            self._dead_letters.send(make_batch(batch.project, [event], batch.source, batch.received_at), reason)
        days = [calendar.day_of(event.occurred_at) for event in owned]
        counted = [
            (day, event) for day, event in zip(days, owned, strict=True) if not is_profile_call(event.event_type)
        ]
        pairs = self._claim_pairs(batch, {(day, event.user_id) for day, event in counted})
        self._lower_first_days(batch, pairs, again=again)
        receipt = Receipt(
            received=len(batch.events),
            inserted=len(owned),
            duplicates=duplicates,
            conflicts=conflicts,
            refused=len(flawed) + len(refused),
        )
        if receipt.refused == receipt.received:
            # The batch gets no first part, so that a redrive from the dead-letter queue is not taken for a repeat.
            self._enter(batch, receipt, counted=True)
            self._dynamo.put_if_absent(
                self._tables.stats, self._receipt_item(batch.project, batch.batch_id, REFUSED, receipt)
            )
            return Applied(receipt, repeated=False)
        if self._archive and owned:
            # Before the receipt too, so that a reader who finds it finds the events. Every delivery owns the same ones.
            self._archive.keep(batch, owned, days)
        types = ((day, event.event_type) for day, event in counted)
        milliseconds = batch.age(self._now()) // timedelta(milliseconds=1)
        increments = tally(types, (day for day, _ in pairs), batch.source, milliseconds)
        if len(counted) < len(owned):
            # Tells an audit that they are in no number. Before there were profile calls, their types were counted.
            marks = {**marks, PROFILES: len(owned) - len(counted)}
        repeated = self._count(batch, receipt, increments, marks)
        return Applied(receipt, repeated)

    def _first_part(self, project: Project, batch_id: str) -> Item | None:
        """The first part of a batch's receipt, or None; one read unit."""
        return self._dynamo.find(self._tables.stats, receipt_key(project, batch_id), "0")

    def _claim_events(
        self, batch: Batch, events: Sequence[Event], repeats: Sequence[Event]
    ) -> tuple[list[Event], int, int, list[tuple[Event, str]], bool]:
        """Insert the absent ones of `events`, and compare `repeats`, which have ids of these, with what is stored.

        Returns the events that this batch owns, from this delivery or an earlier one; the number of duplicates; the
        number of conflicts; the events that DynamoDB refuses, with reasons; and whether an earlier delivery owned some.
        """
        names = (*Event._fields, "received_at", "source", "batch", "fingerprint")
        common = (batch.received_at, batch.source, batch.batch_id)
        values = ",".join(f"'{name}':?" for name in names)
        if self._hot_days:
            # The only number. It is the same for the whole batch, so it is a part of the statement, not a parameter.
            values += f",'expires_at':{self._expires_at(batch)}"
        unmet, refused = self._dynamo.execute(
            f'INSERT INTO "{self._tables.events}" VALUE {{{values}}}',
            [
                [
                    {"S": text}
                    for text in (event_key(batch.project, event.event_id), *event[1:], *common, event.fingerprint())
                ]
                for event in events
            ],
        )
        standing = read_standing(
            self._dynamo, self._tables.events, batch.project, (events[position].event_id for position in unmet)
        )
        owned: list[Event] = []
        present = []
        for position, event in enumerate(events):
            if position in refused:
                continue
            if position not in unmet or standing[event.event_id].batch == batch.batch_id:
                owned.append(event)
            else:
                present.append(event)
        flawed = [(events[position], reason) for position, reason in refused.items()]
        reasons = {event.event_id: reason for event, reason in flawed}
        fingerprints = {event_id: stored.fingerprint for event_id, stored in standing.items()}
        if repeats:
            fingerprints |= {event.event_id: event.fingerprint() for event in owned}
        duplicates = 0
        others: list[Event] = []
        for event in (*present, *repeats):
            if event.event_id in reasons:
                flawed.append((event, reasons[event.event_id]))
            elif event.fingerprint() == fingerprints[event.event_id]:
                duplicates += 1
            else:
                others.append(event)
        same = told_otherwise(self._dynamo, self._tables.events, batch.project, others)
        conflicts = sum(event not in same for event in others)
        again = any(stored.batch == batch.batch_id for stored in standing.values())
        return owned, duplicates + len(others) - conflicts, conflicts, flawed, again

    def _expires_at(self, batch: Batch) -> int:
        """When the events of a batch expire: seconds since the epoch."""
        now = self._now()
        return int((now - batch.age(now)).timestamp()) + self._hot_days * 86_400

    def _claim_pairs(self, batch: Batch, pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
        """Insert the absent (day, user) pairs. Returns those that this batch owns, from this or an earlier delivery.

        Reads the pairs first: in steady traffic most exist, a read costs half a read unit, and a refused insert costs
        a write unit. An old answer does no harm, because a pair that exists is never removed.
        """
        project = batch.project
        owners = {pair: self._pair_owners[project, *pair] for pair in pairs if (project, *pair) in self._pair_owners}
        unknown = sorted(pair for pair in pairs if pair not in owners)
        owners |= self._read_pair_owners(project, unknown, consistent=False)
        absent = [pair for pair in unknown if pair not in owners]
        unmet = self._write_stats(
            f"INSERT INTO \"{self._tables.stats}\" VALUE {{'pk':?,'sk':?,'batch':?}}",
            [(self._users_key(project, pair), pair[1], batch.batch_id) for pair in absent],
        )
        owners |= {pair: batch.batch_id for position, pair in enumerate(absent) if position not in unmet}
        owners |= self._read_pair_owners(project, [absent[position] for position in unmet], consistent=True)
        self._pair_owners.remember({(project, *pair): owner for pair, owner in owners.items()})
        return sorted(pair for pair in pairs if owners[pair] == batch.batch_id)

    def _read_pair_owners(
        self, project: Project, pairs: Sequence[tuple[str, str]], *, consistent: bool
    ) -> dict[tuple[str, str], str]:
        by_key = {(self._users_key(project, pair), pair[1]): pair for pair in pairs}
        return {
            by_key[item["pk"]["S"], item["sk"]["S"]]: item["batch"]["S"]
            for item in self._dynamo.get(
                self._tables.stats,
                [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in by_key],
                ["pk", "sk", "batch"],
                consistent=consistent,
            )
        }

    def _users_key(self, project: Project, pair: tuple[str, str]) -> str:
        day, user_id = pair
        return users_key(project, day, shard_of(user_id, self._tables.user_shards))

    def _lower_first_days(self, batch: Batch, pairs: Iterable[tuple[str, str]], *, again: bool) -> None:
        """Lower each user's first day to the earliest of the pairs. It is a minimum, so repeating this does no harm.

        Then count on each day that a user has left that users did: a write unit for each KB of its counter item, and
        one for all of these days together. `again` tells that another delivery may have come so far.
        """
        project = batch.project
        earliest: dict[str, str] = {}
        for day, user_id in pairs:
            earliest[user_id] = min(day, earliest.get(user_id, day))
        # First days only move to earlier days. So an outdated one is too late, never too early.
        unsettled = [user for user, day in earliest.items() if self._first_days.get((project, user), "~") > day]
        known = self._read_first_days(project, unsettled, consistent=False)
        absent = [user for user in unsettled if user not in known]
        unmet = self._write_stats(
            f"INSERT INTO \"{self._tables.stats}\" VALUE {{'pk':?,'sk':?,'first_day':?,'user_id':?}}",
            [(first_day_key(project, user), "-", indexed_day(project, earliest[user]), user) for user in absent],
        )
        known |= self._read_first_days(project, [absent[position] for position in unmet], consistent=True)
        # Nothing but another delivery of this batch sets a first day to that of a pair which this batch owns. It may
        # have died since, and may find the receipt when it comes again.
        again |= any(day == earliest[user] for user, day in known.items())
        left: set[str] = set()
        while later := {user: day for user, day in known.items() if day > earliest[user]}:
            left |= self._note_moves(batch, set(later.values()) - left)
            unmet = self._write_stats(
                f'UPDATE "{self._tables.stats}" SET first_day=? WHERE pk=? AND sk=? AND first_day=?',
                [
                    (
                        indexed_day(project, earliest[user]),
                        first_day_key(project, user),
                        "-",
                        indexed_day(project, day),
                    )
                    for user, day in later.items()
                ],
            )
            lost = [user for position, user in enumerate(later) if position in unmet]
            known |= {user: earliest[user] for user in later}
            found = self._read_first_days(project, lost, consistent=True)
            again |= any(day == earliest[user] for user, day in found.items())
            known |= found
        if again:
            left |= self._noted_moves(batch)
        shard = shard_of(batch.batch_id, self._tables.counter_shards)
        for day in sorted(left):
            # Twice is once too often, and does no harm. So this needs no receipt, but has to come before the batch's.
            self._dynamo.update(
                self._tables.stats,
                counts_key(project, shard),
                day,
                UpdateExpression="ADD #left :one",
                ExpressionAttributeNames={"#left": LEFT},
                ExpressionAttributeValues={":one": {"N": "1"}},
            )
        self._first_days.remember({(project, user): min(earliest[user], known.get(user, "~")) for user in unsettled})

    def _read_first_days(self, project: Project, users: Sequence[str], *, consistent: bool) -> dict[str, str]:
        """The first days of those of some users who have one."""
        return {
            item["user_id"]["S"]: day_of_index(project, item["first_day"]["S"])
            for item in self._dynamo.get(
                self._tables.stats,
                [{"pk": {"S": first_day_key(project, user)}, "sk": {"S": "-"}} for user in users],
                ["user_id", "first_day"],
                consistent=consistent,
            )
        }

    def _note_moves(self, batch: Batch, days: set[str]) -> set[str]:
        """Note, before it is done, that a batch moves first days away from some days. Returns the days.

        Once a first day is moved, nothing else tells where it was to a delivery that comes after a crash.
        """
        if days:
            self._dynamo.update(
                self._tables.stats,
                moves_key(batch.project, batch.batch_id),
                "-",
                UpdateExpression="ADD #days :days SET expires_at = :end",
                ExpressionAttributeNames={"#days": "days"},
                ExpressionAttributeValues={
                    ":days": {"SS": sorted(days)},
                    ":end": {"N": str(int(self._now().timestamp()) + PENDING_SECONDS)},
                },
            )
        return days

    def _noted_moves(self, batch: Batch) -> set[str]:
        """The days from which deliveries of a batch moved first days away, or were about to; one read unit."""
        item = self._dynamo.find(self._tables.stats, moves_key(batch.project, batch.batch_id))
        return set(item["days"]["SS"]) if item else set()

    def _write_stats(self, statement: str, rows: Iterable[Sequence[str]]) -> Iterable[int]:
        """Run a write for each row; returns the positions of the rows whose condition did not hold."""
        unmet, refused = self._dynamo.execute(statement, [[{"S": text} for text in row] for row in rows])
        if refused:
            raise RuntimeError(f"DynamoDB refuses an item of the stats: {next(iter(refused.values()))}")
        return unmet

    def _count(self, batch: Batch, receipt: Receipt, increments: Sequence[Increment], marks: Mapping[str, int]) -> bool:
        """Add the increments and put the receipt, usually in one transaction, else in several parts.

        Each part of the receipt says how many increments are applied so far. If another delivery put a part first,
        this delivery continues after that part. So each increment is in exactly one part, whichever deliveries apply
        them. Returns whether other deliveries had applied all parts.
        """
        shard = shard_of(batch.batch_id, self._tables.counter_shards)
        start, number, repeated = 0, 0, True
        entry = ledger.additions(batch, receipt, self._tables, counted=True)
        of_another: Item | None = None
        while True:
            vocabularies = self._vocabularies_for(batch.project, shard, increments[start:])
            part = plan_part(increments, start, vocabularies, len(entry))
            writes = self._writes(batch, receipt, number, len(increments), shard, part, marks)
            standing = self._dynamo.transact([*writes, *entry])
            if standing is None:
                repeated = False
                start = part.end
                self._vocabularies.remember({(batch.project, shard, day): known for day, known in vocabularies.items()})
            elif "repaired" in standing and "repaired" not in marks:
                raise RuntimeError("the batch was repaired while it was being applied")
            elif int(standing["total"]["N"]) == len(increments):
                start = int(standing["applied"]["N"])
                of_another = of_another or (None if number else standing)
            else:
                raise RuntimeError("an earlier try of this batch counted other days or event types")
            entry = []
            if start == len(increments):
                if of_another:
                    self._enter_another(batch, receipt, of_another)
                return repeated
            number += 1

    def _enter_another(self, batch: Batch, receipt: Receipt, first: Item) -> None:
        """Enter a message into its ledger unless it is the one that was entered with the first part of the receipt."""
        if batch.delivery and not ledger.named_in(first, batch.delivery):
            self._enter(batch, receipt, counted=False)

    def _enter(self, batch: Batch, receipt: Receipt, *, counted: bool) -> bool:
        """Enter a message into its ledger, if it has one and is not there; returns whether it was entered."""
        if batch.delivery is None:
            return False
        writes = ledger.additions(batch, receipt, self._tables, counted=counted)
        return self._dynamo.transact([ledger.mark(batch, batch.delivery, self._tables, self._now()), *writes]) is None

    def _vocabularies_for(self, project: Project, shard: int, increments: Sequence[Increment]) -> dict[str, Vocabulary]:
        """The event types in each day's counter item. Reads the items of days with a type that is not remembered."""
        types: dict[str, set[str]] = {}
        for increment in increments:
            needed = types.setdefault(increment.day, set())
            event_type = counted_type(increment.counter)
            if event_type is not None:
                needed.add(event_type)
        known: dict[str, Vocabulary] = {}
        for day, needed in types.items():
            remembered = self._vocabularies.get((project, shard, day), None)
            if remembered and needed <= remembered.types:
                known[day] = remembered
        unknown = [day for day in types if day not in known]
        if unknown:
            known |= {day: Vocabulary() for day in unknown}
            for item in self._dynamo.get(
                self._tables.stats, [{"pk": {"S": counts_key(project, shard)}, "sk": {"S": day}} for day in unknown]
            ):
                known[item["sk"]["S"]] = Vocabulary.of_item(item)
        return known

    def _writes(
        self,
        batch: Batch,
        receipt: Receipt,
        number: int,
        total: int,
        shard: int,
        part: Part,
        marks: Mapping[str, int],
    ) -> list[Mapping[str, Any]]:
        table = self._tables.stats
        return [
            {
                "Put": {
                    "TableName": table,
                    "Item": self._receipt_item(
                        batch.project, batch.batch_id, str(number), receipt, applied=part.end, total=total, **marks
                    )
                    | ({} if number else ledger.name_of(batch)),
                    # The first part of a batch that was given up holds no count, so a repair may replace it.
                    "ConditionExpression": "attribute_not_exists(pk)"
                    + (" OR attribute_exists(given_up)" if "repaired" in marks else ""),
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }
            },
            *(
                addition(table, counts_key(batch.project, shard), day, additions)
                for day, additions in part.days.items()
            ),
            *(
                addition(
                    table,
                    overflow_key(batch.project, one.day, shard),
                    str(counted_type(one.counter)),
                    {"count": one.count},
                )
                for one in part.overflow
            ),
        ]

    def _receipt_item(self, project: Project, batch_id: str, sk: str, receipt: Receipt, **numbers: int) -> Item:
        numbers |= receipt._asdict()
        return {
            "pk": {"S": receipt_key(project, batch_id)},
            "sk": {"S": sk},
            **{name: {"N": str(value)} for name, value in numbers.items()},
        }


class Remembered(OrderedDict[_K, _V]):
    """A mapping that keeps the latest `limit` entries."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def remember(self, entries: Mapping[_K, _V]) -> None:
        """Add entries, then forget the oldest ones beyond the limit."""
        self.update(entries)
        while len(self) > self._limit:
            self.popitem(last=False)


def _done(first: Item | None) -> Applied | None:
    """The outcome, if the first part of a receipt is also the last; else None."""
    if first is None or not is_last(first):
        return None
    return Applied(Receipt.of_item(first), repeated=True)


def _successor(batch: Batch) -> Batch:
    """The batch under the name that a delivery after its repair uses."""
    name = hashlib.sha256(f"{batch.batch_id} after its repair".encode()).hexdigest()
    return batch._replace(batch_id=name[:32])


def _sound(events: Iterable[Event]) -> tuple[list[Event], list[Event], list[tuple[Event, str]]]:
    """The events to store, each id once; their repeats; and the events that can never be stored, with reasons."""
    sound: dict[str, Event] = {}
    repeats: list[Event] = []
    flawed: list[tuple[Event, str]] = []
    for event in events:
        reason = flaw(event)
        if reason:
            flawed.append((event, reason))
        elif event.event_id in sound:
            repeats.append(event)
        else:
            sound[event.event_id] = event
    return list(sound.values()), repeats, flawed
