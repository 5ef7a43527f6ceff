"""What a benchmark found: as tables, as JSON, and as a document shows it."""

import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

WIDTH = 120


@dataclass(frozen=True)
class Target:
    """A figure and what it is held to."""

    what: str
    figure: float
    bound: float
    at_least: bool = False
    """Whether more is better."""

    @property
    def met(self) -> bool:
        """Whether the figure is within the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def figures(self) -> dict[str, Any]:
        """All of it as data."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Report:
    """What one benchmark found, and where and when."""

    name: str
    command: str
    """That repeats it."""
    figures: Any
    """As JSON has it."""
    targets: Sequence[Target]
    text: str
    """The tables, as they are printed."""
    measured_at: str
    machine: str

    @classmethod
    def of(cls, name: str, command: str, figures: Any, targets: Sequence[Target], *renderables: Any) -> "Report":
        """What was found just now, on this machine."""
        return cls(
            name, command, figures, targets, rendered(*renderables), datetime.now(UTC).date().isoformat(), machine()
        )

    @classmethod
    def read(cls, file: Path) -> "Report":
        """One that was written."""
        found = json.loads(file.read_text())
        targets = [
            Target(each["what"], each["figure"], each["bound"], each["at_least"]) for each in found.pop("targets")
        ]
        return cls(targets=targets, **found)

    def write(self, folder: Path) -> Path:
        """Write it as NAME.json; returns the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        file.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n")
        return file

    def as_dict(self) -> dict[str, Any]:
        """All of it as data."""
        return {**asdict(self), "targets": [target.figures() for target in self.targets]}

    def block(self) -> str:
        """As a document shows it."""
        return f"```\n$ {self.command}\n{self.text}\n```\n\n{self.measured_at}, {self.machine}.\n"


def machine() -> str:
    """What the figures were measured on, without what would name it."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        model = f" ({found[1].strip()})" if found else ""
    cores = f"{os.cpu_count()} cores of {platform.machine()}{model}"
    return f"{cores}, Python {platform.python_version()}, MiniStack {version('ministack')}"


def rendered(*renderables: Any) -> str:
    """Tables and lines as plain text."""
    text = StringIO()
    console = Console(file=text, width=WIDTH, highlight=False, markup=False, emoji=False)
    for renderable in renderables:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in text.getvalue().rstrip().splitlines())
