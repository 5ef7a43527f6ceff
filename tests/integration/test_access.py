import base64
import json
import os
import re
import runpy
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import argon2
import boto3
import jwt
import pytest
from botocore.exceptions import EndpointConnectionError
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx2 import Response
from moto import mock_aws

from rollcall.access.accounts import Accounts
from rollcall.access.api_keys import SCOPES, ApiKeys, key_id_of
from rollcall.access.gate import Gate
from rollcall.access.reach import ALL, Reach
from rollcall.access.sessions import TokenPair
from rollcall.access.shares import NewShare, Share, Shares
from rollcall.access.tokens import ALGORITHM, AccessTokens, SigningKey
from rollcall.core.batch import Batch
from rollcall.core.days import Calendar, timestamp
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.receipts import Receipts
from rollcall.http.document import describe
from rollcall.http.parameters import ANY_PARAMETERS_TAG
from rollcall.http.services import provide, service
from rollcall.operation.health import Health
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import Tables, account_key, session_key
from rollcall.stack.projects import Projects
from rollcall.stack.settings import StatsSettings
from scripts.operate.anonymous import HEADER_BYTES, KINDS
from scripts.paths import ROOT
from tests.integration.conftest import DYNAMODB_SETTINGS, REGION, Queue, WholeApi, event_loop
from tests.support import (
    SETTINGS,
    assert_problem,
    create_access_table,
    create_buckets,
    create_tables,
    delete_tables,
    routes,
    scan,
    settings_for,
)

