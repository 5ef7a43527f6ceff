"""Clients of AWS. boto3 finds the endpoint and the credentials itself: `AWS_ENDPOINT_URL`, profiles, roles.

Lambda's runtime brings boto3, and may bring an older or newer release than the one that is tested here. Clients for
events leave out some of its work. They do so only if its model of the service is what that relies on.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quote
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import boto3
from botocore.config import Config
from botocore.model import ServiceModel

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_lambda import LambdaClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient


# All attempts end before API Gateway stops waiting, so an answer can still name the dependency that hangs.
_QUICK = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=2, read_timeout=5)
# For clients that events pass through in batches. Checking an item's parameters takes longer than all other work on the
# item, and botocore builds its own user agent again for each request.
_BARE = Config(parameter_validation=False, max_pool_connections=32, user_agent="rollcall")
# `BatchQueue` retries by itself.
_ONCE = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=2, read_timeout=5)
# For invoking a function. The caller waits as long as API Gateway waits for the caller, so a retry would come too late.
_WAITING = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=2, read_timeout=25)
# An object is read only as fast as its rows are taken in.
_PATIENT = Config(
    retries={"mode": "standard", "max_attempts": 4},
    connect_timeout=3,
    read_timeout=60,
    # By default boto3 signs a presigned URL in the old way, for a global host that redirects in most regions.
    signature_version="s3v4",
    s3={"addressing_style": "virtual"},
)


_T = TypeVar("_T")
_to_json = json.JSONEncoder(separators=(",", ":")).encode
_WITH_PARAMETERS = {"Statement", "Parameters"}
_logger = logging.getLogger(__name__)


# The names in requests and answers that the code relies on, by operation. Names within others follow a dot.
_DYNAMODB_REQUESTS = {
    "BatchExecuteStatement": ("Statements.Statement", "Statements.Parameters"),
    "BatchGetItem": (
        "RequestItems.Keys",
        "RequestItems.ConsistentRead",
        "RequestItems.ProjectionExpression",
        "RequestItems.ExpressionAttributeNames",
    ),
    "PutItem": ("ConditionExpression", "ReturnValuesOnConditionCheckFailure"),
    "UpdateItem": ("ReturnValues", "ReturnValuesOnConditionCheckFailure"),
    "TransactWriteItems": ("TransactItems.Put.ReturnValuesOnConditionCheckFailure", "TransactItems.Update"),
}
_DYNAMODB_ANSWERS = {
    "BatchExecuteStatement": ("Responses.Error.Code", "Responses.Error.Message"),
    "BatchGetItem": ("Responses", "UnprocessedKeys"),
    "GetItem": ("Item",),
    "Query": ("Items", "LastEvaluatedKey"),
    "UpdateItem": ("Attributes",),
}
_DYNAMODB_WIRE = {"protocol": "json", "jsonVersion": "1.0", "targetPrefix": "DynamoDB_20120810"}
_S3_REQUESTS = {
    "GetObject": ("Range", "IfMatch", "ResponseCacheControl", "ResponseContentDisposition", "ResponseContentType"),
    "PutObject": ("IfMatch", "IfNoneMatch", "ContentLength"),
    "DeleteObjects": ("Delete.Objects.ETag",),
}


def dynamodb() -> "DynamoDBClient":
    """A DynamoDB client without parameter checks, which encodes and decodes the JSON of the batch operations itself.

    It is boto3's own client, with all checks, if the SDK speaks to DynamoDB in another way than this relies on.
    """
    client = boto3.client("dynamodb", config=_QUICK.merge(_BARE))
    if _differs(client.meta.service_model, _DYNAMODB_REQUESTS, _DYNAMODB_ANSWERS, _DYNAMODB_WIRE):
        return boto3.client("dynamodb", config=_QUICK)
    for operation in ("BatchExecuteStatement", "BatchGetItem"):
        client.meta.events.register(f"provide-client-params.dynamodb.{operation}", _encode)  # type: ignore[arg-type]
        client.meta.events.register(f"before-call.dynamodb.{operation}", _put_body)
    for operation in _DYNAMODB_ANSWERS:
        client.meta.events.register(f"before-parse.dynamodb.{operation}", _read_answer)
    return client


def _differs(
    model: ServiceModel,
    requests: Mapping[str, Sequence[str]],
    answers: Mapping[str, Sequence[str]],
    wire: Mapping[str, str],
) -> bool:
    """Whether the SDK's model of a service lacks what the code relies on; logs what it lacks."""
    # The protocol that the SDK chooses may be another than the model's first one.
    found = {**model.metadata, "protocol": getattr(model, "resolved_protocol", model.metadata.get("protocol"))}
    lacking = [f"{name} {value}" for name, value in wire.items() if found.get(name) != value]
    for side, names in (("input_shape", requests), ("output_shape", answers)):
        for operation, paths in names.items():
            if operation not in model.operation_names:
                lacking.append(operation)
                continue
            shape = getattr(model.operation_model(operation), side)
            lacking += [f"{operation}.{path}" for path in paths if not _has(shape, path.split("."))]
    if lacking:
        _logger.warning("the SDK's model of %s lacks %s", model.service_name, ", ".join(lacking))
    return bool(lacking)


