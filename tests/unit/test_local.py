import json
import socket
from datetime import date
from pathlib import Path
from unittest.mock import MagicMock

import httpx2
import pytest

from rollcall.access.api_keys import SCOPES
from scripts.local import stack as local
from scripts.local.ministack import free_port
from scripts.local.stack import SAMPLE_DAYS, CannotStart, Filled, LocalSettings
from scripts.operate import stacks
from scripts.terminal import SafeConsole


@pytest.mark.parametrize("complete", [True, False])
def test_what_a_stack_was_filled_with_is_known_at_the_next_start(tmp_path: Path, complete: bool) -> None:
    filled = Filled("own.csv", date(2025, 8, 1), date(2025, 8, 31), complete)
    filled.write(tmp_path / "note")
    assert Filled.read(tmp_path / "note") == filled


def test_a_note_without_a_first_day_is_of_the_sample(tmp_path: Path) -> None:
    (tmp_path / "note").write_text('{"last_day": "2025-08-31", "complete": true}')
    filled = Filled.read(tmp_path / "note")
    assert filled
    assert (filled.what, (filled.last_day - filled.first_day).days + 1) == ("sample", SAMPLE_DAYS)


@pytest.mark.parametrize(
    "text", ["", '{"last_day', "[]", "{}", '{"last_day": "2025-08-31"}', '{"last_day": "a", "complete": true}']
)
def test_a_note_that_cannot_be_read_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text)
    assert Filled.read(tmp_path / "note") is None
    assert Filled.read(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("scopes", "status", "kept"),
    [(SCOPES, 200, True), (SCOPES[:-1], 200, False), ((), 200, False), (SCOPES, 401, False)],
)
def test_a_key_that_lacks_a_scope_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scopes: tuple[str, ...], status: int, kept: bool
) -> None:
    text, note = f"rc_{'1' * 16}_{'2' * 48}", tmp_path / "key"
    note.write_text(text)
    ministack = MagicMock()
    ministack.api_url = "http://127.0.0.1:1"
    keys = MagicMock()
    keys.return_value.create.return_value = (None, "another")
    monkeypatch.setattr(local, "ApiKeys", keys)
    stack = local.LocalStack(ministack, MagicMock(), SafeConsole())
    listed = [{"key_id": "0" * 16, "scopes": list(SCOPES)}, {"key_id": "1" * 16, "scopes": list(scopes)}]
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, json={"keys": listed}))
    stack._http = httpx2.Client(base_url="http://127.0.0.1:1", transport=transport)

    assert stack.unlock(note) == note.read_text() == (text if kept else "another")


def noted(state: Path, text: str) -> dict[str, str]:
    """The environment of a command that names the folder alone, in which a start has left this note."""
    (state / "up.json").write_text(text)
    return {"ROLLCALL_STATE": str(state)}


def test_the_port_of_the_local_stack_is_known_from_its_state_folder(tmp_path: Path) -> None:
    environment = noted(tmp_path, '{"pid": 1, "port": 4640}')
    assert stacks.port_of(environment) == LocalSettings.read(environment).port == 4640
    assert stacks.port_of(environment | {"ROLLCALL_PORT": ""}) == 4640
    assert stacks.port_of(environment | {"ROLLCALL_PORT": "4641"}) == 4641
    assert stacks.port_of({"ROLLCALL_STATE": str(tmp_path / "another")}) == 4566


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": "4640"}', '{"port": 0}', '{"port": 65536}', "\xff"])
def test_a_note_without_a_port_is_passed_over(tmp_path: Path, text: str) -> None:
    assert stacks.port_of(noted(tmp_path, text)) == 4566


def test_a_command_with_the_state_folder_only_asks_the_noted_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("ROLLCALL_STATE", noted(tmp_path, json.dumps({"port": port}))["ROLLCALL_STATE"])
    monkeypatch.delenv("ROLLCALL_PORT", raising=False)
    with pytest.raises(stacks.NoStack, match=f"no local stack answers on port {port}; start it with rollcall up"):
        stacks.find(None)


def test_a_wrong_port_is_told_beside_the_one_that_the_stack_of_the_folder_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        right, wrong = listening.getsockname()[1], free_port()
        monkeypatch.setenv("ROLLCALL_STATE", noted(tmp_path, json.dumps({"port": right}))["ROLLCALL_STATE"])
        monkeypatch.setenv("ROLLCALL_PORT", str(wrong))
        with pytest.raises(stacks.NoStack, match=f"port {wrong}, which ROLLCALL_PORT names.* is on port {right}"):
            stacks.find(None)


def test_a_port_that_is_refused_is_not_noted_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = noted(tmp_path, '{"pid": 1, "port": 4640}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(CannotStart, match=f"port {port} is taken"):
            local.up(LocalSettings.read(environment | {"ROLLCALL_PORT": port}), SafeConsole())
    assert stacks.port_of(environment) == 4640
