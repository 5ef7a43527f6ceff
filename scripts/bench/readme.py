"""Writes the README's figures from the reports in docs/figures.

    python -m scripts.bench.readme

A block stands between `<!-- figures: NAME -->` and `<!-- end -->`: one for each report, and one named `targets`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.bench import tables
from scripts.bench.report import Report, rendered
from scripts.paths import ROOT

FOLDER = ROOT / "docs/figures"
README = ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read_all(folder: Path) -> dict[str, Report]:
    """The reports of a folder by their names."""
    reports = (Report.read(file) for file in sorted(folder.glob("*.json")))
    return {report.name: report for report in reports}


def fill_in(text: str, reports: Mapping[str, Report]) -> str:
    """A README with its blocks written anew; raises `KeyError` where there is no such report."""
    blocks = {name: report.block() for name, report in reports.items()}
    targets = [target for report in reports.values() for target in report.targets]
    blocks["targets"] = f"```\n{rendered(tables.targets(targets))}\n```\n"
    return _BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}{found[3]}", text)


if __name__ == "__main__":
    README.write_text(fill_in(README.read_text(), read_all(FOLDER)))
