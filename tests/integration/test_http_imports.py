"""POST /imports and GET /imports/{import_id}: who may upload how much, and who is told of it."""

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx2
import pytest
from botocore.config import Config
from fastapi.testclient import TestClient

from rollcall.access.api_keys import SCOPES, ApiKeys
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT
from rollcall.files.progress import FilePart, ImportLog
from rollcall.files.uploads import Uploads
from rollcall.http.services import provide, service
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import import_id_of, is_invited_key
from rollcall.stack.settings import IngestSettings
from scripts.local.ministack import MiniStack
from tests.integration.conftest import REGION, WholeApi
from tests.support import assert_problem

FILE = {"name": "august.csv", "bytes": 175}


@pytest.fixture
def keys(access_table: str, aws_clients: dict[str, Any]) -> ApiKeys:
    return ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table)


@pytest.fixture
def caller(whole_api: WholeApi, keys: ApiKeys) -> Callable[..., TestClient]:
    def make(*scopes: str) -> TestClient:
        return TestClient(whole_api, headers={"X-API-Key": keys.create("test", scopes, "http")[1]})

    return make


@pytest.mark.parametrize("scopes", [("ingest",), ("read",), ("admin",), ("ingest", "read", "admin")])
def test_no_other_scope_than_import_lets_a_key_upload_a_file_or_follow_an_import(
    caller: Callable[..., TestClient], scopes: tuple[str, ...]
) -> None:
    begun = caller("import").post("/imports", json=FILE).json()

    other = caller(*scopes)

    assert_problem(other.post("/imports", json=FILE), 403, "missing_scope")
    assert_problem(other.get(f"/imports/{begun['import_id']}"), 403, "missing_scope")


def test_the_scope_import_is_for_nothing_but_imports(caller: Callable[..., TestClient]) -> None:
    importer = caller("import")
    assert importer.post("/imports", json=FILE).status_code == 201
    for path in ("/batches/" + "0" * 32, "/stats/dau?from=2025-08-01&to=2025-08-01", "/keys", "/metrics"):
        assert_problem(importer.get(path), 403, "missing_scope")
    assert_problem(importer.post("/events", json=[]), 403, "missing_scope")


def test_a_url_is_good_for_one_file_of_the_size_that_was_named(caller: Callable[..., TestClient]) -> None:
    answer = caller("import").post("/imports", json=FILE).json()

    assert answer["headers"] == {"Content-Length": "175", "If-None-Match": "*"}
    query = parse_qs(urlsplit(answer["url"]).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host;if-none-match"]
    assert query["X-Amz-Expires"] == ["3600"]
    # Else a header could stand in the URL, where whoever has it may change it.
    assert {name.lower() for name in query}.isdisjoint({"content-length", "if-none-match"})


def test_a_url_for_a_file_whose_size_was_not_named_asks_for_no_header(caller: Callable[..., TestClient]) -> None:
    answer = caller("import").post("/imports", json={"name": "august.csv"}).json()

    assert answer["headers"] == {}
    assert parse_qs(urlsplit(answer["url"]).query)["X-Amz-SignedHeaders"] == ["host"]


def test_a_url_takes_one_file_of_its_size_and_no_other(ministack: MiniStack) -> None:
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    session = boto3.Session("test", "test", region_name=REGION)
    s3 = session.client("s3", endpoint_url=ministack.endpoint, config=config)
    bucket = f"uploads-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    upload = Uploads(s3, bucket, Mock(spec=ImportLog)).invite(DEFAULT, "a.csv", 5, 60)

    def put(content: bytes, **headers: str) -> int:
        return httpx2.put(upload.url, content=content, headers=headers, trust_env=False).status_code

    once = {"If-None-Match": "*"}
    assert put(b"12345") == 403
    assert put(b"1234", **once) == 403
    assert put(b"123456", **once) == 403
    assert put(b"12345", **{"If-None-Match": '"other"'}) == 403
    assert put(b"12345", **once) == 200
    assert put(b"54321", **once) == 412
    assert s3.get_object(Bucket=bucket, Key=upload.key)["Body"].read() == b"12345"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"bytes": 1}, "name"),
        ({"name": "a.csv", "bytes": -1}, "bytes"),
        ({"name": "a.csv", "bytes": "175"}, "bytes"),
        ({"name": "a.csv", "bytes": 1.5}, "bytes"),
        ({"name": "a.csv", "bytes": True}, "bytes"),
        ({"name": "a.csv", "bytes": 5_000_000_001}, "bytes"),
        ({"name": "../a.csv", "bytes": 1}, "name"),
    ],
)
def test_a_file_with_a_bad_size_or_name_is_refused_and_the_field_is_named(
    caller: Callable[..., TestClient], body: dict[str, Any], field: str
) -> None:
    answer = caller("import").post("/imports", json=body)

    assert_problem(answer, 422, "invalid_field")
    assert answer.json()["message"].startswith(f"{field}: ")
    assert answer.json()["parameter"] == field


