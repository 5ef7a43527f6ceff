"""What the functions' roles in template.yaml allow them to ask of AWS: emulators let everybody do everything."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from scripts.local.deploy import template

Permission = tuple[str, str]
"""An action of IAM, and the resource by its name in the template, with what follows in its ARN."""

Context = Mapping[str, tuple[str, ...]]
"""What IAM knows of a request beside its action and resource: the values of each condition key that it has."""

# What botocore tells of a request of DynamoDB, just before it is signed, and of one of any other service at its
# beginning. The former has the body, which the functions' client makes itself. The latter is told for presigned URLs
# too.
_SIGNED, _BEGUN = "request-created.dynamodb", "provide-client-params"

# The actions for an object of S3. AWS names few of them as their operations.
_OBJECT_ACTIONS = {
    "AbortMultipartUpload": ["s3:AbortMultipartUpload"],
    "CompleteMultipartUpload": ["s3:PutObject"],
    "CreateMultipartUpload": ["s3:PutObject"],
    "DeleteObject": ["s3:DeleteObject"],
    "GetObject": ["s3:GetObject"],
    "HeadObject": ["s3:GetObject"],
    "PutObject": ["s3:PutObject"],
    "UploadPart": ["s3:PutObject"],
}
_BUCKET_ACTIONS = {"HeadBucket": "s3:ListBucket", "ListObjectsV2": "s3:ListBucket"}
# Who sees the parts of a multipart upload fail has to be able to give it up.
_OBJECT_ACTIONS["CreateMultipartUpload"].append("s3:AbortMultipartUpload")


@cache
def _resources() -> dict[str, Any]:
    """The template's resources: reading it takes a fifth of a second, and each loaded handler is held to it."""
    found: dict[str, Any] = template()["Resources"]
    return found


class Statement(NamedTuple):
    """A statement of a role that allows something."""

    permissions: set[Permission]
    condition: Mapping[str, Mapping[str, Any]]

    def allows(self, action: str, resource: str, context: Context) -> bool:
        """Whether it allows a request of which `context` says more."""
        return not lacking({(action, resource)}, self.permissions) and holds(self.condition, context)


@cache
def statements(function: str) -> tuple[Statement, ...]:
    """What the role of a function, by its folder, allows under which conditions."""
    resources = _resources()
    role = resources[_function(function)["Role"]["Fn::GetAtt"][0]]["Properties"]
    return tuple(
        Statement(
            {
                (action, _named(resource))
                for action in _flat(statement["Action"])
                for resource in _flat(statement["Resource"])
            },
            statement.get("Condition", {}),
        )
        for policy in role["Policies"]
        for statement in _flat(policy["PolicyDocument"]["Statement"])
    )


def permissions(function: str) -> set[Permission]:
    """What the role of a function, by its folder, allows under some condition or none."""
    return set().union(*(statement.permissions for statement in statements(function)))


