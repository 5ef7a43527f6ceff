"""What the page says that is said elsewhere too."""

import re

import pytest

from scripts.paths import ROOT

SITE = ROOT / "functions/page/site"
# What stands for parts of the API's address in the page, as docs/sdks.md has it.
PARTS = {"ORIGIN": "https://HOST", "HOSTPATH": "HOST/v1", "PATH": "/v1"}


def documented() -> dict[str, list[str]]:
    """The settings of each SDK in docs/sdks.md, by its name."""
    table = (ROOT / "docs/sdks.md").read_text().partition("## What to change")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| \[?([^]|]+?)\]?(?:\([^)]*\))? \| (.*) \|$", table, re.MULTILINE)
    return {name: re.findall(r"`([^`]+)`", settings) for name, settings in rows if "`" in settings}


def shown() -> dict[str, str]:
    """The lines of each SDK in the page, by its name."""
    table = re.search(r"SDKS = \{\n(.*?)\n\};", (SITE / "sdks.js").read_text(), re.DOTALL)
    assert table
    lines = re.findall(r'^  (?:"([^"]+)"|(\w+)):\s+`([^`]+)`', table[1], re.MULTILINE)
    parts = re.compile(rf"\b({'|'.join(PARTS)})(?=\b|/)")
    return {
        quoted or plain: parts.sub(lambda part: PARTS[part[0]], text).replace("\\n", "\n")
        for quoted, plain, text in lines
    }


def test_the_page_names_the_sdks_of_the_documents_and_no_others() -> None:
    assert len(shown()) > 10
    assert shown().keys() == documented().keys()


@pytest.mark.parametrize("sdk", sorted(documented()))
def test_the_page_has_the_settings_of_the_documents(sdk: str) -> None:
    wanted, lines = documented()[sdk], shown()[sdk]

    for setting in wanted:
        # Others are words about a setting.
        if re.search(r"[(:].", setting) and setting != "https://":
            for part in setting.split("…"):
                assert part.strip(", ") in lines