@pytest.mark.parametrize("size", [0, 1, 5_000_000_000])
def test_a_file_may_have_any_size_up_to_the_largest(caller: Callable[..., TestClient], size: int) -> None:
    assert caller("import").post("/imports", json={**FILE, "bytes": size}).status_code == 201


def test_each_key_begins_imports_at_a_rate_of_its_own(caller: Callable[..., TestClient], whole_api: WholeApi) -> None:
    ingest = whole_api.apps["ingest"]
    provide(ingest, replace(service(ingest, IngestSettings), import_limit=Limit(0.001, 2)))
    first, second = caller("import"), caller("import")

    statuses = [first.post("/imports", json=FILE).status_code for _ in range(3)]
    refused = first.post("/imports", json=FILE)

    assert statuses == [201, 201, 429]
    assert_problem(refused, 429, "too_many_requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 1_000
    assert second.post("/imports", json=FILE).status_code == 201
    # Following an import takes none of it.
    assert first.get(f"/imports/{'0' * 32}").status_code == 404


def test_a_refused_file_takes_nothing_of_the_rate(caller: Callable[..., TestClient], whole_api: WholeApi) -> None:
    ingest = whole_api.apps["ingest"]
    provide(ingest, replace(service(ingest, IngestSettings), import_limit=Limit(0.001, 1)))
    importer = caller("import")

    assert importer.post("/imports", json={**FILE, "bytes": 5_000_000_001}).status_code == 422
    assert importer.post("/imports", json=FILE).status_code == 201


def test_the_id_of_an_import_follows_from_128_random_bits(caller: Callable[..., TestClient]) -> None:
    importer = caller("import")
    begun = [importer.post("/imports", json=FILE).json() for _ in range(2)]

    assert len({each["import_id"] for each in begun}) == 2
    for each in begun:
        assert re.fullmatch(r"uploads/[0-9a-f]{32}/august\.csv", each["key"])
        assert each["import_id"] == import_id_of(each["key"])
        assert importer.get(f"/imports/{each['import_id']}").json()["status"] == "waiting"


@pytest.mark.parametrize("key", ["uploads/august.csv", "uploads/2025/august.csv", f"uploads/{'g' * 32}/a.csv"])
def test_an_import_whose_id_follows_from_a_name_is_told_to_admins_alone(
    caller: Callable[..., TestClient], whole_api: WholeApi, key: str
) -> None:
    service(whole_api.apps["ingest"], ImportLog).begin(DEFAULT, key, 175)
    assert not is_invited_key(key)

    refused = caller("import").get(f"/imports/{import_id_of(key)}")

    assert_problem(refused, 404, "unknown_import")
    assert refused.json() == caller("import").get(f"/imports/{'0' * 32}").json()
    assert caller(*SCOPES).get(f"/imports/{import_id_of(key)}").json()["key"] == key


def test_an_import_with_conflicts_alone_has_a_file_that_lists_them_and_numbered_ids_are_warned_of(
    caller: Callable[..., TestClient], whole_api: WholeApi, aws_clients: dict[str, Any]
) -> None:
    importer = caller("import")
    begun = [importer.post("/imports", json=FILE).json() for _ in range(2)]
    # The other functions' log: the role of ingest may not write all of it.
    log = ImportLog(Dynamo(aws_clients["dynamodb"]), service(whole_api.apps["ingest"], ImportLog)._table)
    clean, marked = FilePart(0, 3, 3, 0, 0), FilePart(0, 3, 3, 0, 0, conflicts=1, numbered=1)
    for each, part in zip(begun, (clean, marked), strict=True):
        run = log.begin(DEFAULT, each["key"], 175)
        log.plan(DEFAULT, each["key"], run, 1)
        log.finish_part(DEFAULT, each["key"], run, part, [])
        log.finish(DEFAULT, each["key"], run)

    first, second = (importer.get(f"/imports/{each['import_id']}").json() for each in begun)

    assert (first["rejects"], first["warnings"]) == (None, [])
    assert second["rejects"] == f"rejects/{begun[1]['key']}.csv"
    (warning,) = second["warnings"]
    assert warning["code"] == "row_number_ids"
    assert "any other file" in warning["message"]
