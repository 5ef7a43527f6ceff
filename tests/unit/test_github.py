"""The workflow, the forms for issues and the checklist of a pull request."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from scripts.paths import ROOT

GITHUB = ROOT / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
WORKFLOWS = sorted((GITHUB / "workflows").iterdir())
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read(path: Path) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml_parse(path.read_text())
    return parsed


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_the_script_that_anybody_can_run_and_nothing_else(path: Path) -> None:
    found = list(steps(read(path)))
    used = [step["uses"].partition("@")[0] for step in found if "uses" in step]

    assert [step["run"] for step in found if "run" in step] == [".ci/run"]
    assert used == ["actions/checkout", "actions/setup-python"]
    assert all(("run" in step) is not ("uses" in step) for step in found)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_the_code_alone_and_ends_after_a_time(path: Path) -> None:
    workflow = read(path)

    assert workflow["permissions"] == {"contents": "read"}
    assert not [job for job in workflow["jobs"].values() if "permissions" in job]
    assert all(0 < job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    assert "secrets." not in path.read_text()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_s_actions_are_pinned_to_a_major_version(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]

    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)] == []
    assert used


def test_the_workflow_runs_for_main_and_for_pull_requests_without_the_rights_of_main() -> None:
    # YAML takes the key `on` for a truth.
    (triggers,) = (
        value for key, value in read(GITHUB / "workflows/ci.yml").items() if str(key).lower() in ("on", "true")
    )

    assert triggers == {"push": {"branches": ["main"]}, "pull_request": None}


def test_the_workflow_tries_the_oldest_python_and_the_one_of_the_functions() -> None:
    (job,) = read(GITHUB / "workflows/ci.yml")["jobs"].values()
    (setup,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@"))
    (run,) = (step for step in job["steps"] if "run" in step)
    runtime = read(ROOT / "template.yaml")["Globals"]["Function"]["Runtime"].removeprefix("python")
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")

    assert job["strategy"]["matrix"] == {"python": [oldest, runtime]}
    assert setup["with"]["python-version"] == "${{ matrix.python }}"
    assert run["env"] == {"PYTHON": "python${{ matrix.python }}"}


def test_the_script_of_the_workflow_makes_its_environment_with_the_python_that_it_is_told() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "--always-make", f"--directory={ROOT}", "lint"],  # noqa: S607
        env={"PATH": "/usr/bin:/bin", "PYTHON": "some-python"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "some-python -m venv .venv" in said
    assert "make lint" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_for_issues_has_what_github_asks_for(path: Path) -> None:
    form = read(path)
    fields = [element for element in form["body"] if element["type"] != "markdown"]
    ids = [field["id"] for field in fields]

    assert form.keys() <= {"name", "description", "labels", "body"}
    assert form["name"].strip()
    assert form["description"].strip()
    assert len(set(ids)) == len(ids) > 0
    assert all(re.fullmatch(r"[\w-]+", name) for name in ids)
    assert all(field["type"] in ("input", "textarea", "dropdown", "checkboxes") for field in fields)
    assert all(field["attributes"]["label"].strip() for field in fields)
    assert all(element["attributes"]["value"].strip() for element in form["body"] if element["type"] == "markdown")
    assert all(len(field["attributes"]["options"]) > 1 for field in fields if field["type"] == "dropdown")
    assert [field for field in fields if field.get("validations", {}).get("required") is True]


def test_issues_are_written_by_a_form_for_bugs_or_one_for_all_else() -> None:
    assert [path.name for path in FORMS] == ["bug.yml", "feature.yml"]
    assert read(GITHUB / "ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"] is False


def test_the_form_for_bugs_sends_whoever_found_a_hole_elsewhere() -> None:
    (note,) = (element for element in read(GITHUB / "ISSUE_TEMPLATE/bug.yml")["body"] if element["type"] == "markdown")

    assert "docs/security.md" in note["attributes"]["value"]
    assert "## Report a hole" in (ROOT / "docs/security.md").read_text()


def test_a_pull_request_is_asked_for_a_test_the_changelog_and_the_script() -> None:
    asked = re.findall(r"^- \[ \] (.+)$", (GITHUB / "pull_request_template.md").read_text(), re.MULTILINE)

    assert len(asked) <= 5
    for word in ("test", "`docs/changelog.md`", "`.ci/run`"):
        assert [line for line in asked if word in line]


def run_ci(folder: Path, **commands: str) -> tuple[str, str]:
    """Run a copy of `.ci/run` where there are these commands and little else; returns what it says and warns of."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("bash", "dirname"):
        (programs / name).symlink_to(shutil.which(name) or name)
    for name, code in {"make": 'echo "make $*"', **commands}.items():
        (programs / name).write_text(f"#!{programs}/bash\n{code}\n")
        (programs / name).chmod(0o755)
    script = folder / ".ci/run"
    script.parent.mkdir()
    script.write_text((ROOT / ".ci/run").read_text())
    done = subprocess.run(
        [programs / "bash", script], env={"PATH": str(programs)}, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("commands", [{}, {"apt-get": "exit 100"}], ids=["no apt-get", "apt-get that fails"])
def test_without_a_browser_the_script_says_so_and_goes_on(tmp_path: Path, commands: dict[str, str]) -> None:
    said, warned = run_ci(tmp_path, **commands)

    assert said.splitlines()[-2:] == ["make test", "make lint"]
    assert "There is no chromium" in warned
    assert "skipped" in warned


def test_the_script_installs_a_browser_where_it_may_and_there_is_none(tmp_path: Path) -> None:
    apt = {"apt-get": 'echo "apt-get $*"'}
    (tmp_path / "none").mkdir()
    (tmp_path / "one").mkdir()

    said, _ = run_ci(tmp_path / "none", **apt)
    there, _ = run_ci(tmp_path / "one", **apt, chromium="")

    assert ("install -y -qq --no-install-recommends chromium" in said) is (os.geteuid() == 0)
    assert there.splitlines() == ["make test", "make lint"]
