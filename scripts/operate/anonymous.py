"""What requests cost that come without a good credential: the most that a million of them cost, for each route.

Each number is a ceiling. The tests hold the answers to `answer_bytes`. The gateway lets through what `MethodSettings`
in template.yaml says, and what it lets through is paid for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.operate import cost
from scripts.operate.cost import GB, KB, MILLION, SECONDS_A_DAY, Prices, Stack

# Headers of an answer: those of all answers, of CORS and of API Gateway.
HEADER_BYTES = 1_500
# To read the largest body that Lambda takes: 6 MB of JSON with base64 in it (measured on x86_64).
BODY_MICROSECONDS = 60_000.0
# To hash a password (measured on x86_64).
PASSWORD_MICROSECONDS = 250_000.0


@dataclass(frozen=True)
class Anonymous:
    """A kind of request, with the most that one of them takes."""

    what: str
    """Method and route as in template.yaml, or in words where it is one of many routes."""
    function: str
    answer_bytes: int
    """Of the body, not compressed."""
    microseconds: float = cost.REQUEST_CPU_MICROSECONDS
    answers: float = 0
    """How many answers of AWS it waits for, one after the other."""
    write_units: float = 0
    read_units: float = 0
    sqs_requests: float = 0
    s3_requests: float = 0
    rate: str = "PublicRate"
    """The parameter that says how many a second the gateway lets through, for each method of each route."""


_POSTED = cost.REQUEST_CPU_MICROSECONDS + BODY_MICROSECONDS
# What each needs of the bucket of the caller's address (buckets.py): it is read, and a token is taken.
KINDS = (
    Anonymous("GET /health", "StatsFunction", 100),
    # Who asks so rarely that nothing is remembered has seven dependencies asked (health.py); a made-up key is read.
    Anonymous("GET /healthz", "StatsFunction", 100, answers=2, read_units=2.5, sqs_requests=2, s3_requests=2),
    Anonymous("GET /", "PageFunction", 5_000),
    # The chart library, for who takes no gzip.
    Anonymous("GET /assets/{version}/{name}", "PageFunction", 1_200_000, microseconds=20_000),
    Anonymous("GET /docs", "StatsFunction", 2_000),
    Anonymous("GET /docs/{asset}", "StatsFunction", 1_700_000, microseconds=30_000),
    Anonymous("GET /openapi.json", "StatsFunction", 160_000, microseconds=10_000),
    # Three buckets, the account and its address (accounts.py).
    Anonymous(
        "POST /auth/login",
        "AuthFunction",
        1_000,
        microseconds=_POSTED + PASSWORD_MICROSECONDS,
        answers=8,
        write_units=3,
        read_units=5,
    ),
    # The account is put, where registration is open to all.
    Anonymous(
        "POST /auth/register",
        "AuthFunction",
        1_000,
        microseconds=_POSTED + PASSWORD_MICROSECONDS,
        answers=3,
        write_units=2,
        read_units=1,
    ),
    # The session that the token names is looked up.
    Anonymous("POST /auth/refresh", "AuthFunction", 1_000, _POSTED, answers=3, write_units=1, read_units=2),
    Anonymous("POST /auth/logout", "AuthFunction", 1_000, _POSTED, answers=3, write_units=1, read_units=2),
    # A login, a refresh and a logout of the page. A code or a key costs less than a password.
    Anonymous(
        "POST /auth/session",
        "AuthFunction",
        1_000,
        microseconds=_POSTED + PASSWORD_MICROSECONDS,
        answers=8,
        write_units=3,
        read_units=5,
    ),
    Anonymous("POST /auth/session/refresh", "AuthFunction", 1_000, _POSTED, answers=3, write_units=1, read_units=2),
    Anonymous("DELETE /auth/session", "AuthFunction", 1_000, _POSTED, answers=3, write_units=1, read_units=2),
    Anonymous("an unknown route", "IngestFunction", 500, _POSTED),
    Anonymous("OPTIONS", "RetentionFunction", 100, rate="ThrottlingRate"),
    # The retention function has the most memory of those that answer.
    Anonymous("other routes, no key", "RetentionFunction", 500, _POSTED, rate="ThrottlingRate"),
    # The key is looked up.
    Anonymous(
        "other routes, a made-up key",
        "RetentionFunction",
        500,
        _POSTED,
        answers=1,
        read_units=1,
        rate="ThrottlingRate",
    ),
)


@dataclass(frozen=True)
class Ceiling:
    """The most that a kind of request costs."""

    kind: Anonymous
    dollars: Mapping[str, float]
    """Dollars for a million, by service."""
    rate: int
    """Requests a second that the gateway lets through in the long run, by default."""

    @property
    def a_million(self) -> float:
        """Dollars for a million."""
        return sum(self.dollars.values())

    @property
    def a_day(self) -> float:
        """Dollars for a day on which the gateway lets through as many as it may, to one method of one route."""
        return self.a_million * self.rate * SECONDS_A_DAY / MILLION


def ceilings(stack: Stack, prices: Prices, parameters: Mapping[str, Any]) -> Iterator[Ceiling]:
    """The ceiling of each kind, in a stack with the defaults of the template's `parameters`."""
    for kind in KINDS:
        memory = stack.memory[kind.function]
        seconds = cost.seconds(kind.microseconds, kind.answers, memory)
        log_bytes = cost.REQUEST_LINE_BYTES + (cost.LAMBDA_LINES_BYTES if stack.lambda_lines else 0)
        quantities = (
            ("gateway", 1, "api_gateway_requests"),
            ("Lambda", 1, "lambda_requests"),
            ("Lambda", seconds * memory / KB, "lambda_gb_seconds"),
            ("DynamoDB", kind.write_units, "dynamodb_write_units"),
            ("DynamoDB", kind.read_units, "dynamodb_read_units"),
            ("other", kind.sqs_requests, "sqs_requests"),
            ("other", kind.s3_requests, "s3_gets"),
            ("other", log_bytes / GB, "log_ingestion"),
            ("data out", (kind.answer_bytes + HEADER_BYTES) / GB, "data_out"),
        )
        dollars: dict[str, float] = {}
        for service, quantity, name in quantities:
            price = prices[name]
            dollars[service] = dollars.get(service, 0) + MILLION * quantity * price.dollars / price.per
        yield Ceiling(kind, dollars, int(parameters[kind.rate]["Default"]))
