"""Accounts of people: passwords as Argon2id hashes, and sessions that refresh tokens prolong.

A session is a family of refresh tokens. Only the last issued token of the family is valid, and only once. If an earlier
token is used again, somebody has copied it, so the session ends for every holder of its tokens.

The session keeps two hashes. One is of the part that all tokens of the family share: it tells a replayed token from a
guessed one. The other is of the part that only the last token has.

Whoever tries passwords is slowed by two buckets: one of the account and the address together, and a looser one of the
account. The looser one bounds what many addresses can guess together. It would also let them lock the owner out, so an
address from which the account has logged in is let in by the right password although the looser bucket is empty. A
wrong password gets the same answer from there as from anywhere, after the same steps: else the answer would tell that
there is such an account.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.access.api_keys import SCOPES
from rollcall.access.buckets import Buckets
from rollcall.access.directory import DISABLED, Directory
from rollcall.access.reach import Reach, reach_of, unnamed
from rollcall.access.tokens import ACCESS_SECONDS, AccessTokens, TokenClaims
from rollcall.core.characters import holds_hidden
from rollcall.core.limits import Limit, TooFast
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import account_key, bucket_key, familiar_key, session_key

if TYPE_CHECKING:
    from rollcall.access.passwords import Passwords


REFRESH_SECONDS = 7 * 86_400
MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 256
MAX_EMAIL_CHARACTERS = 254
# An address is noted anew only when this much of its time is over, so that logins at once do not meet at its item.
_NOTED_SECONDS = 86_400

_EMAIL = re.compile(r"[^@\s\x00-\x20\x7f]{1,64}@[^@\s\x00-\x20\x7f]+")
_REFRESH_TOKEN = re.compile(r"rt_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-f]{32})_([0-9a-f]{48})")


class BadAccount(ValueError):
    """A field of a new account or a new password is not acceptable; the text names the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class AccountExists(ValueError):
    """An account with this email exists."""


class WrongPassword(ValueError):
    """The email or the password is wrong. The error does not tell which."""


class InvalidRefreshToken(ValueError):
    """A refresh token that was never issued, was used before, has expired, or belongs to a session that has ended."""


class Account(NamedTuple):
    """The public part of an account."""

    account_id: str
    email: str
    scopes: list[str]
    reach: Reach


class TokenPair(NamedTuple):
    """The tokens that a login or a refresh issues."""

    access_token: str
    refresh_token: str
    access_seconds: int
    refresh_seconds: int


class LoginRules(NamedTuple):
    """How fast passwords may be tried, and how long a session lives."""

    tries: Limit
    """Passwords tried for an account from one address, and passwords tried in one session to change them."""
    tries_in_all: Limit
    """Passwords tried for an account from all addresses together."""
    session_seconds: int
    """The longest that a session lives, and that an address is remembered."""


class _Refresh(NamedTuple):
    account_id: str
    session_id: str
    family: str
    own: str

    def __str__(self) -> str:
        return f"rt_{self.account_id}_{self.session_id}_{self.family}_{self.own}"


