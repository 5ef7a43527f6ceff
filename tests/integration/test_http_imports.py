"""The routes of imports: who may upload how much, who is told of it, and who gets the rejected rows."""

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
from rollcall.access.reach import Reach
from rollcall.core.limits import Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.files.progress import FilePart, ImportLog
from rollcall.files.uploads import Uploads
from rollcall.http.services import provide, service
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import import_id_of, is_invited_key
from rollcall.stack.objects import Gone
from rollcall.stack.settings import IngestSettings
from scripts.local.ministack import MiniStack
from tests.integration.conftest import REGION, WholeApi
from tests.support import SETTINGS, assert_problem, whole_import

FILE = {"name": "august.csv", "bytes": 175}


@pytest.fixture
def keys(access_table: str, aws_clients: dict[str, Any]) -> ApiKeys:
    return ApiKeys(Dynamo(aws_clients["dynamodb"]), access_table)


@pytest.fixture
def caller(whole_api: WholeApi, keys: ApiKeys) -> Callable[..., TestClient]:
    def make(*scopes: str) -> TestClient:
        return TestClient(whole_api, headers={"X-API-Key": keys.create("test", scopes, "http")[1]})

    return make


@pytest.fixture
def log(whole_api: WholeApi, aws_clients: dict[str, Any]) -> ImportLog:
    """The other functions' log: the role of ingest may not write all of it."""
    return ImportLog(Dynamo(aws_clients["dynamodb"]), service(whole_api.apps["ingest"], ImportLog)._table)


CLEAN = FilePart(0, rows=3, accepted=3, rejected=0, duplicates=0)
WITH_REJECTS = CLEAN._replace(accepted=2, rejected=1)
WITH_CONFLICTS = CLEAN._replace(conflicts=1, numbered=1)


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


