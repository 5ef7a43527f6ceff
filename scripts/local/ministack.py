"""Runs MiniStack, an AWS emulator, as a child process that listens on the loopback interface only."""

import http.client
import logging
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
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import botocore.loaders
import botocore.session

from scripts import private
from scripts.local import saving
from scripts.paths import ROOT

REGION = "us-east-1"
# What SAM names a route of all methods by in the OpenAPI document of an API.
ANY_METHOD = "x-amazon-apigateway-any-method"
# For MiniStack, which checks no signatures.
CREDENTIAL = "test"
# The stack whose API is at /v1.
LOCAL_STACK = "rollcall"
# What it keeps below the folder of its data.
FOLDERS = SERVICES, OBJECTS = ("services", "s3")
START_SECONDS = 60
# Slower than any machine loads a save.
LOADED_BYTES_A_SECOND = 1_000_000
# Within this time a save begins. It may take as long as it does.
STOP_SECONDS = 60
LOOK_SECONDS = 0.5
TEXTS = 10_000
MB = 1_000_000
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
        self._services = None if state is None else state / SERVICES
        self._objects = None if state is None else state / OBJECTS
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
        loaded = saving.size_of(self._services) if self._services else 0
        deadline = time.monotonic() + START_SECONDS + loaded / LOADED_BYTES_A_SECOND
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

    def stop(self, tell: Callable[[str], None] = lambda _progress: None) -> bool:
        """Stop MiniStack and wait until its state is saved, for as long as that takes; returns whether it is saved.

        Kills it only if it does not begin to save. Calls `tell` with the progress.
        """
        if self._process is None:
            return False
        self._process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)
            if self._services and saving.part_of(self._services).exists():
                deadline = time.monotonic() + STOP_SECONDS
                tell(self._progress(self._services))
            elif time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        saved = self._services is not None and saving.saved_by(self._services) == self._process.pid
        if self._process.stdin:
            self._process.stdin.close()
        self._process = None
        return saved

    @staticmethod
    def _progress(services: Path) -> str:
        written, last = (saving.size_of(folder) / MB for folder in (saving.part_of(services), services))
        return f"Saving the data: {written:,.0f} MB" + (f"; the last save has {last:,.0f} MB" if last else "")

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
        if self._services is not None:
            environment |= {
                "PERSIST_STATE": "1",
                "STATE_DIR": str(self._services),
                "S3_PERSIST": "1",
                "S3_DATA_DIR": str(self._objects),
            }
        return {**environment, **self._variables}


def _save_as_a_whole(services: Path) -> None:
    """Have MiniStack, in this process, save as `saving` does, and end where it cannot load what was saved."""
    import hypercorn.config
    import ministack.app
    from ministack.core import persistence

    def write(folder: Path, service: str, state: Any) -> None:
        persistence.STATE_DIR = str(folder)
        persistence.save_state(service, state)
        if not (folder / f"{service}.json").exists():
            raise OSError(f"the state of {service} cannot be written; the reason is above")

    def save(states: Mapping[str, Callable[[], Any]]) -> None:
        saving.save(services, states, write)

    def load(service: str) -> Any:
        state = persistence.load_state(service)
        if state is None and (services / f"{service}.json").exists():
            logging.getLogger(__name__).error("The saved state of %s cannot be read. It stays as it is.", service)
            # Else MiniStack would go on without it, and save that at the end.
            os._exit(1)
        return state

    saving.recover(services)
    ministack.app.save_all = save
    ministack.app.load_state = load
    # To load and to save a million events takes minutes.
    hypercorn.config.Config.startup_timeout = hypercorn.config.Config.shutdown_timeout = None  # type: ignore[assignment]


def _know_any_method() -> None:
    """Have MiniStack, in this process, take a route of all methods out of a template, as API Gateway does."""
    from ministack.services import apigateway_v1

    known: set[str] = apigateway_v1._OPENAPI_HTTP_METHODS
    take = apigateway_v1._import_operation

    def take_any(api_id: str, resource_id: str, method: str, *rest: Any) -> None:
        take(api_id, resource_id, "ANY" if method.lower() == ANY_METHOD else method, *rest)

    known.add(ANY_METHOD)
    apigateway_v1._import_operation = take_any


def _read_texts_once() -> None:
    """Have MiniStack, in this process, read an expression or a number once, not once for each item of a query."""
    from ministack.services import dynamodb

    for name in ("_tokenize", "_condition_syntax_error", "_number_size_bytes"):
        setattr(dynamodb, name, lru_cache(TEXTS)(getattr(dynamodb, name)))


def run() -> None:
    """The child process: runs MiniStack until a signal stops it or the parent ends."""
    # For its data, and for what its functions write.
    os.umask(private.UMASK)
    # Imported here, because it takes half a second and only the child needs it.
    import ministack.app

    from scripts.local.front import front

    if os.environ["PERSIST_STATE"] == "1":
        _save_as_a_whole(Path(os.environ["STATE_DIR"]))
    _know_any_method()
    _read_texts_once()
    # Its `main` serves what is there under this name.
    ministack.app.app = front(ministack.app.app, int(os.environ["GATEWAY_PORT"]), LOCAL_STACK)

    def leave_with_the_parent() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    ministack.app.main()


if __name__ == "__main__":
    run()
