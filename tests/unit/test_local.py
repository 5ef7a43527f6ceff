from datetime import date
from pathlib import Path
from unittest.mock import MagicMock

import httpx2
import pytest

from rollcall.access.api_keys import SCOPES
from scripts.local import stack as local
from scripts.local.stack import SAMPLE_DAYS, Filled
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
