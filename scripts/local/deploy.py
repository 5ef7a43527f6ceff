"""Deploys template.yaml from the working tree to an AWS-compatible endpoint, without building.

This is for local stacks only. Their functions run in this machine's Python environment, which has the third-party
packages. A stack on AWS is deployed with `sam build && sam deploy`.
"""

import hashlib
import io
import json
import py_compile
import zipfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from botocore.exceptions import ClientError, WaiterError
from samtranslator.yaml_helper import yaml_parse

from scripts.paths import ROOT

# Makes a boto3 client of a service. Always passed explicitly, so that no call for a local stack reaches an AWS account.
ClientFactory = Callable[[str], Any]

ARTIFACTS_BUCKET = "rollcall-artifacts"
# For each resource type, the property that names a folder, and the folder's place in the zip archive.
CODE = {
    "AWS::Serverless::Function": ("CodeUri", ""),
    "AWS::Serverless::LayerVersion": ("ContentUri", "python"),
}
# What a package has of its folder, besides third-party code. The last two are the page and its chart library.
SHIPPED = ("**/*.py", "site/*", "vendor/*.js")
# Parameters for an emulator. MiniStack refuses alarms on values computed from several metrics. One's own machine has no
# quota of functions that callers would have to share.
EMULATED = {"Alarms": "false", "LongRequestsPerKey": "20"}
# Python takes such bytecode without a look at the source.
UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
# States in which a failed creation leaves a stack. Such a stack cannot be updated, only deleted.
STILLBORN = frozenset({"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"})


class DeploymentFailed(Exception):
    """The stack could not be created or updated; the text names the failed resources and the reasons."""


def template() -> dict[str, Any]:
    """template.yaml as data, with the short forms of intrinsic functions written out."""
    return deepcopy(_parsed((ROOT / "template.yaml").read_text()))


@cache
def _parsed(text: str) -> dict[str, Any]:
    """A template as data. To parse it takes two thirds of a second."""
    parsed: dict[str, Any] = yaml_parse(text)
    return parsed


def deploy(client: ClientFactory, name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Create or update a stack and wait until that is done; returns the outputs.

    Deletes a stack whose creation failed, and creates it again. Raises `DeploymentFailed` if CloudFormation accepts the
    template but fails to deploy it, and botocore's errors.
    """
    packaged = template()
    upload_code(client, packaged)
    body = json.dumps(packaged).encode()
    document = f"{hashlib.sha256(body).hexdigest()}.json"
    client("s3").put_object(Bucket=ARTIFACTS_BUCKET, Key=document, Body=body)
    cloudformation = client("cloudformation")
    request: dict[str, Any] = {
        "StackName": name,
        # A template in the request itself may have 50 KB at most.
        "TemplateURL": f"https://s3.amazonaws.com/{ARTIFACTS_BUCKET}/{document}",
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in {**EMULATED, **parameters}.items()
        ],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    status = _status(client, name)
    if status in STILLBORN:
        cloudformation.delete_stack(StackName=name)
        _wait(client, name, "delete")
        status = None
    verb = "update" if status else "create"
    try:
        getattr(cloudformation, f"{verb}_stack")(**request)
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    else:
        _wait(client, name, verb)
    return outputs(client, name)


def _wait(client: ClientFactory, name: str, verb: str) -> None:
    waiter = client("cloudformation").get_waiter(f"stack_{verb}_complete")
    try:
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    except WaiterError as error:
        raise DeploymentFailed("; ".join(_failures(client, name)) or str(error)) from error


def _failures(client: ClientFactory, name: str) -> list[str]:
    events = client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    return [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', event['ResourceStatus'])}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    ]


def exists(client: ClientFactory, name: str) -> bool:
    """Whether the stack exists."""
    return _status(client, name) is not None


def _status(client: ClientFactory, name: str) -> str | None:
    try:
        (stack,) = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        return None
    return str(stack["StackStatus"])


def outputs(client: ClientFactory, name: str) -> dict[str, str]:
    """The outputs of a stack; raises botocore's `ClientError` if the stack does not exist."""
    stack = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def upload_code(client: ClientFactory, packaged: dict[str, Any]) -> None:
    """Upload each folder that a template names, under the hash of its content, and name the upload in its place."""
    s3 = client("s3")
    s3.create_bucket(Bucket=ARTIFACTS_BUCKET)
    for resource in packaged["Resources"].values():
        if resource["Type"] in CODE:
            key, inside = CODE[resource["Type"]]
            archive = archive_of(ROOT / resource["Properties"][key], inside)
            name = f"{hashlib.sha256(archive).hexdigest()}.zip"
            s3.put_object(Bucket=ARTIFACTS_BUCKET, Key=name, Body=archive)
            resource["Properties"][key] = f"s3://{ARTIFACTS_BUCKET}/{name}"


def archive_of(folder: Path, inside: str) -> bytes:
    """A zip archive with a folder's Python files, and what a page has, under `inside`.

    The same files always make the same bytes. Beside each Python file is its bytecode for this interpreter. MiniStack
    unpacks the archive for each process of a function, and each would compile everything anew.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for pattern in SHIPPED for each in folder.glob(pattern)):
            place = Path(inside) / path.relative_to(folder)
            files = {str(place): path.read_bytes()}
            if path.suffix == ".py":
                files[cache_from_source(place)] = _bytecode(files[str(place)], str(place))
            for name, content in files.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o644 << 16
                archive.writestr(info, content)
    return buffer.getvalue()


@cache
def _bytecode(source: bytes, name: str) -> bytes:
    """The bytecode of a file's source."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "source.py"
        file.write_bytes(source)
        compiled = file.with_suffix(".pyc")
        py_compile.compile(str(file), str(compiled), name, doraise=True, invalidation_mode=UNCHECKED)
        return compiled.read_bytes()
