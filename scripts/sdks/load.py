"""The load that an SDK is given, and what a stack has to count of it."""

import re
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from scripts.sdks.registry import Sdk

DAYS_BACK = (3, 2, 1)
EVENTS_OF_A_DAY = 6
# Of the ids that an SDK lets its user set, those of so many events are sent a second time.
AGAIN = 3
# What gets lost in a wrong encoding: characters beyond each of its steps, and those that forms and URLs use themselves.
TEXT = 'naïve ☕ 𝄞 "quoted" a+b=c&d%20'


class Event(NamedTuple):
    """An event to send, and what is to be counted of it."""

    call: str
    event_type: str
    user_id: str
    moment: datetime
    event_id: str
    properties: dict[str, Any]

    @property
    def mark(self) -> str:
        """A text that is in every way of sending the event, and in no other event."""
        return str(self.properties["load"])


@dataclass(frozen=True)
class Load:
    """The events for an SDK."""

    run: str
    """The name of the run, which is in all that it sends: letters and digits."""
    events: Sequence[Event]
    """Each once."""
    again: Sequence[Event]
    """Those of them that are sent a second time."""

    @property
    def sent(self) -> list[Event]:
        """In the order in which they are sent."""
        return [*self.events, *self.again]

    @property
    def profile_user(self) -> str:
        """The user of the calls about people, who has no event."""
        return f"{self.run}-profile"

    def marks(self) -> Counter[str]:
        """How often each event is sent."""
        return Counter(event.mark for event in self.sent)

    def mark_pattern(self) -> re.Pattern[str]:
        """What finds the marks in what was sent."""
        return re.compile(rf"{self.run}-\d{{3}}")

    def given(self, url: str, key: str, variant: str) -> Mapping[str, Any]:
        """What a driver is given, as data for JSON."""
        events = [{**event._asdict(), "moment": event.moment.isoformat()} for event in self.sent]
        return {"url": url, "key": key, "variant": variant, "user_id": self.profile_user, "events": events}


def load_for(sdk: Sdk, run: str, today: date, zone: ZoneInfo) -> Load:
    """The load of an SDK: events of three days before `today`, or of now if it lets nobody set a time."""
    events: list[Event] = []

    def add(call: str, event_type: str, days_back: int) -> None:
        number = len(events)
        # About noon, which is on this day wherever the clock of the run is.
        noon = datetime.combine(today - timedelta(days_back), time(12), zone).astimezone(UTC)
        moment = noon + timedelta(minutes=number, milliseconds=number * 41)
        mark = f"{run}-{number:03}"
        properties = {"load": mark, "text": TEXT, "price": 12.5, "deep": {"list": [1, True, "é"]}}
        event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, mark)) if sdk.uuids else f"id/{run}/{number}"
        # Not the same users each day.
        user = f"{run}-Zoë-{number % min(sdk.users, days_back + 2)}"
        events.append(Event(call, event_type, user, moment, event_id, properties))

    for days_back in DAYS_BACK:
        for number in range(EVENTS_OF_A_DAY):
            kind = sdk.types[(number + days_back) % len(sdk.types)]
            add("track", f"{kind} {run}", days_back)
    for call, event_type in sdk.calls.items():
        for days_back in (DAYS_BACK[0], DAYS_BACK[-1]):
            add(call, event_type.format(run=run), days_back)
    return Load(run, events, events[:AGAIN] if sdk.ids else ())
