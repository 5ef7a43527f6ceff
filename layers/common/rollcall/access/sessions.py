"""Sessions of accounts and of API keys.

A session is a family of refresh tokens. Only the last issued token of the family is valid, and only once. If an earlier
token is used again, somebody has copied it, so the session ends for every holder of its tokens.

The session keeps two hashes. One is of the part that all tokens of the family share: it tells a replayed token from a
guessed one. The other is of the part that only the last token has.

A session is as good as what it began with. That of an account keeps the version of the password, and that of a key the
hash of the key's text. Where the owner no longer lets those in, the session cannot be refreshed. The gate asks for the
key as well, with each request.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from rollcall.access.directory import DISABLED
from rollcall.access.tokens import ACCESS_SECONDS, AccessTokens, TokenClaims
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import account_key, api_key_key, session_key

REFRESH_SECONDS = 7 * 86_400
# Two tabs of a browser may send the same cookie at once. The later one gets an access token in this time, and no more.
TABS_SECONDS = 30

_REFRESH_TOKEN = re.compile(r"rt_([0-9a-f]{32}|[0-9a-f]{16})_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-f]{48})")
_KEY_ID_CHARACTERS = 16
_PROOFS = {"account": "password_version", "key": "key_hash"}


class InvalidRefreshToken(ValueError):
    """A refresh token that was never issued, was used before, has expired, or belongs to a session that has ended."""


class NotLetIn(ValueError):
    """What a session was to begin with is no longer good."""


class Owner(NamedTuple):
    """Whom a session is of."""

    kind: Literal["account", "key"]
    owner_id: str
    """The id of the account or of the key."""

    @property
    def partition(self) -> str:
        """The partition of the owner's item and sessions."""
        return account_key(self.owner_id) if self.kind == "account" else api_key_key(self.owner_id)

    def proof_of(self, session: Item) -> str:
        """What the owner let in when the session began."""
        return str(session[_PROOFS[self.kind]]["S"])

    def as_proof(self, proof: str) -> Item:
        """What a session or a code has of it."""
        return {_PROOFS[self.kind]: {"S": proof}}


class TokenPair(NamedTuple):
    """The tokens that a login or a refresh issues."""

    access_token: str
    refresh_token: str
    """Empty where another tab of the same browser has got the next one."""
    access_seconds: int
    refresh_seconds: int


class _Refresh(NamedTuple):
    owner_id: str
    session_id: str
    family: str
    own: str

    def __str__(self) -> str:
        return f"rt_{self.owner_id}_{self.session_id}_{self.family}_{self.own}"

    @property
    def owner(self) -> Owner:
        return Owner("key" if len(self.owner_id) == _KEY_ID_CHARACTERS else "account", self.owner_id)


