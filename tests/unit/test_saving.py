"""What a stop of the local stack keeps."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from scripts.local import ministack, saving
from scripts.local import stack as local
from scripts.local.ministack import MiniStack
from scripts.paths import ROOT
from scripts.terminal import SafeConsole

OLD, NEW = {"tables": "old", "queues": "old"}, {"tables": "new", "queues": "new"}


class Died(BaseException):
    """The process ends at this moment."""


def write(folder: Path, service: str, state: Any) -> None:
    (folder / f"{service}.json").write_text(json.dumps(state))


def save(services: Path, states: dict[str, Any], writing: Callable[[Path, str, Any], None] = write) -> None:
    saving.save(services, {name: partial(states.get, name) for name in states}, writing, lambda: 0)


def saved(services: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_bytes()) for path in services.glob("*.json") if path.name != saving.NOTE}


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """The folder of a save."""
    made = tmp_path / "services"
    save(made, OLD)
    return made


def test_a_save_takes_the_place_of_the_last_one_but_for_services_that_were_not_used(services: Path) -> None:
    (services / "blobs").mkdir()
    (services / "blobs/code.zip").write_bytes(b"written while it ran")
    save(services, {"tables": "new", "queues": None})
    assert (services / "blobs/code.zip").read_bytes() == b"written while it ran"
    assert saved(services) == {"tables": "new", "queues": "old"}
    assert saving.saved_at(services) == "1970-01-01T00:00:00Z"
    assert [path.name for path in services.parent.iterdir()] == ["services"]


def test_the_last_save_stays_where_a_state_cannot_be_had_or_written(services: Path) -> None:
    def full(folder: Path, service: str, state: Any) -> None:
        if service == "queues":
            raise OSError(28, "No space left on device")
        write(folder, service, state)

    with pytest.raises(OSError, match="No space left"):
        save(services, NEW, full)
    with pytest.raises(ZeroDivisionError):
        saving.save(services, {"tables": lambda: "new", "queues": lambda: 1 // 0}, write)
    assert saved(services) == OLD
    assert [path.name for path in services.parent.iterdir()] == ["services"]


def test_a_folder_without_a_save_is_not_taken_for_one(services: Path) -> None:
    for file in services.glob("*.json"):
        file.unlink()
    (services / "key.pem").touch()
    assert saving.saved_at(services) is None
    (services / "tables.json").touch()
    assert saving.saved_at(services)


@pytest.mark.parametrize("moment", range(9))
def test_whenever_a_process_dies_the_next_start_finds_a_complete_save(
    monkeypatch: pytest.MonkeyPatch, services: Path, moment: int
) -> None:
    steps = 0

    def dying(work: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > moment:
                raise Died
            return work(*given, **named)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dying(Path.rename))
        patched.setattr(shutil, "rmtree", dying(shutil.rmtree))
        patched.setattr(os, "fsync", dying(os.fsync))
        try:
            save(services, NEW, dying(write))
        except Died:
            assert moment < 8
        else:
            assert moment == 8
    saving.recover(services)
    assert saved(services) == (NEW if moment > 5 else OLD)
    assert [path.name for path in services.parent.iterdir()] == ["services"]


# A MiniStack that takes its time: it does what its argument says once it is told to stop.
PLAYED = """
import json, os, pathlib, signal, sys, time
services, how = pathlib.Path(sys.argv[1]), sys.argv[2]

def stop(*_):
    if how == "hangs":
        return
    part = services.with_name("services.part")
    part.mkdir()
    for number in range(15):
        (part / "tables.json").write_text("x" * 1_000_000 * number)
        time.sleep(0.1)
    if how == "saves":
        (part / "saved.json").write_text(json.dumps({"at": "2026-11-26T00:00:00Z", "process": os.getpid()}))
        part.rename(services)
    os._exit(0)

signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize(("how", "kept"), [("saves", True), ("dies", False), ("hangs", False)])
def test_a_stop_waits_for_a_save_that_goes_on_and_says_whether_it_is_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, kept: bool
) -> None:
    monkeypatch.setattr(ministack, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(ministack, "LOOK_SECONDS", 0.05)
    stack = MiniStack(1, tmp_path / "log", tmp_path)
    command = [sys.executable, "-c", PLAYED, str(tmp_path / "services"), how]
    stack._process = process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    told: list[str] = []
    assert stack.stop(told.append) is kept
    assert process.returncode == (-9 if how == "hangs" else 0)
    assert any(text.startswith("Saving the data: ") and " 0 MB" not in text for text in told) == (how != "hangs")
    process.stdout.close()


@pytest.mark.parametrize(
    ("is_saved", "earlier", "said"),
    [
        (True, True, "The data is kept in "),
        (False, True, "keeps what was saved at 1970-01-01T00:00:00Z, and what was counted since is lost."),
        (False, False, "The data is not saved: none is kept in "),
    ],
)
def test_a_stop_says_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    is_saved: bool,
    earlier: bool,
    said: str,
) -> None:
    if earlier:
        save(tmp_path / "services", OLD)
    played = MagicMock()
    played.return_value.stop.return_value = is_saved
    monkeypatch.setattr(local, "MiniStack", played)
    monkeypatch.setattr(local, "_deploy", MagicMock(side_effect=local.Stopped))
    settings = local.LocalSettings(ministack.free_port(), tmp_path, sample=False, seed=None)
    if is_saved:
        local.up(settings, SafeConsole(width=1_000))
    else:
        with pytest.raises(local.NotKept, match="ended without saving its data"):
            local.up(settings, SafeConsole(width=1_000))
    printed = capsys.readouterr().out
    assert said in printed
    assert ("The data is kept in" in printed) == is_saved


def test_a_start_warns_where_the_machine_has_no_room_for_what_is_kept(tmp_path: Path) -> None:
    save(tmp_path / "services", {"tables": "x" * 1_000_000})
    assert local.room_warning(tmp_path, memory=1_000_000_000) is None
    warning = local.room_warning(tmp_path, memory=1_000_000)
    assert warning
    assert str(tmp_path) in warning
    assert local.room_warning(tmp_path / "another", memory=0) is None
    assert local.memory_bytes() > 100_000_000


def test_a_ministack_that_has_nothing_of_this_package_can_be_run() -> None:
    script = "import sys; sys.modules['rollcall'] = None; import scripts.local.ministack, scripts.local.front"

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
