"""The report of a benchmark: as tables, as JSON, and as a block for the documents."""

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
    """A figure and the bound that it has to meet."""

    what: str
    figure: float
    bound: float
    at_least: bool = False
    """Whether the bound is a lower one."""

    @property
    def met(self) -> bool:
        """Whether the figure meets the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def figures(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Report:
    """The results of a benchmark, with the machine and the date."""

    name: str
    command: str
    """The command that repeats the benchmark."""
    figures: Any
    """The figures as data for JSON."""
    targets: Sequence[Target]
    text: str
    """The tables as they are printed."""
    measured_at: str
    machine: str

    @classmethod
    def of(cls, name: str, command: str, figures: Any, targets: Sequence[Target], *renderables: Any) -> "Report":
        """The report of a benchmark that has just run on this machine."""
        return cls(
            name, command, figures, targets, rendered(*renderables), datetime.now(UTC).date().isoformat(), machine()
        )

    @classmethod
    def read(cls, file: Path) -> "Report":
        """The report in a file."""
        found = json.loads(file.read_text())
        targets = [
            Target(each["what"], each["figure"], each["bound"], each["at_least"]) for each in found.pop("targets")
        ]
        return cls(targets=targets, **found)

    def write(self, folder: Path) -> Path:
        """Write the report as NAME.json; returns the path."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        file.write_text(json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n")
        return file

    def as_dict(self) -> dict[str, Any]:
        """All figures as data for JSON."""
        return {**asdict(self), "targets": [target.figures() for target in self.targets]}

    def block(self) -> str:
        """The report as a block for the documents."""
        return f"```\n$ {self.command}\n{self.text}\n```\n\n{self.measured_at}, {self.machine}.\n"


def machine() -> str:
    """A description of this machine, without anything that identifies it."""
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