class Sessions:
    """The sessions in a table, each of `longest` seconds at most. `clock` gives seconds, as `time.time`."""

    def __init__(
        self, dynamo: Dynamo, table: str, tokens: AccessTokens, longest: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._dynamo = dynamo
        self._table = table
        self._tokens = tokens
        self._longest = longest
        self._clock = clock

    def begin(
        self,
        owner: Owner,
        proof: str,
        attributes: Item,
        *,
        ends_at: int | None = None,
        also: Sequence[Item] = (),
    ) -> TokenPair:
        """Begin a session if the owner still lets `proof` in; raises `NotLetIn`.

        It ends at `ends_at` if that is before the end of the longest session. `also` is written with it or not at all.
        """
        token = _Refresh(owner.owner_id, secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(24))
        now = int(self._clock())
        latest = now + self._longest
        ends_at = latest if ends_at is None else min(latest, ends_at)
        # Signing comes first: if it fails, nothing has changed.
        pair = self._issued(token, now, ends_at)
        session: Item = {
            "pk": {"S": owner.partition},
            "sk": {"S": session_key(token.session_id)},
            **attributes,
            **owner.as_proof(proof),
            "family": {"S": _hash(token.family)},
            "own": {"S": _hash(token.own)},
            "began_at": {"N": str(now)},
            "expires_at": {"N": str(min(now + REFRESH_SECONDS, ends_at))},
            "ends_at": {"N": str(ends_at)},
        }
        put = {"Put": {"TableName": self._table, "Item": session}}
        if self._dynamo.transact([self._still_let_in(owner, proof), put, *also]) is not None:
            raise NotLetIn
        return pair

    def refresh(self, text: str, tabs_seconds: int = 0) -> TokenPair:
        """Exchange a refresh token for new tokens; raises `InvalidRefreshToken`. A replayed token ends its session.

        For `tabs_seconds` the token that was exchanged last is taken for that of another tab: it gets an access token
        alone, and the session lives on as it would.
        """
        old = _parsed(text)
        key = (old.owner.partition, session_key(old.session_id))
        session = self._dynamo.find(self._table, *key)
        if not session or not _same(session["family"]["S"], old.family):
            raise InvalidRefreshToken("the refresh token is not known")
        if not _same(session["own"]["S"], old.own):
            return self._of_other_tab(old, session, tabs_seconds)
        now = int(self._clock())
        if now >= int(session["expires_at"]["N"]):
            raise InvalidRefreshToken("the refresh token has expired")
        new = old._replace(own=secrets.token_hex(24))
        # A session that began before sessions had an end gets one.
        ends_at = int(session["ends_at"]["N"]) if "ends_at" in session else now + self._longest
        # Signing comes first: if it fails, the caller can try again with the same token.
        pair = self._issued(new, now, ends_at)
        # Where no other tab is reckoned with, nothing tells which token came before.
        before = "SET own_before = :old," if tabs_seconds else "REMOVE own_before SET"
        failed = self._dynamo.transact(
            [
                self._still_let_in(old.owner, old.owner.proof_of(session)),
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}},
                        "UpdateExpression": (
                            f"{before} own = :new, expires_at = :until, ends_at = :ends, refreshed_at = :now"
                        ),
                        "ConditionExpression": "own = :old",
                        "ExpressionAttributeValues": {
                            ":old": {"S": _hash(old.own)},
                            ":new": {"S": _hash(new.own)},
                            ":until": {"N": str(now + pair.refresh_seconds)},
                            ":ends": {"N": str(ends_at)},
                            ":now": {"N": str(now)},
                        },
                    }
                },
            ]
        )
        if failed is not None:
            # The token was used twice at the same time, or the owner no longer lets in what the session began with.
            return self._of_other_tab(old, self._dynamo.find(self._table, *key), tabs_seconds)
        return pair

    def end(self, text: str) -> None:
        """End the session of a refresh token, even of a used one. Does nothing if the text is not a refresh token."""
        try:
            token = _parsed(text)
        except InvalidRefreshToken:
            return
        session = self._dynamo.find(self._table, token.owner.partition, session_key(token.session_id))
        if session and _same(session["family"]["S"], token.family):
            self._end(token)

    def _of_other_tab(self, old: _Refresh, session: Item | None, tabs_seconds: int) -> TokenPair:
        now = int(self._clock())
        if session and tabs_seconds and "own_before" in session:
            lately = now < int(session["refreshed_at"]["N"]) + tabs_seconds
            if lately and _same(session["own_before"]["S"], old.own) and now < int(session["expires_at"]["N"]):
                return self._issued(old, now, int(session["ends_at"]["N"]))._replace(refresh_token="")
        self._end(old)
        raise InvalidRefreshToken("the refresh token was used before; the session has ended")

    def _still_let_in(self, owner: Owner, proof: str) -> dict[str, Any]:
        """The condition that the account has the same password and is not disabled, or that the key is good yet."""
        check: dict[str, Any] = {
            "TableName": self._table,
            "Key": {"pk": {"S": owner.partition}, "sk": {"S": "-"}},
            "ConditionExpression": f"password_version = :proof AND attribute_not_exists({DISABLED})",
            "ExpressionAttributeValues": {":proof": {"S": proof}},
        }
        if owner.kind == "key":
            check |= {
                "ConditionExpression": (
                    "attribute_not_exists(revoked_at) "
                    "AND (attribute_not_exists(valid_until) OR valid_until > :now) "
                    "AND (#hash = :proof OR (previous_hash = :proof AND previous_until > :now))"
                ),
                "ExpressionAttributeNames": {"#hash": "hash"},
                "ExpressionAttributeValues": {":proof": {"S": proof}, ":now": {"N": str(int(self._clock()))}},
            }
        return {"ConditionCheck": check}

    def _issued(self, token: _Refresh, now: int, ends_at: int) -> TokenPair:
        signed = self._tokens.issue(TokenClaims(token.owner_id, token.session_id, token.owner.kind))
        left = ends_at - now
        return TokenPair(signed, str(token), min(ACCESS_SECONDS, left), min(REFRESH_SECONDS, left))

    def _end(self, token: _Refresh) -> None:
        self._dynamo.delete(self._table, token.owner.partition, session_key(token.session_id))


def owner_of(text: str) -> Owner:
    """Whom the session of a refresh token is of; raises `InvalidRefreshToken` for what is none."""
    return _parsed(text).owner


def _parsed(text: str) -> _Refresh:
    match = _REFRESH_TOKEN.fullmatch(text)
    if not match:
        raise InvalidRefreshToken("the refresh token is not known")
    return _Refresh(*match.groups())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _same(digest: str, secret: str) -> bool:
    return hmac.compare_digest(digest, _hash(secret))
