import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from samtranslator.yaml_helper import yaml_parse

from scripts.local import sam
from scripts.local.deploy import template
from scripts.local.ministack import api_url


def write_built(folder: Path) -> None:
    built = template()
    del built["Transform"]
    (folder / "template.yaml").write_text(json.dumps(built))


class Deployed:
    """Lambda, with the functions of a stack."""

    def get_function_configuration(self, FunctionName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 names it
        return {"Environment": {"Variables": {"EVENTS_TABLE": f"table of {FunctionName}"}}}


def test_containers_get_the_variables_of_the_deployed_functions_and_the_way_to_the_local_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, variables = tmp_path / "local.json", tmp_path / "variables.json"
    for name, value in {"BUILT": tmp_path, "LOCAL_TEMPLATE": local, "VARIABLES": variables}.items():
        monkeypatch.setattr(sam, name, value)
    write_built(tmp_path)
    functions = [name for name, each in template()["Resources"].items() if each["Type"] == "AWS::Serverless::Function"]
    outputs = {f"{name}Name": f"stack-{name}" for name in functions}
    reached = sam.Reachable("http://172.17.0.1:4566", Credentials("test", "a secret of this run"))
    sam.prepare(lambda _service: Deployed(), outputs, reached)
    written = json.loads(variables.read_text())
    assert written.keys() == set(functions)
    for name in functions:
        assert written[name]["EVENTS_TABLE"] == f"table of stack-{name}"
        assert written[name]["AWS_ENDPOINT_URL"] == "http://172.17.0.1:4566"
        assert written[name]["AWS_SECRET_ACCESS_KEY"] == "a secret of this run"
    copied = yaml_parse(local.read_text())
    # SAM sets a variable only where the template names it.
    named = copied["Globals"]["Function"]["Environment"]["Variables"]
    assert {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LOG_LEVEL"} <= named.keys()
    assert copied["Parameters"]["Architecture"]["Default"] == sam.architecture()
    assert copied["Resources"].keys() == template()["Resources"].keys()


def test_processors_that_lambda_does_not_have_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(sam.SamFailed, match="riscv64"):
        sam.architecture()


def test_an_emulated_api_is_called_in_the_form_that_localstack_has_not_deprecated() -> None:
    assert api_url("http://127.0.0.1:4566", {"ApiId": "a1b2"}) == "http://127.0.0.1:4566/_aws/execute-api/a1b2/v1"


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the SAM CLI is looked for; nothing is there yet."""
    monkeypatch.setattr(sam, "VENV", tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def pretend(folder: Path, command: str, script: str) -> None:
    (folder / command).write_text(f"#!/bin/sh\n{script}\n")
    (folder / command).chmod(0o755)


@pytest.mark.skipif(os.access("/usr/bin/sam", os.X_OK), reason="a SAM CLI is installed for all")
def test_where_there_is_no_sam_it_is_said_how_to_get_it(pretended: Path) -> None:
    with pytest.raises(sam.SamFailed, match=r"there is no sam: make \.venv/\.sam"):
        sam.Sam("http://127.0.0.1:4566")


def test_what_sam_says_when_it_fails_is_told(pretended: Path) -> None:
    pretend(pretended, "sam", "echo half done; echo no such bucket >&2; exit 1")
    with pytest.raises(sam.SamFailed, match=r"sam deploy --config-env failed:\nhalf done\nno such bucket"):
        sam.Sam("http://127.0.0.1:4566").deploy("rollcall", {})


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("sam", {"AWS_ENDPOINT_URL": "http://127.0.0.1:4577"}),
        ("samlocal", {"LOCALSTACK_HOSTNAME": "127.0.0.1", "EDGE_PORT": "4577"}),
    ],
)
def test_sam_sees_the_local_aws_and_no_account(
    pretended: Path, monkeypatch: pytest.MonkeyPatch, command: str, told: dict[str, str]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the user's")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the user's")
    pretend(pretended, command, 'env | sort > "$(dirname "$0")/environment"; echo \'[]\'')
    assert sam.Sam("http://127.0.0.1:4577", command).outputs("rollcall") == {}
    environment = dict(line.split("=", 1) for line in (pretended / "environment").read_text().splitlines())
    aws = {name: value for name, value in environment.items() if name.startswith(("AWS_", "LOCALSTACK_", "EDGE_"))}
    own = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    assert aws == {**own, **told}


def test_localstack_gets_its_own_build_and_its_alarms(pretended: Path) -> None:
    pretend(pretended, "samlocal", 'echo "$@" >> "$(dirname "$0")/arguments"')
    cli = sam.Sam("http://127.0.0.1:4566", "samlocal")
    cli.build()
    cli.deploy("other", {})
    built, deployed = (pretended / "arguments").read_text().splitlines()
    assert built.startswith("build --config-env localstack ")
    assert deployed.startswith("deploy --config-env localstack --stack-name other ")
    assert "Alarms" not in deployed


def test_overrides_of_a_deployment_are_handed_on(pretended: Path) -> None:
    pretend(pretended, "sam", 'echo "$@" > "$(dirname "$0")/arguments"')
    sam.Sam("http://127.0.0.1:4566").deploy("other", {"ConsumerTimeout": "30"})
    said = (pretended / "arguments").read_text()
    assert said.startswith("deploy --config-env local --stack-name other --s3-prefix other --parameter-overrides ")
    assert " Alarms=false " in said
    assert f"Architecture={sam.architecture()} ConsumerTimeout=30" in said