PASSWORD = "nine green bottles"
ADDRESS = "192.0.2.1"
SIGNING_KEY_PARAMETER = "/rollcall/signing-key"
KEY_BURST = 5_000
# All that anybody may call. A route that is not here asks for a credential.
PUBLIC = {
    ("GET", "/health"),
    ("GET", "/healthz"),
    ("POST", "/auth/login"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/session"),
    ("POST", "/auth/session/refresh"),
    ("DELETE", "/auth/session"),
}
UNDESCRIBED = {("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/docs/{asset}")}
# The one route for which scopes do not suffice: it is about the account of who calls.
FOR_ACCOUNTS = {("POST", "/auth/change-password")}
# What any good credential may do.
FOR_ANYBODY = {("POST", "/auth/codes")}
# What is never about another project than the caller's: a test of its own says what they tell of others.
ABOUT_ONESELF = {
    *FOR_ACCOUNTS,
    *FOR_ANYBODY,
    ("GET", "/keys"),
    ("GET", "/projects"),
    ("GET", "/metrics"),
    ("GET", "/shares"),
}
OURS, THEIRS, NOBODYS = Project("ours"), Project("theirs"), Project("nobodys")
# What a bucket in an item moves on, whether or not anything else comes of a request.
COUNTED = re.compile(r"full_at_\d+|generation|requests#.*")


@dataclass(frozen=True)
class Operation:
    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def described(self) -> dict[str, Any]:
        operation: dict[str, Any] = describe()["paths"][self.path][self.method.lower()]
        return operation

    @property
    def needed(self) -> frozenset[str]:
        schemes = self.described.get("security", [{}])
        if {} in schemes:
            return frozenset()
        return frozenset(scope for scheme in schemes for scopes in scheme.values() for scope in scopes)

    @property
    def body(self) -> Any:
        """The example of the description."""
        content = self.described.get("requestBody", {}).get("content", {})
        return content.get("application/json", {}).get("example")


HEALTHZ = Operation("GET", "/healthz")
OPERATIONS = [Operation(method.upper(), path) for path, item in describe()["paths"].items() for method in item]
OPEN = [operation for operation in OPERATIONS if (operation.method, operation.path) in PUBLIC]
SECURED = [operation for operation in OPERATIONS if operation not in OPEN]


def reach_for(project: Project | None) -> Reach | None:
    return None if project is None else Reach(project)


class Stack:
    """All functions behind one door, for all cases of this module."""

    def __init__(self, api: WholeApi, dynamodb: Any, tables: Tables, access_table: str, queue: Queue) -> None:
        self.door = api
        self.dynamodb = dynamodb
        self._tables = tables
        self._access_table = access_table
        self._queue = queue
        self.apps = api.apps
        self.accounts = service(api.apps["auth"], Accounts)
        self.keys = ApiKeys(Dynamo(dynamodb), access_table)
        self.projects = Projects(Dynamo(dynamodb), tables.stats, Calendar("UTC"))

    def key(
        self, *scopes: str, source: str = "http", limit: Limit | None = None, project: Project | None = None
    ) -> str:
        return self.keys.create("test", scopes or SCOPES, source, limit, reach=reach_for(project))[1]

    def expired_key(self) -> str:
        keys = ApiKeys(Dynamo(self.dynamodb), self._access_table, lambda: time.time() - 7_200)
        return keys.create("test", SCOPES, "http", lifetime=timedelta(hours=1))[1]

    def revoked_key(self) -> str:
        key, text = self.keys.create("test", SCOPES, "http")
        self.keys.revoke(key.key_id, ALL)
        return text

    def rotated_key(self, grace: timedelta = timedelta()) -> str:
        """The former secret."""
        key, text = self.keys.create("test", SCOPES, "http")
        self.keys.rotate(key.key_id, ALL, grace)
        return text

    def login(self, *scopes: str, project: Project | None = None) -> TokenPair:
        """A session of an account that nobody else has."""
        email = self.email(*scopes, project=project)
        pair: TokenPair = self.accounts.login(email, PASSWORD, ADDRESS)
        return pair

    def share(self, project: Project = DEFAULT, segment: Sequence[str] = ()) -> tuple[Share, str]:
        """A share of August 2025, and its token."""
        days = ("2025-08-01", "2025-08-31", None, None)
        tomorrow = timestamp(time.time() + 86_400)
        wanted = NewShare("shared", "overview", project, segment, *days, tomorrow)
        return service(self.apps["auth"], Shares).create(wanted)

    def email(self, *scopes: str, project: Project | None = None) -> str:
        """Of an account that was made just now."""
        email = f"{uuid.uuid4().hex}@example.com"
        self.accounts.register(email, PASSWORD, scopes or SCOPES, reach_for(project))
        return email

    def expired_token(self) -> str:
        claims = service(self.apps["auth"], Gate).tokens.read(self.login().access_token)
        key = SigningKey(boto3.client("ssm"), SIGNING_KEY_PARAMETER)
        return AccessTokens(key, lambda: time.time() - 3_600).issue(claims)

    def overdue_token(self) -> str:
        """Of a session whose time is over, though it is still stored."""
        pair = self.login()
        claims = service(self.apps["auth"], Gate).tokens.read(pair.access_token)
        self.dynamodb.update_item(
            TableName=self._access_table,
            Key={"pk": {"S": account_key(claims.owner_id)}, "sk": {"S": session_key(claims.session_id)}},
            UpdateExpression="SET expires_at = :now",
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
        )
        return pair.access_token

    def ended_token(self) -> str:
        pair = self.login()
        self.accounts.logout(pair.refresh_token)
        return pair.access_token

    def signed_token(self, secret: str | None, algorithm: str) -> str:
        """A good token, under another signature."""
        good = self.login().access_token
        payload = jwt.decode(good, options={"verify_signature": False})
        return jwt.encode(payload, secret or "", algorithm, {"kid": jwt.get_unverified_header(good)["kid"]})

    def patched_token(self) -> str:
        """The claims of one token under the signature of another."""
        header, _, signature = self.login("read").access_token.split(".")
        return f"{header}.{self.login().access_token.split('.')[1]}.{signature}"

    def door_of(self, operation: Operation, headers: dict[str, str]) -> Response:
        """Send to a path as it is written."""
        return TestClient(self.door).request(operation.method, operation.path, headers=headers)

    def send(self, operation: Operation, headers: dict[str, str]) -> Response:
        return self._send(operation, headers, self.victim(operation))

    def send_in_vain(
        self, operation: Operation, headers: dict[str, str], victim: dict[str, str] | None = None
    ) -> Response:
        """Send what is to change nothing, least of all the victim."""
        victim = self.victim(operation) if victim is None else victim
        before = self._kept()
        response = self._send(operation, headers, victim)
        assert self._kept() == before
        return response

    def clear(self) -> None:
        # What is kept is compared before and after each request.
        for table in (self._tables.stats, self._access_table):
            for item in scan(self.dynamodb, table):
                self.dynamodb.delete_item(TableName=table, Key={name: {"S": item[name]} for name in ("pk", "sk")})

    def forget_projects(self) -> None:
        """Have keys, accounts and sessions be as they were made before there were projects."""
        for item in scan(self.dynamodb, self._access_table):
            if "project" in item:
                self.dynamodb.update_item(
                    TableName=self._access_table,
                    Key={name: {"S": item[name]} for name in ("pk", "sk")},
                    UpdateExpression="REMOVE #project",
                    ExpressionAttributeNames={"#project": "project"},
                )

    def delete_tables(self) -> None:
        delete_tables(self.dynamodb, self._tables)
        self.dynamodb.delete_table(TableName=self._access_table)

    def queued(self) -> list[Batch]:
        return self._queue.batches()

    def victim(self, operation: Operation, project: Project | None = None) -> dict[str, str]:
        """The ids of what there is to do something to, if that is what the operation is for."""
        if "{key_id}" in operation.path:
            reach = reach_for(project)
            return {"key_id": self.keys.create("victim", SCOPES, "http", reach=reach)[0].key_id}
        if "{account_id}" in operation.path:
            claims = service(self.apps["auth"], Gate).tokens.read(self.login(project=project).access_token)
            return {"account_id": claims.owner_id, "session_id": claims.session_id}
        if "{share_id}" in operation.path:
            return {"share_id": self.share(project or DEFAULT)[0].share_id}
        return {}

    def about(self, operation: Operation, headers: dict[str, str], project: Project) -> Response:
        """Send what is about a project, or about something of it if there is one. It is to change nothing."""
        there = any(known.project == project for known in self.projects.all())
        body, query, victim = None, {}, {}
        if any(parameter["name"] == "project" for parameter in operation.described.get("parameters", [])):
            query = {"project": project.name}
        elif "{name}" in operation.path:
            victim = {"name": project.name}
        elif "{" in operation.path:
            victim = self.victim(operation, project) if there else {}
        elif operation == Operation("GET", "/accounts"):
            query = {"email": self.email(project=project) if there else "nobody@example.com"}
        elif operation == Operation("POST", "/projects"):
            body = {"name": project.name}
        else:
            assert isinstance(operation.body, dict), f"{operation} is about no project"
            body = {**operation.body, "project": project.name}
        before = self._kept()
        response = self._send(operation, headers, victim, body, query)
        assert self._kept() == before
        return response

    def _send(
        self,
        operation: Operation,
        headers: dict[str, str],
        victim: dict[str, str],
        body: Any = None,
        query: dict[str, str] | None = None,
    ) -> Response:
        body = operation.body if body is None else body
        if isinstance(body, dict) and "email" in body:
            body = {**body, "email": f"{uuid.uuid4().hex}@example.com"}
        if operation.path.startswith("/auth/session"):
            headers = {**headers, "X-Rollcall-Page": "1"}
        path = re.sub(r"\{(\w+)\}", lambda match: victim.get(match[1], "0" * 32), operation.path)
        client = TestClient(self.door, raise_server_exceptions=False)
        return client.request(operation.method, path, headers=headers, json=body, params=query)

    def _kept(self) -> list[str]:
        """All that is stored and queued, but the buckets."""
        items = (
            sorted((name, str(value)) for name, value in item.items() if not COUNTED.fullmatch(name))
            for table in (self._tables.events, self._tables.stats, self._access_table)
            for item in scan(self.dynamodb, table)
            if not item.get("pk", "").startswith("bucket#")
        )
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        waiting = self._queue.client.get_queue_attributes(QueueUrl=self._queue.url, AttributeNames=names)["Attributes"]
        return [*sorted(map(str, items)), str(sum(map(int, waiting.values())))]


@pytest.fixture(scope="module")
def shared_stack(aws_clients: dict[str, Any]) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name == "AWS_PROFILE" or name.startswith("AWS_ENDPOINT_URL")]:
            monkeypatch.delenv(name)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        cheap = partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr("rollcall.access.passwords.PasswordHasher", cheap)
        with event_loop(), mock_aws():
            made = loaded(monkeypatch, aws_clients)
            yield made
            made.delete_tables()


