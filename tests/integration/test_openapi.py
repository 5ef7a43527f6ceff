"""The OpenAPI document against what the routes answer, and bodies that were made to do harm."""

import copy
import gzip
import itertools
import json
import os
import re
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from functools import cached_property
from typing import Any, NamedTuple

import msgpack
import pytest
import schemathesis
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.filters import HasAPIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rollcall.access.accounts import Accounts, LoginRules
from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.access.gate import Gate
from rollcall.access.passwords import Passwords
from rollcall.access.sessions import TokenPair
from rollcall.access.sign_in import SignIn
from rollcall.access.tokens import TokenClaims
from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar, timestamp
from rollcall.core.events import Event
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt, Receipts
from rollcall.files.progress import FilePart, ImportLog
from rollcall.files.task import rejects_key
from rollcall.http.document import describe
from rollcall.http.json_bodies import MAX_BYTES
from rollcall.http.services import provide, service
from rollcall.intake.idempotency import IdempotencyKeys
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import import_id_of, invited_key, receipt_key
from rollcall.stack.settings import StatsSettings
from tests.integration.conftest import Queue, WholeApi
from tests.support import SETTINGS, KeptDeadLetters, assert_problem, queued, whole_import

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
PASSWORD = "nine green bottles"
UNLIMITED = Limit(500, 5_000)
RULES = LoginRules(UNLIMITED, UNLIMITED, 90 * 86_400)
# What is said of a credential that is not taken, and never of what a body holds.
GATE_CODES = {"unauthenticated", "invalid_credential", "revoked", "expired"}

DOCUMENT = describe()
OPERATIONS = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
BODIES = {path: operation["requestBody"] for (_, path), operation in OPERATIONS.items() if "requestBody" in operation}
# Each of these routes takes a body by one method.
METHODS = {path: method for (method, path), operation in OPERATIONS.items() if "requestBody" in operation}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.text(max_size=130),
            "occurred_at": st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.isoformat()),
            "user_id": st.text() | st.integers(-(2**63), 2**64 - 1),
            "event_type": st.text(max_size=130),
        },
        optional={"properties": st.dictionaries(st.text(), JSON, max_size=3)},
    ),
    max_size=4,
)
schemathesis.openapi.media_type("application/msgpack", (EVENTS | JSON).map(msgpack.packb) | st.binary())
schemathesis.openapi.media_type(
    "application/x-ndjson",
    EVENTS.map(lambda events: "\n".join(map(json.dumps, events)).encode()) | st.text().map(str.encode),
)

project = ProjectConfig(
    # Credentials come from the tests. On a busy machine the first request to an emulated service takes its time.
    generation=GenerationConfig(with_security_parameters=False),
    request_timeout=60,
)
document = schemathesis.openapi.from_dict(
    copy.deepcopy(DOCUMENT), config=SchemathesisConfig(projects=ProjectsConfig(default=project))
)


def is_secured(context: HasAPIOperation) -> bool:
    return needs_credential(OPERATIONS[context.operation.method.upper(), context.operation.path])


def needs_credential(operation: dict[str, Any]) -> bool:
    """Whether an operation asks for a credential, and not just takes one."""
    return {} not in operation.get("security", [{}])


def examples(count: int) -> settings:
    """That many random cases, besides those at the limits of the schemas, the same at each run."""
    # All cases of an operation share one API on purpose.
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


