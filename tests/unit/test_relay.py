import http.client
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from scripts.local.ministack import free_port
from scripts.local.relay import relay

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address")

OTHER = "127.0.0.2"
SECRET = "a secret of this run"


@dataclass
class Emulator:
    """What listens on the loopback interface, with what reached it."""

    port: int
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    found = Emulator(free_port())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.asked.append((self.command, self.path, headers, body))
            said = b"{}" if self.command == "POST" else b""
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - as the base class asks

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", found.port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def relayed(emulator: Emulator) -> Iterator[Emulator]:
    with relay((OTHER, emulator.port), emulator.port, Credentials("test", SECRET)):
        yield emulator


def client(service: str, port: int, secret: str = SECRET) -> Any:
    session = boto3.Session("test", secret, region_name="us-east-1")
    config = Config(signature_version="s3v4" if service == "s3" else "v4", retries={"max_attempts": 0})
    return session.client(service, endpoint_url=f"http://{OTHER}:{port}", config=config)  # type: ignore[call-overload]


def call(service: str, port: int, secret: str = SECRET) -> None:
    """What the functions do: requests of each protocol that their services have."""
    aws = client(service, port, secret)
    try:
        if service == "dynamodb":
            aws.describe_table(TableName="events")
        elif service == "sqs":
            aws.send_message(QueueUrl=f"http://127.0.0.1:{port}/000000000000/batches", MessageBody="ä b+c&d=e/~")
        elif service == "s3":
            aws.put_object(
                Bucket="uploads", Key="a folder/ä+b&c=d~e(1).csv", Body=b"rows\n", Metadata={"made": "by me"}
            )
        else:
            aws.invoke(FunctionName="segments", Payload=b"{}")
    finally:
        aws.close()


SERVICES = ("dynamodb", "sqs", "s3", "lambda")


def send(port: int, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> int:
    connection = http.client.HTTPConnection(OTHER, port, timeout=30)
    try:
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("service", SERVICES)
def test_the_relay_passes_on_what_the_functions_containers_sign(relayed: Emulator, service: str) -> None:
    call(service, relayed.port)
    ((_, target, headers, body),) = relayed.asked
    # The emulator's guard asks for this machine's own name.
    assert headers["host"] == f"127.0.0.1:{relayed.port}"
    assert f"/us-east-1/{service}/" in headers["authorization"]
    assert body
    if service == "s3":
        assert (target, headers["x-amz-meta-made"]) == ("/uploads/a%20folder/%C3%A4%2Bb%26c%3Dd~e%281%29.csv", "by me")


@pytest.mark.parametrize("service", SERVICES)
def test_the_relay_refuses_what_is_signed_with_another_secret(relayed: Emulator, service: str) -> None:
    with pytest.raises(ClientError, match="403"):
        call(service, relayed.port, "test")
    assert relayed.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/lambda/aws4_request"},
        {
            "Authorization": "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/lambda/aws4_request, "
            "SignedHeaders=host, Signature=00",
            "X-Amz-Date": "20250101T000000Z",
        },
        {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    ],
    ids=["unsigned", "half signed", "badly signed", "a page"],
)
def test_the_relay_refuses_what_nobody_signed(relayed: Emulator, headers: dict[str, str]) -> None:
    for method, target in (("POST", "/2015-03-31/functions"), ("GET", "/?Action=ListQueues"), ("OPTIONS", "/x")):
        assert send(relayed.port, method, target, headers, b"{}" if method == "POST" else b"") == 403
    assert relayed.asked == []


@pytest.mark.parametrize("what", ["target", "body", "method", "header"])
def test_a_signature_is_for_one_request_alone(relayed: Emulator, what: str) -> None:
    call("dynamodb", relayed.port)
    _, target, headers, body = relayed.asked.pop()
    headers |= {"host": f"{OTHER}:{relayed.port}"}
    assert send(relayed.port, "POST", target, headers, body) == 200
    relayed.asked.clear()
    changed = {
        "target": ("POST", "/2015-03-31/functions", headers, body),
        "body": ("POST", target, headers, body.replace(b"events", b"access")),
        "method": ("PUT", target, headers, body),
        "header": ("POST", target, {**headers, "x-amz-target": "DynamoDB_20120810.DeleteTable"}, body),
    }
    assert send(relayed.port, *changed[what]) == 403
    assert relayed.asked == []


def presigned(port: int, seconds: int = 60) -> str:
    """The target of a presigned URL."""
    s3 = client("s3", port)
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "uploads", "Key": "a b.csv"}, ExpiresIn=seconds)
    s3.close()
    target: str = urlsplit(url)._replace(scheme="", netloc="").geturl()
    return target


def test_a_presigned_upload_is_passed_on_without_what_nobody_signed(relayed: Emulator) -> None:
    sent = {"Content-Type": "text/csv", "Origin": "https://evil.example", "X-Amz-Target": "AWSLambda.CreateFunction"}
    assert send(relayed.port, "PUT", presigned(relayed.port), sent, b"rows") == 200
    ((method, target, headers, body),) = relayed.asked
    assert (method, target, body) == ("PUT", "/uploads/a%20b.csv", b"rows")
    # The guard learns which page asks, and MiniStack of no other service.
    assert (headers["origin"], "x-amz-target" in headers) == ("https://evil.example", False)


def test_an_altered_or_expired_presigned_url_is_refused(relayed: Emulator) -> None:
    good = presigned(relayed.port)
    for method, target in (
        ("PUT", good.replace("a%20b.csv", "another.csv")),
        ("PUT", good.replace("X-Amz-Expires=60", "X-Amz-Expires=600")),
        ("PUT", f"{good}&Action=CreateQueue"),
        ("DELETE", good),
        ("PUT", good.partition("&X-Amz-Signature")[0]),
        ("PUT", presigned(relayed.port, -1)),
        ("PUT", good.replace("X-Amz-Expires=60", "X-Amz-Expires=" + "9" * 30)),
    ):
        assert send(relayed.port, method, target, body=b"rows") == 403, target
    assert relayed.asked == []


def test_a_relay_to_nobody_says_so() -> None:
    port = free_port()
    with (
        relay((OTHER, port), port, Credentials("test", SECRET)),
        pytest.raises(ClientError, match="502"),
    ):
        call("dynamodb", port)
    with pytest.raises(ConnectionRefusedError):
        send(port, "GET", "/")
