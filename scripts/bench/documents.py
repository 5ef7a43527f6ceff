"""Writes the figures in the documents from the reports in docs/figures.

    python -m scripts.bench.documents

A block of figures is between `<!-- figures: NAME -->` and `<!-- end -->`. NAME is the name of a report, or `targets`.
The README and all pages below docs/ may hold blocks.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.bench import tables
from scripts.bench.report import Report, rendered
from scripts.paths import ROOT

FOLDER = ROOT / "docs/figures"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def documents() -> list[Path]:
    """All documents: the README, and every page below docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read_all(folder: Path) -> dict[str, Report]:
    """The reports in a folder, by name."""
    reports = (Report.read(file) for file in sorted(folder.glob("*.json")))
    return {report.name: report for report in reports}


def blocks_of(text: str) -> list[str]:
    """The names of a document's blocks."""
    return [found[2] for found in _BLOCK.finditer(text)]


def fill_in(text: str, reports: Mapping[str, Report]) -> str:
    """The text with the present figures in its blocks; raises `KeyError` if a block names no report."""
    blocks = {name: report.block() for name, report in reports.items()}
    targets = [target for report in reports.values() for target in report.targets]
    blocks["targets"] = f"```\n{rendered(tables.targets(targets))}\n```\n"
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}{found[3]}", text)


if __name__ == "__main__":
    found = read_all(FOLDER)
    for document in documents():
        document.write_text(fill_in(document.read_text(), found))