def loaded(monkeypatch: pytest.MonkeyPatch, aws_clients: dict[str, Any]) -> Stack:
    dynamodb, sqs = aws_clients["dynamodb"], aws_clients["sqs"]
    create_buckets(aws_clients["s3"])
    queue = Queue(sqs, sqs.create_queue(QueueName="access")["QueueUrl"])
    tables, access_table = create_tables(dynamodb), create_access_table(dynamodb)
    settings = settings_for(tables, access_table, queue.url) | DYNAMODB_SETTINGS
    settings |= {"KEY_RATE": "1", "KEY_BURST": str(KEY_BURST), "SIGNING_KEY_PARAMETER": SIGNING_KEY_PARAMETER}
    settings |= {"ADDRESS_REQUESTS_PER_MINUTE": "60000", "ADDRESS_BURST": "10000"}
    settings |= {"LOGINS_PER_MINUTE": "60000", "LOGIN_BURST": "10000"}
    settings |= {"ACCOUNT_LOGINS_PER_HOUR": "3600000", "ACCOUNT_LOGIN_BURST": "10000"}
    settings |= {"IMPORTS_PER_MINUTE": "60000", "IMPORT_BURST": "10000"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    # The page is files.
    functions = [each.name for each in (ROOT / "functions").iterdir() if routes(each.name) and each.name != "page"]
    apps = {name: runpy.run_path(str(ROOT / f"functions/{name}/handler.py"))["app"] for name in functions}
    return Stack(WholeApi(apps), dynamodb, tables, access_table, queue)


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """The stack of all cases, with nothing in it."""
    shared_stack.clear()
    return shared_stack


def api_key(text: str) -> dict[str, str]:
    return {"X-API-Key": text}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


NO_SUCH_KEY = f"rc_{'0' * 16}_{'0' * 48}"
NO_CREDENTIAL, INVALID, EXPIRED, REVOKED = "unauthenticated", "invalid_credential", "expired", "revoked"

Credential = Callable[[Stack], dict[str, str]]

UNAUTHENTICATED: dict[str, tuple[str, Credential]] = {
    "no credential": (NO_CREDENTIAL, lambda stack: {}),
    "an empty key": (NO_CREDENTIAL, lambda stack: api_key("")),
    "an empty Bearer": (NO_CREDENTIAL, lambda stack: bearer("")),
    "another scheme": (NO_CREDENTIAL, lambda stack: {"Authorization": f"Digest {stack.key()}"}),
    "a key without its scheme": (NO_CREDENTIAL, lambda stack: {"Authorization": stack.key()}),
    "garbage as a key": (INVALID, lambda stack: api_key("garbage")),
    "garbage as Bearer": (INVALID, lambda stack: bearer("garbage")),
    "garbage as Basic": (INVALID, lambda stack: basic("garbage:")),
    "garbage of a token's form": (INVALID, lambda stack: bearer("a.b.c")),
    "a token with a deep header": (INVALID, lambda stack: bearer(f"{encoded('[' * 6_000)}.{encoded('{}')}.")),
    "a token of no key": (INVALID, lambda stack: bearer(f"{encoded(json.dumps({'kid': None}))}.{encoded('{}')}.")),
    "a key that is not there": (INVALID, lambda stack: api_key(NO_SUCH_KEY)),
    "a key that is not there as Bearer": (INVALID, lambda stack: bearer(NO_SUCH_KEY)),
    "a key that is not there as Basic": (INVALID, lambda stack: basic(f"{NO_SUCH_KEY}:")),
    "a key with another secret": (INVALID, lambda stack: api_key(f"{stack.key()[:-48]}{'0' * 48}")),
    "a key as a password": (INVALID, lambda stack: basic(f"user:{stack.key()}")),
    "a key in upper case": (INVALID, lambda stack: api_key(stack.key().upper())),
    "a key's former secret": (INVALID, lambda stack: api_key(stack.rotated_key())),
    "an expired key": (EXPIRED, lambda stack: api_key(stack.expired_key())),
    "an expired key as Bearer": (EXPIRED, lambda stack: bearer(stack.expired_key())),
    "an expired key as Basic": (EXPIRED, lambda stack: basic(f"{stack.expired_key()}:")),
    "a revoked key": (REVOKED, lambda stack: api_key(stack.revoked_key())),
    "a revoked key as Bearer": (REVOKED, lambda stack: bearer(stack.revoked_key())),
    "a revoked key as Basic": (REVOKED, lambda stack: basic(f"{stack.revoked_key()}:")),
    "an expired access token": (EXPIRED, lambda stack: bearer(stack.expired_token())),
    "an access token of an ended session": (REVOKED, lambda stack: bearer(stack.ended_token())),
    "an access token of an expired session": (REVOKED, lambda stack: bearer(stack.overdue_token())),
    "a token without a signature": (INVALID, lambda stack: bearer(stack.signed_token(None, "none"))),
    "a token signed by another key": (INVALID, lambda stack: bearer(stack.signed_token("0" * 64, ALGORITHM))),
    "another's claims": (INVALID, lambda stack: bearer(stack.patched_token())),
    "a refresh token": (INVALID, lambda stack: bearer(stack.login().refresh_token)),
}
UNREADABLE_BASIC = {
    "not base64": "Basic %%%",
    "not text": f"Basic {base64.b64encode(bytes(range(128, 160))).decode()}",
    "without a colon": f"Basic {base64.b64encode(b'garbage').decode()}",
    "nothing": "Basic",
}
BY_KEY: dict[str, Callable[[Stack, str], dict[str, str]]] = {
    "X-API-Key": lambda stack, key: api_key(key),
    "Bearer": lambda stack, key: bearer(key),
    "bearer in lower case": lambda stack, key: {"Authorization": f"bearer {key}"},
    "Basic user": lambda stack, key: basic(f"{key}:"),
    "Basic user with a password": lambda stack, key: basic(f"{key}:x"),
    "X-API-Key beside a bad Bearer": lambda stack, key: {**api_key(key), **bearer("garbage")},
}

UNAUTHENTICATED_CASES = [(operation, name) for operation in SECURED for name in UNAUTHENTICATED]
FORBIDDEN_CASES = [
    (operation, name)
    for operation in SECURED
    if (operation.method, operation.path) not in FOR_ANYBODY
    for name in (*BY_KEY, "access token")
    if operation.needed or name != "access token"
]
ADMITTED_CASES = [
    (operation, name)
    for operation in SECURED
    for name in (*BY_KEY, "a secret in its grace", "access token")
    if (operation.method, operation.path) not in FOR_ACCOUNTS or name == "access token"
]
PUBLIC_CASES = [
    (operation, name)
    for operation in OPEN
    for name in (*UNAUTHENTICATED, *UNREADABLE_BASIC, "a key", "an access token")
]
OTHER_PROJECT_CASES = [
    (operation, name)
    for operation in SECURED
    if (operation.method, operation.path) not in ABOUT_ONESELF
    for name in ("a key", "an access token")
]
EMPTY_BUCKET_CASES = [(operation, "an empty bucket") for operation in SECURED]
CASES = [
    *UNAUTHENTICATED_CASES,
    *FORBIDDEN_CASES,
    *ADMITTED_CASES,
    *PUBLIC_CASES,
    *OTHER_PROJECT_CASES,
    *EMPTY_BUCKET_CASES,
]


def assert_unauthenticated(response: Response, code: str) -> None:
    assert_problem(response, 401, code)
    assert response.headers["www-authenticate"] == "Bearer"


def unreachable(*_: object) -> None:
    raise EndpointConnectionError(endpoint_url=f"https://dynamodb.{REGION}.amazonaws.com")


class StubHealth(Health):
    def __init__(self, failures: dict[str, str | None]) -> None:
        self._failures = failures

    def check(self) -> dict[str, str | None]:
        return self._failures


def assert_allowance(response: Response, burst: int, seconds: int, remaining: int) -> None:
    assert response.headers["ratelimit-policy"] == f'"bucket";q={burst};w={seconds}'
    assert re.fullmatch(rf'"bucket";r={remaining};t=\d+', response.headers["ratelimit"])


def test_every_route_asks_for_a_credential_but_those_that_are_public_on_purpose() -> None:
    without = {
        (operation.method, operation.path)
        for operation in OPERATIONS
        if {} in operation.described.get("security", [{}])
    }

    assert without == PUBLIC


def test_no_function_has_a_route_that_is_not_described_but_the_documentation(stack: Stack) -> None:
    served = {
        (method, route.path)
        for app in stack.apps.values()
        for router in (app.router, *(getattr(included, "original_router", None) for included in app.routes))
        if router
        for route in router.routes
        # Those of other services' SDKs are described by these services.
        if isinstance(route, APIRoute) and ANY_PARAMETERS_TAG not in route.tags
        for method in route.methods or ()
    }

    assert served - UNDESCRIBED == {(operation.method, operation.path) for operation in OPERATIONS}


def test_the_description_has_every_way_to_authenticate() -> None:
    schemes = describe()["components"]["securitySchemes"]

    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "ApiKey": "apiKey",
        "Bearer": "http",
        "Basic": "http",
    }
    assert (schemes["ApiKey"]["in"], schemes["ApiKey"]["name"]) == ("header", "X-API-Key")
    assert (schemes["Bearer"]["scheme"], schemes["Basic"]["scheme"]) == ("bearer", "basic")


