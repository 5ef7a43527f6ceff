"""What the documents for contributors tell to run."""

import re

import pytest

from scripts.paths import ROOT


@pytest.mark.parametrize("name", ["docs/contributing.md", "docs/security.md", ".github/pull_request_template.md"])
def test_the_commands_of_make_and_their_variables_that_a_document_names_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", makefile, re.MULTILINE))
    text = (ROOT / name).read_text()
    commands = set(re.findall(r"(?:`|^|\d )make ([a-z][a-z0-9-]*)", text, re.MULTILINE))
    variables = set(re.findall(r"\b(PYTHON\w*|TARGET|DYNAMODB)=", text))

    assert commands
    assert commands - targets == set()
    assert [each for each in variables if f"$({each})" not in makefile] == []
