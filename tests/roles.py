"""What the functions' roles in template.yaml allow them to ask of DynamoDB: emulators let everybody do everything."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from rollcall.stack.keys import Tables
from scripts.local.deploy import template

# What botocore tells of each request, just before it is signed.
EVENT = "request-created.dynamodb"


@cache
def dynamodb_permissions(function: str) -> frozenset[tuple[str, str]]:
    """The actions that the role of a function, by its folder, allows, each with a table or index of the template."""
    resources = template()["Resources"]
    (role,) = (
        resource["Properties"]["Role"]["Fn::GetAtt"][0]
        for resource in resources.values()
        if resource["Properties"].get("CodeUri") == f"functions/{function}"
    )
    return frozenset(
        (action, _named(resource))
        for policy in resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
        if action.startswith("dynamodb:")
    )


def permissions_needed(operation: str, body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The actions that a request has to be allowed, each with its table or index."""
    if operation == "BatchExecuteStatement":
        for each in body["Statements"]:
            verb, table = each["Statement"].split()[0], each["Statement"].split('"')[1]
            yield f"dynamodb:PartiQL{verb.capitalize()}", table
    elif operation == "TransactWriteItems":
        for write in body["TransactItems"]:
            ((kind, details),) = write.items()
            yield f"dynamodb:{kind}Item", details["TableName"]
    elif "RequestItems" in body:
        for table in body["RequestItems"]:
            yield f"dynamodb:{operation}", table
    else:
        index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
        yield f"dynamodb:{operation}", body["TableName"] + index


class Watch:
    """A handler of `EVENT`: notes the actions that a function needs, beside those that its role allows."""

    def __init__(self, function: str, tables: Tables, access_table: str | None = None) -> None:
        self.needed: set[tuple[str, str]] = set()
        self.allowed = dynamodb_permissions(function)
        self._logical = {tables.events: "EventsTable", tables.stats: "StatsTable", access_table: "AccessTable"}

    def __call__(self, **told: Any) -> None:
        for action, name in permissions_needed(told["operation_name"], json.loads(told["request"].data)):
            table, slash, index = name.partition("/")
            self.needed.add((action, self._logical.get(table, table) + slash + index))


def _named(resource: Any) -> str:
    if "Fn::GetAtt" in resource:
        table: str = resource["Fn::GetAtt"][0]
        return table
    text: str = resource["Fn::Sub"]
    return text.replace("${", "").replace(".Arn}", "")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
