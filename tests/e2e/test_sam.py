"""What `sam build && sam deploy` makes, and what `sam delete` leaves."""

import io
import shutil
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest

from scripts.bench import cold
from scripts.local.deploy import ClientFactory
from scripts.local.ministack import api_url
from scripts.local.packages import inspect
from scripts.local.sam import BUILT, Sam, architecture
from scripts.operate import stacks
from scripts.paths import ROOT
from tests.e2e.conftest import DeployedStack

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("sam", reason="about what sam build and sam deploy make"),
]


@pytest.mark.parametrize(
    ("function", "shipped", "not_shipped"),
    [
        ("IngestFunction", {"handler.py", "fastapi/__init__.py", "pydantic/__init__.py"}, {"boto3/__init__.py"}),
        ("ConsumerFunction", {"handler.py", "msgpack/__init__.py"}, {"fastapi/__init__.py", "boto3/__init__.py"}),
    ],
)
def test_what_is_deployed_is_what_was_built(
    stack: DeployedStack, function: str, shipped: set[str], not_shipped: set[str]
) -> None:
    code = stack.client("lambda").get_function(FunctionName=stack.outputs[f"{function}Name"])["Code"]["Location"]
    with urllib.request.urlopen(code) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
        names = set(archive.namelist())
    assert shipped <= names
    assert not not_shipped & names
    # It comes with a layer, and the emulator's environment has nothing to lend.
    assert not [name for name in names if name.startswith("rollcall")]


@pytest.mark.parametrize(
    "package", ["rollcall", "fastapi", "mangum", "aws_lambda_powertools", "msgpack", "jwt", "argon2"]
)
def test_the_emulator_has_nothing_that_a_function_could_borrow(package: str) -> None:
    python = ROOT / ".venv/runtime/bin/python"
    done = subprocess.run([python, "-c", f"import {package}"], cwd="/", capture_output=True, text=True, check=False)
    assert f"No module named '{package}'" in done.stderr


FOLDERS = cold.functions()


@pytest.mark.parametrize("resource", ["CommonLayer", *FOLDERS.values()])
@pytest.mark.usefixtures("sam")
def test_packages_are_for_this_processor_and_have_their_bytecode(resource: str) -> None:
    assert inspect(BUILT / resource, architecture()).faults == ()


@pytest.mark.parametrize("folder", [*FOLDERS])
@pytest.mark.usefixtures("sam")
def test_a_cold_start_compiles_nothing(folder: str, tmp_path: Path) -> None:
    shutil.copytree(BUILT / FOLDERS[folder], tmp_path / "task")
    shutil.copytree(BUILT / "CommonLayer", tmp_path / "opt")
    for source in tmp_path.rglob("*.py"):
        source.write_text("raise ImportError('compiled anew')")
    environment = cold.environment(folder) | {"PYTHONPATH": str(tmp_path / "opt/python")}
    # The consumer would read its table.
    code = "import rollcall.stack.layout; rollcall.stack.layout.hold_layout = lambda *_: None; import handler"
    python = ROOT / ".venv/runtime/bin/python"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path / "task", env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sam_and_the_command_line_read_the_same_outputs(
    stack: DeployedStack, sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    found = stacks.find("rollcall")
    assert found.outputs == sam.outputs("rollcall")
    assert found.parameters["Alarms"] == "false"
    assert found.api_url == api_url(stack.endpoint, stack.outputs)


def everything(client: ClientFactory) -> set[tuple[str, str]]:
    """Whatever a stack makes, and what is uploaded to deploy it, by kind and name."""
    lists: list[tuple[str, str, str, str]] = [
        ("apigateway", "get_rest_apis", "items", "id"),
        ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        ("dynamodb", "list_tables", "TableNames", ""),
        ("iam", "list_roles", "Roles", "RoleName"),
        ("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
        ("lambda", "list_functions", "Functions", "FunctionName"),
        ("lambda", "list_layers", "Layers", "LayerName"),
        ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        ("s3", "list_buckets", "Buckets", "Name"),
        ("sqs", "list_queues", "QueueUrls", ""),
    ]
    found = {
        (f"{service} {kind}", str(each[name] if name else each))
        for service, method, kind, name in lists
        for each in getattr(client(service), method)().get(kind, [])
    }
    stacks_there: Any = client("cloudformation").describe_stacks()["Stacks"]
    found |= {("stack", each["StackName"]) for each in stacks_there}
    for bucket in [name for kind, name in found if kind == "s3 Buckets"]:
        found |= {("object", each["Key"]) for each in client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])}
    return found


@pytest.mark.parametrize(
    ("protection", "kept"),
    [("Retain", ["dynamodb TableNames"] * 3 + ["s3 Buckets"] * 2), ("Delete", [])],
)
def test_a_deleted_stack_leaves_its_data_or_nothing(
    stack: DeployedStack, sam: Sam, protection: str, kept: list[str]
) -> None:
    name = f"gone-{protection.lower()}"
    before = everything(stack.client)
    sam.deploy(name, {"DataProtection": protection})
    assert {kind for kind, _ in everything(stack.client) - before} == {kind for kind, _ in before}
    sam.delete(name)
    after = everything(stack.client)
    assert sorted(kind for kind, _ in after - before) == kept
    # The other stack has lost nothing, what it was deployed from included.
    assert before <= after
