"""What a stack has counted of a load, and what it has to have counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from scripts.api import Api
from scripts.sdks.load import Event, Load
from scripts.sdks.registry import Sdk

MOST_TYPES = 1_000
# What becomes of an event that is accepted, as the ledger of a key calls it.
COUNTED, DUPLICATES = "counted", "duplicates"
FATES = (COUNTED, DUPLICATES, "conflicts", "refused")

_Name = TypeVar("_Name")


@dataclass(frozen=True)
class Numbers:
    """What a stack answers about some days."""

    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By day and event type."""
    actives: Counter[str] = field(default_factory=Counter)
    """Users by day."""
    fates: Counter[str] = field(default_factory=Counter)
    """What became of the events that came with a key on these days, by its ledger. Profile calls are among them."""

    @classmethod
    def of(cls, api: Api, days: Sequence[date], key_id: str) -> "Numbers":
        """Ask a stack."""
        events: Counter[tuple[str, str]] = Counter()
        for day in days:
            span: Mapping[str, Any] = {"from": day.isoformat(), "to": day.isoformat(), "limit": MOST_TYPES}
            for row in api.get("/stats/top-events", span)["data"]:
                events[day.isoformat(), row["event_type"]] = row["count"]
        span = {"from": min(days).isoformat(), "to": max(days).isoformat()}
        actives = Counter({row["date"]: row["dau"] for row in api.get("/stats/dau", span)["data"]})
        fates: Counter[str] = Counter()
        for row in api.get(f"/keys/{key_id}/ledger", span)["data"]:
            fates.update({name: row[name] for name in FATES})
            fates.update({f"rejected as {code}": count for code, count in row["rejected"].items()})
        return cls(events, actives, fates)

    def __add__(self, other: "Numbers") -> "Numbers":
        return self._with(other, 1)

    def __sub__(self, other: "Numbers") -> "Numbers":
        return self._with(other, -1)

    def _with(self, other: "Numbers", sign: int) -> "Numbers":
        return Numbers(
            _summed(self.events, other.events, sign),
            _summed(self.actives, other.actives, sign),
            _summed(self.fates, other.fates, sign),
        )

    def but_duplicates(self) -> "Numbers":
        """These, where nobody can say how often an event is sent again."""
        return replace(self, fates=Counter({name: n for name, n in self.fates.items() if name != DUPLICATES}))

    def about(self, own: "Numbers", due: "Numbers") -> "Numbers":
        """Those of an SDK: what is its `own`, and what is due to none of those that ran together."""
        events = {name: count for name, count in self.events.items() if name in own.events or name not in due.events}
        return replace(self, events=Counter(events))

    @classmethod
    def due(cls, sdk: Sdk, load: Load, today: date, zone: ZoneInfo) -> "Numbers":
        """What has to be counted of a load: each event once, or on `today` if the SDK lets nobody set a time."""
        days = {event.mark: event.moment.astimezone(zone).date() if sdk.times else today for event in load.events}
        users = {(days[event.mark].isoformat(), event.user_id) for event in load.events}
        return cls(
            Counter((days[event.mark].isoformat(), event.event_type) for event in load.events),
            Counter(day for day, _ in users),
            +Counter({COUNTED: len(load.events) + sdk.profiles, DUPLICATES: len(load.again)}),
        )

    def differences(self, found: "Numbers") -> list[str]:
        """What was `found` in place of these, a line each."""
        lines = [
            f"{name[0]} {name[1]}: {self.events[name]} events are due, {found.events[name]} counted"
            for name in sorted(self.events.keys() | found.events.keys())
            if self.events[name] != found.events[name]
        ]
        lines += [
            f"{day}: {self.actives[day]} users are due, {found.actives[day]} counted"
            for day in sorted(self.actives.keys() | found.actives.keys())
            if self.actives[day] != found.actives[day]
        ]
        return lines + [
            f"the ledger has {found.fates[name]} events {name}, {self.fates[name]} are due"
            for name in sorted(self.fates.keys() | found.fates.keys())
            if self.fates[name] != found.fates[name]
        ]


def _summed(one: Counter[_Name], other: Counter[_Name], sign: int) -> Counter[_Name]:
    """The sum or the difference, below 0 as well, of what is not 0."""
    names = one.keys() | other.keys()
    return Counter({name: count for name in names if (count := one[name] + sign * other[name])})


class StoredEvent(NamedTuple):
    """An event as the archive has it."""

    event_id: str
    occurred_at: datetime
    user_id: str
    event_type: str
    properties: Mapping[str, Any]


def faults(sdk: Sdk, load: Load, stored: Sequence[StoredEvent]) -> list[str]:
    """What is wrong with the stored events of a load: ids, times, users and properties, a line each."""
    # An event without properties of its own is told by its type, its user and its time.
    by_mark = {str(event.properties["load"]): event for event in stored if "load" in event.properties}
    lines = []
    for event in load.events:
        found = by_mark.get(event.mark) or _like(sdk, event, stored)
        if found is None:
            lines.append(f"{event.event_type} of {event.user_id} is not stored")
            continue
        wanted: list[tuple[str, object, object]] = [
            ("type", event.event_type, found.event_type),
            ("user", event.user_id, found.user_id),
        ]
        if sdk.ids:
            wanted.append(("id", event.event_id if sdk.uuids else sdk.stored_id(event.event_id), found.event_id))
        if sdk.times:
            wanted.append(("time", event.moment, found.occurred_at))
        if event.call in sdk.kept:
            kept = {name: found.properties.get(name) for name in event.properties}
            wanted.append(("properties", event.properties, kept))
        lines += [
            f"{event.event_type} of {event.user_id}: {field} {was!r}, stored {became!r}"
            for field, was, became in wanted
            if was != became
        ]
    return lines


def _like(sdk: Sdk, event: Event, stored: Sequence[StoredEvent]) -> StoredEvent | None:
    alike = (each for each in stored if (each.event_type, each.user_id) == (event.event_type, event.user_id))
    return next((each for each in alike if not sdk.times or each.occurred_at == event.moment), None)
