"""Rate limits: token buckets, and what is left in them."""

from typing import NamedTuple


class Limit(NamedTuple):
    """The size of a token bucket and how fast it fills."""

    rate: float
    """Tokens added a second."""
    burst: int
    """Tokens in a full bucket."""


class Allowance(NamedTuple):
    """What is left in a token bucket."""

    limit: Limit
    remaining: int
    seconds: int
    """Seconds until the bucket is full again; if it is empty, seconds until it has a token."""


class TooFast(Exception):
    """The bucket is empty."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(f"more than {allowance.limit.burst} requests at once or {allowance.limit.rate:g} a second")
        self.allowance = allowance
