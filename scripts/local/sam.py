"""Runs the SAM CLI against a local AWS: builds, deploys and deletes the template, and serves its API from containers.

    python -m scripts.local.sam     serve the API on the tables of the local stack; `make sam-local` runs this

`sam local` serves only the functions of the API. The queues and uploads invoke the functions of the local stack, which
has the same tables.
"""

import argparse
import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

import httpx2
from botocore.credentials import Credentials
from samtranslator.yaml_helper import yaml_parse

from scripts import private
from scripts.local.deploy import EMULATED, ClientFactory
from scripts.local.ministack import CREDENTIAL, REGION, free_port
from scripts.local.relay import relay
from scripts.operate import stacks
from scripts.paths import ROOT
from scripts.waiting import poll

BUILT = ROOT / ".aws-sam/build"
# In the folder of the built template, because its paths are relative. samconfig.toml names both files.
LOCAL_TEMPLATE, VARIABLES = BUILT / "local.json", BUILT / "variables.json"
VENV = ROOT / ".venv/sam"
# SAM's name of a processor architecture, by Python's name.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
# The address at which containers reach this machine: that of Docker's bridge, by default.
BRIDGE = "172.17.0.1"
DEFAULT_PORT = 3000
# The first request builds an image, and may have to pull its base image.
FIRST_ANSWER_SECONDS = 600
STOP_SECONDS = 60


class SamFailed(Exception):
    """The SAM CLI is missing or failed; the text quotes its output."""


def architecture() -> str:
    """SAM's name of this machine's architecture; raises `SamFailed`.

    Containers and MiniStack run only packages of this architecture.
    """
    try:
        return ARCHITECTURES[platform.machine().lower()]
    except KeyError:
        raise SamFailed(f"Lambda has no processors like this machine's, {platform.machine()}") from None


