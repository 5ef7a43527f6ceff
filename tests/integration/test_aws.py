"""The clients that are made to be faster answer what boto3's own do."""

from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from rollcall import aws
from scripts.ministack import MiniStack
from tests.support import create_tables, delete_tables


@pytest.fixture
def fast(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in (
        ("AWS_ENDPOINT_URL", ministack.endpoint),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ):
        monkeypatch.setenv(name, value)
    return aws.dynamodb()


def test_a_query_is_answered_as_by_a_plain_client(ministack: MiniStack, fast: Any) -> None:
    plain = ministack.client("dynamodb")
    tables = create_tables(plain)
    values = [{"S": 'a"\\\n\0ü'}, {"N": "12.50"}, {"BOOL": True}, {"L": [{"M": {"x": {"NULL": True}}}]}, {"SS": ["a"]}]
    for number, value in enumerate(values):
        plain.put_item(TableName=tables.stats, Item={"pk": {"S": "p"}, "sk": {"S": str(number)}, "value": value})
    asked = {
        "TableName": tables.stats,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
        "Limit": 3,
        "ReturnConsumedCapacity": "TOTAL",
    }
    found, expected = (client.query(**asked) for client in (fast, plain))
    del found["ResponseMetadata"], expected["ResponseMetadata"]
    assert found == expected
    assert found["LastEvaluatedKey"]
    delete_tables(plain, tables)


def test_a_refused_query_is_the_same_error(ministack: MiniStack, fast: Any) -> None:
    with pytest.raises(ClientError) as refused:
        fast.query(TableName="none", KeyConditionExpression="pk = :p", ExpressionAttributeValues={":p": {"S": "p"}})
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_a_client_for_later_is_made_once_when_it_is_used() -> None:
    make = mock.Mock()
    client = aws.later(make)
    make.assert_not_called()
    client.get_object(Key="a")
    client.get_object(Key="b")
    make.assert_called_once_with()
    assert make.return_value.get_object.mock_calls == [mock.call(Key="a"), mock.call(Key="b")]
