"""What is kept of events that were not accepted, and what GET /rejects answers about them."""

import gzip
import json
from collections.abc import Callable
from typing import Any
from unittest import mock

import boto3
import pytest
from aws_lambda_powertools import Logger
from fastapi.testclient import TestClient
from moto import mock_aws

from rollcall.access.gate import Principal
from rollcall.access.reach import ALL, Reach
from rollcall.core.limits import Allowance, Limit
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.app import create_app
from rollcall.http.routes import rejects as routes
from rollcall.intake import rejects
from rollcall.intake.rejects import BadCursor, Kept, Reject, Rejects
from tests.support import OpenGate, assert_problem

SHOP = Project("shop")
KEY, OTHER = "a" * 16, "b" * 16
CREDENTIAL = f"rc_{KEY}_{'5' * 48}"
NOON = "2025-09-01T12:00:00.000Z"
DAY = "2025-09-01"


class GateOf(OpenGate):
    def __init__(self) -> None:
        self.reach = ALL

    def admit(self, *_: str, **__: str) -> tuple[Principal, Allowance]:
        return Principal("key k", frozenset({"read"}), "http", self.reach, None), Allowance(Limit(1, 1), 1, 0)


@pytest.fixture
def bucket() -> Any:
    with mock_aws():
        s3 = boto3.client("s3", "us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        s3.create_bucket(Bucket="archive")
        yield s3


@pytest.fixture
def kept(bucket: Any) -> Rejects:
    return Rejects(bucket, "archive")


def reject(number: int = 0, item: object = None) -> Reject:
    return Reject.of(
        "missing_field", f"userId {number} is missing", f"segment:{number}", item or {"n": number}, "segment"
    )


def keep(kept: Rejects, *numbers: int, project: Project = DEFAULT, key_id: str | None = KEY, day: str = DAY) -> None:
    kept.keep(project, key_id, day, NOON, [reject(number) for number in numbers], CREDENTIAL)


def found(kept: Rejects, limit: int = 100, **asked: Any) -> list[tuple[str, str | None]]:
    """The days and ids of all rejects, page by page."""
    asked = {"project": DEFAULT, "key_id": KEY, "first": "2025-08-01", "last": "2025-09-30", **asked}
    listed: list[Kept] = []
    after = None
    while True:
        page = kept.list(**asked, limit=limit, after=after)
        assert len(page.rejects) <= limit
        listed += page.rejects
        if page.after is None:
            return [(each.day, each.reject.event_id) for each in listed]
        assert page.after != after
        after = page.after


def objects(bucket: Any) -> list[str]:
    return [each["Key"] for each in bucket.list_objects_v2(Bucket="archive").get("Contents", ())]


def test_a_reject_is_read_as_it_was_sent_with_its_reason(kept: Rejects) -> None:
    item = {"event": "é\ud800\0", "properties": {"n": 1.5, "list": [None, True]}}
    kept.keep(DEFAULT, KEY, DAY, NOON, [reject(1, item)], CREDENTIAL)
    (each,) = kept.list(DEFAULT, KEY, DAY, DAY, 10).rejects
    assert each == Kept(DAY, NOON, reject(1, item))
    assert json.loads(each.reject.item) == item


def test_a_request_is_one_object_and_comes_again_as_the_same_one(kept: Rejects, bucket: Any) -> None:
    keep(kept, 1, 2)
    once = objects(bucket)
    kept.keep(DEFAULT, KEY, DAY, "2025-09-01T13:00:00.000Z", [reject(1), reject(2)], CREDENTIAL)
    assert objects(bucket) == once
    assert len(once) == 1
    keep(kept, 3)
    assert len(objects(bucket)) == 2
    keep(kept)
    assert len(objects(bucket)) == 2


def test_rejects_are_told_by_project_and_key(kept: Rejects) -> None:
    keep(kept, 1)
    keep(kept, 2, key_id=OTHER)
    keep(kept, 3, project=SHOP)
    keep(kept, 4, key_id=None)
    assert found(kept) == [(DAY, "segment:1")]
    assert found(kept, key_id=OTHER) == [(DAY, "segment:2")]
    assert found(kept, project=SHOP) == [(DAY, "segment:3")]
    assert found(kept, key_id="account") == [(DAY, "segment:4")]
    assert found(kept, project=SHOP, key_id=OTHER) == []


def test_the_days_of_a_range_are_both_in_it(kept: Rejects) -> None:
    days = [f"2025-08-{day:02}" for day in range(28, 32)]
    for number, day in enumerate(days):
        keep(kept, number, day=day)
    assert [day for day, _ in found(kept, first=days[1], last=days[2])] == days[1:3]
    assert [day for day, _ in found(kept)] == days


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_pages_of_any_size_list_each_reject_once(kept: Rejects, limit: int) -> None:
    for day in ("2025-09-01", "2025-09-02"):
        for first in (0, 10, 20):
            keep(kept, *range(first, first + 4), day=day)
    with mock.patch.object(rejects, "MAX_OBJECTS", 2):
        listed = found(kept, limit)
    assert sorted(listed) == sorted(set(listed)) == sorted(found(kept))
    assert len(listed) == 24
    assert [day for day, _ in listed] == sorted(day for day, _ in listed)


def test_a_page_of_large_rejects_has_fewer_of_them_but_one_at_least(kept: Rejects) -> None:
    large = [reject(number, "x" * 1_000) for number in range(5)]
    kept.keep(DEFAULT, KEY, DAY, NOON, large, CREDENTIAL)
    for most, size in ((2_500, 2), (1, 1)):
        with mock.patch.object(rejects, "MAX_CHARACTERS", most):
            page = kept.list(DEFAULT, KEY, DAY, DAY, 100)
            assert len(page.rejects) == size
            assert len(found(kept)) == 5


def test_32_kb_of_an_item_are_kept(kept: Rejects) -> None:
    kept.keep(DEFAULT, KEY, DAY, NOON, [reject(1, "x" * 100_000)], CREDENTIAL)
    (each,) = kept.list(DEFAULT, KEY, DAY, DAY, 10).rejects
    assert each.reject.item == '"' + "x" * (32 * 1024 - 1)


def test_no_credential_is_kept_of_a_reject_wherever_it_stands(kept: Rejects, bucket: Any) -> None:
    another = f"rc_{OTHER}_{'7' * 48}"
    item = {
        "writeKey": CREDENTIAL,
        CREDENTIAL: {"nested": [f"a{CREDENTIAL}b", another]},
        # Where an item is cut, no half of one is left.
        "long": "x" * (32 * 1024 - 300) + CREDENTIAL * 20,
    }
    sent = Reject.of("invalid_user_id", f"user_id is {CREDENTIAL}", CREDENTIAL, item, "segment")
    kept.keep(DEFAULT, KEY, DAY, NOON, [sent], CREDENTIAL)
    (key,) = objects(bucket)
    text = gzip.decompress(bucket.get_object(Bucket="archive", Key=key)["Body"].read()).decode()
    for credential in (CREDENTIAL, another):
        assert credential not in text
        assert credential[20:44] not in text
    assert text.count("***") >= 6


def test_a_credential_that_is_no_key_is_not_kept_either(kept: Rejects) -> None:
    kept.keep(DEFAULT, None, DAY, NOON, [reject(1, {"token": "ey.some.jwt"})], "ey.some.jwt")
    (each,) = kept.list(DEFAULT, "account", DAY, DAY, 10).rejects
    assert json.loads(each.reject.item) == {"token": "***"}


def test_a_reject_that_expires_while_it_is_listed_is_left_out(kept: Rejects, bucket: Any) -> None:
    keep(kept, 1)
    keep(kept, 2)
    gone, _ = objects(bucket)

    class Expiring:
        def __getattr__(self, name: str) -> Any:
            return getattr(bucket, name)

        def get_object(self, **request: Any) -> Any:
            bucket.delete_object(Bucket="archive", Key=gone)
            return bucket.get_object(**request)

    assert len(found(Rejects(Expiring(), "archive"))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "after", ["", "x", "2025-09-01", f"2025-09-01/{'0' * 32}", f"2025-09-01/{'0' * 32}/-1", f"../{'0' * 32}/1"]
)
def test_a_list_goes_on_only_after_what_an_answer_told(kept: Rejects, after: str) -> None:
    with pytest.raises(BadCursor):
        kept.list(DEFAULT, KEY, DAY, DAY, 10, after)


@pytest.fixture
def ask(kept: Rejects, logger: Logger) -> Callable[..., Any]:
    gate = GateOf()
    client = TestClient(create_app(routes.router, logger=logger, gate=gate, services=[kept]))

    def get(reach: Reach = ALL, **asked: str) -> Any:
        gate.reach = reach
        asked = {"key": KEY, "from": DAY, "to": DAY} | asked
        return client.get(
            "/rejects", params={name: text for name, text in asked.items() if text}, headers={"X-API-Key": "k"}
        )

    return get


def test_the_rejects_of_the_callers_project_are_listed(kept: Rejects, ask: Callable[..., Any]) -> None:
    keep(kept, 1, 2)
    keep(kept, 3, project=SHOP)

    answer = ask(limit="1").json()
    (first,) = answer["data"]
    (second,) = ask(after=answer["next"]).json()["data"]

    assert first == {"date": DAY, "received_at": NOON, **reject(1)._asdict()}
    assert (second["event_id"], ask(after=answer["next"]).json()["next"]) == ("segment:2", None)
    assert [each["event_id"] for each in ask(Reach(SHOP)).json()["data"]] == ["segment:3"]
    assert_problem(ask(Reach(SHOP), project="default"), 403, "other_project")


@pytest.mark.parametrize(
    ("asked", "parameter"),
    [
        ({"key": ""}, "key"),
        ({"key": "a/day="}, "key"),
        ({"key": CREDENTIAL}, "key"),
        ({"after": "x"}, "after"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"from": ""}, "from"),
        ({"to": "2026-09-02"}, "to"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_the_parameters_name(
    ask: Callable[..., Any], asked: dict[str, str], parameter: str
) -> None:
    problem = assert_problem(ask(ALL, **asked), 422, "invalid_parameter")
    assert problem["parameter"] == parameter
    assert CREDENTIAL not in problem["message"]