class Sam:
    """The SAM CLI for the local AWS behind an endpoint: the one of `make .venv/.sam`, else the one on the PATH.

    `command` may be `samlocal`, which takes the endpoint in another way.
    """

    def __init__(self, endpoint: str, command: str = "sam") -> None:
        # No call for a local AWS may reach an AWS account of the user.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._environment |= {
            "PATH": os.pathsep.join([str(VENV / "bin"), os.environ.get("PATH", os.defpath)]),
            "SAM_CLI_TELEMETRY": "0",
            "AWS_ACCESS_KEY_ID": CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
            "AWS_DEFAULT_REGION": REGION,
        }
        if command == "samlocal":
            at = urlsplit(endpoint)
            self._environment |= {"LOCALSTACK_HOSTNAME": str(at.hostname), "EDGE_PORT": str(at.port)}
        else:
            self._environment["AWS_ENDPOINT_URL"] = endpoint
        # LocalStack has a configuration of its own in samconfig.toml, for what it does with layers.
        self._localstack = command == "samlocal"
        found = shutil.which(command, path=self._environment["PATH"])
        if found is None:
            raise SamFailed(f"there is no {command}: make .venv/.sam installs it")
        self._command = found

    def build(self) -> None:
        """Build template.yaml for this machine's architecture; raises `SamFailed`."""
        configuration = ["--config-env", "localstack"] if self._localstack else []
        self._run("build", *configuration, "--parameter-overrides", f"Architecture={architecture()}")

    def deploy(self, stack: str, parameters: Mapping[str, str]) -> None:
        """Deploy the built template with an emulator's configuration in samconfig.toml; raises `SamFailed`."""
        emulated = {} if self._localstack else EMULATED
        told = {**emulated, "Architecture": architecture(), **parameters}
        overrides = [f"{name}={value}" for name, value in told.items()]
        named = ["--stack-name", stack, "--s3-prefix", stack]
        configuration = "localstack" if self._localstack else "local"
        self._run("deploy", "--config-env", configuration, *named, "--parameter-overrides", *overrides)

    def outputs(self, stack: str) -> dict[str, str]:
        """The outputs of a stack."""
        said = self._run("list", "stack-outputs", "--stack-name", stack, "--output", "json")
        return {output["OutputKey"]: output["OutputValue"] for output in json.loads(said)}

    def delete(self, stack: str) -> None:
        """Delete a stack and the uploads of its deployment."""
        self._run("delete", "--stack-name", stack, "--region", REGION, "--no-prompts")

    def invoke(self, function: str, payload: str) -> str:
        """Run a function of the template in a container; returns its answer as JSON. Call `prepare` first."""
        said = self._run("local", "invoke", function, "--event", "-", standard_input=payload)
        # The answer is the last line, after any lines that the function prints.
        return said.strip().rpartition("\n")[2]

    @contextmanager
    def api(self, port: int, log: IO[bytes] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """Serve the API from containers on a port of 127.0.0.1; yields once it answers. Call `prepare` first."""
        process = subprocess.Popen(
            [self._command, "local", "start-api", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=self._environment,
            stdout=log,
            stderr=log,
            # This process handles Ctrl-C. It sends SAM a SIGTERM, which also ends SAM's containers.
            start_new_session=True,
        )

        def answers() -> bool | None:
            if process.poll() is not None:
                raise SamFailed(f"sam local start-api ended with {process.returncode}")
            try:
                return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=60, trust_env=False).is_success or None
            except httpx2.TransportError:
                return None

        try:
            poll(answers, FIRST_ANSWER_SECONDS, "sam local start-api does not answer")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _run(self, *arguments: str, standard_input: str | None = None) -> str:
        done = subprocess.run(
            [self._command, *arguments],
            cwd=ROOT,
            env=self._environment,
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SamFailed(f"sam {' '.join(arguments[:2])} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done.stdout


@dataclass(frozen=True)
class Reachable:
    """Where containers reach the local AWS, and the credentials that they have to sign with."""

    endpoint: str
    credentials: Credentials


@contextmanager
def reachable(port: int) -> Iterator[Reachable]:
    """Within the block, where containers reach a server on a port of 127.0.0.1, by a relay.

    On Linux, the relay is at the address of Docker's bridge, which `ROLLCALL_BRIDGE` sets if it is not 172.17.0.1.
    Docker Desktop has a host name for this machine, and passes on what is for it to 127.0.0.1. There the relay has a
    port of its own.
    """
    credentials = Credentials(CREDENTIAL, secrets.token_hex(32))
    if sys.platform == "linux":
        host = os.environ.get("ROLLCALL_BRIDGE") or BRIDGE
        here, at = host, port
    else:
        host, here, at = "host.docker.internal", "127.0.0.1", free_port()
    with relay((here, at), port, credentials):
        yield Reachable(f"http://{host}:{at}", credentials)


def prepare(client: ClientFactory, outputs: Mapping[str, str], reached: Reachable) -> None:
    """Write the files that `sam local` needs: the deployed functions' variables, and a copy of the built template.

    SAM resolves no references to tables and queues, so the variables come from the deployed functions. SAM sets only
    variables that the template names, so the copy names those that lead to the local AWS.
    """
    here = {
        "AWS_ENDPOINT_URL": reached.endpoint,
        "AWS_ACCESS_KEY_ID": reached.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": reached.credentials.secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    built = yaml_parse((BUILT / "template.yaml").read_text())
    functions = [
        name for name, resource in built["Resources"].items() if resource["Type"] == "AWS::Serverless::Function"
    ]
    deployed = {
        name: client("lambda").get_function_configuration(FunctionName=outputs[f"{name}Name"])["Environment"]
        for name in functions
    }
    variables = {name: environment["Variables"] | here for name, environment in deployed.items()}
    private.write(VARIABLES, json.dumps(variables, indent=2))
    built["Globals"]["Function"]["Environment"]["Variables"] |= dict.fromkeys(here, "")
    built["Parameters"]["Architecture"]["Default"] = architecture()
    LOCAL_TEMPLATE.write_text(json.dumps(built, indent=2))


def main() -> None:
    """Build the template and serve its API from containers until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="that the API is served on (%(default)s)")
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stack = stacks.find(None)
        at = stacks.port_of(os.environ)
        sam = Sam(f"http://127.0.0.1:{at}")
        print("Building", file=sys.stderr)
        sam.build()
        with reachable(at) as reached:
            prepare(stack.client, stack.outputs, reached)
            with sam.api(port) as process:
                print(f"API  http://127.0.0.1:{port}")
                print(f"Try  {VENV.relative_to(ROOT)}/bin/sam local invoke IngestFunction -e events/ingest.json")
                print("Ctrl-C stops it.", flush=True)
                sys.exit(process.wait())
    except KeyboardInterrupt:
        pass
    except (SamFailed, stacks.NoStack, OSError, TimeoutError) as error:
        sys.exit(f"sam-local: {error}")


if __name__ == "__main__":
    main()