@pytest.mark.parametrize("operation", SECURED, ids=str)
def test_a_secured_route_is_described_with_its_scopes_and_all_its_refusals(operation: Operation) -> None:
    by_scheme = [
        (name, frozenset(scopes)) for scheme in operation.described["security"] for name, scopes in scheme.items()
    ]

    assert sorted(name for name, _ in by_scheme) == ["ApiKey", "Basic", "Bearer"]
    assert {scopes for _, scopes in by_scheme} == {operation.needed}
    assert operation.needed <= set(SCOPES)
    assert bool(operation.needed) == ((operation.method, operation.path) not in FOR_ACCOUNTS | FOR_ANYBODY)
    for status in ("401", "403", "429", "503"):
        content = operation.described["responses"][status]["content"]
        assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


@pytest.mark.parametrize("name", UNAUTHENTICATED)
def test_who_has_no_good_credential_is_unauthenticated_everywhere_and_changes_nothing(stack: Stack, name: str) -> None:
    code, credential = UNAUTHENTICATED[name]
    bad = credential(stack)

    # All in one test: to make a stack empty for each of them takes longer than to ask.
    for operation in SECURED:
        assert_unauthenticated(stack.send_in_vain(operation, bad), code)


@pytest.mark.parametrize("name", UNREADABLE_BASIC)
def test_a_basic_credential_that_cannot_be_read_is_refused_as_any_other(stack: Stack, name: str) -> None:
    response = stack.send_in_vain(Operation("GET", "/keys"), {"Authorization": UNREADABLE_BASIC[name]})

    assert_unauthenticated(response, response.json()["code"])


