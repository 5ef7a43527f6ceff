"""What an admin sees and does of accounts and their sessions. It needs no password and signs nothing.

An account that is not `within` the reach of the admin who asks is unknown to them.
"""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from rollcall.access.api_keys import SCOPES
from rollcall.access.lists import listed
from rollcall.access.reach import Reach, reach_of
from rollcall.core.days import timestamp
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import ACCOUNTS_KEY, account_key, session_key

# The attribute of an account that nobody may log in to; its value is since when.
DISABLED = "disabled_at"

# All but the password.
_PUBLIC = ("pk", "email", "scopes", "project", DISABLED)
_ID = re.compile(r"[0-9a-f]{32}")


class UnknownAccount(LookupError):
    """No account has this id."""


class UnknownSession(LookupError):
    """The account has no session of this id, or has it no longer."""


class KnownAccount(NamedTuple):
    """An account without its password. Times are RFC 3339 in UTC."""

    account_id: str
    email: str
    scopes: tuple[str, ...]
    reach: Reach
    disabled_at: str | None


class Session(NamedTuple):
    """A session without its tokens. Times are RFC 3339 in UTC."""

    session_id: str
    began_at: str | None
    """None for a session of a version that did not note it."""
    refreshed_at: str | None
    expires_at: str
    """When it ends unless it is refreshed before."""
    ends_at: str | None
    """When it ends even if it is refreshed. None for a session of a version that set no end, until its next refresh."""


class Directory:
    """The accounts in a table, and their sessions. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def find(self, account_id: str, within: Reach) -> KnownAccount:
        """An account by its id; raises `UnknownAccount`."""
        item = self._dynamo.find(self._table, account_key(account_id)) if _ID.fullmatch(account_id) else None
        if not item or not within.covers(reach_of(item)):
            raise UnknownAccount(account_id)
        return _known(item)

    def all(self, within: Reach) -> list[KnownAccount]:
        """All accounts within a reach, by email. Reads them, and the list of all accounts.

        An account that an earlier version made, and that has not logged in since, is not listed.
        """
        items = listed(self._dynamo, self._table, ACCOUNTS_KEY, account_key, within, _PUBLIC)
        return sorted(map(_known, items), key=lambda account: account.email)

    def sessions(self, account_id: str, within: Reach) -> list[Session]:
        """The sessions of an account that can be used or refreshed yet, the newest last; raises `UnknownAccount`."""
        self.find(account_id, within)
        now = self._clock()
        found = [_shown(item) for item in self._stored(account_id) if now < int(item["expires_at"]["N"])]
        return sorted(found, key=lambda session: (session.began_at or "", session.session_id))

    def end_session(self, account_id: str, session_id: str, within: Reach) -> None:
        """End a session, its access tokens included. Raises `UnknownAccount` or `UnknownSession`."""
        self.find(account_id, within)
        if not _ID.fullmatch(session_id) or not self._dynamo.find(
            self._table, account_key(account_id), session_key(session_id)
        ):
            raise UnknownSession(session_id)
        self.end(account_id, session_id)

    def end_sessions(self, account_id: str, within: Reach) -> None:
        """End all sessions of an account, their access tokens included; raises `UnknownAccount`."""
        self.find(account_id, within)
        self.end_all(account_id)

    def disable(self, account_id: str, within: Reach) -> None:
        """Let nobody log in to an account, and end all its sessions; raises `UnknownAccount`.

        After a failure half-way nobody can log in or refresh. Another call ends the sessions that are left.
        """
        self._mark(
            account_id,
            within,
            UpdateExpression=f"SET {DISABLED} = if_not_exists({DISABLED}, :now)",
            ExpressionAttributeValues={":now": {"S": timestamp(self._clock())}},
        )
        self.end_all(account_id)

    def enable(self, account_id: str, within: Reach) -> None:
        """Let an account be logged in to again; raises `UnknownAccount`. Its sessions stay ended."""
        self._mark(account_id, within, UpdateExpression=f"REMOVE {DISABLED}")

    def end(self, account_id: str, session_id: str) -> None:
        """End a session if there is such a one."""
        self._dynamo.delete(self._table, account_key(account_id), session_key(session_id))

    def end_all(self, account_id: str) -> None:
        """End all sessions of an account, if it has any."""
        for item in self._stored(account_id):
            self._dynamo.delete(self._table, item["pk"]["S"], item["sk"]["S"])

    def _stored(self, account_id: str) -> list[Item]:
        pages = self._dynamo.query(
            TableName=self._table,
            KeyConditionExpression="pk = :account AND begins_with(sk, :sessions)",
            ExpressionAttributeValues={":account": {"S": account_key(account_id)}, ":sessions": {"S": session_key("")}},
            ConsistentRead=True,
        )
        return [item for page in pages for item in page]

    def _mark(self, account_id: str, within: Reach, **expressions: object) -> None:
        self.find(account_id, within)
        condition = "attribute_exists(pk)"
        written, _ = self._dynamo.update(
            self._table, account_key(account_id), "-", ConditionExpression=condition, **expressions
        )
        if not written:
            raise UnknownAccount(account_id)


def _known(item: Item) -> KnownAccount:
    scopes = tuple(scope for scope in SCOPES if scope in item["scopes"]["SS"])
    account_id = item["pk"]["S"].removeprefix(account_key(""))
    return KnownAccount(account_id, item["email"]["S"], scopes, reach_of(item), item.get(DISABLED, {}).get("S"))


def _shown(item: Item) -> Session:
    def moment(name: str) -> str | None:
        return timestamp(int(item[name]["N"])) if name in item else None

    return Session(
        session_id=item["sk"]["S"].removeprefix(session_key("")),
        began_at=moment("began_at"),
        refreshed_at=moment("refreshed_at"),
        expires_at=timestamp(int(item["expires_at"]["N"])),
        ends_at=moment("ends_at"),
    )