class QuickPasswords(Passwords):
    """Argon2 at its least cost."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class OneTimeIdempotencyKeys(IdempotencyKeys):
    """Takes every key for a new one: random requests have the same keys again and again."""

    numbers = itertools.count()

    def hold(self, project: Project, caller: str, key: str, body: bytes) -> None:
        super().hold(project, f"{caller}-{next(self.numbers)}", key, body)


def sent(client: TestClient, path: str, key_id: str = "0", **arguments: Any) -> Any:
    """The answer to a body, by the method that the path takes one by."""
    return client.request(METHODS[path], path.format(key_id=key_id, name="default"), **arguments)


@dataclass
class Api:
    """The whole API, and who may call it."""

    app: WholeApi
    keys: ApiKeys
    accounts: Accounts
    receipts: Receipts
    log: ImportLog
    consumer: Claims
    s3: Any
    numbers: Iterator[int] = field(default_factory=itertools.count)
    pair: TokenPair | None = None
    """Of a session that no request has ended."""

    @cached_property
    def key(self) -> str:
        return self.keys.create("test", SCOPES, "http", UNLIMITED)[1]

    @cached_property
    def key_id(self) -> str:
        return self.keys.create("other", ["read"], "http")[0].key_id

    def email(self) -> str:
        """Of an account that was made just now."""
        email = f"{next(self.numbers)}@example.com"
        self.accounts.register(email, PASSWORD, SCOPES)
        return email

    def session(self) -> TokenPair:
        self.pair = self.pair or self.accounts.login(self.email(), PASSWORD, "192.0.2.1")
        return self.pair

    def code(self) -> str:
        answer = self.client().post("/auth/codes", json={}, headers=self.credential("/auth/codes"))
        return str(answer.json()["code"])

    def share_id(self) -> str:
        body = {"name": "a", "view": "overview", "days": 30, "expires_at": timestamp(time.time() + 86_400)}
        answer = self.client().post("/shares", json=body, headers=self.credential("/shares"))
        return str(answer.json()["share_id"])

    def batch_id(self) -> str:
        batch_id = f"{next(self.numbers):032x}"
        self.receipts.announce(DEFAULT, [batch_id])
        return batch_id

    def event_id(self) -> str:
        event = Event(f"stored-{next(self.numbers)}", "2025-08-01T10:00:00Z", "u", "t", "{}")
        self.consumer.apply(make_batch(DEFAULT, [event], "http", "2025-08-01T10:00:01Z"))
        return event.event_id

    def claims(self) -> TokenClaims:
        """Of a session that was begun just now."""
        pair = self.accounts.login(self.email(), PASSWORD, "192.0.2.1")
        return service(self.app.apps["auth"], Gate).tokens.read(pair.access_token)

    def import_id(self) -> str:
        """Of an import that is done and has rejected rows."""
        key = invited_key(DEFAULT, f"{next(self.numbers):032x}", "a.csv")
        whole_import(self.log, DEFAULT, key, FilePart(0, rows=1, accepted=0, rejected=1, duplicates=0))
        self.s3.put_object(Bucket=SETTINGS["UPLOAD_BUCKET"], Key=rejects_key(key), Body=b"")
        return import_id_of(key)

    def credential(self, path: str) -> dict[str, str]:
        """What the route asks for, if it does."""
        if path.startswith("/auth/session"):
            cookie = f"rollcall_session={self.session().refresh_token}"
            return {"X-Rollcall-Page": "1", "Content-Type": "application/json", "Cookie": cookie}
        if not any(needs_credential(operation) for (_, each), operation in OPERATIONS.items() if each == path):
            return {}
        if path == "/auth/change-password":
            return {"Authorization": f"Bearer {self.session().access_token}"}
        return {"X-API-Key": self.key}

    def client(self) -> TestClient:
        return TestClient(self.app, raise_server_exceptions=False)


ASKED = {"from": "2025-08-01", "to": "2025-08-31", "start_date": "2025-08-01", "key": "account", "event_id": "e"}
# What has to exist for a request to succeed.
EXISTING: dict[str, Callable[[Api], str]] = {
    "batch_id": Api.batch_id,
    "event_id": Api.event_id,
    "import_id": Api.import_id,
    "key_id": lambda api: api.key_id,
    "name": lambda _: "default",
    "project": lambda _: "default",
    "refresh_token": lambda api: api.session().refresh_token,
    "email": Api.email,
    "password": lambda _: PASSWORD,
    "current_password": lambda _: PASSWORD,
    "code": Api.code,
    "share_id": Api.share_id,
    "expires_at": lambda _: timestamp(time.time() + 86_400),
}


@pytest.fixture
def api(whole_api: WholeApi, queue: Queue, access_table: str, aws_clients: dict[str, Any]) -> Api:
    dynamo = Dynamo(aws_clients["dynamodb"])
    tables = StatsSettings.read(os.environ).tables
    auth = whole_api.apps["auth"]
    accounts = Accounts(dynamo, access_table, service(auth, Gate).tokens, QuickPasswords(), RULES)
    provide(auth, accounts, SignIn(dynamo, access_table, service(auth, Gate), accounts))

    def consume(_seconds: float) -> None:
        for batch in queue.batches():
            dynamo.put(tables.stats, [receipt_item(batch.batch_id, len(batch.events))])

    receipts = Receipts(dynamo, tables, sleep=consume)
    provide(whole_api.apps["ingest"], OneTimeIdempotencyKeys(dynamo, tables), receipts)
    log = ImportLog(dynamo, tables.stats)
    consumer = Claims(dynamo, tables, lambda _: Calendar("UTC"), KeptDeadLetters())
    return Api(whole_api, ApiKeys(dynamo, access_table), accounts, receipts, log, consumer, aws_clients["s3"])


def receipt_item(batch_id: str, count: int) -> Item:
    """The receipt of a batch of new events, as the consumer puts it."""
    numbers = Receipt(count, count, 0, 0, 0)._asdict() | {"applied": count, "total": count}
    keys: Item = {"pk": {"S": receipt_key(DEFAULT, batch_id)}, "sk": {"S": "0"}}
    return keys | {name: {"N": str(number)} for name, number in numbers.items()}


@pytest.fixture
def statuses() -> Iterator[Counter[int]]:
    """The statuses of an operation's answers, of which one at least has to be a success."""
    found: Counter[int] = Counter()
    yield found
    assert any(200 <= status < 300 for status in found), found