@pytest.fixture
def served(ministack: MiniStack) -> tuple[Any, str]:
    """A client of an S3 that answers HTTP, and a bucket of it."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    session = boto3.Session("test", "test", region_name=REGION)
    s3 = session.client("s3", endpoint_url=ministack.endpoint, config=config)
    bucket = f"uploads-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    return s3, bucket


def test_a_url_takes_one_file_of_its_size_and_no_other(served: tuple[Any, str]) -> None:
    s3, bucket = served
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


def test_the_refusal_of_a_name_quotes_the_pattern_as_it_is(caller: Callable[..., TestClient]) -> None:
    answer = caller("import").post("/imports", json={"name": "\u00e9.csv"})

    assert "'^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$'" in assert_problem(answer, 422, "invalid_field")["message"]


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
    caller: Callable[..., TestClient], log: ImportLog
) -> None:
    importer = caller("import")
    begun = [importer.post("/imports", json=FILE).json() for _ in range(2)]
    for each, part in zip(begun, (CLEAN, WITH_CONFLICTS), strict=True):
        whole_import(log, DEFAULT, each["key"], part)

    first, second = (importer.get(f"/imports/{each['import_id']}").json() for each in begun)

    assert (first["rejects"], first["warnings"]) == (None, [])
    assert second["rejects"] == f"rejects/{begun[1]['key']}.csv"
    (warning,) = second["warnings"]
    assert warning["code"] == "row_number_ids"
    assert "any other file" in warning["message"]


@pytest.mark.parametrize("part", [WITH_REJECTS, WITH_CONFLICTS], ids=["rejects", "conflicts"])
def test_rejected_rows_are_handed_out_by_a_url_that_is_good_for_their_file_and_five_minutes(
    caller: Callable[..., TestClient], log: ImportLog, aws_clients: dict[str, Any], part: FilePart
) -> None:
    importer = caller("import")
    begun = importer.post("/imports", json=FILE).json()
    whole_import(log, DEFAULT, begun["key"], part)
    aws_clients["s3"].put_object(Bucket=SETTINGS["UPLOAD_BUCKET"], Key=f"rejects/{begun['key']}.csv", Body=b"line\r\n")

    answer = importer.get(f"/imports/{begun['import_id']}/rejects")

    assert answer.status_code == 200
    assert answer.json().keys() == {"url", "expires_in"}
    assert answer.json()["expires_in"] == 300
    # The URL is a credential.
    assert answer.headers["Cache-Control"] == "no-store"
    url = urlsplit(answer.json()["url"])
    assert (url.scheme, url.path) == ("https", f"/rejects/{begun['key']}.csv")
    assert (url.hostname or "").startswith(f"{SETTINGS['UPLOAD_BUCKET']}.s3.")
    query = parse_qs(url.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["300"]
    assert query["X-Amz-SignedHeaders"] == ["host"]
    assert query["response-content-disposition"] == ['attachment; filename="august-rejects.csv"']


def test_there_are_no_rejects_before_an_import_is_done_nor_where_it_has_none_nor_once_they_are_deleted(
    caller: Callable[..., TestClient], log: ImportLog
) -> None:
    importer = caller("import")
    begun = {
        name: importer.post("/imports", json=FILE).json()
        for name in ("waiting", "reading", "importing", "gone", "clean", "deleted")
    }
    runs = {name: log.begin(DEFAULT, begun[name]["key"], 175) for name in ("reading", "importing", "gone")}
    for name in ("importing", "gone"):
        log.plan(DEFAULT, begun[name]["key"], runs[name], 2)
        log.finish_part(DEFAULT, begun[name]["key"], runs[name], WITH_REJECTS, [])
    log.lose(DEFAULT, begun["gone"]["key"], runs["gone"])
    whole_import(log, DEFAULT, begun["clean"]["key"], CLEAN)
    # As after UploadRetentionDays: the import is remembered for longer.
    whole_import(log, DEFAULT, begun["deleted"]["key"], WITH_REJECTS)

    answers = {name: importer.get(f"/imports/{each['import_id']}/rejects") for name, each in begun.items()}

    for answer in answers.values():
        assert_problem(answer, 404, "no_rejects")
    said = {name: answer.json()["message"] for name, answer in answers.items()}
    for status in ("waiting", "reading", "importing", "gone"):
        assert said[status] == f"The import is not done: its status is {status}."
    assert said["clean"].startswith("No row was rejected")
    assert "deleted" in said["deleted"]


def test_who_may_not_know_of_an_import_gets_no_rejects_of_it(
    caller: Callable[..., TestClient], log: ImportLog, aws_clients: dict[str, Any], keys: ApiKeys, whole_api: WholeApi
) -> None:
    named = "uploads/august.csv"
    begun = caller("import").post("/imports", json=FILE).json()
    for key in (begun["key"], named):
        whole_import(log, DEFAULT, key, WITH_REJECTS)
        aws_clients["s3"].put_object(Bucket=SETTINGS["UPLOAD_BUCKET"], Key=f"rejects/{key}.csv", Body=b"line\r\n")
    made = {"name": "shop", "display_name": "Shop", "timezone": "UTC"}
    assert caller("admin").post("/projects", json=made).status_code == 201
    of_shop = TestClient(
        whole_api, headers={"X-API-Key": keys.create("test", SCOPES, "http", reach=Reach(Project("shop")))[1]}
    )
    paths = [f"/imports/{import_id}/rejects" for import_id in (begun["import_id"], import_id_of(named))]

    nothing = caller("import").get(f"/imports/{'0' * 32}/rejects")

    assert_problem(nothing, 404, "unknown_import")
    assert [of_shop.get(path).json() for path in paths] == [nothing.json()] * 2
    assert caller("import").get(paths[1]).json() == nothing.json()
    assert_problem(caller("ingest", "read", "admin").get(paths[0]), 403, "missing_scope")
    assert caller("import").get(paths[0]).status_code == caller(*SCOPES).get(paths[1]).status_code == 200


def test_a_browser_saves_rejected_rows_as_csv_whatever_its_name_and_type_are(served: tuple[Any, str]) -> None:
    s3, bucket = served
    name = '<b>";\r\nä'
    key = f"rejects/uploads/{name}.csv"
    s3.put_object(Bucket=bucket, Key=key, Body=b"<script>", ContentType="text/html")
    uploads = Uploads(s3, bucket, Mock(spec=ImportLog))

    url = uploads.hand_out(key, f"{name}-rejects.csv", 60)
    answer = httpx2.get(url, trust_env=False)

    assert (answer.status_code, answer.content) == (200, b"<script>")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="file-b-------rejects.csv"'
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    # What the answer says is signed.
    altered = url.replace("attachment", "inline")
    assert altered != url
    assert httpx2.get(altered, trust_env=False).status_code == 403
    with pytest.raises(Gone):
        uploads.hand_out("rejects/uploads/other.csv", "other.csv", 60)
