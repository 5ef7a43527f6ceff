"""Sign-in to the page: by a password, by an API key, by a code that is good once, or by a share.

A code signs in as whoever made it. It is good while what made it is: the text of a key, and the session that asked for
it, if one did. What begins by it ends with that session at the latest, so that no chain of codes outlives a login.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rollcall.access.accounts import Accounts, account_id_of
from rollcall.access.api_keys import SCOPES, digest_of, key_id_of
from rollcall.access.gate import Gate, Principal
from rollcall.access.reach import Reach, reach_of
from rollcall.access.sessions import TABS_SECONDS, NotLetIn, Owner, Sessions, TokenPair, owner_of
from rollcall.access.shares import SCOPES as SHARE_SCOPES
from rollcall.access.shares import Share, Shares
from rollcall.access.tokens import ACCESS_SECONDS, TokenClaims
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import code_key, session_key

MAX_CODE_SECONDS = 86_400
_PREFIX = "cd_"


class BadCode(ValueError):
    """A code that was never made, was used before, has expired, or whose maker would not be let in."""


class SignedIn(NamedTuple):
    """A session of the page, and whose it is."""

    pair: TokenPair
    name: str
    """The email of an account, the name of a key."""
    kind: str
    scopes: tuple[str, ...]
    reach: Reach
    share: Share | None = None


class SignIn:
    """Begins and prolongs the sessions of the page. `clock` gives seconds, as `time.time`."""

    def __init__(
        self, dynamo: Dynamo, table: str, gate: Gate, accounts: Accounts, clock: Callable[[], float] = time.time
    ) -> None:
        self._dynamo = dynamo
        self._table = table
        self._gate = gate
        self._accounts = accounts
        self._shares = Shares(dynamo, table, clock)
        self._clock = clock

    @property
    def sessions(self) -> Sessions:
        """The sessions of accounts and keys."""
        return self._accounts.sessions

    def by_password(self, email: str, password: str, address: str) -> SignedIn:
        """As `Accounts.login` does, with its errors."""
        pair = self._accounts.login(email, password, address)
        return self._shown(pair, Owner("account", account_id_of(email)))

    def by_key(self, text: str) -> SignedIn:
        """Begin a session of a key; raises `rollcall.access.gate.Unauthenticated`. The key ends it when it ends."""
        _, item = self._gate.by_key(text)
        owner = Owner("key", str(key_id_of(text)))
        try:
            pair = self.sessions.begin(owner, digest_of(text), {}, ends_at=_end_of(item))
        except NotLetIn:
            # It was revoked in this moment, and the gate says so from now on.
            self._gate.by_key(text)
            raise
        return self._shown(pair, owner, item)

    def by_code(self, text: str) -> SignedIn:
        """Begin a session of whoever made the code; raises `BadCode`. The code is used up, or nothing has changed."""
        key = {"pk": {"S": code_key(digest_of(text))}, "sk": {"S": "-"}}
        code = self._dynamo.find(self._table, key["pk"]["S"])
        now = int(self._clock())
        if not code or now >= int(code["expires_at"]["N"]):
            raise BadCode
        owner = Owner("key", code["key_id"]["S"]) if "key_id" in code else Owner("account", code["account_id"]["S"])
        item = self._dynamo.find(self._table, owner.partition)
        if item is None:
            raise BadCode
        ends_at, attributes = _end_of(item), {}
        proof = code["key_hash"]["S"] if owner.kind == "key" else ""
        also = [self._write("Delete", key, "attribute_exists(pk)")]
        if "session_id" in code:
            session_of = {"pk": {"S": owner.partition}, "sk": {"S": session_key(code["session_id"]["S"])}}
            session = self._dynamo.find(self._table, session_of["pk"]["S"], session_of["sk"]["S"])
            if session is None or now >= int(session["expires_at"]["N"]):
                raise BadCode
            also.append(self._write("ConditionCheck", session_of, "attribute_exists(pk)"))
            proof = owner.proof_of(session)
            if "ends_at" in session:
                ends_at = min(int(session["ends_at"]["N"]), ends_at or int(session["ends_at"]["N"]))
            if owner.kind == "account":
                attributes = {"scopes": session["scopes"], **reach_of(session).attribute}
        try:
            pair = self.sessions.begin(owner, proof, attributes, ends_at=ends_at, also=also)
        except NotLetIn:
            raise BadCode from None
        return self._shown(pair, owner, item)

    def by_share(self, token: str) -> SignedIn:
        """What a share may ask, without a session; raises `rollcall.access.shares.UnknownShare`."""
        share, seconds = self._shares.open(token)
        signed = self._gate.tokens.issue(TokenClaims(share.share_id, "", "share"))
        pair = TokenPair(signed, "", min(ACCESS_SECONDS, seconds), 0)
        return SignedIn(pair, share.name, "share", SHARE_SCOPES, Reach(share.project), share)

    def refresh(self, text: str) -> SignedIn:
        """As `Sessions.refresh` does, for a browser whose tabs may refresh at once."""
        pair = self.sessions.refresh(text, TABS_SECONDS)
        return self._shown(pair, owner_of(text))

    def make_code(self, caller: Principal, seconds: int) -> tuple[str, int]:
        """A code that signs in as the caller once within so many seconds; returns it with its end."""
        text = f"{_PREFIX}{secrets.token_hex(24)}"
        until = int(self._clock()) + seconds
        item: Item = {
            "pk": {"S": code_key(digest_of(text))},
            "sk": {"S": "-"},
            "expires_at": {"N": str(until)},
            **({"session_id": {"S": caller.session_id}} if caller.session_id else {}),
        }
        if caller.account_id:
            item["account_id"] = {"S": caller.account_id}
        else:
            item |= {"key_id": {"S": str(caller.sender.key_id)}, "key_hash": {"S": str(caller.key_digest)}}
        self._dynamo.put_if_absent(self._table, item)
        return text, until

    def _shown(self, pair: TokenPair, owner: Owner, item: Item | None = None) -> SignedIn:
        item = item or self._dynamo.find(self._table, owner.partition) or {}
        scopes = tuple(scope for scope in SCOPES if scope in item["scopes"]["SS"])
        name = item["email" if owner.kind == "account" else "name"]["S"]
        return SignedIn(pair, name, owner.kind, scopes, reach_of(item))

    def _write(self, kind: str, key: Item, condition: str) -> dict[str, Any]:
        return {kind: {"TableName": self._table, "Key": key, "ConditionExpression": condition}}


def _end_of(item: Item) -> int | None:
    """When a key ends, if it does."""
    return int(item["valid_until"]["N"]) if "valid_until" in item else None
