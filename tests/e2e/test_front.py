"""What stands before the local AWS, by what comes over the wire."""

import gzip
import json
import re
import socket
import sys
import uuid
from collections.abc import Mapping
from typing import Any

import boto3
import httpx2
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from scripts.local.ministack import CREDENTIAL, REGION, MiniStack, api_url
from scripts.local.relay import relay
from tests.e2e.conftest import DeployedStack
from tests.support import assert_problem

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("direct", "sam", reason="of the local AWS of `rollcall up`"),
]

STRANGER = "https://evil.example"
APP = "https://app.example"


def send(port: int, request: str) -> tuple[int, str]:
    """Send a request as it stands, with the port for PORT; returns the status and the answer."""
    text = request.replace("PORT", str(port)).replace("\n", "\r\n")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(text.encode())
        said = b""
        while b"\r\n\r\n" not in said and (part := connection.recv(65_536)):
            said += part
    return int(said.split()[1]), said.decode("latin-1")


WEBSOCKET = (
    "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Version: 13"
)
# Each would make a queue if it were let in.
QUERY = "/?Action=CreateQueue&QueueName=intruder"
HOSTILE = {
    "a form of another page": f"POST {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nOrigin: {STRANGER}\n"
    "Content-Type: text/plain\nContent-Length: 0\n\n",
    "a form of a page that keeps its origin secret": f"POST {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nOrigin: null\n"
    "Content-Length: 0\n\n",
    "a page whose name resolves to this machine": f"GET {QUERY} HTTP/1.1\nHost: evil.example:PORT\n\n",
    "an image of another page": f"GET {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nSec-Fetch-Site: cross-site\n"
    "Sec-Fetch-Mode: no-cors\nSec-Fetch-Dest: image\n\n",
    "an image of a page on another port": f"GET {QUERY} HTTP/1.1\nHost: localhost:PORT\nSec-Fetch-Site: same-site\n\n",
    "no host": f"GET {QUERY} HTTP/1.0\n\n",
    "another host in HTTP/1.0": f"GET {QUERY} HTTP/1.0\nHost: evil.example:PORT\n\n",
    "a target with a host": f"GET http://evil.example:PORT{QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\n\n",
    "two hosts": f"GET {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nHost: evil.example\n\n",
    "two origins": f"GET {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nOrigin: http://127.0.0.1:PORT\nOrigin: {STRANGER}\n\n",
    "a preflight": f"OPTIONS {QUERY} HTTP/1.1\nHost: 127.0.0.1:PORT\nOrigin: {STRANGER}\n"
    "Access-Control-Request-Method: POST\n\n",
    "a websocket": f"GET /_aws/execute-api/x/y HTTP/1.1\nHost: 127.0.0.1:PORT\nOrigin: {STRANGER}\n{WEBSOCKET}\n\n",
}


