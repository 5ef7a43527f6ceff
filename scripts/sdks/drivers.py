"""Runs the drivers: each in a process of its own, those of browsers in a page of a real browser."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from tempfile import TemporaryDirectory
from typing import Any

from scripts.browsers import chromium
from scripts.paths import ROOT
from scripts.sdks.pages import Pages
from scripts.sdks.registry import HERE, NODE_PINS, Sdk

PYTHON = ROOT / ".venv/sdks/bin/python"
NODE_FOLDER = ROOT / ".sdks/node"
BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
)
# Longer than any SDK goes on trying in the end, on a busy machine.
DRIVE_SECONDS = 150
INSTALL_SECONDS = 600
MOST_SAID = 2_000


class CannotRun(Exception):
    """What an SDK needs is not on this machine; the text says what."""


@dataclass(frozen=True)
class Report:
    """What a driver says of its SDK."""

    sent: int
    """The events that the SDK was given."""
    errors: list[str]
    seconds: float

    @classmethod
    def read(cls, told: Any) -> "Report":
        """The report that a driver wrote."""
        return cls(int(told["sent"]), [str(error) for error in told["errors"]], float(told["seconds"]))


class Drivers:
    """What is on this machine to run SDKs with. `page_port` is that of the pages; 0 for any."""

    def __init__(self, page_port: int = 0) -> None:
        self._page_port = page_port
        self._installed = False

    def check(self, sdk: Sdk) -> None:
        """Make ready for an SDK; raises `CannotRun`."""
        if sdk.runtime == "python":
            if not PYTHON.exists():
                raise CannotRun("the SDKs are not installed: make .venv/.sdks installs them")
            return
        if sdk.runtime == "browser":
            _chromium()
        self._install()

    def run(self, sdk: Sdk, given: Mapping[str, Any], answered: Callable[[int], None]) -> Report:
        """Have a driver send the load `given`. `answered` waits until so many events were answered."""
        if sdk.runtime == "browser":
            return self._browse(sdk, given, answered)
        if sdk.runtime == "python":
            command, folder = [str(PYTHON), "-m", f"scripts.sdks.python.{sdk.driver}"], ROOT
        else:
            command, folder = [_program("node"), str(NODE_FOLDER / sdk.driver)], NODE_FOLDER
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(),
                input=json.dumps(given).encode(),
                capture_output=True,
                timeout=DRIVE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Report(len(given["events"]), [f"it did not end within {DRIVE_SECONDS} s"], DRIVE_SECONDS)
        try:
            return Report.read(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError):
            said = (done.stderr or done.stdout).decode(errors="replace").replace(given["key"], "(the key)")
            return Report(0, [f"the driver failed: {said[-MOST_SAID:].strip()}"], 0)

    def _browse(self, sdk: Sdk, given: Mapping[str, Any], answered: Callable[[int], None]) -> Report:
        with (
            Pages(self._page_port, NODE_FOLDER / "node_modules", given, answered) as pages,
            _browser(f"{pages.origin}/{sdk.driver}"),
        ):
            try:
                return Report.read(pages.report(DRIVE_SECONDS))
            except TimeoutError as error:
                return Report(0, [str(error)], DRIVE_SECONDS)

    def _install(self) -> None:
        """Install the packages of node, once for each change of the lock file."""
        _program("node")
        npm = _program("npm")
        if self._installed:
            return
        lock = NODE_PINS.with_name("package-lock.json")
        stamp, wanted = NODE_FOLDER / "installed", sha256(lock.read_bytes()).hexdigest()
        NODE_FOLDER.mkdir(parents=True, exist_ok=True)
        if not stamp.exists() or stamp.read_text() != wanted:
            for file in (NODE_PINS, lock):
                shutil.copy(file, NODE_FOLDER)
            # No package's own script runs. npm compares each package with its hash in the lock file.
            done = subprocess.run(
                [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=NODE_FOLDER,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=False,
            )
            if done.returncode:
                raise CannotRun(f"npm cannot install the SDKs: {done.stderr[-MOST_SAID:].strip()}")
            stamp.write_text(wanted)
        # node looks for packages from the folder of the driver upwards.
        for driver in (HERE / "node").glob("*.mjs"):
            shutil.copy(driver, NODE_FOLDER)
        self._installed = True


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    raise CannotRun(f"there is no {name} on this machine")


def _chromium() -> str:
    if found := chromium():
        return str(found)
    raise CannotRun("there is no chromium on this machine")


def _environment() -> dict[str, str]:
    """That of this process, without what would steer an SDK or have it talk to another host."""
    steering = ("AWS_", "ROLLCALL_", "POSTHOG_", "AMPLITUDE_", "NODE_OPTIONS", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        kept.pop(name, None)
        kept.pop(name.lower(), None)
    return kept | {"PYTHONUTF8": "1"}


@contextmanager
def _browser(url: str) -> Iterator[None]:
    """A browser that shows a page, without a window."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [_chromium(), *BROWSER_OPTIONS, f"--user-data-dir={folder}", url],
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
