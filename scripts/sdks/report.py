"""The results of the suite as a table, and in docs/sdks.md."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.bench.report import machine
from scripts.sdks.suite import Result
from scripts.terminal import SafeTable

COLUMNS = ("SDK", "package", "version", "sent", "counted", "sent twice", "requests", "retries", "result")
# Of the lines about what is wrong with an SDK, as many are shown.
MOST_LINES, MOST_CHARACTERS = 12, 400
_BLOCK = re.compile(r"(<!-- sdks -->\n).*?(<!-- end -->)", re.DOTALL)


def rows(results: Sequence[Result]) -> list[list[str]]:
    """A row of `COLUMNS` for each SDK."""
    return [
        [
            result.sdk.name,
            result.sdk.package,
            result.sdk.version,
            *(
                ["", "", "", "", ""]
                if result.skipped
                else map(str, (result.sent, result.counted, result.duplicates, result.requests, result.retries))
            ),
            outcome(result),
        ]
        for result in results
    ]


def outcome(result: Result) -> str:
    """What became of an SDK, in a few words."""
    if result.skipped:
        return f"not run: {result.skipped}"
    return f"{len(result.faults)} faults" if result.faults else "passed"


def table(results: Sequence[Result]) -> SafeTable:
    """The table for a terminal."""
    shown = SafeTable(box=None, pad_edge=False)
    for name in COLUMNS:
        shown.add_column(name, justify="right" if name in COLUMNS[3:8] else "left")
    for row in rows(results):
        shown.add_row(*row)
    return shown


def lines_of(result: Result) -> list[str]:
    """What is wrong with an SDK, a line each."""
    lines = [
        f"{fault[:MOST_CHARACTERS]}{f' ({times} times)' if times > 1 else ''}"
        for fault, times in Counter(result.faults).items()
    ]
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def write(file: Path, results: Sequence[Result], day: str) -> None:
    """Put the table of a run into a document, between `<!-- sdks -->` and `<!-- end -->`."""
    text = "\n".join(
        f"| {' | '.join(row)} |" for row in [COLUMNS, ["---"] * 3 + ["---:"] * 5 + ["---"], *rows(results)]
    )
    block = f"\n{text}\n\n{day}, {machine()}.\n\n"
    file.write_text(_BLOCK.sub(lambda found: f"{found[1]}{block}{found[2]}", file.read_text()))