def _has(shape: Any, path: Sequence[str]) -> bool:
    """Whether a shape has a member under the path, through lists and the values of maps."""
    for name in path:
        while shape is not None and shape.type_name in ("list", "map"):
            shape = shape.member if shape.type_name == "list" else shape.value
        shape = getattr(shape, "members", {}).get(name)
    return shape is not None


def _encode(params: dict[str, Any], context: dict[str, Any], **_: object) -> dict[str, Any]:
    """Encode the body of a request, and leave botocore only the table names, which it needs to find the endpoint.

    The parameters already have the shape of the wire format. botocore would walk through them value by value.
    """
    if "Statements" in params:
        context["rollcall_body"] = _statements_json(params).encode()
        return {}
    context["rollcall_body"] = _to_json(params).encode()
    return {"RequestItems": {table: {} for table in params["RequestItems"]}}


def _statements_json(params: dict[str, Any]) -> str:
    """The JSON of statements. Joins it from the parameters if all of them are texts, as they are on the write path.

    The JSON encoder takes three times as long, because it goes through a mapping for each parameter.
    """
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
    """Decode an answer: its JSON already has the shape that the client returns.

    botocore would build the same again value by value. Binary values would need that; no item has one.
    """
    if response_dict["status_code"] < 300:
        customized_response_dict.update(json.loads(response_dict["body"]))
        response_dict["body"] = b"{}"


def later(make: Callable[[], _T]) -> _T:
    """A stand-in for the client that `make` makes, which makes it at first use. Making one slows a cold start."""
    return cast(_T, _Later(make))


class _Later:
    # One lock for all clients: boto3's default session is not safe for making two clients at a time.
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
    """An SQS client. It does not retry: `rollcall.stack.queues.BatchQueue` does."""
    return boto3.client("sqs", config=_ONCE.merge(_BARE))


def s3() -> "S3Client":
    """An S3 client, which also makes presigned URLs.

    It checks parameters only if the SDK does not know all that are used. Then it names the one that it does not know.
    """
    client = boto3.client("s3", config=_PATIENT.merge(_BARE))
    if _differs(client.meta.service_model, _S3_REQUESTS, {}, {}):
        return boto3.client("s3", config=_PATIENT)
    return client


def ssm() -> "SSMClient":
    """A client of SSM Parameter Store."""
    return boto3.client("ssm", config=_QUICK)


def functions() -> "LambdaClient":
    """A Lambda client that waits up to 25 seconds for the answer of a function, and does not retry."""
    return boto3.client("lambda", config=_WAITING)


def background_functions() -> "LambdaClient":
    """A Lambda client for invocations whose answers nobody waits for."""
    return boto3.client("lambda", config=_QUICK)


def cloudwatch() -> "CloudWatchClient":
    """A CloudWatch client."""
    return boto3.client("cloudwatch", config=_QUICK)