def names_of_parameters(operation: dict[str, Any]) -> set[str]:
    return {parameter["name"] for parameter in operation.get("parameters", ())}


def name_what_exists(case: schemathesis.Case[Any], api: Api) -> None:
    """Have half of the cases name things that are there, which random data never would.

    Half of those ask what can be asked, and nothing else: random data adds a parameter, or leaves one out.
    """
    drawn = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode(errors="replace"))
    if drawn % 2:
        return
    operation = OPERATIONS[case.operation.method.upper(), case.operation.path]
    asked = ASKED.keys() & names_of_parameters(operation)
    if asked and drawn % 4:
        case.query = {name: ASKED[name] for name in asked}
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            if "account_id" in place:
                claims = api.claims()
                made = {"account_id": claims.owner_id, "session_id": claims.session_id}
                place |= {name: value for name, value in made.items() if name in place}
            place |= {name: EXISTING[name](api) for name in place.keys() & EXISTING.keys()}


@document.parametrize()
@examples(25)
def test_every_answer_to_a_good_credential_is_in_the_document(
    case: schemathesis.Case[Any], api: Api, statuses: Counter[int]
) -> None:
    name_what_exists(case, api)

    answer = case.call(app=api.app, headers=api.credential(case.operation.path))

    statuses[answer.status_code] += 1
    if answer.status_code in (200, 204):
        api.pair = None
    case.validate_response(answer, CHECKS)
    assert answer.status_code != 429
    assert answer.status_code != 401 or answer.json()["code"] not in GATE_CODES


@document.include(is_secured).parametrize()
@examples(5)
def test_without_a_credential_every_secured_operation_is_a_401_whatever_the_data(
    case: schemathesis.Case[Any], api: Api
) -> None:
    answer = case.call(app=api.app)

    case.validate_response(answer, CHECKS)
    if case.method.upper() == case.operation.method.upper():
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    else:
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


class Refusal(NamedTuple):
    """A problem's status and code; or the code of the first of the events that are rejected, where that is all."""

    status: int
    code: str

    @classmethod
    def of(cls, path: str, response: Any) -> "Refusal":
        """Of an answer, which has to be in the document."""
        document[path][METHODS[path]].validate_response(response)
        answer = response.json()
        return cls(response.status_code, answer["code"] if "code" in answer else answer["rejected"][0]["code"])


INVALID = Refusal(400, "invalid_json")
NO_LIST = Refusal(400, "not_a_list")
TOO_LARGE = Refusal(413, "too_large")
BAD_FIELD = Refusal(422, "invalid_field")
ENCODED = Refusal(415, "invalid_encoding")
HUGE_INTEGER = "9" * 5_000
TEN_MEGABYTES = 10 * 1024**2

