"""What `make lint` checks the spelling of."""

import subprocess
import sys
from pathlib import Path

from scripts.paths import ROOT


def test_the_linters_check_the_spelling() -> None:
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]

    assert "$(BIN)/codespell" in lint.split()


def test_the_spelling_is_checked_of_what_is_hidden_too_and_not_of_what_is_measured(tmp_path: Path) -> None:
    for name in ("docs/a.md", ".github/b.md", "docs/figures/c.json", "events/d.json", ".venv/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("recie" + "ve\n")

    checked = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "--toml", ROOT / "pyproject.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert {line.partition(":")[0] for line in checked.stdout.splitlines()} == {"./docs/a.md", "./.github/b.md"}