@pytest.mark.parametrize("name", UNREADABLE_BASIC)
def test_a_good_key_is_let_in_whatever_comes_beside_it(stack: Stack, name: str) -> None:
    credential = {**api_key(stack.key()), "Authorization": UNREADABLE_BASIC[name]}

    assert stack.send(Operation("GET", "/keys"), credential).status_code == 200


@pytest.mark.parametrize(("operation", "name"), FORBIDDEN_CASES, ids=str)
def test_who_lacks_what_a_route_needs_is_forbidden_and_changes_nothing(
    stack: Stack, operation: Operation, name: str
) -> None:
    others = [scope for scope in SCOPES if scope not in operation.needed]
    by_key = BY_KEY.get(name)
    credential = by_key(stack, stack.key(*others)) if by_key else bearer(stack.login(*others).access_token)

    response = stack.send_in_vain(operation, credential)

    assert_problem(response, 403, "missing_scope" if operation.needed else "account_required")
    assert "www-authenticate" not in response.headers
    assert_allowance(response, KEY_BURST, KEY_BURST, KEY_BURST - 1)


@pytest.mark.parametrize(("operation", "name"), ADMITTED_CASES, ids=str)
def test_who_has_just_what_a_route_needs_is_let_in(stack: Stack, operation: Operation, name: str) -> None:
    if name in BY_KEY:
        credential = BY_KEY[name](stack, stack.key(*operation.needed))
    elif name == "access token":
        credential = bearer(stack.login(*operation.needed).access_token)
    else:
        credential = api_key(stack.rotated_key(timedelta(hours=1)))

    response = stack.send(operation, credential)

    assert response.status_code not in (401, 403, 429)
    assert str(response.status_code) in operation.described["responses"]
    assert_allowance(response, KEY_BURST, KEY_BURST, KEY_BURST - 1)


@pytest.mark.parametrize(("operation", "name"), OTHER_PROJECT_CASES, ids=str)
def test_who_has_the_right_scope_in_another_project_is_not_told_whether_there_is_such_a_thing(
    stack: Stack, operation: Operation, name: str
) -> None:
    for project in (OURS, THEIRS):
        stack.projects.create(project, "Shown", "UTC")
    if name == "a key":
        credential = api_key(stack.key(*operation.needed, project=OURS))
    else:
        credential = bearer(stack.login(*operation.needed, project=OURS).access_token)

    theirs, nobodys = (stack.about(operation, credential, project) for project in (THEIRS, NOBODYS))

    assert theirs.status_code in (403, 404)
    assert str(theirs.status_code) in operation.described["responses"]
    assert (theirs.status_code, theirs.content) == (nobodys.status_code, nobodys.content)
    assert "theirs" not in theirs.text


def test_what_lists_things_tells_a_caller_of_one_project_of_no_other(stack: Stack) -> None:
    for project in (OURS, THEIRS):
        stack.projects.create(project, "Shown", "UTC")
    ours, theirs, everybodys = (stack.key("admin", "read", project=project) for project in (OURS, THEIRS, None))

    def told(key: str) -> list[str]:
        paths = ("/keys", "/projects", "/metrics")
        answers = [stack.send(Operation("GET", path), api_key(key)) for path in paths]
        assert [answer.status_code for answer in answers] == [200] * 3
        return [answer.text for answer in answers]

    id_of_theirs = theirs.split("_")[1]
    told(theirs)
    for text in told(ours):
        assert "theirs" not in text
        assert id_of_theirs not in text
        assert everybodys.split("_")[1] not in text
    assert "queue_depth" not in told(ours)[2]
    for text in told(everybodys):
        assert "theirs" in text
    assert id_of_theirs in told(everybodys)[2]
    assert "queue_depth" in told(everybodys)[2]