def holds(condition: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether a statement's condition holds, as IAM evaluates it: all its operators, each for all its keys.

    A key that a request does not have is no value for `ForAllValues`, which then holds; `...IfExists` holds as well,
    and any other operator but `Null` does not.
    """
    return all(
        _holds(operator, [str(value) for value in _flat(wanted)], context.get(key))
        for operator, keys in condition.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, wanted: list[str], values: tuple[str, ...] | None) -> bool:
    if operator == "Null":
        return wanted == [str(values is None).lower()]
    quantifier, _, comparison = operator.rpartition(":")
    if quantifier not in ("", "ForAllValues", "ForAnyValue"):
        raise AssertionError(f"{operator} is not known here")
    optional, comparison = comparison.endswith("IfExists"), comparison.removesuffix("IfExists")
    if values is None:
        return optional or quantifier == "ForAllValues"
    if not quantifier and len(values) != 1:
        raise AssertionError(f"{operator} compares one value, and there are {values}")
    matching = [any(_COMPARISONS[comparison](value, pattern) for pattern in wanted) for value in values]
    return any(matching) if quantifier == "ForAnyValue" else all(matching)


def _is_like(value: str, pattern: str) -> bool:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in re.split(r"([*?])", pattern))
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": _is_like,
}


def lacking(needed: set[Permission], allowed: set[Permission]) -> set[Permission]:
    """The permissions that are needed and not allowed."""
    return {
        (action, resource)
        for action, resource in needed
        if not any(action == may and fnmatchcase(resource, pattern) for may, pattern in allowed)
    }


class Watch:
    """Notes what a function needs to be allowed for its requests, beside what its role allows.

    `settings` are the function's environment. They tell what in the template a name in a request stands for.
    """

    def __init__(self, function: str, settings: Mapping[str, str]) -> None:
        self.needed: set[Permission] = set()
        self.denied: set[Permission] = set()
        """What the function needs and its role does not allow, or not under the conditions of the request."""
        self.allowed = permissions(function)
        self._statements = statements(function)
        self._names: dict[str, set[str]] = {_default_bucket(): {"UploadBucket"}}
        for variable, value in _function(function)["Environment"]["Variables"].items():
            if variable in settings and isinstance(value, dict):
                self._names.setdefault(settings[variable], set()).add(_named(value))

    def register(self, events: Any) -> None:
        """Watch the requests of the clients that are made from now on, or of one client."""
        events.register(_SIGNED, self._signed)
        events.register(_BEGUN, self._begun)

    def unregister(self, events: Any) -> None:
        """Watch no more clients."""
        events.unregister(_SIGNED, self._signed)
        events.unregister(_BEGUN, self._begun)

    def _signed(self, **told: Any) -> None:
        for action, name, context in _of_dynamodb(told["operation_name"], json.loads(told["request"].data)):
            table, slash, index = name.partition("/")
            self._need(action, table, slash + index, context)

    def _begun(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_name
        if service != "dynamodb":
            for action, name, rest in _OTHERS[service](model.name, params):
                self._need(action, name, rest)

    def _need(self, action: str, name: str, rest: str = "", context: Context = MappingProxyType({})) -> None:
        # In tests one queue stands for several, and then the role has to allow one of them.
        needed = {(action, logical + rest) for logical in self._names.get(name, {name})}
        allowed = {each for each in needed if any(one.allows(*each, context) for one in self._statements)}
        self.needed |= allowed or needed
        self.denied |= set() if allowed else needed


def _of_dynamodb(operation: str, body: dict[str, Any]) -> Iterator[tuple[str, str, Context]]:
    # No statement about PartiQL or requests for several items has a condition. Their context is left out, which fails
    # every condition that is not optional.
    if operation == "BatchExecuteStatement":
        for each in body["Statements"]:
            verb, table = each["Statement"].split()[0], each["Statement"].split('"')[1]
            yield f"dynamodb:PartiQL{verb.capitalize()}", table, {}
    elif operation == "TransactWriteItems":
        for write in body["TransactItems"]:
            ((kind, details),) = write.items()
            yield f"dynamodb:{kind}Item", details["TableName"], _context(details)
    elif "RequestItems" in body:
        for table in body["RequestItems"]:
            yield f"dynamodb:{operation}", table, {}
    else:
        index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
        yield f"dynamodb:{operation}", body["TableName"] + index, _context(body)


def _context(body: Mapping[str, Any]) -> Context:
    """What the keys of DynamoDB's conditions have of a request for one item."""
    item = body.get("Key") or body.get("Item") or {}
    found: dict[str, tuple[str, ...]] = {}
    hashes = [name for name in ("pk", "event_id") if name in item]
    if "KeyConditionExpression" in body:
        # Of a query, IAM knows the partition as well.
        partition = re.match(r"\w+ = (:\w+)", body["KeyConditionExpression"])
        assert partition
        found["dynamodb:LeadingKeys"] = tuple(body["ExpressionAttributeValues"][partition[1]].values())
    if hashes:
        found["dynamodb:LeadingKeys"] = tuple(next(iter(item[name].values())) for name in hashes)
    attributes = set(item) | {name for text in map(body.get, _EXPRESSIONS) if text for name in _names_in(text, body)}
    if attributes:
        found["dynamodb:Attributes"] = tuple(sorted(attributes))
    if "ReturnValues" in body:
        found["dynamodb:ReturnValues"] = (body["ReturnValues"],)
    return found


_EXPRESSIONS = ("UpdateExpression", "ConditionExpression", "ProjectionExpression", "FilterExpression")
_WORDS = re.compile(
    "SET|REMOVE|ADD|DELETE|AND|OR|NOT|BETWEEN|IN|if_not_exists|list_append|attribute_exists|attribute_not_exists"
    "|attribute_type|begins_with|contains|size"
)


def _names_in(expression: str, body: Mapping[str, Any]) -> Iterator[str]:
    """The attributes that an expression names."""
    for name in re.findall(r"(?<![:\w#])#?[A-Za-z_]\w*", expression):
        if name.startswith("#"):
            yield body["ExpressionAttributeNames"][name]
        elif not _WORDS.fullmatch(name):
            yield name


def _of_s3(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    bucket = params["Bucket"]
    if operation in _BUCKET_ACTIONS:
        yield _BUCKET_ACTIONS[operation], bucket, ""
        return
    if operation == "DeleteObjects":
        entries = params["Delete"]["Objects"]
        conditional = any("ETag" in entry for entry in entries)
        keys, actions = [entry["Key"] for entry in entries], ["s3:DeleteObject"]
    else:
        conditional = "IfMatch" in params
        keys, actions = [params["Key"]], _OBJECT_ACTIONS[operation]
    # A write or delete on condition of an ETag tells something of the object.
    for action in {*actions, *(["s3:GetObject"] if conditional else [])}:
        for key in keys:
            yield action, bucket, f"/{key}"
    if operation in ("GetObject", "HeadObject"):
        # Else S3 answers for an object that is not there as for one that is forbidden.
        yield "s3:ListBucket", bucket, ""


def _of_sqs(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield f"sqs:{operation.removesuffix('Batch')}", params["QueueUrl"], ""


def _of_ssm(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield f"ssm:{operation}", params["Name"], ""


def _of_lambda(operation: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield f"lambda:{operation}{'Function' if operation == 'Invoke' else ''}", params["FunctionName"], ""


def _of_cloudwatch(operation: str, _: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield f"cloudwatch:{operation}", "*", ""


# A service that is not here fails the test that asks it.
_OTHERS: dict[str, Callable[[str, Mapping[str, Any]], Iterator[tuple[str, str, str]]]] = {
    "cloudwatch": _of_cloudwatch,
    "lambda": _of_lambda,
    "s3": _of_s3,
    "sqs": _of_sqs,
    "ssm": _of_ssm,
}


def _function(folder: str) -> dict[str, Any]:
    (found,) = (
        resource["Properties"]
        for resource in _resources().values()
        if resource["Properties"].get("CodeUri") == f"functions/{folder}"
    )
    properties: dict[str, Any] = found
    return properties


def _named(resource: Any) -> str:
    """What a resource in a statement, or a value in a function's environment, stands for."""
    if isinstance(resource, str):
        return resource
    if "Ref" in resource or "Fn::GetAtt" in resource:
        logical: str = resource["Ref"] if "Ref" in resource else resource["Fn::GetAtt"][0]
        return logical
    text: str = resource["Fn::Sub"]
    if text.startswith("${") and ".Arn}" in text:
        return text.removeprefix("${").replace(".Arn}", "", 1)
    # A parameter's ARN has its name after this, whose leading slash is a part of the ARN.
    text = text.rpartition(":parameter")[2].rpartition(":::")[2]
    for name, other in _resources().items():
        bucket = other["Properties"].get("BucketName", {}) if other["Type"] == "AWS::S3::Bucket" else {}
        if bucket and (text == bucket["Fn::Sub"] or text.startswith(bucket["Fn::Sub"] + "/")):
            return f"{name}{text.removeprefix(bucket['Fn::Sub'])}"
    return text


def _default_bucket() -> str:
    """The upload bucket of the stack in the sample events."""
    name: str = _resources()["UploadBucket"]["Properties"]["BucketName"]["Fn::Sub"]
    for variable, value in (("StackName", "rollcall"), ("AccountId", "000000000000"), ("Region", "us-east-1")):
        name = name.replace(f"${{AWS::{variable}}}", value)
    return name


def _flat(value: Any) -> Iterator[Any]:
    """The members of a list, or the one value; of a choice by a condition, both."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and "Fn::If" in one:
            yield from _flat(one["Fn::If"][1:])
        elif one != {"Ref": "AWS::NoValue"}:
            yield one
