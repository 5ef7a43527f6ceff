"""Calls the HTTP API for the command line: with a key, and with retries."""

import random
import time
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2

REQUEST_SECONDS = 60.0
PATIENCE_SECONDS = 120.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 20.0
# The caller was too fast, or the API failed for now. API Gateway has a 500 for failures of its own, and a 502 for a
# function that died.
TRANSIENT = frozenset({429, 500, 502, 503, 504})


class ApiError(Exception):
    """The API cannot be reached, or refuses a request; the text says why."""


class Api:
    """The API of a stack. Retries a request for up to `patience` seconds. `sleep` takes seconds.

    Every request is about the `project`, unless it is None: then about what the key is for.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        patience: float = PATIENCE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx2.BaseTransport | None = None,
        project: str | None = None,
    ) -> None:
        self.url = url
        self._patience = patience
        self._sleep = sleep
        headers = {"X-API-Key": key} if key else {}
        # A proxy is for other hosts, not for a stack on this machine.
        trusting = not on_this_machine(url)
        self._http = httpx2.Client(
            base_url=url,
            headers=headers,
            params={} if project is None else {"project": project},
            timeout=REQUEST_SECONDS,
            trust_env=trusting,
            transport=transport,
        )

    def get(self, path: str, parameters: Mapping[str, str | int | list[str]] | None = None) -> Any:
        """The JSON of the answer to a GET request; raises `ApiError` unless it is a success."""
        return checked(self.request("GET", path, params=dict(parameters or {}))).json()

    def page_link(self, seconds: int) -> str:
        """A link to the stack's page that signs in as the key, once, within so many seconds; raises `ApiError`."""
        code = checked(self.request("POST", "/auth/codes", json={"expires_in": seconds})).json()["code"]
        return f"{self.url.rstrip('/')}/#code={code}"

    def request(
        self, method: str, path: str, *, transient: Collection[int] = TRANSIENT, **arguments: Any
    ) -> httpx2.Response:
        """Send a request; retries until the answer has a status that is not in `transient`. Raises `ApiError`.

        The request may be sent more than once, so it must be safe to repeat.
        """
        deadline = time.monotonic() + self._patience
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            answer = None
            try:
                answer = self._http.request(method, path, **arguments)
                failure = f"{self.url} answers {answer.status_code}: {reason(answer)}"
            except httpx2.TransportError as error:
                failure = f"{self.url} does not answer: {str(error) or type(error).__name__}"
            if answer is not None and answer.status_code not in transient:
                return answer
            # Random, so that clients that were refused at the same time do not retry at the same time.
            pause = _retry_after(answer) or random.uniform(backoff / 2, backoff)  # noqa: S311 - no secret
            if time.monotonic() + pause > deadline:
                raise ApiError(failure)
            self._sleep(pause)
            backoff = min(LONGEST_BACKOFF_SECONDS, 2 * backoff)


def on_this_machine(url: str) -> bool:
    """Whether the host of a URL is a loopback address or `localhost`."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def checked(answer: httpx2.Response) -> httpx2.Response:
    """The answer, if it is a success; else raises `ApiError`."""
    if answer.is_success:
        return answer
    if answer.status_code == 401:
        raise ApiError(f"the API asks for a good key, by --key or ROLLCALL_KEY: {reason(answer)}")
    raise ApiError(f"the API refuses it ({answer.status_code}): {reason(answer)}")


def reason(answer: httpx2.Response) -> str:
    """The API's message about a refused request."""
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def _retry_after(answer: httpx2.Response | None) -> float | None:
    text = answer.headers.get("Retry-After", "") if answer is not None else ""
    return float(text) if text.isdecimal() else None