def test_what_a_project_sent_is_unknown_to_others_though_they_sent_the_same(stack: Stack) -> None:
    for project in (OURS, THEIRS):
        stack.projects.create(project, "Shown", "UTC")
    client = TestClient(stack.door)
    callers = [api_key(stack.key(project=project)) for project in (OURS, THEIRS, DEFAULT)]
    event = {"event_id": "e", "occurred_at": "2025-08-01T12:00:00Z", "user_id": "u", "event_type": "open"}

    def ids(headers: dict[str, str], query: dict[str, str] | None = None) -> list[str]:
        events = client.post("/events", json=[event], headers={**headers, "Idempotency-Key": "k"}, params=query)
        begun = client.post("/imports", json={"name": "a.csv", "bytes": 1}, headers=headers, params=query)
        assert (events.status_code, begun.status_code) == (202, 201)
        return [f"/batches/{events.json()['batch_ids'][0]}", f"/imports/{begun.json()['import_id']}"]

    sent = [ids(caller) for caller in callers]
    assert len({path for paths in sent for path in paths}) == 6
    for number, headers in enumerate(callers):
        for other, paths in enumerate(sent):
            for path in paths:
                answer = client.get(path, headers=headers)
                nothing = client.get(f"{path.rpartition('/')[0]}/{'0' * 32}", headers=headers)
                assert nothing.status_code == 404
                assert answer.status_code == 200 if other == number else answer.content == nothing.content
    # Who is for all finds each where it says that it is.
    of_all = api_key(stack.key())
    for query, paths in zip(({"project": "ours"}, {"project": "theirs"}, {}), sent, strict=True):
        assert [client.get(path, headers=of_all, params=query).status_code for path in paths] == [200, 200]
        assert ids(of_all, query)[0] == paths[0]
    assert {batch.project for batch in stack.queued()} == {OURS, THEIRS, DEFAULT}


@pytest.mark.parametrize(("scopes", "project"), [(("admin", "read"), "*"), (("read", "ingest", "import"), "default")])
def test_a_credential_of_before_there_were_projects_reaches_what_it_did(
    stack: Stack, scopes: tuple[str, ...], project: str
) -> None:
    stack.projects.create(OURS, "Shown", "UTC")
    key, pair = stack.key(*scopes, project=OURS), stack.login(*scopes, project=OURS)
    stack.forget_projects()

    for credential in (key, pair.access_token, stack.accounts.refresh(pair.refresh_token).access_token):
        caller, _ = service(stack.apps["auth"], Gate).admit(credential, "GET", "/")
        assert str(caller.reach) == project
    (listed,) = (each for each in stack.keys.all(ALL) if each.key_id == key_id_of(key))
    assert str(listed.reach) == project
    assert (listed in stack.keys.all(Reach(DEFAULT))) == (project == "default")


@pytest.mark.parametrize(("operation", "name"), PUBLIC_CASES, ids=str)
def test_a_credential_makes_no_difference_to_a_public_route(stack: Stack, operation: Operation, name: str) -> None:
    if name in UNAUTHENTICATED:
        credential = UNAUTHENTICATED[name][1](stack)
    elif name in UNREADABLE_BASIC:
        credential = {"Authorization": UNREADABLE_BASIC[name]}
    else:
        # An admin is told more by one of them, which has a test of its own.
        scopes = ("ingest", "read") if operation == HEALTHZ else SCOPES
        credential = api_key(stack.key(*scopes)) if name == "a key" else bearer(stack.login(*scopes).access_token)

    plain, response = stack.send(operation, {}), stack.send(operation, credential)

    assert str(response.status_code) in operation.described["responses"]
    assert response.status_code not in (403, 429, 503)
    assert (response.status_code, response.content) == (plain.status_code, plain.content)
    if response.status_code == 401:
        assert response.json()["code"] in ("wrong_credentials", "invalid_refresh_token", "invalid_session")


@pytest.mark.parametrize("name", [*BY_KEY, "access token"])
def test_an_admin_alone_is_told_which_dependency_is_down_and_why(stack: Stack, name: str) -> None:
    health = service(stack.apps["stats"], Health)
    failing = StubHealth({"queue": "AccessDenied", "events_table": None})
    provide(stack.apps["stats"], failing)
    try:
        by_key = BY_KEY.get(name)
        credential = by_key(stack, stack.key("admin")) if by_key else bearer(stack.login("admin").access_token)
        anybody, admin = stack.send(HEALTHZ, {}), stack.send(HEALTHZ, credential)
    finally:
        provide(stack.apps["stats"], health)

    assert (anybody.status_code, anybody.json()) == (503, {"status": "unavailable"})
    assert (admin.status_code, admin.json()) == (
        503,
        {"status": "unavailable", "dependencies": {"queue": "AccessDenied", "events_table": "ok"}},
    )


def test_an_admin_of_another_project_is_told_of_the_stack_s_dependencies_what_anybody_is(stack: Stack) -> None:
    health = service(stack.apps["stats"], Health)
    provide(stack.apps["stats"], StubHealth({"queue": "AccessDenied"}))
    try:
        anybody = stack.send(HEALTHZ, {})
        answer = stack.send(HEALTHZ, api_key(stack.key("admin", project=Project("shop"))))
        of_default = stack.send(HEALTHZ, api_key(stack.key("admin", project=DEFAULT)))
    finally:
        provide(stack.apps["stats"], health)

    assert (answer.status_code, answer.content) == (503, anybody.content)
    assert answer.headers.keys() == anybody.headers.keys()
    assert of_default.json()["dependencies"] == {"queue": "AccessDenied"}