# Each with what POST /events says to it, and all other routes.
HOSTILE: dict[str, tuple[bytes, Refusal, Refusal]] = {
    "gzip of 10 MB": (gzip.compress(bytes(TEN_MEGABYTES)), TOO_LARGE, ENCODED),
    "gzip of 1 GB": (gzip.compress(bytes(16 * 1024**2)) * 64, TOO_LARGE, ENCODED),
    "nested arrays": (b"[" * 100_000 + b"]" * 100_000, INVALID, TOO_LARGE),
    "nested objects": (b'{"a":' * 100_000 + b"0" + b"}" * 100_000, INVALID, TOO_LARGE),
    "huge integer": (HUGE_INTEGER.encode(), NO_LIST, BAD_FIELD),
    "huge integer as a field": (f'{{"a": {HUGE_INTEGER}}}'.encode(), Refusal(422, "missing_field"), BAD_FIELD),
    "NaN": (b"NaN", INVALID, INVALID),
    "Infinity": (b"Infinity", INVALID, INVALID),
    "-Infinity": (b"-Infinity", INVALID, INVALID),
    "NaN as a field": (b'{"a": NaN}', INVALID, INVALID),
    "1e400": (b"1e400", NO_LIST, BAD_FIELD),
    "half a character": (rb'"\ud800"', NO_LIST, BAD_FIELD),
    "half a character as a name": (rb'{"\ud800": 0}', Refusal(422, "missing_field"), BAD_FIELD),
    "not UTF-8": (b'{"a": "\xff"}', INVALID, INVALID),
    "UTF-16": ('{"a": "b"}'.encode("utf-16"), INVALID, INVALID),
    "UTF-16 without a mark": ('{"a": "b"}'.encode("utf-16-le"), INVALID, INVALID),
    "a name twice": (b'{"a": 0, "a": 1}', Refusal(400, "repeated_field"), INVALID),
    "a name twice within": (b'{"a": {"b": 0, "b": 1}}', Refusal(422, "missing_field"), BAD_FIELD),
    "10 MB of spaces": (b" " * TEN_MEGABYTES, TOO_LARGE, TOO_LARGE),
    "10 MB of JSON": (b'{"a": "' + b"x" * TEN_MEGABYTES + b'"}', TOO_LARGE, TOO_LARGE),
    "nothing": (b"", INVALID, INVALID),
    "a string": (b'"a"', NO_LIST, BAD_FIELD),
    "a number": (b"7", NO_LIST, BAD_FIELD),
    "null": (b"null", NO_LIST, BAD_FIELD),
    "NUL bytes": (bytes(16), INVALID, INVALID),
    "JSON with a NUL byte after it": (b'{"a": 0}\0', INVALID, INVALID),
    "truncated JSON": (b'{"a": "b', INVALID, INVALID),
}
# Each with its status.
HOSTILE_VALUES: dict[str, int] = {
    HUGE_INTEGER: 422,
    HUGE_INTEGER[:4_000]: 422,
    f"-{HUGE_INTEGER[:400]}": 422,
    "1e400": 422,
    # Long enough for a password, and an email but for the half of a character.
    r'"\ud800@green.bottles"': 422,
    '{"a": 0, "a": 1}': 422,
    "[" * 400 + "]" * 400: 422,
    "[" * 900 + "]" * 900: 400,
    "NaN": 400,
    '"\0"': 400,
}
# Fields that an example leaves out, and without which another could not be judged.
COMPLETE = {"/keys": {"rate": 1.5, "burst": 3}}


