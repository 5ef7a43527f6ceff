"""Accounts of people: passwords as Argon2id hashes, and how fast they may be tried.

Whoever tries passwords is slowed by two buckets: one of the account and the address together, and a looser one of the
account. The looser one bounds what many addresses can guess together. It would also let them lock the owner out, so an
address from which the account has logged in is let in by the right password although the looser bucket is empty. A
wrong password gets the same answer from there as from anywhere, after the same steps: else the answer would tell that
there is such an account.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from rollcall.access.api_keys import SCOPES
from rollcall.access.buckets import Buckets
from rollcall.access.directory import DISABLED, Directory
from rollcall.access.lists import entry
from rollcall.access.reach import Reach, reach_of, unnamed
from rollcall.access.sessions import NotLetIn, Owner, Sessions, TokenPair
from rollcall.access.tokens import AccessTokens
from rollcall.core.characters import holds_hidden
from rollcall.core.limits import Limit, TooFast
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import ACCOUNTS_KEY, account_key, bucket_key, familiar_key

if TYPE_CHECKING:
    from rollcall.access.passwords import Passwords


MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 256
MAX_EMAIL_CHARACTERS = 254
# An address is noted anew only when this much of its time is over, so that logins at once do not meet at its item.
_NOTED_SECONDS = 86_400

_EMAIL = re.compile(r"[^@\s\x00-\x20\x7f]{1,64}@[^@\s\x00-\x20\x7f]+")


class BadAccount(ValueError):
    """A field of a new account or a new password is not acceptable; the text names the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


class AccountExists(ValueError):
    """An account with this email exists."""


class WrongPassword(ValueError):
    """The email or the password is wrong. The error does not tell which."""


class Account(NamedTuple):
    """The public part of an account."""

    account_id: str
    email: str
    scopes: list[str]
    reach: Reach


class LoginRules(NamedTuple):
    """How fast passwords may be tried, and how long a session lives."""

    tries: Limit
    """Passwords tried for an account from one address, and passwords tried in one session to change them."""
    tries_in_all: Limit
    """Passwords tried for an account from all addresses together."""
    session_seconds: int
    """The longest that a session lives, and that an address is remembered."""


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
        self.sessions = Sessions(dynamo, table, tokens, rules.session_seconds, clock)
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
        standing = self._dynamo.transact(
            [
                {
                    "Put": {
                        "TableName": self._table,
                        "Item": item,
                        "ConditionExpression": "attribute_not_exists(pk)",
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
                {"Put": {"TableName": self._table, "Item": entry(ACCOUNTS_KEY, account_id, reach)}},
            ]
        )
        # A write whose answer was lost is tried again, and then finds the item of its own first try.
        if standing is not None and standing["password_version"] != item["password_version"]:
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
        notes = []
        ends_at = int(self._clock()) + self._rules.session_seconds
        if remembered_until < ends_at - _NOTED_SECONDS:
            key = {"pk": {"S": account_key(account_id)}, "sk": {"S": familiar_key(digest)}}
            noted = {**key, "expires_at": {"N": str(ends_at)}}
            # An account of before there was a list gets into it.
            known = entry(ACCOUNTS_KEY, account_id, reach_of(account))
            notes += [{"Put": {"TableName": self._table, "Item": each}} for each in (noted, known)]
        copied = {"scopes": account["scopes"], **reach_of(account).attribute}
        try:
            return self.sessions.begin(
                Owner("account", account_id), account["password_version"]["S"], copied, also=notes
            )
        except NotLetIn:
            raise WrongPassword from None

    def refresh(self, text: str) -> TokenPair:
        """As `Sessions.refresh` does."""
        return self.sessions.refresh(text)

    def logout(self, text: str) -> None:
        """As `Sessions.end` does."""
        self.sessions.end(text)

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


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