@pytest.mark.parametrize("by", ["key", "access token"])
def test_the_health_check_answers_an_admin_as_anybody_while_it_cannot_be_known_who_they_are(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    credential = api_key(stack.key("admin")) if by == "key" else bearer(stack.login("admin").access_token)
    plain = stack.send(HEALTHZ, {})
    monkeypatch.setattr(Dynamo, "find", unreachable)

    response = stack.send(HEALTHZ, credential)

    assert (response.status_code, response.content) == (plain.status_code, plain.content)


def assert_within_what_is_reckoned_with(response: Response, what: str) -> None:
    (kind,) = [kind for kind in KINDS if kind.what == what]
    headers = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
    assert len(response.content) <= kind.answer_bytes
    assert headers <= HEADER_BYTES


def test_no_answer_to_who_has_no_credential_is_larger_than_its_cost_was_reckoned_with(stack: Stack) -> None:
    client = TestClient(stack.door, raise_server_exceptions=False)
    for operation in OPEN:
        assert_within_what_is_reckoned_with(stack.send(operation, {}), str(operation))
    for operation in SECURED:
        assert_within_what_is_reckoned_with(stack.send(operation, {}), "other routes, no key")
        made_up = stack.send(operation, api_key(NO_SUCH_KEY))
        assert_within_what_is_reckoned_with(made_up, "other routes, a made-up key")
    for path in ("/docs", "/openapi.json"):
        assert_within_what_is_reckoned_with(client.get(path), f"GET {path}")
    assets = re.findall(r"docs/([\w.-]+)", client.get("/docs").text)
    assert len(assets) == 3
    for asset in (*assets, "nothing"):
        assert_within_what_is_reckoned_with(client.get(f"/docs/{asset}"), "GET /docs/{asset}")


@pytest.mark.parametrize(("operation", "name"), EMPTY_BUCKET_CASES, ids=str)
def test_a_key_whose_bucket_is_empty_is_told_when_there_is_a_token_again(
    stack: Stack, operation: Operation, name: str
) -> None:
    credential = api_key(stack.key(limit=Limit(0.001, 2)))

    for remaining in (1, 0):
        response = stack.send(operation, credential)
        assert response.status_code != 429
        assert_allowance(response, 2, 2_000, remaining)
    refused = stack.send_in_vain(operation, credential)

    assert_problem(refused, 429, "too_many_requests")
    assert 1 <= int(refused.headers["retry-after"]) <= 1_000
    assert_allowance(refused, 2, 2_000, 0)


@pytest.mark.parametrize("operation", SECURED, ids=str)
@pytest.mark.parametrize("by", ["key", "access token"])
def test_nobody_is_let_in_while_it_cannot_be_known_who_they_are(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, operation: Operation, by: str
) -> None:
    credential = api_key(stack.key()) if by == "key" else bearer(stack.login().access_token)
    victim = stack.victim(operation)
    monkeypatch.setattr(Dynamo, "find", unreachable)
    response = stack.send_in_vain(operation, credential, victim)

    assert_problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1


def test_a_key_has_one_bucket_whichever_function_it_calls_and_however_it_is_sent(stack: Stack) -> None:
    key = stack.key(limit=Limit(0.001, 3))
    events, dau, cohort, keys = (
        Operation(*place)
        for place in (("POST", "/events"), ("GET", "/stats/dau"), ("GET", "/stats/cohort"), ("GET", "/keys"))
    )

    sent = [(events, api_key(key)), (dau, bearer(key)), (cohort, basic(f"{key}:")), (keys, api_key(key))]
    statuses = [stack.send(operation, credential).status_code for operation, credential in sent]

    assert statuses == [202, 422, 422, 429]


def test_all_sessions_of_an_account_share_one_bucket_whichever_function_they_call(stack: Stack) -> None:
    email = f"{uuid.uuid4().hex}@example.com"
    stack.accounts.register(email, PASSWORD, ["admin"])
    first, second = (bearer(stack.accounts.login(email, PASSWORD, ADDRESS).access_token) for _ in range(2))
    other = bearer(stack.login("admin").access_token)
    keys, dau = Operation("GET", "/keys"), Operation("GET", "/stats/dau")

    sent = [(keys, first), (dau, first), (keys, second), (dau, second)]
    for taken, (operation, credential) in enumerate(sent, 1):
        assert_allowance(stack.send(operation, credential), KEY_BURST, KEY_BURST, KEY_BURST - taken)
    assert_allowance(stack.send(keys, other), KEY_BURST, KEY_BURST, KEY_BURST - 1)


@pytest.mark.parametrize("path", ["/keys", "/stats/dau", "/stats/cohort", "/events"])
def test_a_live_access_token_of_a_disabled_account_is_refused_by_every_function(stack: Stack, path: str) -> None:
    token = stack.login().access_token
    account_id = service(stack.apps["auth"], Gate).tokens.read(token).owner_id
    operation = Operation("POST" if path == "/events" else "GET", path)
    assert stack.send(operation, bearer(token)).status_code != 401

    disabled = stack.door_of(Operation("POST", f"/accounts/{account_id}/disable"), api_key(stack.key("admin")))

    assert disabled.status_code == 204
    assert_unauthenticated(stack.send_in_vain(operation, bearer(token)), REVOKED)


def test_a_bad_credential_takes_nothing_from_the_bucket_of_the_key_that_it_names(stack: Stack) -> None:
    key = stack.key(limit=Limit(0.001, 2))
    keys = Operation("GET", "/keys")

    for _ in range(3):
        assert_unauthenticated(stack.send(keys, api_key(f"{key[:-48]}{'0' * 48}")), INVALID)

    assert_allowance(stack.send(keys, api_key(key)), 2, 2_000, 1)


@contextmanager
def all_places_taken(stack: Stack, token: str) -> Iterator[None]:
    """As many requests of a caller wait, on other instances, as may."""
    with ExitStack() as held:
        while held.enter_context(place_of(stack, token)):
            pass
        yield


def place_of(stack: Stack, token: str) -> AbstractContextManager[bool]:
    gate = service(stack.apps["auth"], Gate)
    caller, _ = gate.admit(token, "GET", "/")
    return gate.hold(caller, 10)


def places_left(stack: Stack, token: str) -> int:
    with ExitStack() as held:
        return sum(iter(lambda: held.enter_context(place_of(stack, token)), False))


@pytest.mark.parametrize("by", ["key", "access token"])
def test_a_request_beyond_those_of_its_caller_that_wait_is_taken_and_answered_at_once(stack: Stack, by: str) -> None:
    token, other = (stack.key() if by == "key" else stack.login().access_token for _ in range(2))
    event = {"event_id": "e", "occurred_at": "2025-08-01T12:00:00Z", "user_id": "u", "event_type": "open"}
    stack.queued()
    slept: list[float] = []
    receipts = service(stack.apps["ingest"], Receipts)
    now = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    provide(
        stack.apps["ingest"],
        Receipts(Dynamo(stack.dynamodb), StatsSettings.read(os.environ).tables, lambda: now[0], sleep),
    )
    try:
        with all_places_taken(stack, token):
            client = TestClient(stack.door)
            for query, preference in (({"wait": 10}, {}), ({}, {"Prefer": "wait=10"})):
                headers = {**bearer(token), **preference}
                answer = client.post("/events", json=[event], headers=headers, params=query)
                assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
            assert slept == []
            # Another caller waits as long as it asks for.
            assert client.post("/events", json=[event], headers=bearer(other), params={"wait": 10}).status_code == 202
            assert sum(slept) == 10
    finally:
        provide(stack.apps["ingest"], receipts)
    assert len(stack.queued()) == 3


@pytest.mark.parametrize(
    "path",
    [
        "/stats/retention",
        "/stats/retention/table",
        "/stats/cohort",
        "/stats/dau",
        "/stats/top-events",
        "/stats/actives",
    ],
)
@pytest.mark.parametrize("by", ["key", "access token"])
def test_a_question_that_may_take_long_is_refused_beyond_those_of_its_caller(stack: Stack, path: str, by: str) -> None:
    token, other = (stack.key() if by == "key" else stack.login().access_token for _ in range(2))
    client = TestClient(stack.door, raise_server_exceptions=False)
    day = "2025-08-01"
    params = {"start_date": day} if path in ("/stats/retention", "/stats/cohort") else {"from": day, "to": day}
    segment = {} if "start_date" in params else {"segment": "event_type:open"}

    with all_places_taken(stack, token):
        refused = client.get(path, params={**params, **segment}, headers=bearer(token))
        assert_problem(refused, 429, "too_many_at_once")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get(path, params={**params, **segment}, headers=bearer(other)).status_code != 429
        # What the counters answer at once needs no place.
        assert client.get("/stats/dau", params={"from": day, "to": day}, headers=bearer(token)).status_code == 200
        assert client.get("/keys", headers=bearer(token)).status_code == 200
    assert client.get(path, params={**params, **segment}, headers=bearer(token)).status_code != 429
    assert places_left(stack, token) == int(SETTINGS["LONG_REQUESTS_PER_KEY"])


@pytest.mark.parametrize(
    "path",
    [
        "/stats/retention",
        "/stats/retention/table",
        "/stats/cohort",
        "/stats/dau",
        "/stats/top-events",
        "/stats/actives",
    ],
)
def test_a_question_of_a_segment_needs_a_place_for_each_of_the_two_functions_that_it_keeps_busy(
    stack: Stack, path: str
) -> None:
    token, day = stack.key(), "2025-08-01"
    client = TestClient(stack.door, raise_server_exceptions=False)
    params = {"start_date": day} if path in ("/stats/retention", "/stats/cohort") else {"from": day, "to": day}

    def status(**segment: str) -> int:
        return client.get(path, params={**params, **segment}, headers=bearer(token)).status_code

    with ExitStack() as held:
        for _ in range(int(SETTINGS["LONG_REQUESTS_PER_KEY"]) - 1):
            assert held.enter_context(place_of(stack, token))
        assert status() == 200
        assert status(segment="event_type:open") == 429
        # The one that was free is free again.
        assert places_left(stack, token) == 1


@pytest.mark.parametrize(("by", "source"), [("key", "shop.eu-1"), ("access token", "account")])
def test_events_are_counted_under_the_source_of_who_sent_them(stack: Stack, by: str, source: str) -> None:
    credential = api_key(stack.key(source=source)) if by == "key" else bearer(stack.login().access_token)
    event = {
        "event_id": str(uuid.uuid4()),
        "occurred_at": "2025-08-01T12:00:00Z",
        "user_id": "u",
        "event_type": "open",
        "source": "somebody else",
    }

    response = TestClient(stack.door).post("/events", json=[event], headers=credential)

    assert response.status_code == 202
    (batch,) = [batch for batch in stack.queued() if batch.batch_id in response.json()["batch_ids"]]
    assert batch.source == source
    assert [queued.event_id for queued in batch.events] == [event["event_id"]]