@pytest.mark.parametrize("path", BODIES)
def test_every_hostile_body_is_refused(api: Api, path: str) -> None:
    client = api.client()

    refusals = {
        name: Refusal.of(
            path,
            client.request(
                METHODS[path], path.format(key_id="0", name="default"), content=body, headers=api.credential(path)
            ),
        )
        for name, (body, *_) in HOSTILE.items()
    }

    assert refusals == {name: said[path != "/events"] for name, (_, *said) in HOSTILE.items()}


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["arrays", "objects"])
def test_depth_that_a_small_body_has_room_for_is_refused(api: Api, opening: str) -> None:
    client = api.client()
    closing = "]" if opening == "[" else "}"
    depth = (MAX_BYTES - 1) // len(opening + closing)
    body = (opening * depth + "0" + closing * depth).encode()

    statuses = {
        path: client.request(
            METHODS[path], path.format(key_id="0", name="default"), content=body, headers=api.credential(path)
        ).status_code
        for path in BODIES
    }

    # Which of the two depends on how deep Python reads.
    assert {path: status for path, status in statuses.items() if status not in (400, 422)} == {}


def test_a_bomb_of_1_gb_is_not_expanded(api: Api) -> None:
    client = api.client()
    bomb, *_ = HOSTILE["gzip of 1 GB"]
    credentials = {path: api.credential(path) for path in BODIES}
    for path, credential in credentials.items():
        sent(client, path, content=b"", headers=credential)

    tracemalloc.start()
    for path, credential in credentials.items():
        sent(client, path, content=bomb, headers=credential)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 40 * 1024**2


PARAMETERS = [(method, path) for method, path in OPERATIONS if path not in ("/health", "/healthz")]


@pytest.mark.parametrize(("method", "path"), PARAMETERS)
def test_a_parameter_that_a_route_does_not_have_is_a_422_that_names_it(api: Api, method: str, path: str) -> None:
    place = re.sub(r"\{\w+\}", "0", path)
    answer = api.client().request(method, f"{place}?nothing=1", headers=api.credential(path))
    assert assert_problem(answer, 422, "invalid_parameter")["parameter"] == "nothing"
    assert "422" in OPERATIONS[method, path]["responses"]


def test_each_parameter_but_segment_comes_once(api: Api) -> None:
    found = 0
    for (method, path), operation in OPERATIONS.items():
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "query" or path in ("/health", "/healthz"):
                continue
            found += 1
            name = parameter["name"]
            answer = api.client().request(method, f"{path}?{name}=1&{name}=1", headers=api.credential(path))
            problem = assert_problem(answer, 422, "invalid_parameter")
            assert ("comes 2 times" in problem["message"]) == (name != "segment"), (path, problem)
    assert found > 10


@pytest.mark.parametrize("text", ["1_0", "5.0", "%205", "%2B5", "5e0", "%D9%A5", "0x5", ""])
def test_a_whole_number_that_is_not_in_digits_is_a_422_that_names_it(api: Api, text: str) -> None:
    found = 0
    for (method, path), operation in OPERATIONS.items():
        for parameter in operation.get("parameters", []):
            kinds = [parameter["schema"], *parameter["schema"].get("anyOf", [])]
            if parameter["in"] == "query" and any(kind.get("type") == "integer" for kind in kinds):
                found += 1
                name = parameter["name"]
                answer = api.client().request(method, f"{path}?{name}={text}", headers=api.credential(path))
                problem = assert_problem(answer, 422, "invalid_parameter")
                assert (problem["parameter"], "digits" in problem["message"]) == (name, True), path
    assert found > 4


