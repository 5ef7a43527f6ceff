from datetime import date
from pathlib import Path

import pytest

from scripts.local.stack import SAMPLE_DAYS, Filled


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
