"""Finds a stack: a deployed one by its name, with boto3's configuration, or the local one."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.core.days import EVER, Calendar
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.projects import Projects
from scripts.local import deploy
from scripts.local.ministack import LOCAL_STACK, api_url, listens, local_api_url, local_client
from scripts.paths import ROOT

DEFAULT_PORT = 4566
KEY_FILE = "key"
# In the folder of the data: the process and the port of the `rollcall up` that has it, or had it last.
NOTE_OF_RUNNING = "up.json"


class NoStack(Exception):
    """The stack does not exist or cannot be reached; the text says what to do."""


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    name: str
    client: deploy.ClientFactory
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    here: int | None = None
    """The port, if it is the stack that `rollcall up` runs."""

    def output(self, name: str) -> str:
        """The value of an output; raises `NoStack` if the stack lacks it, because an older template made the stack."""
        try:
            return self.outputs[name]
        except KeyError:
            raise NoStack(f"the stack {self.name} has no output {name}; deploy it anew") from None

    @property
    def calendar(self) -> Calendar:
        """The days of the stack, from the first one whose events it takes in."""
        return Calendar(self.parameters["ReportingTimezone"], self.parameters.get("FirstDay", EVER))

    @property
    def projects(self) -> Projects:
        """The projects of the stack."""
        return Projects(Dynamo(self.client("dynamodb")), self.output("StatsTableName"), self.calendar)

    @property
    def api_url(self) -> str:
        """The base URL of the API, in the emulator's form if AWS is emulated."""
        if self.here is not None:
            return local_api_url(self.here)
        endpoint: str = self.client("cloudformation").meta.endpoint_url
        if (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return self.output("ApiUrl")
        return api_url(endpoint, self.outputs)


def find(name: str | None) -> Stack:
    """The stack with this name, or without a name the one that `rollcall up` runs; raises `NoStack`.

    A named stack is looked for in boto3's account and region, or behind `AWS_ENDPOINT_URL`.
    """
    port = port_of(os.environ)
    client: deploy.ClientFactory = boto3.client if name else local_client(port)  # type: ignore[assignment]
    wanted = name or LOCAL_STACK
    if not name and not listens(port):
        # A user who forgot to start the stack should not wait for boto3's retries.
        raise NoStack(_not_running(port, os.environ))
    try:
        if not deploy.exists(client, wanted):
            raise NoStack(f"there is no stack {wanted}")
        return described(client, wanted, None if name else port)
    except (BotoCoreError, ClientError) as error:
        if name:
            raise NoStack(f"the stack {name} cannot be asked for: {error}") from error
        raise NoStack(_not_running(port, os.environ)) from error


def described(client: deploy.ClientFactory, name: str, here: int | None) -> Stack:
    """A stack as CloudFormation describes it; raises botocore's `ClientError` if it does not exist."""
    found = client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    return Stack(
        name,
        client,
        {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])},
        {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in found.get("Parameters", [])},
        here,
    )


def _not_running(port: int, environment: Mapping[str, str]) -> str:
    state = state_of(environment)
    noted = noted_port(state)
    if noted not in (None, port) and listens(noted):
        return f"no local stack answers on port {port}, which ROLLCALL_PORT names; that of {state} is on port {noted}"
    return f"no local stack answers on port {port}; start it with rollcall up, or name one with --stack"


def key_for(name: str | None, given: str | None, environment: Mapping[str, str]) -> str | None:
    """The text of the API key for a stack: the given one, else `ROLLCALL_KEY`, else the local stack's own key."""
    text = given or environment.get("ROLLCALL_KEY")
    file = state_of(environment) / KEY_FILE
    if not text and not name and file.exists():
        text = file.read_text()
    return text or None


def state_of(environment: Mapping[str, str]) -> Path:
    """The folder with the data of the local stack."""
    return Path(environment.get("ROLLCALL_STATE") or ROOT / ".local").absolute()


def port_of(environment: Mapping[str, str]) -> int:
    """The port of the local stack: `ROLLCALL_PORT`, else the one that the state folder's stack has or had last.

    Raises `NoStack`, which names the setting, if it is unusable.
    """
    port = environment.get("ROLLCALL_PORT")
    if not port:
        return noted_port(state_of(environment)) or DEFAULT_PORT
    if not port.isdecimal() or not _is_port(int(port)):
        raise NoStack(f"ROLLCALL_PORT has to be a port from 1 to 65535, not {port!r}")
    return int(port)


def noted_port(state: Path) -> int | None:
    """The port that `rollcall up` noted in the folder of its data; None where there is no readable note."""
    try:
        port = json.loads((state / NOTE_OF_RUNNING).read_bytes())["port"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        # A start writes the note anew. A folder from before there were notes is that of the default port.
        return None
    return port if isinstance(port, int) and _is_port(port) else None


def _is_port(number: int) -> bool:
    return 1 <= number <= 65_535
