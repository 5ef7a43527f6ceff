"""Passwords, kept as Argon2id hashes (RFC 9106)."""

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError


class Passwords:
    """Hashes passwords and compares them; both take tens of milliseconds and 64 MiB."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()

    def hash(self, password: str) -> str:
        """A salted hash with its parameters, as text."""
        return self._hasher.hash(_normal(password))

    def matches(self, hashed: str, password: str) -> bool:
        """Whether it is the password that was hashed."""
        try:
            return self._hasher.verify(hashed, _normal(password))
        except VerifyMismatchError:
            return False


def _normal(password: str) -> str:
    # The same keys give other code points on other systems.
    return unicodedata.normalize("NFKC", password)
