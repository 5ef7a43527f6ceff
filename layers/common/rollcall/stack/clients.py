"""Clients of AWS. Where AWS is, and as whom, is boto3's own business: `AWS_ENDPOINT_URL`, profiles, roles."""

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quote
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient


# All tries together end before API Gateway stops waiting, so that a dependency that hangs can be named.
_QUICK = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=2, read_timeout=5)
# What events pass through, in batches: checking parameters costs more time than all else an item takes, and botocore
# puts its own user agent together anew for each request.
_BARE = Config(parameter_validation=False, max_pool_connections=32, user_agent="rollcall")
# The queue's sender tries again by itself.
_ONCE = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=2, read_timeout=5)
# A function that is waited for, for as long as API Gateway waits for who asks it; asking again would take too long.
_WAITING = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=2, read_timeout=25)
# An object is read as fast as its rows are taken in.
_PATIENT = Config(
    retries={"mode": "standard", "max_attempts": 4},
    connect_timeout=3,
    read_timeout=60,
    # Else a URL to upload to would be signed in the old way, for a host that sends other regions elsewhere.
    signature_version="s3v4",
    s3={"addressing_style": "virtual"},
)


_T = TypeVar("_T")
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_WITH_PARAMETERS = {"Statement", "Parameters"}


def dynamodb() -> "DynamoDBClient":
    """A client that sends what it is given, and reads and writes the JSON of the batch verbs at once."""
    client = boto3.client("dynamodb", config=_QUICK.merge(_BARE))
    for operation in ("BatchExecuteStatement", "BatchGetItem"):
        client.meta.events.register(f"provide-client-params.dynamodb.{operation}", _encode)  # type: ignore[arg-type]
        client.meta.events.register(f"before-call.dynamodb.{operation}", _put_body)
    for operation in ("BatchExecuteStatement", "BatchGetItem", "Query"):
        client.meta.events.register(f"before-parse.dynamodb.{operation}", _read_answer)
    return client


def _encode(params: dict[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
    """Make the body of a request at once: its parameters are the JSON of the wire already, which botocore would go
    through value by value to find out. It is left the tables' names, which it looks for an endpoint by."""
    if "Statements" in params:
        context["rollcall_body"] = _statements_json(params).encode()
        return {}
    context["rollcall_body"] = _to_json(params).encode()
    return {"RequestItems": {table: {} for table in params["RequestItems"]}}


def _statements_json(params: dict[str, Any]) -> str:
    """JSON of statements. Where all their parameters are texts, as those of the write path are, it is put together from
    these: going through a mapping for each takes the encoder three times as long."""
    statements = params["Statements"]
    if params.keys() != {"Statements"} or any(each.keys() != _WITH_PARAMETERS for each in statements):
        return _to_json(params)
    try:
        rows = ['},{"S":'.join([_quote(value["S"]) for value in each["Parameters"]]) for each in statements]
    except KeyError:
        return _to_json(params)
    bodies = [
        f'{{"Statement":{_quote(each["Statement"])},"Parameters":[{{"S":{row}}}]}}'
        for each, row in zip(statements, rows, strict=True)
    ]
    return f'{{"Statements":[{",".join(bodies)}]}}'


def _put_body(params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    params["body"] = context["rollcall_body"]


def _read_answer(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read an answer at once: it is what the client would give already, which botocore would build anew value by value.
    Not where values are binary, which none of ours is."""
    if response_dict["status_code"] < 300:
        customized_response_dict.update(json.loads(response_dict["body"]))
        response_dict["body"] = b"{}"


def later(make: Callable[[], _T]) -> _T:
    """The client that `make` makes, at its first use: making one is a good part of a cold start."""
    return cast(_T, _Later(make))


class _Later:
    # One for all of them: boto3's session makes one client at a time.
    _lock = Lock()

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._make()
        return getattr(self._client, name)


def sqs() -> "SQSClient":
    """A client of the queues."""
    return boto3.client("sqs", config=_ONCE.merge(_BARE))


def s3() -> "S3Client":
    """A client of the bucket."""
    return boto3.client("s3", config=_PATIENT.merge(_BARE))


def ssm() -> "SSMClient":
    """A client of the parameter store."""
    return boto3.client("ssm", config=_QUICK)


def functions() -> "LambdaClient":
    """A client that invokes functions and waits for their answers."""
    return boto3.client("lambda", config=_WAITING)


def cloudwatch() -> "CloudWatchClient":
    """A client of the metrics that AWS keeps."""
    return boto3.client("cloudwatch", config=_QUICK)
