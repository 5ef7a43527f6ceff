"""How fast somebody may call."""

from typing import NamedTuple


class Limit(NamedTuple):
    """What a bucket holds and how fast it fills."""

    rate: float
    """Tokens a second."""
    burst: int
    """Tokens of a full bucket."""


class Allowance(NamedTuple):
    """What is left of a bucket."""

    limit: Limit
    remaining: int
    seconds: int
    """Until the bucket is full again; where it is empty, until there is a token."""


class TooFast(Exception):
    """The bucket is empty."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(f"more than {allowance.limit.burst} requests at once or {allowance.limit.rate:g} a second")
        self.allowance = allowance