class Accounts:
    """The accounts in a table. `clock` gives seconds, as `time.time`."""

    def __init__(
        self,
        dynamo: Dynamo,
        table: str,
        tokens: AccessTokens,
        passwords: "Passwords",
        rules: LoginRules,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamo = dynamo
        self._table = table
        self._tokens = tokens
        self._passwords = passwords
        self._rules = rules
        self._buckets = Buckets(dynamo, table, clock)
        self._directory = Directory(dynamo, table, clock)
        self._clock = clock
        # A password for a missing account is compared with this, so that the answer takes as long.
        self._dummy = passwords.hash(secrets.token_hex(16))

    def register(self, email: str, password: str, scopes: Iterable[str], reach: Reach | None = None) -> Account:
        """Make an account; raises `BadAccount` or `AccountExists`.

        Without a `reach`, the account is for all projects if it is an admin's, else for the default one. The caller has
        made sure that the project exists.
        """
        email = _checked_email(email)
        _check_password("password", password)
        wanted = [scope for scope in SCOPES if scope in set(scopes)]
        if not wanted:
            raise BadAccount("scopes", f"has to name some of {', '.join(SCOPES)}")
        account_id = account_id_of(email)
        reach = reach or unnamed(wanted)
        item: Item = {
            "pk": {"S": account_key(account_id)},
            "sk": {"S": "-"},
            "email": {"S": email},
            "scopes": {"SS": wanted},
            "password": {"S": self._passwords.hash(password)},
            "password_version": {"S": secrets.token_hex(8)},
            **reach.attribute,
        }
        # boto3 retries a write whose answer was lost, and then finds the item of its own first try.
        if self._dynamo.put_if_absent(self._table, item)["password_version"] != item["password_version"]:
            raise AccountExists(email)
        return Account(account_id, email, wanted, reach)

    def login(self, email: str, password: str, address: str) -> TokenPair:
        """Begin a session. `address` is the network that the caller is seen to come from.

        Raises `WrongPassword` or `rollcall.core.limits.TooFast`. Each error is the same whether or not the account
        exists, is disabled, or has logged in from the address before.
        """
        account_id = account_id_of(_normal(email))
        digest = _hash(address)
        self._buckets.take_for(bucket_key("login", _hash(f"{account_id}#{digest}")), self._rules.tries)
        spent = self._spent(bucket_key("logins", account_id))
        account = self._dynamo.find(self._table, account_key(account_id))
        familiar = self._dynamo.find(self._table, account_key(account_id), familiar_key(digest))
        remembered_until = int(familiar["expires_at"]["N"]) if familiar else 0
        right = self._is_right(account, password)
        if spent and not (right and self._clock() < remembered_until):
            raise spent
        if account is None or not right:
            raise WrongPassword
        token = self._new_tokens(account_id)
        now = int(self._clock())
        ends_at = now + self._rules.session_seconds
        # Signing comes first: if it fails, nothing has changed.
        pair = self._issued(token, now, ends_at)
        notes = []
        if remembered_until < ends_at - _NOTED_SECONDS:
            key = {"pk": {"S": account_key(account_id)}, "sk": {"S": familiar_key(digest)}}
            notes.append(self._put({**key, "expires_at": {"N": str(ends_at)}}))
        self._begin(account, token, now, ends_at, notes)
        return pair

    def refresh(self, text: str) -> TokenPair:
        """Exchange a refresh token for new tokens; raises `InvalidRefreshToken`. A replayed token ends its session."""
        old = _parsed(text)
        key = (account_key(old.account_id), session_key(old.session_id))
        session = self._dynamo.find(self._table, *key)
        if not session or not _same(session["family"]["S"], old.family):
            raise InvalidRefreshToken("the refresh token is not known")
        if not _same(session["own"]["S"], old.own):
            self._end(old)
            raise InvalidRefreshToken("the refresh token was used before; the session has ended")
        if self._clock() >= int(session["expires_at"]["N"]):
            raise InvalidRefreshToken("the refresh token has expired")
        new = old._replace(own=secrets.token_hex(24))
        now = int(self._clock())
        # A session that began before sessions had an end gets one.
        ends_at = int(session["ends_at"]["N"]) if "ends_at" in session else now + self._rules.session_seconds
        # Signing comes first: if it fails, the caller can try again with the same token.
        pair = self._issued(new, now, ends_at)
        failed = self._dynamo.transact(
            [
                self._still_let_in(old.account_id, session["password_version"]),
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}},
                        "UpdateExpression": "SET own = :new, expires_at = :until, ends_at = :ends, refreshed_at = :now",
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
            # The same token was used twice at the same time, the password has changed, or the account is disabled.
            self._end(old)
            raise InvalidRefreshToken("the refresh token was used before; the session has ended")
        return pair

    def logout(self, text: str) -> None:
        """End the session of a refresh token, even of a used one. Does nothing if the text is not a refresh token."""
        try:
            token = _parsed(text)
        except InvalidRefreshToken:
            return
        session = self._dynamo.find(self._table, account_key(token.account_id), session_key(token.session_id))
        if session and _same(session["family"]["S"], token.family):
            self._end(token)

    def change_password(self, account_id: str, session_id: str, present: str, new: str) -> None:
        """Change the password and end every session of the account. `session_id` is the session that asks for it.

        Each session has a bucket of its own for its tries, so neither logins nor another session can spend it.
        Raises `WrongPassword`, `BadAccount` or `rollcall.core.limits.TooFast`.
        """
        _check_password("new_password", new)
        self._buckets.take_for(bucket_key("change", _hash(f"{account_id}#{session_id}")), self._rules.tries)
        account = self._dynamo.find(self._table, account_key(account_id))
        if account is None or not self._is_right(account, present):
            raise WrongPassword
        version = {"S": secrets.token_hex(8)}
        changed, standing = self._dynamo.update(
            self._table,
            account_key(account_id),
            "-",
            UpdateExpression="SET #password = :new, password_version = :version",
            ConditionExpression="#password = :old",
            ExpressionAttributeNames={"#password": "password"},
            ExpressionAttributeValues={
                ":old": account["password"],
                ":new": {"S": self._passwords.hash(new)},
                ":version": version,
            },
        )
        # boto3 retries a write whose answer was lost, and then finds the password of its own first try.
        if not changed and standing.get("password_version") != version:
            # Another request changed the password at the same time.
            raise WrongPassword
        # A crash here may leave sessions. They cannot be refreshed, because they began with the former password.
        self._directory.end_all(account_id)

    def _spent(self, bucket: str) -> TooFast | None:
        """Take a token from the bucket of an account's tries from all addresses; returns the error if there is none."""
        try:
            self._buckets.take_for(bucket, self._rules.tries_in_all)
        except TooFast as error:
            return error
        return None

    def _is_right(self, account: Item | None, password: str) -> bool:
        """Whether the password lets into the account. Does the same work if there is no account or it is disabled."""
        matches = self._passwords.matches(account["password"]["S"] if account else self._dummy, password)
        return account is not None and matches and DISABLED not in account

    def _begin(self, account: Item, token: _Refresh, now: int, ends_at: int, notes: Sequence[Item]) -> None:
        session: Item = {
            "pk": account["pk"],
            "sk": {"S": session_key(token.session_id)},
            "scopes": account["scopes"],
            **reach_of(account).attribute,
            "password_version": account["password_version"],
            "family": {"S": _hash(token.family)},
            "own": {"S": _hash(token.own)},
            "began_at": {"N": str(now)},
            "expires_at": {"N": str(min(now + REFRESH_SECONDS, ends_at))},
            "ends_at": {"N": str(ends_at)},
        }
        let_in = self._still_let_in(token.account_id, account["password_version"])
        if self._dynamo.transact([let_in, self._put(session), *notes]) is not None:
            raise WrongPassword

    def _put(self, item: Item) -> Item:
        return {"Put": {"TableName": self._table, "Item": item}}

    def _still_let_in(self, account_id: str, version: Item) -> dict[str, Any]:
        """The condition that the account has the same password as before and is not disabled."""
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": {"pk": {"S": account_key(account_id)}, "sk": {"S": "-"}},
                "ConditionExpression": f"password_version = :version AND attribute_not_exists({DISABLED})",
                "ExpressionAttributeValues": {":version": version},
            }
        }

    def _new_tokens(self, account_id: str) -> _Refresh:
        return _Refresh(account_id, secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(24))

    def _issued(self, token: _Refresh, now: int, ends_at: int) -> TokenPair:
        signed = self._tokens.issue(TokenClaims(token.account_id, token.session_id))
        left = ends_at - now
        return TokenPair(signed, str(token), min(ACCESS_SECONDS, left), min(REFRESH_SECONDS, left))

    def _end(self, token: _Refresh) -> None:
        self._directory.end(token.account_id, token.session_id)


def account_id_of(email: str) -> str:
    """The id of the account with an email. It follows from the email, so that one read finds the account."""
    return hashlib.sha256(_normal(email).encode()).hexdigest()[:32]


def _normal(email: str) -> str:
    return email.strip().lower()


def _checked_email(email: str) -> str:
    email = _normal(email)
    if len(email) > MAX_EMAIL_CHARACTERS or not _EMAIL.fullmatch(email) or holds_hidden(email):
        raise BadAccount("email", "has to be an email address")
    return email


def _check_password(field: str, password: str) -> None:
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise BadAccount(field, f"has to have {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters")


def _parsed(text: str) -> _Refresh:
    match = _REFRESH_TOKEN.fullmatch(text)
    if not match:
        raise InvalidRefreshToken("the refresh token is not known")
    return _Refresh(*match.groups())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _same(digest: str, secret: str) -> bool:
    return hmac.compare_digest(digest, _hash(secret))
