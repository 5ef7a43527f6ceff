"""What the commands print. Whatever a client sent, no text of it steers the terminal."""

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rollcall.core.spreadsheets import escape_formula
from scripts.csv_lines import csv_writer


def safe(text: str, keep: str = "") -> str:
    """A text with an escape for each character that does not print, but those in `keep`.

    These are the control characters of C0 and C1, so that no escape sequence begins, and those that change the
    direction of text or take no room.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class SafeTable(Table):
    """A table of plain texts, each made safe."""

    def __init__(self, *headers: str, title: str | None = None, **style: Any) -> None:
        super().__init__(
            *map(safe, headers), title=None if title is None else safe(title), title_justify="left", **style
        )

    def add_column(self, header: Any = "", *rest: Any, **style: Any) -> None:
        """Add a column."""
        super().add_column(_plain(header), *rest, **style)

    def add_row(self, *cells: Any, **style: Any) -> None:
        """Add a row of texts."""
        super().add_row(*map(_plain, cells), **style)


class SafeConsole(Console):
    """Prints plain texts, each made safe, and tables. Finds no markup in a text."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def print(self, *results: Any, **style: Any) -> None:
        """Print texts and tables."""
        super().print(*map(_plain, results), **style)

    def status(self, status: Any, **style: Any) -> Any:
        """Show a text for as long as something takes."""
        return super().status(_plain(status), **style)


def as_json(value: Any, **form: Any) -> str:
    """A value as JSON in printable ASCII. `json` itself leaves one control character, DEL, as it is."""
    return json.dumps(value, **form).replace("\x7f", "\\u007f")


def write_csv(columns: Iterable[str], rows: Iterable[Iterable[object]], *, raw: bool) -> None:
    """Print CSV: exactly for a file or a pipe, and safe for a terminal. Unless `raw`, no cell starts a formula."""
    writer = csv_writer(_SafeStream(sys.stdout) if sys.stdout.isatty() else sys.stdout)
    for row in (columns, *rows) if raw else (map(escape_formula, row) for row in (columns, *rows)):
        writer.writerow(row)


class _SafeStream:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(safe(text, keep="\n"))


def _plain(value: Any) -> Any:
    return Text(safe(value)) if isinstance(value, str) else value
