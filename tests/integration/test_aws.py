"""The clients that are made to be faster answer what boto3's own do."""

import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any
from unittest import mock

import boto3
import botocore.serialize
import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, ParamValidationError

from rollcall.stack import clients as aws
from scripts.local.ministack import LOADER, MiniStack
from tests.dynamodb import ENDPOINT
from tests.integration.conftest import DYNAMODB
from tests.support import create_tables, delete_tables, scan


class AnotherRelease:
    """The data of another release of the SDK: those of this one, but for changes of the services' models."""

    def __init__(self) -> None:
        self.changes: list[Callable[[dict[str, Any]], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(LOADER, name)

    def load_service_model(self, service: str, kind: str, *version: Any, **named: Any) -> dict[str, Any]:
        model: dict[str, Any] = LOADER.load_service_model(service, kind, *version, **named)
        if kind == "service-2" and self.changes:
            model = deepcopy(model)
            for change in self.changes:
                change(model)
        return model


@pytest.fixture(scope="module")
def dynamodb(request: pytest.FixtureRequest) -> Any:
    """A client of a DynamoDB that is asked over the network, as the functions ask theirs."""
    if DYNAMODB != ENDPOINT:
        return request.getfixturevalue("aws_clients")["dynamodb"]
    stack: MiniStack = request.getfixturevalue("ministack")
    return stack.client("dynamodb")


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> AnotherRelease:
    """What the clients that a test makes find of the SDK's data."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in (
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ):
        monkeypatch.setenv(name, value)
    core = botocore.session.get_session()
    made = AnotherRelease()
    core.register_component("data_loader", made)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=core))
    return made


@pytest.fixture
def fast(dynamodb: Any, release: AnotherRelease, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynamodb.meta.endpoint_url)
    return aws.dynamodb()


@contextmanager
def handled(client: Any, event: str, handler: Callable[..., Any]) -> Iterator[None]:
    client.meta.events.register(event, handler)
    yield
    client.meta.events.unregister(event, handler)


def test_a_query_is_answered_as_by_a_plain_client(dynamodb: Any, fast: Any) -> None:
    tables = create_tables(dynamodb)
    values = [{"S": 'a"\\\n\0ü'}, {"N": "12.50"}, {"BOOL": True}, {"L": [{"M": {"x": {"NULL": True}}}]}, {"SS": ["a"]}]
    for number, value in enumerate(values):
        dynamodb.put_item(TableName=tables.stats, Item={"pk": {"S": "p"}, "sk": {"S": str(number)}, "value": value})
    asked = {
        "TableName": tables.stats,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
        "Limit": 3,
        "ReturnConsumedCapacity": "TOTAL",
    }
    found, expected = (client.query(**asked) for client in (fast, dynamodb))
    del found["ResponseMetadata"], expected["ResponseMetadata"]
    assert found == expected
    assert found["LastEvaluatedKey"]
    delete_tables(dynamodb, tables)


STATEMENT = "INSERT INTO \"{}\" VALUE {{'pk':?,'sk':?}}"
AWKWARD = ["plain", 'a"\\\n\0ü\u2028', "emoji 🎉"]


@pytest.mark.parametrize("consistent", [False, True])
def test_a_batch_of_items_is_answered_as_by_a_plain_client(dynamodb: Any, fast: Any, consistent: bool) -> None:
    tables = create_tables(dynamodb)
    keys = [{"pk": {"S": text}, "sk": {"S": "-"}} for text in AWKWARD]
    for key in keys[1:]:
        dynamodb.put_item(TableName=tables.stats, Item={**key, "count": {"N": "7"}})
    asked = {tables.stats: {"Keys": keys, "ConsistentRead": consistent}}
    found, expected = (client.batch_get_item(RequestItems=asked) for client in (fast, dynamodb))
    for answer in (found, expected):
        del answer["ResponseMetadata"]
        answer["Responses"][tables.stats].sort(key=str)
    assert found == expected
    assert len(found["Responses"][tables.stats]) == len(keys) - 1
    delete_tables(dynamodb, tables)


def test_statements_store_the_same_items_and_are_refused_as_by_a_plain_client(dynamodb: Any, fast: Any) -> None:
    tables = create_tables(dynamodb), create_tables(dynamodb)
    answers = []
    for client, names in zip((fast, dynamodb), tables, strict=True):
        statements = [
            {"Statement": STATEMENT.format(names.stats), "Parameters": [{"S": text}, {"S": "-"}]}
            for text in (*AWKWARD, AWKWARD[0])
        ]
        # Not in one call with the first of its name: DynamoDB refuses a call that names a key twice.
        first, second = (client.batch_execute_statement(Statements=some) for some in (statements[:-1], statements[-1:]))
        stored = sorted(item["pk"] for item in scan(dynamodb, names.stats))
        responses = [
            {**response, "TableName": "stats"} if "TableName" in response else response
            for response in (*first["Responses"], *second["Responses"])
        ]
        answers.append((responses, stored))
        delete_tables(dynamodb, names)
    assert answers[0] == answers[1]
    assert answers[0][1] == sorted(AWKWARD)
    assert answers[0][0][-1]["Error"]["Code"] == "DuplicateItem"


@pytest.mark.parametrize(
    "asked",
    [
        {"Statements": [{"Statement": "S", "Parameters": [{"S": text} for text in AWKWARD]}]},
        {"Statements": [{"Statement": "S", "Parameters": [{"S": "a"}, {"N": "1"}, {"L": [{"S": "b"}]}]}]},
        {"Statements": [{"Statement": "S", "Parameters": [{"S": "a"}], "ConsistentRead": True}, {"Statement": "T"}]},
        {"Statements": [{"Statement": "S", "Parameters": [{"S": "a"}]}], "ReturnConsumedCapacity": "TOTAL"},
    ],
)
def test_statements_go_over_the_wire_as_a_plain_client_sends_them(
    dynamodb: Any, fast: Any, asked: dict[str, Any]
) -> None:
    sent = []

    def keep(request: Any, **_: object) -> None:
        sent.append(json.loads(request.data))

    for client in (fast, dynamodb):
        # What it says of them is another test's.
        with handled(client, "before-sign.dynamodb", keep), suppress(ClientError):
            client.batch_execute_statement(**asked)
    assert sent == [asked, asked]


def test_a_refused_query_is_the_same_error(fast: Any) -> None:
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


def requests_of(client: Any) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The body and the headers of each kind of request that the store makes in batches, as they go out."""
    key = {"pk": {"S": "p"}, "sk": {"S": 'a"\\\n\0ü\N{PILE OF POO}'}}
    for operation, parameters in (
        ("batch_get_item", {"RequestItems": {"table": {"Keys": [key], "ConsistentRead": True}}}),
        ("batch_execute_statement", {"Statements": [{"Statement": "INSERT", "Parameters": [{"S": "ü"}, {"N": "1"}]}]}),
    ):
        signed: list[Any] = []
        sent: list[AWSPreparedRequest] = []

        def note(request: AWSRequest, *, signed: list[Any] = signed, **_: object) -> None:
            signed.append(request.data)

        def answer(request: AWSPreparedRequest, *, sent: list[AWSPreparedRequest] = sent, **_: object) -> AWSResponse:
            sent.append(request)
            return answered(b"{}")

        with handled(client, "before-sign.dynamodb", note), handled(client, "before-send.dynamodb", answer):
            getattr(client, operation)(**parameters)
        assert [request.body for request in sent] == signed
        yield json.loads(signed[0]), {name.lower(): str(value) for name, value in sent[0].headers.items()}


def answered(body: bytes, crc32: int | None = None) -> AWSResponse:
    raw = io.BytesIO(body)
    raw.stream = lambda: iter([body])  # type: ignore[attr-defined]
    headers = HTTPHeaders.from_pairs([("x-amz-crc32", str(zlib.crc32(body) if crc32 is None else crc32))])
    return AWSResponse("", 200, headers, raw)


def test_the_requests_in_batches_are_those_of_a_plain_client_and_signed_as_they_are_sent(
    dynamodb: Any, fast: Any
) -> None:
    for found, expected in zip(requests_of(fast), requests_of(dynamodb), strict=True):
        assert found[0] == expected[0]
        assert found[1].keys() == expected[1].keys()
        for header in ("content-type", "x-amz-target"):
            assert found[1][header] == expected[1][header]


def test_an_answer_that_was_damaged_on_its_way_is_asked_for_again(fast: Any) -> None:
    body = b'{"Items": [{"pk": {"S": "p"}}], "Count": 1}'
    answers = [answered(body.replace(b"p", b"q"), crc32=zlib.crc32(body)), answered(body)]

    def answer(**_: object) -> AWSResponse:
        return answers.pop(0)

    with handled(fast, "before-send.dynamodb", answer):
        found = fast.query(TableName="table", KeyConditionExpression="pk = :p", ExpressionAttributeValues={})
    assert found["Items"] == [{"pk": {"S": "p"}}]
    assert not answers


def without(shape: str, member: str) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        del model["shapes"][shape]["members"][member]

    return change


def metadata(**changed: Any) -> Callable[[dict[str, Any]], None]:
    def change(model: dict[str, Any]) -> None:
        model["metadata"].update(changed)

    return change


def without_query(model: dict[str, Any]) -> None:
    del model["operations"]["Query"]


def is_plain(client: Any) -> bool:
    """Whether a client checks parameters as boto3's own does."""
    service = client.meta.service_model.service_name
    ask = client.list_tables if service == "dynamodb" else client.list_buckets
    name = "Limit" if service == "dynamodb" else "MaxBuckets"

    def answer(**_: object) -> tuple[Any, dict[str, Any]]:
        return mock.Mock(status_code=200), {}

    with handled(client, f"before-call.{service}", answer):
        try:
            ask(**{name: "a text"})
        except ParamValidationError:
            return True
    return False


def test_the_sdk_that_is_installed_has_all_that_the_fast_clients_rely_on(
    release: AnotherRelease, caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_plain(aws.dynamodb())
    assert not is_plain(aws.s3())
    assert not caplog.messages


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        (without("BatchStatementRequest", "Parameters"), "BatchExecuteStatement.Statements.Parameters"),
        (without("KeysAndAttributes", "ConsistentRead"), "BatchGetItem.RequestItems.ConsistentRead"),
        (
            without("Put", "ReturnValuesOnConditionCheckFailure"),
            "TransactWriteItems.TransactItems.Put.ReturnValuesOnConditionCheckFailure",
        ),
        (without("QueryOutput", "LastEvaluatedKey"), "Query.LastEvaluatedKey"),
        (without_query, "Query"),
        (metadata(jsonVersion="1.1"), "jsonVersion 1.0"),
        (metadata(targetPrefix="DynamoDB_20991231"), "targetPrefix DynamoDB_20120810"),
        (metadata(protocol="rest-json", protocols=["rest-json"]), "protocol json"),
    ],
)
def test_a_dynamodb_that_the_sdk_knows_otherwise_gets_a_plain_client(
    release: AnotherRelease, change: Callable[..., None], lacking: str, caplog: pytest.LogCaptureFixture
) -> None:
    release.changes.append(change)
    assert is_plain(aws.dynamodb())
    assert caplog.messages == [f"the SDK's model of dynamodb lacks {lacking}"]


# {"Responses": {"table": [{"pk": {"S": "p"}}]}}
CBOR_ANSWER = b"\xa1\x69Responses\xa1\x65table\x81\xa1\x62pk\xa1\x61S\x61p"


@pytest.mark.skipif("smithy-rpc-v2-cbor" not in botocore.serialize.SERIALIZERS, reason="this SDK speaks no CBOR")
def test_an_sdk_that_speaks_cbor_with_dynamodb_is_left_to_do_so(release: AnotherRelease) -> None:
    release.changes.append(metadata(protocol="smithy-rpc-v2-cbor", protocols=["smithy-rpc-v2-cbor"]))
    client = aws.dynamodb()
    sent: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request)
        return answered(CBOR_ANSWER)

    with handled(client, "before-send.dynamodb", answer):
        found = client.batch_get_item(RequestItems={"table": {"Keys": [{"pk": {"S": "p"}}]}})
    assert found["Responses"] == {"table": [{"pk": {"S": "p"}}]}
    assert sent[0].url.endswith("/operation/BatchGetItem")
    assert isinstance(sent[0].body, bytes)
    assert sent[0].body[0] >> 5 == 5, "a map in CBOR"


def test_an_sdk_that_does_not_know_conditions_of_s3_says_so_when_one_is_used(
    release: AnotherRelease, caplog: pytest.LogCaptureFixture
) -> None:
    release.changes.append(without("PutObjectRequest", "IfMatch"))
    client = aws.s3()
    assert caplog.messages == ["the SDK's model of s3 lacks PutObject.IfMatch"]
    with pytest.raises(ParamValidationError, match="IfMatch"):
        client.put_object(Bucket="archive", Key="day", Body=b"", IfMatch='"etag"')
