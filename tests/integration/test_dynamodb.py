"""The DynamoDB in the tests' process answers as the process does that `rollcall up` runs."""

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from scripts.local.ministack import MiniStack
from tests.dynamodb import ENDPOINT, answer
from tests.support import create_access_table

KEY = {"pk": {"S": "a"}, "sk": {"S": "ü"}}
ITEM = {**KEY, "n": {"N": "1"}, "l": {"L": [{"M": {"b": {"B": b"\0"}}}]}}
TAKEN = "attribute_not_exists(pk)"


def asked(table: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests of the kinds that the functions make, some of which are refused."""
    yield "put_item", {"TableName": table, "Item": ITEM, "ReturnConsumedCapacity": "TOTAL"}
    yield "put_item", {"TableName": table, "Item": ITEM, "ConditionExpression": TAKEN}
    yield "get_item", {"TableName": table, "Key": KEY, "ConsistentRead": True}
    yield "get_item", {"TableName": "no-table", "Key": KEY}
    change = {"UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    yield "update_item", {"TableName": table, "Key": KEY, **change, "ReturnValues": "ALL_NEW"}
    yield "update_item", {"TableName": table, "Key": KEY, **change, "ConditionExpression": TAKEN}
    put = {"Put": {"TableName": table, "Item": {**KEY, "sk": {"S": "b"}}}}
    yield "transact_write_items", {"TransactItems": [put, {"Delete": {"TableName": table, "Key": KEY}}]}
    check = {"TableName": table, "Key": {**KEY, "sk": {"S": "b"}}, "ConditionExpression": TAKEN}
    yield "transact_write_items", {"TransactItems": [{"ConditionCheck": check}]}
    insert = f"INSERT INTO \"{table}\" VALUE {{'pk': 'a', 'sk': ?}}"
    yield (
        "batch_execute_statement",
        {"Statements": [{"Statement": insert, "Parameters": [{"S": sk}]} for sk in ("b", "c")]},
    )
    yield "batch_get_item", {"RequestItems": {table: {"Keys": [KEY, {**KEY, "sk": {"S": "c"}}]}}}
    yield (
        "query",
        {
            "TableName": table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": "a"}},
            "Limit": 1,
        },
    )
    yield "scan", {"TableName": table}


def answers(client: Any) -> list[Any]:
    table = create_access_table(client)
    found: list[Any] = []
    for operation, request in asked(table):
        try:
            said = getattr(client, operation)(**request)
        except ClientError as error:
            said = {name: value for name, value in error.response.items() if name != "ResponseMetadata"}
        else:
            assert said.pop("ResponseMetadata")["HTTPStatusCode"] == 200
        found.append(repr(said).replace(table, "table"))
    client.delete_table(TableName=table)
    return found


def test_the_dynamodb_of_the_tests_answers_as_the_process_does(ministack: MiniStack) -> None:
    here = boto3.Session("testing", "testing", region_name="us-east-1").client("dynamodb", endpoint_url=ENDPOINT)

    assert answers(here) == answers(ministack.client("dynamodb"))


def request_for(url: str) -> AWSPreparedRequest:
    return AWSPreparedRequest("POST", url, HTTPHeaders(), b"{}", stream_output=False)


def test_a_request_for_another_place_is_not_answered_here() -> None:
    assert answer(request_for("https://dynamodb.us-east-1.amazonaws.com/")) is None


def test_an_emulator_that_waits_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*_: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr("ministack.services.dynamodb.handle_request", wait)

    with pytest.raises(AssertionError, match="event loop"):
        answer(request_for(f"{ENDPOINT}/"))
