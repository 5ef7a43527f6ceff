"""Calls the handlers of a stack's functions in the measuring process, with the settings of the deployed functions."""

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from botocore.config import Config

from rollcall.access.api_keys import SCOPES
from rollcall.access.gate import Gate, Principal
from rollcall.access.reach import ALL
from rollcall.core.limits import Allowance, Limit
from rollcall.http.services import provide
from rollcall.stack import clients as aws
from scripts.bench.cold import environment
from scripts.local.ministack import CREDENTIAL, REGION, MiniStack
from scripts.paths import ROOT

PATIENCE_SECONDS = 300

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

# A stand-in for the context that Lambda passes to a handler.
CONTEXT = SimpleNamespace(
    function_name="rollcall-bench",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:rollcall-bench",
    aws_request_id="8f5f0d52-2bd1-4a5f-9e62-0f3f7c1d2e3a",
)


class OpenGate(Gate):
    """A gate that admits everybody, because the cost of a credential is not measured here."""

    def __init__(self) -> None:
        """Know nobody."""

    def admit(self, *_: str, **__: str) -> tuple[Principal, Allowance]:
        """A caller with all scopes."""
        return Principal("key bench", frozenset(SCOPES), "http", ALL, None), Allowance(Limit(1, 1), 1, 0)

    def hold(self, *_: object) -> AbstractContextManager[bool]:
        """No bound."""
        return nullcontext(True)


def settings_of(stack: MiniStack, function_name: str) -> dict[str, str]:
    """The environment variables of a deployed function."""
    found = stack.client("lambda").get_function_configuration(FunctionName=function_name)
    variables: dict[str, str] = found["Environment"]["Variables"]
    return variables


def process_environment(stack: MiniStack) -> dict[str, str]:
    """The environment of a process whose AWS clients use an emulator."""
    return {
        **environment(),
        "AWS_ACCESS_KEY_ID": CREDENTIAL,
        "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": stack.endpoint,
    }


def dynamodb(stack: MiniStack) -> "DynamoDBClient":
    """The functions' DynamoDB client, for the tables in an emulator."""
    with patch.dict(os.environ, process_environment(stack), clear=True), patch("boto3.DEFAULT_SESSION", None):
        return aws.dynamodb()


def load(folder: str, settings: Mapping[str, str]) -> ModuleType:
    """Load the handler module of a function with these settings and an open gate. Each call loads a new module."""
    spec = importlib.util.spec_from_file_location(f"bench_{folder}", ROOT / "functions" / folder / "handler.py")
    if spec is None or spec.loader is None:
        raise AssertionError(f"functions/{folder} holds no handler")
    module = importlib.util.module_from_spec(spec)
    # The emulator answers one query at a time, and takes longer for a page than DynamoDB.
    patient = aws._QUICK.merge(Config(read_timeout=PATIENCE_SECONDS))
    with patch.dict(os.environ, settings), patch.object(aws, "_QUICK", patient):
        spec.loader.exec_module(module)
    provide(module.app, OpenGate())
    return module


def get(handler: Callable[[Any, Any], dict[str, Any]], path: str, **query: object) -> Any:
    """The answer to a GET request; raises `AssertionError` unless the status is 200."""
    event = json.loads((ROOT / "events/stats.json").read_text())
    asked = {name: str(value) for name, value in query.items()}
    event |= {
        "path": path,
        "resource": path,
        "queryStringParameters": asked,
        "multiValueQueryStringParameters": {name: [value] for name, value in asked.items()},
    }
    answer = handler(event, CONTEXT)
    if answer["statusCode"] != 200:
        raise AssertionError(f"{path} is answered with {answer['statusCode']}: {answer['body']}")
    return json.loads(answer["body"])
