"""What docs/projects.md shows, done as it is written there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.local.ministack import MiniStack
from scripts.paths import ROOT
from tests.e2e.conftest import DeployedStack

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("direct", "sam", reason="names the stack by the port of its MiniStack"),
]

PAGE = ROOT / "docs/projects.md"


class Step(NamedTuple):
    """A command of the page, and what it prints there."""

    command: str
    printed: str


def steps() -> list[Step]:
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    found = []
    for text in commands:
        lines = text.splitlines()
        # A quoted body goes on until its quote ends.
        length = next(number for number in range(1, len(lines) + 1) if "\n".join(lines[:number]).count("'") % 2 == 0)
        found.append(Step("\n".join(lines[:length]), "\n".join(lines[length:])))
    return found


def of_the_page(printed: str, expected: str) -> Any:
    """An answer, without the projects that other tests made in the same stack, as of the page's own moment."""
    answer = json.loads(printed)
    if "as_of" in answer:
        answer["as_of"] = json.loads(expected)["as_of"]
    if "projects" in answer:
        wanted = {each["project"] for each in json.loads(expected)["projects"]}
        answer["projects"] = [each for each in answer["projects"] if each["project"] in wanted]
    return answer


def test_the_page_about_projects_shows_what_happens(stack: DeployedStack, ministack: MiniStack, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        **stack.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ROLLCALL_PORT": str(ministack.port),
        "ROLLCALL_STATE": str(tmp_path),
        "API": str(stack.http.base_url).rstrip("/"),
        "KEY": stack.key,
    }
    done = steps()
    # One shell, so that later commands have the variables of earlier ones. A line ends what each prints.
    script = "".join(f"{step.command}\nprintf '\\n\\037\\n'\n" for step in done)
    shell = subprocess.run(
        ["/bin/bash", "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    printed = [text.strip() for text in shell.stdout.split("\x1f\n")][:-1]

    assert len(printed) == len(done) == 9
    for step, text in zip(done, printed, strict=True):
        if step.printed.startswith("{"):
            assert of_the_page(text, step.printed) == json.loads(step.printed)
        else:
            assert step.printed in shell.stderr
