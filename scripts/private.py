"""Files and folders that are their owner's alone, whatever the umask says."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FILE, FOLDER = 0o600, 0o700
UMASK = 0o077


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing. Takes from others what they may do in one that is there."""
    for missing in reversed([each for each in path.parents if not each.exists()]):
        missing.mkdir(FOLDER)
    path.mkdir(FOLDER, exist_ok=True)
    # A folder that many share, such as /tmp, has this bit.
    if not path.stat().st_mode & stat.S_ISVTX:
        _chmod(path, FOLDER)


def tighten(path: Path) -> None:
    """Take from others what they may do with a file, or with a folder and all that is in it. Follows no link."""
    if path.is_symlink() or not path.exists():
        return
    if path.is_dir():
        _chmod(path, FOLDER)
        for folder, folders, files in os.walk(path):
            for name in folders:
                _chmod(Path(folder, name), FOLDER)
            for name in files:
                _chmod(Path(folder, name), FILE)
    else:
        _chmod(path, FILE)


def open_file(path: Path, mode: str) -> IO[bytes]:
    """Open a file in a binary mode. Takes from others what they may do with one that is there."""
    file: IO[bytes] = open(path, mode, opener=lambda name, flags: os.open(name, flags, FILE))  # noqa: SIM115
    os.fchmod(file.fileno(), FILE)
    return file


def write(path: Path, text: str) -> None:
    """Write a file."""
    with open_file(path, "wb") as file:
        file.write(text.encode())


@contextmanager
def umask() -> Iterator[None]:
    """Within the block, whatever this process makes is its owner's alone."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def _chmod(path: Path, mode: int) -> None:
    found = path.lstat()
    if not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) != mode:
        path.chmod(mode)
