"""Texts in the code refer to code that exists."""

import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.paths import ROOT

FOLDERS = ("layers", "functions", "scripts")
# A dotted path in backticks, with or without a call's parentheses: `rollcall.stack.dynamo.Dynamo.get(keys)`.
REFERENCE = re.compile(r"`((?:rollcall|scripts)(?:\.\w+)+)(?:\([^`\n]*\))?`")


def references(file: Path) -> Iterator[tuple[str, str]]:
    """The references in a file: each one's place and its dotted path."""
    for number, line in enumerate(file.read_text().splitlines(), 1):
        for found in REFERENCE.finditer(line):
            yield f"{file.relative_to(ROOT)}:{number}", found[1]


def exists(reference: str) -> bool:
    """Whether a dotted path names a module, or an attribute of a module or of a class, fields included."""
    try:
        pkgutil.resolve_name(reference)
    except (ImportError, AttributeError):
        owner, _, name = reference.rpartition(".")
        try:
            return name in getattr(pkgutil.resolve_name(owner), "__annotations__", {})
        except (ImportError, AttributeError):
            return False
    return True


def test_every_reference_names_something_that_exists() -> None:
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    found = [reference for file in files for reference in references(file)]
    assert len(found) > 10
    assert [f"{place}: {reference}" for place, reference in found if not exists(reference)] == []


@pytest.mark.parametrize(
    "reference",
    [
        "rollcall.core.batch",
        "rollcall.core.batch.MAX_BATCH_EVENTS",
        "rollcall.core.events.Event.user_id",
        "rollcall.stack.dynamo.Dynamo.get",
        "rollcall.stack.settings.StatsSettings.calendar",
        "scripts.api.ApiError",
    ],
)
def test_modules_attributes_methods_and_fields_exist(reference: str) -> None:
    assert exists(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "rollcall.core.nothing",
        "rollcall.core.batch.NOTHING",
        "rollcall.stack.dynamo.Dynamo.nothing",
        "rollcall.stack.settings.StatsSettings.nothing",
        "scripts.nothing.ApiError",
    ],
)
def test_other_names_do_not_exist(reference: str) -> None:
    assert not exists(reference)


def test_references_are_found_in_comments_and_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "some.py"
    file.write_text('"""Raises `rollcall.a.B`; see `scripts.c.d(1)`."""\n# `rollcall up`, `scripts/x.py`, rollcall.e\n')
    assert list(references(file)) == [("some.py:1", "rollcall.a.B"), ("some.py:1", "scripts.c.d")]
