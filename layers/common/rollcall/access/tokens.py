"""Access tokens: JWTs (RFC 7519) valid for 15 minutes, signed with HMAC-SHA256. The key is in SSM Parameter Store."""

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from rollcall.stack.dynamo import Unavailable

if TYPE_CHECKING:
    from jwt.types import Options
    from types_boto3_ssm import SSMClient


ACCESS_SECONDS = 15 * 60
ALGORITHM = "HS256"
# For this time after the key in the store is replaced, an instance may still accept tokens of the old key.
_REMEMBERED_SECONDS = 300
_SIGNED_WITH_SECONDS = 30
# For a token of an unknown key, an instance reads the store again, but not more often than this.
_ASKED_AGAIN_SECONDS = 10
_TRIES = 5
# How far the clocks of two instances may differ.
_SKEW_SECONDS = 60
# Tokens of accounts do not name their kind, as those of earlier versions.
_ACCOUNT = "account"


class InvalidToken(ValueError):
    """The text is not an access token of this stack."""


class ExpiredToken(InvalidToken):
    """The access token has expired."""


class TokenClaims(NamedTuple):
    """What an access token claims: whom and which session it was issued for."""

    owner_id: str
    """The id of an account or, by `kind`, of an API key or a share."""
    session_id: str
    """Empty for a share, which has no session."""
    kind: str = _ACCOUNT


class _Secret(NamedTuple):
    kid: str
    secret: str


class SigningKey:
    """The stack's signing key: a SecureString, made at first use. `clock` gives seconds, as `time.monotonic`."""

    def __init__(self, ssm: "SSMClient", name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._ssm = ssm
        self._name = name
        self._clock = clock
        self._known: _Secret | None = None
        self._read_at = -float("inf")

    def present(self) -> _Secret:
        """The key to sign with. Makes one if the store has none.

        Raises `rollcall.stack.dynamo.Unavailable` and botocore's errors.
        """
        for _ in range(_TRIES):
            found = self._stored(_SIGNED_WITH_SECONDS) or self._made()
            if found:
                return found
        raise Unavailable(f"the parameter {self._name} cannot be read, nor made because it exists")

    def find(self, kid: str) -> str | None:
        """The secret of the key with the id `kid`, or None if the present key has another id."""
        found = self._stored(_REMEMBERED_SECONDS)
        if found is None or found.kid != kid:
            found = self._stored(_ASKED_AGAIN_SECONDS)
        return found.secret if found and found.kid == kid else None

    def _stored(self, oldest: float) -> _Secret | None:
        if self._clock() - self._read_at > oldest:
            try:
                answer = self._ssm.get_parameter(Name=self._name, WithDecryption=True)
                self._known = _Secret(**json.loads(answer["Parameter"]["Value"]))
            except (TypeError, ValueError):
                # The text and the cause are left out: they could hold a part of the secret.
                raise Unavailable(f"the parameter {self._name} holds no signing key") from None
            except self._ssm.exceptions.ParameterNotFound:
                self._known = None
            self._read_at = self._clock()
        return self._known

    def _made(self) -> _Secret | None:
        """A new key, or None if another instance made one first."""
        secret = secrets.token_hex(32)
        made = _Secret(hashlib.sha256(secret.encode()).hexdigest()[:16], secret)
        try:
            self._ssm.put_parameter(
                Name=self._name,
                Description="Signs the access tokens of Rollcall's accounts. Delete it to have another one made.",
                Type="SecureString",
                Value=json.dumps(made._asdict()),
                Overwrite=False,
            )
        except self._ssm.exceptions.ParameterAlreadyExists:
            self._read_at = -float("inf")
            return None
        self._known, self._read_at = made, self._clock()
        return made


class AccessTokens:
    """Issues and reads the access tokens of a stack. `clock` gives seconds, as `time.time`."""

    def __init__(self, key: SigningKey, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def issue(self, claims: TokenClaims) -> str:
        """A signed token. Raises `rollcall.stack.dynamo.Unavailable` and botocore's errors."""
        # At first use, because its import slows a start, and callers with an API key do without it.
        import jwt

        kid, secret = self._key.present()
        now = int(self._clock())
        payload = {"sub": claims.owner_id, "sid": claims.session_id, "iat": now, "exp": now + ACCESS_SECONDS}
        if claims.kind != _ACCOUNT:
            payload["kind"] = claims.kind
        return jwt.encode(payload, secret, ALGORITHM, {"kid": kid})

    def read(self, text: str) -> TokenClaims:
        """Check a token; raises `InvalidToken`, or `ExpiredToken` if the token has only expired."""
        import jwt

        try:
            kid = jwt.get_unverified_header(text).get("kid")
            secret = self._key.find(kid) if isinstance(kid, str) else None
            if secret is None:
                raise InvalidToken("the token is not signed by the present key")
            # The expiry is checked below, against `clock`.
            options: Options = {"require": ["exp", "iat", "sub", "sid"], "verify_exp": False, "verify_iat": False}
            payload = jwt.decode(text, secret, [ALGORITHM], options=options)
            issued_at, expires_at = int(payload["iat"]), int(payload["exp"])
        except (jwt.InvalidTokenError, TypeError, ValueError) as error:
            raise InvalidToken(str(error)) from None
        if issued_at > self._clock() + _SKEW_SECONDS:
            raise InvalidToken("the token is of the future")
        if self._clock() >= expires_at:
            raise ExpiredToken("the token has expired")
        return TokenClaims(str(payload["sub"]), str(payload["sid"]), str(payload.get("kind", _ACCOUNT)))
