"""The gate: finds the owner and the scopes of a credential, and takes a token from its bucket."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from rollcall.access import api_keys as apikeys
from rollcall.access.buckets import Buckets, NoBucket
from rollcall.access.places import Places
from rollcall.access.reach import Reach, reach_of
from rollcall.access.shares import Share, has_ended, shown
from rollcall.access.tokens import AccessTokens, ExpiredToken, InvalidToken, SigningKey
from rollcall.core.batch import Sender
from rollcall.core.limits import Allowance, Limit
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import account_key, api_key_key, bucket_key, session_key, share_key
from rollcall.stack.settings import AccessSettings

if TYPE_CHECKING:
    from types_boto3_ssm import SSMClient


# The source under which the events of logged-in people are counted.
ACCOUNT_SOURCE = "account"
_KEY_NAME = "key "


class Principal(NamedTuple):
    """A caller with a valid credential."""

    name: str
    """For the logs: `key` or `account`, and an id that is not secret."""
    scopes: frozenset[str]
    source: str
    """The label under which the caller's events are counted."""
    reach: Reach
    """The project whose data the caller may ask about and send, or all."""
    account_id: str | None
    """None for an API key."""
    session_id: str | None = None
    """None for an API key that came itself."""
    key_digest: str | None = None
    """What is kept of the text by which the key came, itself or when its session began. None for others."""
    share: Share | None = None
    """What may be asked; None for an account and for an API key."""

    @property
    def sender(self) -> Sender:
        """Whom the caller's events are counted for."""
        is_key = self.name.startswith(_KEY_NAME)
        return Sender(self.source, self.name.removeprefix(_KEY_NAME) if is_key else None)


class Unauthenticated(Exception):
    """A credential is not valid, or no longer. `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Gate:
    """Checks credentials against the access table. `limit` applies to credentials without one of their own.

    `long_requests` is how many requests of a caller may take long at once.
    """

    def __init__(
        self,
        dynamo: Dynamo,
        table: str,
        tokens: AccessTokens,
        limit: Limit,
        long_requests: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamo = dynamo
        self._table = table
        self.tokens = tokens
        self._limit = limit
        self._clock = clock
        self._buckets = Buckets(dynamo, table, clock)
        self._places = Places(dynamo, table, long_requests, clock)

    def admit(self, credential: str, method: str, route: str) -> tuple[Principal, Allowance]:
        """The caller with this API key or access token, and what is left in the caller's bucket.

        The bucket of a key is in the key's item: one read unit and one write unit. A session of a key takes from it
        too, and is a read unit more. All sessions of an account share a bucket, which is an item of its own: a read
        unit more as well. So is that of a share. A revoked credential is refused from the next request
        on. Raises `Unauthenticated`, `rollcall.core.limits.TooFast`, `rollcall.stack.dynamo.Unavailable` and
        botocore's errors.
        """
        now = self._clock()
        key_id = apikeys.key_id_of(credential)
        principal, item = self._session(credential, now) if key_id is None else self._key(key_id, credential, now)
        if item is None:
            kind, of = ("share", principal.share.share_id) if principal.share else ("account", principal.account_id)
            return principal, self._buckets.take_for(bucket_key(kind, str(of)), self._limit)
        limit = apikeys.limit_of(item) or self._limit
        try:
            return principal, self._buckets.take(item, limit, int(now * 1_000_000), apikeys.count_name(method, route))
        except NoBucket:
            raise Unauthenticated("revoked", "the API key is deleted") from None

    def hold(self, caller: Principal, seconds: float) -> AbstractContextManager[bool]:
        """Hold one of the caller's places for a request that may take long, up to `seconds`; false if none is left."""
        return self._places.hold(caller.name, seconds)

    def by_key(self, text: str) -> tuple[Principal, Item]:
        """The caller with this API key, and the key's item. Takes no token. Raises `Unauthenticated`."""
        key_id = apikeys.key_id_of(text)
        if key_id is None:
            raise Unauthenticated("invalid_credential", "this is no API key")
        return self._key(key_id, text, self._clock())

    def _key(self, key_id: str, text: str, now: float) -> tuple[Principal, Item]:
        return self._by_digest(key_id, apikeys.digest_of(text), now)

    def _by_digest(self, key_id: str, digest: str, now: float) -> tuple[Principal, Item]:
        item = self._dynamo.find(self._table, api_key_key(key_id))
        if not item or not apikeys.belongs(digest, item, now):
            raise Unauthenticated("invalid_credential", "there is no such API key")
        if "revoked_at" in item:
            raise Unauthenticated("revoked", "the API key is revoked")
        if now >= int(item.get("valid_until", {"N": "99999999999"})["N"]):
            raise Unauthenticated("expired", "the API key has expired")
        scopes = frozenset(item["scopes"]["SS"])
        source = item["source"]["S"]
        return Principal(f"{_KEY_NAME}{key_id}", scopes, source, reach_of(item), None, key_digest=digest), item

    def _session(self, token: str, now: float) -> tuple[Principal, Item | None]:
        """The caller with an access token, and the item of the key if the session is a key's."""
        try:
            claims = self.tokens.read(token)
        except ExpiredToken:
            raise Unauthenticated("expired", "the access token has expired; refresh it") from None
        except InvalidToken:
            raise Unauthenticated("invalid_credential", "this is neither an API key nor an access token") from None
        if claims.kind == "share":
            return self._share(claims.owner_id, now), None
        partition = api_key_key(claims.owner_id) if claims.kind == "key" else account_key(claims.owner_id)
        session = self._dynamo.find(self._table, partition, session_key(claims.session_id))
        if not session or now >= int(session["expires_at"]["N"]):
            raise Unauthenticated("revoked", "the session has ended")
        if claims.kind == "key":
            principal, item = self._by_digest(claims.owner_id, session["key_hash"]["S"], now)
            return principal._replace(session_id=claims.session_id), item
        scopes = frozenset(session["scopes"]["SS"])
        name = f"account {claims.owner_id}"
        account = Principal(name, scopes, ACCOUNT_SOURCE, reach_of(session), claims.owner_id, claims.session_id)
        return account, None

    def _share(self, share_id: str, now: float) -> Principal:
        item = self._dynamo.find(self._table, share_key(share_id))
        if not item or has_ended(item, now):
            raise Unauthenticated("revoked", "the share has ended")
        scopes = frozenset(item["scopes"]["SS"])
        return Principal(f"share {share_id}", scopes, ACCOUNT_SOURCE, reach_of(item), None, share=shown(item))


def build(settings: AccessSettings, dynamo: Dynamo, ssm: "SSMClient") -> Gate:
    """The gate of a stack."""
    tokens = AccessTokens(SigningKey(ssm, settings.signing_key_parameter))
    return Gate(dynamo, settings.table, tokens, settings.limit, settings.long_requests)