@pytest.mark.parametrize(
    ("query", "parameter", "hint"),
    [
        ("segments=event_type:purchase", "segments", "segment is one"),
        ("From=2025-08-01", "From", "from is one"),
        ("=1", "an empty name", "no parameter"),
        ("%00=1", r"\x00", "no parameter"),
        (f"{'a' * 200}=1", f"{'a' * 128}… (200 characters)", "no parameter"),
    ],
)
def test_a_misspelt_parameter_is_named_beside_the_one_that_is_meant(
    api: Api, query: str, parameter: str, hint: str
) -> None:
    path = "/stats/dau"
    answer = api.client().get(f"{path}?from=2025-08-01&to=2025-08-02&{query}", headers=api.credential(path))
    problem = assert_problem(answer, 422, "invalid_parameter")
    assert problem["parameter"] == parameter
    assert hint in problem["message"]


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_health_checks_pass_over_parameters(api: Api, path: str) -> None:
    assert api.client().get(f"{path}?t=1&t=2").status_code == api.client().get(path).status_code


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("Content-Encoding", "zstd")], b"{}"),
        ([("Content-Encoding", "BR")], b"\x8b\x02\x80"),
        ([("Content-Encoding", "gzip"), ("Content-Encoding", "br")], b"{}"),
        ([("Content-Encoding", "deflate")], zlib.compress(b"{}")),
        ([("Content-Encoding", "x-compress")], b"{}"),
        ([], zlib.compress(b"{}")),
        ([], b"\x28\xb5\x2f\xfd\x00"),
    ],
    ids=["zstd", "br", "two lines", "deflate", "compress", "zlib's header", "zstd's frame"],
)
def test_a_coding_that_no_route_reads_is_a_415_that_names_what_is_taken(
    api: Api, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    credential = list(api.credential(path).items())

    answer = api.client().request(
        METHODS[path], path.format(key_id="0", name="default"), content=body, headers=headers + credential
    )

    problem = assert_problem(answer, 415, "invalid_encoding")
    assert "plain or gzip" in problem["message"]
    assert problem["parameter"] == "Content-Encoding"
    assert answer.headers["Accept-Encoding"] == "gzip, identity"


@pytest.mark.parametrize("path", BODIES)
def test_a_body_that_a_gateway_expanded_is_read_although_the_header_is_left(api: Api, path: str) -> None:
    for coding in ("gzip", "x-gzip", "deflate", "identity"):
        headers = {**api.credential(path), "Content-Encoding": coding}
        answer = api.client().request(
            METHODS[path], path.format(key_id="0", name="default"), content=b'{"a": 1}', headers=headers
        )
        assert answer.status_code == 422, coding


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("path", sorted(BODIES.keys() - {"/events"}))
def test_gzip_is_a_415_where_a_plain_object_is_taken_whether_it_is_named_or_not(
    api: Api, path: str, named: bool
) -> None:
    headers = {**api.credential(path), **({"Content-Encoding": "gzip"} if named else {})}
    answer = api.client().request(
        METHODS[path], path.format(key_id="0", name="default"), content=gzip.compress(b"{}"), headers=headers
    )
    assert "has to be plain" in assert_problem(answer, 415, "invalid_encoding")["message"]


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (gzip.compress(b"[]"), "gzip within gzip"),
        (zlib.compress(b"[]"), "deflate within gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd within gzip"),
        (b"PK\x03\x04events.json", "zip within gzip"),
    ],
    ids=["gzip", "deflate", "zstd", "zip"],
)
def test_a_coding_within_gzip_is_a_415_that_names_both(api: Api, content: bytes, coding: str) -> None:
    answer = api.client().post("/events", content=gzip.compress(content), headers=api.credential("/events"))
    problem = assert_problem(answer, 415, "invalid_encoding")
    assert coding in problem["message"]
    assert problem["parameter"] == "Content-Encoding"


@pytest.mark.parametrize("path", sorted(BODIES.keys() - {"/events"}))
def test_a_byte_order_mark_before_a_plain_object_is_passed_over_and_utf_16_is_named(api: Api, path: str) -> None:
    def asked(content: bytes) -> Any:
        return api.client().request(
            METHODS[path],
            path.format(key_id="0", name="default"),
            content=content,
            headers={**api.credential(path), "Content-Type": "application/json"},
        )

    assert asked(b'\xef\xbb\xbf{"a": 1}').status_code == 422
    assert "UTF-16LE" in assert_problem(asked('{"a": 1}'.encode("utf-16")), 400, "invalid_json")["message"]


@pytest.mark.parametrize("path", BODIES)
def test_a_hostile_value_of_any_field_is_refused(api: Api, path: str) -> None:
    client = api.client()
    content = BODIES[path]["content"]["application/json"]
    example, schema = content["example"], content["schema"]
    if path == "/events":
        example, schema = example[0], schema["anyOf"][0]["items"]

    statuses = {}
    for name in schema["properties"]:
        whole = json.dumps({**COMPLETE.get(path, {}), **example, name: "@"})
        for value, status in HOSTILE_VALUES.items():
            body = whole.replace('"@"', value).encode()
            answer = client.request(
                METHODS[path],
                path.format(key_id=api.key_id, name="default"),
                content=body,
                headers=api.credential(path),
            )
            Refusal.of(path, answer)
            if answer.status_code != status:
                statuses[name, value[:50]] = answer.status_code

    assert statuses == {}


