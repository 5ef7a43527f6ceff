"""The changelog, and the version that it, the project and the command line agree on."""

import re
import tomllib
from datetime import date

from typer.testing import CliRunner

from scripts.cli import app
from scripts.paths import ROOT

CHANGELOG = (ROOT / "docs/changelog.md").read_text()
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

# Those of Keep a Changelog.
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def releases() -> list[tuple[str, date]]:
    """The released versions of the changelog with their days, in its order."""
    return [
        (version, date.fromisoformat(day))
        for version, day in re.findall(r"^## (\d+\.\d+\.\d+) - (\S+)$", CHANGELOG, re.MULTILINE)
    ]


def test_the_changelog_begins_with_what_is_unreleased_and_then_has_versions_alone() -> None:
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)

    assert headings == ["Unreleased", *(f"{version} - {day}" for version, day in releases())]


def test_the_newest_release_in_the_changelog_is_the_version_of_the_project() -> None:
    newest, _ = releases()[0]

    assert newest == VERSION


def test_the_releases_in_the_changelog_go_from_the_newest_to_the_oldest() -> None:
    ordered = [(tuple(map(int, version.split("."))), day) for version, day in releases()]

    assert ordered == sorted(ordered, reverse=True)
    assert len({version for version, _ in ordered}) == len(ordered)


def test_a_version_in_the_changelog_has_the_sections_of_keep_a_changelog_with_something_in_them() -> None:
    for text in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
        names = [section.partition("\n")[0] for section in sections]

        assert names == [name for name in SECTIONS if name in names]
        assert all(section.partition("\n")[2].strip().startswith("- ") for section in sections)


def test_the_command_line_tells_the_version_of_the_project() -> None:
    told = CliRunner().invoke(app, ["--version"])

    assert (told.exit_code, told.stdout) == (0, f"rollcall {VERSION}\n")


def test_the_version_is_written_in_pyproject_toml_alone() -> None:
    sources = [
        ROOT / "template.yaml",
        ROOT / "samconfig.toml",
        ROOT / "Makefile",
        *(path for folder in ("functions", "layers", "scripts") for path in (ROOT / folder).rglob("*.py")),
    ]
    writing = re.compile(rf"""(['"]){re.escape(VERSION)}\1|\b__version__\b""")

    assert writing.search((ROOT / "pyproject.toml").read_text())
    assert [path for path in sources if writing.search(path.read_text())] == []
