"""Lets containers reach the local AWS, which listens on this machine's loopback interface only.

Whatever reaches the relay's address may send it requests: any container, and any web page. It passes on only what is
signed with the secret that the containers of the functions have.
"""

import hmac
import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from botocore.auth import SIGV4_TIMESTAMP, UNSIGNED_PAYLOAD, S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SECONDS = 60.0
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<credential>[^, ]+), ?SignedHeaders=(?P<headers>[^, ]+), ?"
    r"Signature=(?P<signature>[0-9a-f]+)"
)
QUERY = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")
# Of the headers that nobody signed, a presigned request keeps those that say what it sends and who asks.
UNSIGNED = frozenset({"content-type", "content-encoding", "origin", "sec-fetch-site", "user-agent"})
# Each is about one connection, or is made anew for the next one.
HOP_BY_HOP = frozenset({"connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding", "upgrade"})


@dataclass(frozen=True)
class Request:
    """A request as it was sent. Names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def admitted(request: Request, credentials: Credentials, now: datetime) -> Request | None:
    """What to pass on of a request that is signed with the secret, by AWS's Signature Version 4; else None."""
    signed = AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
    if signed is not None:
        return request if _signed_by_header(request, signed, credentials) else None
    return _presigned(request, credentials, now)


def _signed_by_header(request: Request, signed: re.Match[str], credentials: Credentials) -> bool:
    claimed = request.headers.get("x-amz-content-sha256", UNSIGNED_PAYLOAD)
    if claimed not in (UNSIGNED_PAYLOAD, sha256(request.body).hexdigest()):
        return False
    scope = _scope(signed["credential"], credentials)
    if scope is None:
        return False
    region, service = scope
    signer = (S3SigV4Auth if service == "s3" else SigV4Auth)(credentials, service, region)
    expected = _signature(signer, request, signed["headers"], request.headers.get("x-amz-date", ""), request.target)
    return hmac.compare_digest(expected, signed["signature"])


def _presigned(request: Request, credentials: Credentials, now: datetime) -> Request | None:
    path, _, query = request.target.partition("?")
    told = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    scope = _scope(told.get("X-Amz-Credential", ""), credentials)
    try:
        made = datetime.strptime(told["X-Amz-Date"], SIGV4_TIMESTAMP).replace(tzinfo=UTC)
        valid = now <= made + timedelta(seconds=int(told["X-Amz-Expires"]))
    except (KeyError, ValueError, OverflowError):
        return None
    if scope is None or scope[1] != "s3" or not valid:
        return None
    signer = S3SigV4QueryAuth(credentials, "s3", scope[0])
    pairs = [pair for pair in query.split("&") if pair]
    unsigned = "&".join(pair for pair in pairs if not pair.startswith("X-Amz-Signature="))
    names = told.get("X-Amz-SignedHeaders", "")
    expected = _signature(signer, request, names, told["X-Amz-Date"], f"{path}?{unsigned}")
    if not hmac.compare_digest(expected.encode(), told.get("X-Amz-Signature", "").encode()):
        return None
    # The emulator would check the signature against its own secret.
    left = "&".join(pair for pair in pairs if pair.partition("=")[0] not in QUERY)
    kept = UNSIGNED.union(names.split(";"))
    headers = {name: value for name, value in request.headers.items() if name in kept}
    return Request(request.method, f"{path}?{left}" if left else path, headers, request.body)


def _scope(credential: str, credentials: Credentials) -> tuple[str, str] | None:
    """The region and the service that a request was signed for; None if by another key."""
    parts = credential.split("/")
    return (parts[2], parts[3]) if len(parts) == 5 and parts[0] == credentials.access_key else None


def _signature(signer: SigV4Auth, request: Request, names: str, stamp: str, target: str) -> str:
    headers = {name: request.headers.get(name, "") for name in names.split(";")}
    url = f"http://{request.headers.get('host', '')}{target}"
    again = AWSRequest(request.method, url, headers=headers, data=request.body)
    again.context["timestamp"] = stamp
    signature: str = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
    return signature


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], port: int, credentials: Credentials) -> None:
        super().__init__(address, _Handler)
        self.target = port
        self.credentials = credentials


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _relay(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._answer(411, {}, b"The relay needs a Content-Length.\n")
            self.close_connection = True
            return
        names = [name.lower() for name in self.headers]
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(int(length)))
        good = None
        if len(names) == len(headers) and self.path.startswith("/"):
            good = admitted(request, self.server.credentials, datetime.now(UTC))
        if good is None:
            self._answer(403, {}, b"The relay passes on only what the containers of the functions sign.\n")
            return
        onward = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=SECONDS)
        try:
            kept = {name: value for name, value in good.headers.items() if name not in HOP_BY_HOP}
            onward.request(good.method, good.target, good.body, kept)
            answered = onward.getresponse()
            self._answer(answered.status, dict(answered.getheaders()), answered.read())
        except (OSError, http.client.HTTPException) as error:
            self._answer(502, {}, f"The local AWS does not answer: {error}\n".encode())
        finally:
            onward.close()

    do_DELETE = do_GET = do_HEAD = do_OPTIONS = do_PATCH = do_POST = do_PUT = _relay  # noqa: N815 - as the base class asks

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@contextmanager
def relay(address: tuple[str, int], port: int, credentials: Credentials) -> Iterator[None]:
    """Within the block, pass requests to an address on to a port of 127.0.0.1, if they are signed."""
    with _Server(address, port, credentials) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