GOOD_EVENTS = [
    {"event_id": name, "occurred_at": "2025-08-01T10:00:00Z", "user_id": "u", "event_type": "t", "properties": {"p": 0}}
    for name in ("first", "last")
]


def with_value(name: str, value: str) -> str:
    """The text of an event with some text for a value."""
    return json.dumps({**GOOD_EVENTS[0], "event_id": "hostile", name: "@"}).replace('"@"', value)


# Each with the code of its rejection.
HOSTILE_EVENTS: dict[str, tuple[str, str]] = {
    "huge integer as user_id": (with_value("user_id", HUGE_INTEGER), "invalid_user_id"),
    "large integer as user_id": (with_value("user_id", HUGE_INTEGER[:4_000]), "invalid_user_id"),
    "1e400 as user_id": (with_value("user_id", "1e400"), "invalid_user_id"),
    "half a character in user_id": (with_value("user_id", r'"\ud800"'), "invalid_unicode"),
    "huge integer as event_id": (with_value("event_id", HUGE_INTEGER), "invalid_event_id"),
    "half a character in event_id": (with_value("event_id", r'"\ud800"'), "invalid_unicode"),
    "half a character in event_type": (with_value("event_type", r'"\ud800"'), "invalid_unicode"),
    "huge integer in properties": (with_value("properties", f'{{"a": {HUGE_INTEGER}}}'), "invalid_properties"),
    "1e400 in properties": (with_value("properties", '{"a": 1e400}'), "invalid_properties"),
    "half a character in properties": (with_value("properties", r'{"a": "\ud800"}'), "invalid_unicode"),
    "half a character as a property": (with_value("properties", r'{"\ud800": 0}'), "invalid_unicode"),
    "a field twice": (with_value("user_id", '"a", "user_id": "b"'), "repeated_field"),
    "a property twice": (with_value("properties", '{"a": 0, "a": 0}'), "repeated_field"),
    "a property of a property twice": (with_value("properties", '{"a": {"b": 0, "b": 0}}'), "invalid_properties"),
}
# What takes all the JSON around it along, and only itself where each line stands alone.
HOSTILE_LINES: dict[str, tuple[str, str]] = {
    "NaN in properties": (with_value("properties", '{"a": NaN}'), "invalid_json"),
    "depth in properties": (with_value("properties", "[" * 100_000 + "]" * 100_000), "invalid_json"),
    "a NUL byte": (with_value("user_id", '"\0"'), "invalid_json"),
    "a truncated line": (with_value("user_id", '"u')[:100], "invalid_json"),
}


def array(texts: Iterable[str]) -> bytes:
    return f"[{','.join(texts)}]".encode()


def ndjson(texts: Iterable[str]) -> bytes:
    return "\n".join(texts).encode()


@pytest.mark.parametrize(
    ("encode", "hostile"),
    [(array, HOSTILE_EVENTS), (ndjson, HOSTILE_EVENTS | HOSTILE_LINES)],
    ids=["array", "ndjson"],
)
def test_a_hostile_event_among_good_ones_loses_only_itself(
    api: Api, queue: Queue, encode: Callable[[Iterable[str]], bytes], hostile: dict[str, tuple[str, str]]
) -> None:
    client, credential = api.client(), api.credential("/events")
    first, last = map(json.dumps, GOOD_EVENTS)

    answers = {
        name: client.post("/events", content=encode([first, text, last]), headers=credential)
        for name, (text, _) in hostile.items()
    }

    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(hostile, 202)
    assert {
        name: [(rejection["index"], rejection["code"]) for rejection in answer.json()["rejected"]]
        for name, answer in answers.items()
    } == {name: [(1, code)] for name, (_, code) in hostile.items()}
    assert [event.event_id for event in queued(queue.batches())] == ["first", "last"] * len(hostile)
