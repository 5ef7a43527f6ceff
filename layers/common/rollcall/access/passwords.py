"""Passwords, kept as Argon2id hashes (RFC 9106)."""

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError


class Passwords:
    """Hashes passwords and checks them. Each takes tens of milliseconds and 64 MiB."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()

    def hash(self, password: str) -> str:
        """A salted hash as text, with the parameters of Argon2id."""
        return self._hasher.hash(_normal(password))

    def matches(self, hashed: str, password: str) -> bool:
        """Whether `hashed` is a hash of `password`."""
        try:
            return self._hasher.verify(hashed, _normal(password))
        except VerifyMismatchError:
            return False


def _normal(password: str) -> str:
    # Systems encode the same characters as different code points.
    return unicodedata.normalize("NFKC", password)
