"""Shares: who has the token of one may look at a view of one project, until its end.

A share is an item, which is all that there is to revoke: the gate looks it up with each request. Whoever made it may be
gone. The table deletes it after its end.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from rollcall.access.api_keys import digest_of, is_name
from rollcall.access.lists import entry, listed
from rollcall.access.reach import Reach, reach_of
from rollcall.core.days import EVER, Calendar, day_count, parse_day, timestamp
from rollcall.core.events import moment_of
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import SHARES_KEY, share_key

MAX_DAYS = 366
MAX_LIFETIME = timedelta(days=366)
SCOPES = ("read",)

_TOKEN = re.compile(r"sh_([0-9a-f]{16})_[0-9a-f]{48}")
_ID = re.compile(r"[0-9a-f]{16}")


class UnknownShare(LookupError):
    """No share has this id or this token, or has it no longer."""


class BadShare(ValueError):
    """A field of a new share is not acceptable; the text names the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class Share(NamedTuple):
    """What somebody shared. Times are RFC 3339 in UTC."""

    share_id: str
    name: str
    view: str
    project: Project
    segment: tuple[str, ...]
    """The conditions of each of its questions."""
    first: str | None
    """The first day; None where it is about the last `days`."""
    last: str | None
    days: int | None
    period: str | None
    """How the view begins; it says nothing about what may be asked."""
    created_at: str
    expires_at: str

    def range(self, calendar: Calendar) -> tuple[str, str]:
        """The first and the last day that it shows, by the days of its project."""
        if self.first is not None and self.last is not None:
            return self.first, self.last
        today = calendar.today(datetime.now(UTC))
        return _before(today, (self.days or 1) - 1), today

    def reach(self, calendar: Calendar) -> tuple[str, str]:
        """The first and the last day that may be asked about: those of the period before, too, to compare with."""
        first, last = self.range(calendar)
        return _before(first, day_count(first, last)), last


class NewShare(NamedTuple):
    """What somebody wants to share: days from `first` to `last`, or the last `days`."""

    name: str
    view: str
    project: Project
    segment: Sequence[str]
    first: str | None
    last: str | None
    days: int | None
    period: str | None
    expires_at: str


class Shares:
    """The shares in a table. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def create(self, wanted: NewShare) -> tuple[Share, str]:
        """Make a share; returns it with its token, which is stored nowhere. Raises `BadShare`.

        The caller has made sure that there are the view and the project, and that the conditions can be read.
        """
        until = self._check(wanted)
        share_id = secrets.token_hex(8)
        token = f"sh_{share_id}_{secrets.token_hex(24)}"
        expires = {"expires_at": {"N": str(until)}}
        reach = Reach(wanted.project)
        item: Item = {
            "pk": {"S": share_key(share_id)},
            "sk": {"S": "-"},
            "hash": {"S": digest_of(token)},
            "name": {"S": wanted.name},
            "view": {"S": wanted.view},
            "segment": {"L": [{"S": condition} for condition in wanted.segment]},
            "scopes": {"SS": list(SCOPES)},
            "created_at": {"S": timestamp(self._clock())},
            **reach.attribute,
            **expires,
        }
        if wanted.days is not None:
            item["days"] = {"N": str(wanted.days)}
        for name, text in (("first", wanted.first), ("last", wanted.last), ("period", wanted.period)):
            if text is not None:
                item[name] = {"S": text}
        items = (item, entry(SHARES_KEY, share_id, reach, **expires))
        self._dynamo.transact([{"Put": {"TableName": self._table, "Item": each}} for each in items])
        return shown(item), token

    def all(self, within: Reach) -> list[Share]:
        """The shares within a reach that have not ended, oldest first."""
        items = listed(self._dynamo, self._table, SHARES_KEY, share_key, within)
        found = [shown(item) for item in items if not has_ended(item, self._clock())]
        return sorted(found, key=lambda share: (share.created_at, share.share_id))

    def revoke(self, share_id: str, within: Reach) -> None:
        """End a share from now on; raises `UnknownShare`, also for one that is not within the reach of who asks."""
        item = self._dynamo.find(self._table, share_key(share_id)) if _ID.fullmatch(share_id) else None
        if not item or not within.covers(reach_of(item)):
            raise UnknownShare(share_id)
        keys = [{"pk": item["pk"], "sk": item["sk"]}, {"pk": {"S": SHARES_KEY}, "sk": {"S": share_id}}]
        self._dynamo.transact([{"Delete": {"TableName": self._table, "Key": key}} for key in keys])

    def open(self, token: str) -> tuple[Share, int]:
        """The share with a token, and the seconds until it ends; raises `UnknownShare`."""
        match = _TOKEN.fullmatch(token)
        item = self._dynamo.find(self._table, share_key(match[1])) if match else None
        now = self._clock()
        if not item or not hmac.compare_digest(item["hash"]["S"], digest_of(token)) or has_ended(item, now):
            raise UnknownShare
        return shown(item), int(item["expires_at"]["N"]) - int(now)

    def _check(self, wanted: NewShare) -> int:
        """The end of a share in seconds."""
        if not is_name(wanted.name):
            raise BadShare("name", "has to have 1 to 100 characters that can be seen")
        if wanted.days is None:
            _check_days(wanted.first, wanted.last)
        elif wanted.first is not None or wanted.last is not None:
            raise BadShare("days", "is in place of from and to, which come too")
        elif not 1 <= wanted.days <= MAX_DAYS:
            raise BadShare("days", f"has to be from 1 to {MAX_DAYS}")
        until = _seconds(wanted.expires_at)
        if not self._clock() < until <= self._clock() + MAX_LIFETIME.total_seconds():
            raise BadShare("expires_at", f"has to be in the future, {MAX_LIFETIME.days} days ahead at most")
        return int(until)


def _seconds(text: str) -> float:
    moment = moment_of(text)
    if moment is None:
        raise BadShare("expires_at", "has to be RFC 3339 with an offset, such as 2025-08-01T09:30:00+03:00")
    return moment.timestamp()


def _check_days(first: str | None, last: str | None) -> None:
    for name, day in (("from", first), ("to", last)):
        if day is None:
            raise BadShare(name, "is missing; name from and to, or days")
        try:
            parse_day(day)
        except ValueError as error:
            raise BadShare(name, str(error)) from None
    if not 1 <= day_count(str(first), str(last)) <= MAX_DAYS:
        raise BadShare("to", f"has to be from as on, and {MAX_DAYS} days with it at most")


def has_ended(item: Item, now: float) -> bool:
    """Whether a share is over, which the table may have yet."""
    return now >= int(item["expires_at"]["N"])


def shown(item: Item) -> Share:
    """A stored share."""

    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    return Share(
        share_id=item["pk"]["S"].partition("#")[2],
        name=item["name"]["S"],
        view=item["view"]["S"],
        project=Project(item["project"]["S"]),
        segment=tuple(condition["S"] for condition in item["segment"]["L"]),
        first=text("first"),
        last=text("last"),
        days=int(item["days"]["N"]) if "days" in item else None,
        period=text("period"),
        created_at=item["created_at"]["S"],
        expires_at=timestamp(int(item["expires_at"]["N"])),
    )


def _before(day: str, count: int) -> str:
    try:
        return (date.fromisoformat(day) - timedelta(days=count)).isoformat()
    except OverflowError:
        return EVER
