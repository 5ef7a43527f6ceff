import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from typer.testing import CliRunner

from rollcall.archive import bucket
from rollcall.archive.bucket import Archive, Stored
from rollcall.archive.snapshots import Snapshots
from rollcall.core.projects import DEFAULT
from rollcall.stack.dynamo import Dynamo
from scripts import private
from scripts.cli import app


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.lstat().st_mode & 0o777


@pytest.mark.usefixtures("umask")
def test_files_and_folders_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    private.make_folder(tmp_path / "a/b")
    private.write(tmp_path / "a/b/note", "first")
    private.write(tmp_path / "a/b/note", "2nd")
    with private.open_file(tmp_path / "a/b/log", "ab") as log:
        log.write(b"said")
    with private.umask():
        (tmp_path / "a/c").mkdir()
        (tmp_path / "a/c/file").write_text("made by others' code")
    assert (tmp_path / "a/b/note").read_text() == "2nd"
    folders, files = ["a", "a/b", "a/c"], ["a/b/note", "a/b/log", "a/c/file"]
    assert [mode(tmp_path / name) for name in folders] == [0o700] * 3
    assert [mode(tmp_path / name) for name in files] == [0o600] * 3


def test_what_is_there_already_is_taken_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    (folder / "s3/bucket").mkdir(parents=True)
    for name in ("key", "s3/bucket/object"):
        (folder / name).write_text("kept")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    private.make_folder(folder)
    for name in ("key", "s3", "not there"):
        private.tighten(folder / name)
    private.open_file(folder / "key", "ab").close()
    assert {str(path.relative_to(folder)): mode(path) for path in (folder, *folder.rglob("*"))} == {
        ".": 0o700,
        "key": 0o600,
        "s3": 0o700,
        "s3/bucket": 0o700,
        "s3/bucket/object": 0o600,
    }


def test_what_a_link_leads_to_and_a_folder_of_many_are_left_as_they_are(tmp_path: Path) -> None:
    others, shared, folder = tmp_path / "others", tmp_path / "shared", tmp_path / "folder"
    for each in (others, shared, folder):
        each.mkdir()
    (others / "file").write_text("of others")
    (others / "file").chmod(0o644)
    others.chmod(0o755)
    shared.chmod(0o1777)
    (folder / "link").symlink_to(others)
    (folder / "file").symlink_to(others / "file")
    private.tighten(folder)
    private.tighten(folder / "link")
    private.make_folder(shared)
    assert (mode(others), mode(others / "file"), shared.stat().st_mode & 0o7777) == (0o755, 0o644, 0o1777)


HOSTILE = [
    "batches/../../outside",
    "../outside",
    "/etc/outside",
    "batches//outside",
    "..",
    "batches/..",
    "batches/.",
    "",
    "batches/a\0b",
    f"batches/{'long' * 250}",
    "batches/back\\..\\slash",
    "batches/" + "deep/" * 200 + "x",
    "batches/\ud800",
    "batches/-rf",
]


class OfKeys(Archive):
    """An archive with any keys."""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys
        self.project = DEFAULT

    def days(self, first: str = "", last: str = "~") -> dict[str, Stored]:
        return {}

    def tiers(self) -> Iterator[Iterator[Stored]]:
        yield (Stored(key, "etag", 1) for key in self._keys)

    def fetch(self, key: str, path: Path, etag: str = "") -> str:
        path.write_text(ascii(key))
        return "etag"


@pytest.mark.parametrize("key", HOSTILE, ids=range(len(HOSTILE)))
def test_no_key_of_an_object_leads_out_of_the_folder_that_it_is_kept_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(bucket, "finished", lambda _dynamo, _table, _project, batches: set(batches))
    folder = tmp_path / "above/folder"
    taken = Snapshots(OfKeys([key, "batches/good.json.gz"]), cast(Dynamo, None), "stats", folder, 1).take()
    compacted = OfKeys([key]).fetch_all([Stored(key, "etag", 1)], folder)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*taken.pending, *(path for _, path in compacted)}
    assert len(files) == 3
    for path in files:
        assert path.resolve().is_relative_to(folder.resolve())


@pytest.mark.parametrize("command", [("stats", "dau", "--from", "2025-08-01", "--to", "2025-08-01"), ("status",)])
def test_a_key_on_the_command_line_is_said_to_show(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    # Nothing listens there, so that nothing more happens.
    monkeypatch.setenv("ROLLCALL_PORT", "9")
    said = "shows in the list of processes"
    assert said in CliRunner().invoke(app, [*command, "--key", "k"]).stderr
    monkeypatch.setenv("ROLLCALL_KEY", "k")
    assert said not in CliRunner().invoke(app, command).stderr
