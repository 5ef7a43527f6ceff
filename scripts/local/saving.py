"""Saves the state of the local AWS as a whole: until a new save is complete, the last one stays as it is.

A save is written into a folder of its own, beside the last one. Once it is complete it takes that one's name, in two
steps: `.part` is renamed to `.whole`, and that, when the last save is removed, to the folder of the services. Whichever
moment a process dies at, the next start finds the last complete save.

MiniStack would write one service after the other over the last save, and go on where it cannot write one.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Beside the services of a complete save: when it was made, and by which process.
NOTE = "saved.json"


def part_of(services: Path) -> Path:
    """The folder of a save that is being written. While it is there, a process writes it."""
    return services.with_name(f"{services.name}.part")


def whole_of(services: Path) -> Path:
    """The folder of a complete save that is not in its place yet."""
    return services.with_name(f"{services.name}.whole")


def recover(services: Path) -> None:
    """Bring the last complete save into its place, after a process that may have died at any moment."""
    if part_of(services).exists():
        shutil.rmtree(part_of(services))
    if whole_of(services).exists():
        _put_in_place(services)


def save(
    services: Path,
    states: Mapping[str, Callable[[], Any]],
    write: Callable[[Path, str, Any], None],
    now: Callable[[], float] = time.time,
) -> None:
    """Save what `states` return, by the names of the services. None is the state of a service that nobody has used.

    `write` writes the state of one service into a folder. If anything is raised, the last save stays.
    """
    part = part_of(services)
    part.mkdir(parents=True)
    try:
        for service, state_of in states.items():
            state = state_of()
            if state is not None:
                write(part, service, state)
        there = {path.name for path in services.iterdir()} if services.exists() else set()
        # Services that this process has not used, as they were saved, and files that MiniStack writes while it runs.
        for name in sorted(there - {path.name for path in part.iterdir()} - {NOTE}):
            copy = shutil.copytree if (services / name).is_dir() else shutil.copy2
            copy(services / name, part / name)
        (part / NOTE).write_text(json.dumps({"at": _timestamp(now()), "process": os.getpid()}))
        for path in (path for path in part.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
    except BaseException:
        shutil.rmtree(part)
        raise
    part.rename(whole_of(services))
    _put_in_place(services)


def _put_in_place(services: Path) -> None:
    if services.exists():
        shutil.rmtree(services)
    whole_of(services).rename(services)


def saved_by(services: Path) -> int | None:
    """The process that made the last complete save; None if there is none, or one of an earlier version."""
    return _note(services).get("process")


def saved_at(services: Path) -> str | None:
    """When the last complete save was made; None if there is none."""
    # An earlier version saved without a note.
    earlier = max((path.stat().st_mtime for path in services.glob("*.json")), default=None)
    return _note(services).get("at") or (_timestamp(earlier) if earlier is not None else None)


def size_of(services: Path) -> int:
    """The bytes of a save, also of one that is being written."""
    found = 0
    for path in services.glob("*.json"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:
            # Renamed by the process that writes it.
            continue
    return found


def _note(services: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((services / NOTE).read_bytes())
    except FileNotFoundError:
        return {}
    return note


def _timestamp(seconds: float) -> str:
    # Not by the package's own function: what `sam build` made is run by a MiniStack that has no such package.
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
