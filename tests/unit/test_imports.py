import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import lock
from scripts.paths import ROOT
from tests.support import SETTINGS

PACKAGE = ROOT / "layers/common/rollcall"
MODULES = sorted(PACKAGE.rglob("*.py"))
WEB = {"fastapi", "mangum", "pydantic", "starlette"}
REQUIREMENTS = sorted({*ROOT.glob("*requirements*.txt"), *ROOT.glob("*/*requirements*.txt")}) + sorted(
    ROOT.glob("functions/*/*requirements*.txt")
)


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh Python loads by running the code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COV_"))}
    environment |= {**SETTINGS, "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    program = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {module.partition(".")[0] for module in done.stdout.split()}


@pytest.mark.parametrize(
    "module",
    [
        "questions.question",
        "counting.counters",
        "core.days",
        "core.events",
        "stack.keys",
        "core.limits",
        "questions.segment",
        "stack.settings",
    ],
)
def test_the_domain_loads_the_standard_library_only(module: str) -> None:
    loaded = loaded_by(f"import rollcall.{module}") - sys.stdlib_module_names

    # The one module of the standard library whose name is the platform's.
    assert {name for name in loaded if not name.startswith("_sysconfigdata")} == {"rollcall"}


@pytest.mark.parametrize(
    ("function", "code"),
    [
        # The layout is held against the table at start.
        ("consumer", "import rollcall.stack.layout\nrollcall.stack.layout.hold_layout = lambda *_: None"),
        ("import_csv", ""),
        ("import_part", ""),
        ("compact", ""),
        ("segments", ""),
    ],
)
def test_functions_behind_no_api_load_no_web_framework(function: str, code: str) -> None:
    loaded = loaded_by(f"{code}\nimport functions.{function}.handler")

    assert {"rollcall", "boto3", "aws_lambda_powertools"} <= loaded
    assert not WEB & loaded
    # It is larger than all else together.
    assert ("duckdb" in loaded) is (function in ("compact", "segments"))


@pytest.mark.parametrize("function", ["auth", "ingest", "stats", "retention"])
def test_functions_behind_the_api_start_without_asking_aws(function: str) -> None:
    assert loaded_by(f"import functions.{function}.handler") >= WEB


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_reads_no_environment(path: Path) -> None:
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            named.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            named.update(alias.name for alias in node.names)

    assert not {"environ", "environb", "getenv", "getenvb"} & named


def test_packages_are_marked_by_files_without_code() -> None:
    markers = [
        path for folder in ("functions", "layers", "scripts", "tests") for path in ROOT.glob(f"{folder}/**/__init__.py")
    ]

    assert PACKAGE / "__init__.py" in markers
    # What a package is for may stand there. What it imports would be loaded with every part of it.
    bodies = {path: ast.parse(path.read_text()).body for path in markers}
    assert [path for path, body in bodies.items() if len(body) > 1 or (body and not _is_text(body[0]))] == []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_the_functions_ship_what_pyproject_says_at_the_tested_versions() -> None:
    assert lock.functions()
    assert lock.drift() == []


@pytest.mark.parametrize("function", lock.functions())
def test_the_runtime_s_own_packages_are_not_shipped(function: str) -> None:
    shipped = (ROOT / f"functions/{function}/requirements.txt").read_text().splitlines()
    names = {re.split(r"[=<>\[; ]", line)[0] for line in shipped}

    assert "aws-lambda-powertools" in names
    assert not lock.IN_THE_RUNTIME & names


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_requirements_are_pinned_and_name_no_index(path: Path) -> None:
    text = path.read_text()

    assert "://" not in text
    assert {*re.findall(r"--[^=\s]*", text)} == {"--hash"}
    pinned = list(lock.read(path))
    assert pinned
    for requirement, hashes in pinned:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert hashes, requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes)


def test_a_function_ships_the_files_that_the_tests_run_with() -> None:
    tested = {requirement.name: (requirement.specifier, hashes) for requirement, hashes in lock.read(lock.LOCKS["dev"])}
    for function in lock.functions():
        for requirement, hashes in lock.read(ROOT / f"functions/{function}/requirements.txt"):
            assert (requirement.specifier, hashes) == tested[requirement.name]


def test_whatever_is_installed_from_a_file_has_its_hashes_checked() -> None:
    makefiles = [ROOT / "Makefile", *(ROOT / "scripts/package").glob("*/Makefile")]
    recipes = [line for path in makefiles for line in path.read_text().replace("\\\n", " ").splitlines()]
    installs = [
        line for line in recipes if re.search(r"\b(install|download) .*(-r|--requirement|-c|--constraint)\b", line)
    ]

    # Those of the virtual environments; and for each processor, a function's packages and the page's chart library.
    assert len(installs) == 1 + 2 * 2
    assert all("--require-hashes" in line and "--no-deps" in line for line in installs)
    # What else is installed is the checkout itself.
    others = [line for line in recipes if re.search(r"\bpip\S* install\b", line) and line not in installs]
    assert [line.rpartition(" ")[0].rpartition(" ")[2] for line in others] == ["--editable"]


def test_every_requirements_file_is_looked_at() -> None:
    assert {*lock.LOCKS.values()} <= {*REQUIREMENTS}
    assert {ROOT / f"functions/{function}/requirements.txt" for function in lock.functions()} <= {*REQUIREMENTS}
