"""Accounts of people: passwords as Argon2id hashes, and sessions that refresh tokens prolong.

A session is a family of refresh tokens. Only the last issued token of the family is valid, and only once. If an earlier
token is used again, somebody has copied it, so the session ends for every holder of its tokens.

The session keeps two hashes. One is of the part that all tokens of the family share: it tells a replayed token from a
guessed one. The other is of the part that only the last token has.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from rollcall.access.api_keys import SCOPES
from rollcall.access.buckets import Buckets
from rollcall.access.tokens import AccessTokens, TokenClaims
from rollcall.core.limits import Limit
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import account_key, bucket_key, session_key

if TYPE_CHECKING:
    from rollcall.access.passwords import Passwords


REFRESH_SECONDS = 7 * 86_400
MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 256
MAX_EMAIL_CHARACTERS = 254

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


class TokenPair(NamedTuple):
    """The tokens that a login or a refresh issues."""

    access_token: str
    refresh_token: str


class _Refresh(NamedTuple):
    account_id: str
    session_id: str
    family: str
    own: str

    def __str__(self) -> str:
        return f"rt_{self.account_id}_{self.session_id}_{self.family}_{self.own}"


class Accounts:
    """The accounts in a table. `attempts` limits the logins to one account. `clock` gives seconds, as `time.time`."""

    def __init__(
        self,
        dynamo: Dynamo,
        table: str,
        tokens: AccessTokens,
        passwords: "Passwords",
        attempts: Limit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._dynamo = dynamo
        self._table = table
        self._tokens = tokens
        self._passwords = passwords
        self._attempts = attempts
        self._buckets = Buckets(dynamo, table, clock)
        self._clock = clock
        # A password for a missing account is compared with this, so that the answer takes as long.
        self._dummy = passwords.hash(secrets.token_hex(16))

    def register(self, email: str, password: str, scopes: Iterable[str]) -> Account:
        """Make an account; raises `BadAccount` or `AccountExists`."""
        email = _checked_email(email)
        _check_password("password", password)
        wanted = [scope for scope in SCOPES if scope in set(scopes)]
        if not wanted:
            raise BadAccount("scopes", f"has to name some of {', '.join(SCOPES)}")
        account_id = account_id_of(email)
        item: Item = {
            "pk": {"S": account_key(account_id)},
            "sk": {"S": "-"},
            "email": {"S": email},
            "scopes": {"SS": wanted},
            "password": {"S": self._passwords.hash(password)},
            "password_version": {"S": secrets.token_hex(8)},
        }
        # boto3 retries a write whose answer was lost, and then finds the item of its own first try.
        if self._dynamo.put_if_absent(self._table, item)["password_version"] != item["password_version"]:
            raise AccountExists(email)
        return Account(account_id, email, wanted)

    def login(self, email: str, password: str) -> TokenPair:
        """Begin a session. Raises `WrongPassword` or `rollcall.core.limits.TooFast`.

        Each error is the same whether or not the account exists.
        """
        account_id = account_id_of(_normal(email))
        account = self._verified(account_id, password)
        token = self._new_tokens(account_id)
        # Signing comes first: if it fails, nothing has changed.
        pair = self._issued(token)
        self._begin(account, token)
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
        # Signing comes first: if it fails, the caller can try again with the same token.
        pair = self._issued(new)
        failed = self._dynamo.transact(
            [
                self._unchanged_password(old.account_id, session["password_version"]),
                {
                    "Update": {
                        "TableName": self._table,
                        "Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}},
                        "UpdateExpression": "SET own = :new, expires_at = :until",
                        "ConditionExpression": "own = :old",
                        "ExpressionAttributeValues": {
                            ":old": {"S": _hash(old.own)},
                            ":new": {"S": _hash(new.own)},
                            ":until": {"N": str(int(self._clock()) + REFRESH_SECONDS)},
                        },
                    }
                },
            ]
        )
        if failed is not None:
            # The same token was used twice at the same time, or the password has changed.
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

    def change_password(self, account_id: str, present: str, new: str) -> None:
        """Change the password and end every session of the account.

        Raises `WrongPassword`, `BadAccount` or `rollcall.core.limits.TooFast`.
        """
        _check_password("new_password", new)
        account = self._verified(account_id, present)
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
        for session_id in self._sessions(account_id):
            self._end(_Refresh(account_id, session_id, "", ""))

    def _verified(self, account_id: str, password: str) -> Item:
        """The account if the password is right; raises `WrongPassword`. Does the same work if there is no account."""
        self._buckets.take_for(bucket_key("login", account_id), self._attempts)
        account = self._dynamo.find(self._table, account_key(account_id))
        matches = self._passwords.matches(account["password"]["S"] if account else self._dummy, password)
        if account is None or not matches:
            raise WrongPassword
        return account

    def _begin(self, account: Item, token: _Refresh) -> None:
        session: Item = {
            "pk": account["pk"],
            "sk": {"S": session_key(token.session_id)},
            "scopes": account["scopes"],
            "password_version": account["password_version"],
            "family": {"S": _hash(token.family)},
            "own": {"S": _hash(token.own)},
            "expires_at": {"N": str(int(self._clock()) + REFRESH_SECONDS)},
        }
        unchanged = self._unchanged_password(token.account_id, account["password_version"])
        if self._dynamo.transact([unchanged, {"Put": {"TableName": self._table, "Item": session}}]) is not None:
            raise WrongPassword

    def _unchanged_password(self, account_id: str, version: Item) -> Item:
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": {"pk": {"S": account_key(account_id)}, "sk": {"S": "-"}},
                "ConditionExpression": "password_version = :version",
                "ExpressionAttributeValues": {":version": version},
            }
        }

    def _new_tokens(self, account_id: str) -> _Refresh:
        return _Refresh(account_id, secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(24))

    def _issued(self, token: _Refresh) -> TokenPair:
        return TokenPair(self._tokens.issue(TokenClaims(token.account_id, token.session_id)), str(token))

    def _sessions(self, account_id: str) -> list[str]:
        pages = self._dynamo.query(
            TableName=self._table,
            KeyConditionExpression="pk = :account AND begins_with(sk, :sessions)",
            ExpressionAttributeValues={":account": {"S": account_key(account_id)}, ":sessions": {"S": session_key("")}},
            ConsistentRead=True,
        )
        return [item["sk"]["S"].removeprefix(session_key("")) for page in pages for item in page]

    def _end(self, token: _Refresh) -> None:
        self._dynamo.delete(self._table, account_key(token.account_id), session_key(token.session_id))


def account_id_of(email: str) -> str:
    """The id of the account with an email. It follows from the email, so that one read finds the account."""
    return hashlib.sha256(_normal(email).encode()).hexdigest()[:32]


def _normal(email: str) -> str:
    return email.strip().lower()


def _checked_email(email: str) -> str:
    email = _normal(email)
    if len(email) > MAX_EMAIL_CHARACTERS or not _EMAIL.fullmatch(email):
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