@pytest.mark.parametrize("request_text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_page_could_send_is_refused_and_does_nothing(ministack: MiniStack, request_text: str) -> None:
    status, said = send(ministack.port, request_text)
    # 400 is of the server itself, for what is no HTTP.
    assert status in (400, 403), said
    assert "access-control-" not in said.lower()
    assert not ministack.client("sqs").list_queues(QueueNamePrefix="intruder").get("QueueUrls")


def test_what_this_machines_own_programs_send_is_let_in(ministack: MiniStack) -> None:
    for name in ("127.0.0.1", "localhost"):
        status, said = send(ministack.port, f"GET /_ministack/health HTTP/1.1\nHost: {name}:PORT\n\n")
        assert status == 200, said


def ask(url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> httpx2.Response:
    return httpx2.request(method, url, headers=dict(headers or {}), timeout=60, trust_env=False)


def test_the_api_is_below_its_stage_as_on_aws(stack: DeployedStack) -> None:
    base = str(stack.http.base_url).rstrip("/")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", base)
    for path in ("/health", "/docs", "/openapi.json", "/stats/dau", "/no/such/route"):
        here, there = ask(f"{base}{path}"), ask(f"{api_url(stack.endpoint, stack.outputs)}{path}")
        older = ask(f"{stack.endpoint}/restapis/{stack.outputs['ApiId']}/v1/_user_request_{path}")
        assert (here.status_code, here.content) == (there.status_code, there.content)
        assert (here.status_code, here.content) == (older.status_code, older.content)
    # The page finds its parts below the same stage.
    for part in re.findall(r'(?:src|href)="(docs/[^"]+)"', ask(f"{base}/docs").text):
        assert ask(f"{base}/{part}").status_code == 200
    assert ask(f"{base}/openapi.json").json()["servers"] == [{"url": "./"}]


def test_a_bucket_whose_name_begins_like_the_stage_is_no_part_of_the_api(stack: DeployedStack) -> None:
    # Names of buckets have three letters or more, so that none is v1.
    s3 = stack.client("s3")
    s3.create_bucket(Bucket="v1-of-something")
    try:
        s3.put_object(Bucket="v1-of-something", Key="v1/events", Body=b"kept")
        assert ask(f"{stack.endpoint}/v1-of-something/v1/events").content == b"kept"
        s3.delete_object(Bucket="v1-of-something", Key="v1/events")
    finally:
        s3.delete_bucket(Bucket="v1-of-something")


@pytest.mark.parametrize("base", ["/v1", "/_aws/execute-api/{api}/v1", "/restapis/{api}/v1/_user_request_"])
def test_the_api_keeps_its_own_rules_about_pages(stack: DeployedStack, base: str) -> None:
    url = stack.endpoint + base.format(api=stack.outputs["ApiId"])
    page = {"Origin": STRANGER, "Sec-Fetch-Site": "cross-site"}
    # Without CorsOrigins: the functions refuse a preflight, and no answer is for the page to read.
    preflight = ask(f"{url}/events", "OPTIONS", {**page, "Access-Control-Request-Method": "POST"})
    assert_problem(preflight, 405, "method_not_allowed")
    called = ask(f"{url}/keys", headers={**page, "X-API-Key": stack.key})
    assert called.status_code == 200
    for answered in (preflight, called):
        assert not [name for name in answered.headers if name.startswith("access-control-")]
    assert ask(f"{url}/health", headers={"Host": "evil.example"}).status_code == 403


def test_the_api_lets_in_the_pages_of_its_origins(stack: DeployedStack) -> None:
    lambda_, name = stack.client("lambda"), stack.outputs["IngestFunctionName"]
    variables: dict[str, Any] = lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    try:
        allowing = {"Variables": {**variables, "CORS_ORIGINS": APP, "INGEST_PREFIX": "/t9"}}
        lambda_.update_function_configuration(FunctionName=name, Environment=allowing)
        asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key,x-retry-count"}
        for path in ("/events", "/t9/events/", "/t9/t"):
            url = f"{stack.endpoint}/v1{path}"
            for origin, status, allowed in ((APP, 200, APP), (STRANGER, 400, None)):
                page = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
                preflight = ask(url, "OPTIONS", {**page, **asking})
                sent = ask(url, "POST", {**page, "X-API-Key": stack.key})
                assert (preflight.status_code, sent.status_code) == (status, 400)
                for answered in (preflight, sent):
                    assert answered.headers.get("access-control-allow-origin") == allowed
        unknown = ask(f"{stack.endpoint}/v1/t9/stats/dau", headers={"Origin": APP})
        assert_problem(unknown, 404, "not_found")
        assert unknown.headers["access-control-allow-origin"] == APP
    finally:
        lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain;charset=UTF-8"}, {}], ids=["text", "no type"])
@pytest.mark.parametrize("path", ["/v1/events", "/v1/v1/events/"])
def test_a_beacon_arrives_byte_for_byte(stack: DeployedStack, headers: dict[str, str], path: str) -> None:
    event = {"event_id": str(uuid.uuid4()), "occurred_at": "2017-03-01T00:00:00Z", "user_id": "z", "event_type": "é#\0"}
    # Every byte that is not UTF-8 would be another one if anybody took the body for text.
    body = gzip.compress(json.dumps([event]).encode())

    url, key = f"{stack.endpoint}{path}", {"X-API-Key": stack.key}
    sent = httpx2.post(url, content=body, headers=key | headers, timeout=60, trust_env=False)

    assert (sent.status_code, sent.json()["accepted"]) == (202, 1), sent.text


def put(url: str, headers: Mapping[str, str]) -> httpx2.Response:
    return httpx2.put(url, content=b"event_id\n", headers=dict(headers), timeout=60, trust_env=False)


def test_a_presigned_upload_is_for_programs_and_for_the_pages_of_the_buckets_rules(stack: DeployedStack) -> None:
    page = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}

    def begin() -> tuple[str, dict[str, str]]:
        """A URL, which is good for one file, and the headers that it asks for besides the length."""
        begun = stack.http.post("/imports", json={"name": "rows.csv", "bytes": len(b"event_id\n")}).json()
        return begun["url"], {name: value for name, value in begun["headers"].items() if name != "Content-Length"}

    url, needed = begin()
    assert put(url, needed).status_code == 200
    # The bucket's rules are about the API's own address on AWS alone.
    url, needed = begin()
    assert put(url, page | needed).status_code == 403
    s3, bucket = stack.client("s3"), stack.outputs["UploadBucketName"]
    before = s3.get_bucket_cors(Bucket=bucket)["CORSRules"]
    rules: Any = [{"AllowedMethods": ["PUT"], "AllowedOrigins": [APP], "AllowedHeaders": [*needed]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    try:
        asking = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": ",".join(needed).lower()}
        for origin, status, allowed in ((STRANGER, 403, None), (APP, 200, APP)):
            headers = {**page, "Origin": origin}
            preflight = ask(url, "OPTIONS", {**headers, **asking})
            assert (preflight.status_code, preflight.headers.get("access-control-allow-origin")) == (status, allowed)
            sent = put(url, headers | needed)
            assert (sent.status_code, sent.headers.get("access-control-allow-origin")) == (status, allowed)
        # The rules are about the methods that they name, and about what is signed.
        assert ask(url, "POST", page).status_code == 403
        assert put(url.partition("?")[0], page).status_code == 403
    finally:
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": before})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 is no address")
def test_the_functions_containers_reach_the_local_aws_by_the_relay_and_others_do_not(stack: DeployedStack) -> None:
    port, bucket = int(stack.endpoint.rpartition(":")[2]), stack.outputs["UploadBucketName"]
    with relay(("127.0.0.2", port), port, Credentials(CREDENTIAL, "of this run")):

        def client(secret: str) -> Any:
            session = boto3.Session(CREDENTIAL, secret, region_name=REGION)
            config = Config(signature_version="s3v4", retries={"max_attempts": 0})
            return session.client("s3", endpoint_url=f"http://127.0.0.2:{port}", config=config)

        s3 = client("of this run")
        url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "relayed/a b.csv"})
        assert put(url, {}).status_code == 200
        assert put(url, {"Origin": STRANGER}).status_code == 403
        assert s3.get_object(Bucket=bucket, Key="relayed/a b.csv")["Body"].read() == b"event_id\n"
        s3.delete_object(Bucket=bucket, Key="relayed/a b.csv")
        with pytest.raises(ClientError, match="403"):
            client(CREDENTIAL).list_objects_v2(Bucket=bucket)
        assert ask(f"http://127.0.0.2:{port}/").status_code == 403
