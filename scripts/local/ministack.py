"""Runs MiniStack, an AWS emulator, as a child process that listens on the loopback interface only."""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import botocore.loaders
import botocore.session

from scripts import private
from scripts.paths import ROOT

REGION = "us-east-1"
# For MiniStack, which checks no signatures.
CREDENTIAL = "test"
# The stack whose API is at /v1.
LOCAL_STACK = "rollcall"
# What it keeps below the folder of its data.
FOLDERS = SERVICES, OBJECTS = ("services", "s3")
START_SECONDS = 60
STOP_SECONDS = 60
PORTS = range(20_000, 30_000)
# Keeps the models of AWS that it has read: to read them takes far longer than all else about a client.
LOADER = botocore.loaders.create_loader()

_claims: list[socket.socket] = []


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens. No other call gets it while this process lives.

    A port that the system picks is free for anyone again before a child process listens on it. These ports lie below
    the ones that the system picks. A UDP socket of the same number marks a port as taken.
    """
    for port in random.sample(PORTS, len(PORTS)):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with suppress(OSError), socket.socket() as probe:
            claim.bind(("127.0.0.1", port))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            # Open until the process ends.
            claim.detach()
            return port
        claim.close()
    raise OSError(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


def listens(port: int) -> bool:
    """Whether something answers on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def local_client(port: int) -> Callable[[str], Any]:
    """A function that makes boto3 clients of the MiniStack on a port, whatever the environment says."""

    def make(service: str) -> Any:
        core = botocore.session.get_session()
        core.register_component("data_loader", LOADER)
        session = boto3.Session(CREDENTIAL, CREDENTIAL, region_name=REGION, botocore_session=core)
        return session.client(service, endpoint_url=f"http://127.0.0.1:{port}")  # type: ignore[call-overload]

    return make


def api_url(endpoint: str, outputs: Mapping[str, str]) -> str:
    """The base URL of any stack's API behind an endpoint, in the form that LocalStack and MiniStack share."""
    return f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/v1"


def local_api_url(port: int) -> str:
    """The base URL of the API of the stack `LOCAL_STACK` in the MiniStack on a port: as on AWS, below the stage."""
    return f"http://127.0.0.1:{port}/v1"


class MiniStackError(RuntimeError):
    """MiniStack did not start, or ended by itself; the text quotes its log."""


class MiniStack:
    """A MiniStack process. Keeps its data in the folder `state`; without one, the data ends with the process.

    MiniStack runs Lambda functions with its own interpreter, `python`, whatever runtime they name. The functions have
    the environment variables `variables` too.
    """

    def __init__(
        self,
        port: int,
        logs: Path,
        state: Path | None = None,
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self._logs = logs
        self._state = state
        self._python = python
        self._variables = variables or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "MiniStack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def client(self, service: str) -> Any:
        """A boto3 client of this MiniStack, whatever the environment says."""
        return local_client(self.port)(service)

    @property
    def api_url(self) -> str:
        """The base URL of the API of the stack `LOCAL_STACK`, the same before it is deployed and after each start."""
        return local_api_url(self.port)

    def start(self) -> None:
        """Start MiniStack and wait until it answers; raises `MiniStackError`."""
        private.make_folder(self._logs.parent)
        with private.open_file(self._logs, "ab") as log:
            self._process = subprocess.Popen(
                [self._python, "-m", "scripts.local.ministack"],
                cwd=ROOT,
                env=self._environment(),
                # Nothing is written to this pipe. It closes when this process ends, even if this process is killed.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C should reach only this process, which has work to finish before MiniStack may stop.
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._logs.read_text(errors="replace")[-2000:]
                self.stop()
                raise MiniStackError(f"MiniStack does not answer on {self.endpoint}. It said:\n{said}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether MiniStack answers."""
        asking = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            asking.request("GET", "/_ministack/health")
            return asking.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asking.close()

    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop MiniStack and wait until its state is saved."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None

    def _environment(self) -> dict[str, str]:
        # Functions inherit this environment. The user's AWS profile or endpoint must not reach them.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "LOG_LEVEL": "INFO",
            # Turns off listeners of services that the stack does not use.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "AWS_ACCESS_KEY_ID": CREDENTIAL,
            "AWS_SECRET_ACCESS_KEY": CREDENTIAL,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "PERSIST_STATE": "0",
        }
        if self._state is not None:
            environment |= {
                "PERSIST_STATE": "1",
                "STATE_DIR": str(self._state / SERVICES),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(self._state / OBJECTS),
            }
        return {**environment, **self._variables}


def run() -> None:
    """The child process: runs MiniStack until a signal stops it or the parent ends."""
    # For its data, and for what its functions write.
    os.umask(private.UMASK)
    # Imported here, because it takes half a second and only the child needs it.
    import ministack.app

    from scripts.local.front import front

    # Its `main` serves what is there under this name.
    ministack.app.app = front(ministack.app.app, int(os.environ["GATEWAY_PORT"]), LOCAL_STACK)

    def leave_with_the_parent() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    ministack.app.main()


if __name__ == "__main__":
    run()
