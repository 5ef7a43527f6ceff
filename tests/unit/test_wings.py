"""Which part of the code may import which. docs/architecture.md shows it."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.paths import ROOT

PACKAGE = ROOT / "layers/common/rollcall"

# A wing's own modules may import each other, too.
WINGS: dict[str, set[str]] = {
    "core": set(),
    "stack": {"core"},
    "access": {"stack", "core"},
    "intake": {"stack", "core"},
    "counting": {"stack", "core"},
    "archive": {"counting", "stack", "core"},
    "files": {"counting", "intake", "stack", "core"},
    "questions": {"archive", "stack", "core"},
    "operation": {"questions", "access", "stack", "core"},
    "http": {"operation", "questions", "files", "archive", "counting", "intake", "access", "stack", "core"},
}
# Which wings a library is for. One that is not named here is for none.
LIBRARIES: dict[str, set[str]] = {
    "argon2": {"access"},
    "jwt": {"access"},
    "boto3": {"stack"},
    "urllib3": {"stack"},
    "duckdb": {"archive"},
    "fastapi": {"http"},
    "mangum": {"http"},
    "prometheus_client": {"http"},
    "pydantic": {"http"},
    "pydantic_core": {"http"},
    "starlette": {"http"},
    # A batch's encoding, one that clients may send, and days that are kept whole.
    "msgpack": {"core", "intake", "questions"},
    # Logs and metrics.
    "aws_lambda_powertools": WINGS.keys() - {"core"},
    # What AWS answers where it refuses.
    "botocore": WINGS.keys() - {"core"},
}


class Import(NamedTuple):
    """A module that a file imports."""

    name: str
    at_start: bool
    """When the file is loaded, not only for types or once a function is called."""


def imports_of(file: Path) -> Iterator[Import]:
    """All imports of a file, wherever they stand; `from package import module` names the module."""

    def visit(node: ast.AST, at_start: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            yield from (Import(f"{node.module}.{alias.name}", at_start) for alias in node.names)
        for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        later = for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_start and not later)

    return visit(ast.parse(file.read_text()), at_start=True)


def modules(package: Path) -> dict[str, Path]:
    """The files of a package by the names of their modules."""
    named = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in named.items()}


def module_of(name: str, known: dict[str, Path]) -> str | None:
    """The module that an import loads: the name itself, or what it is taken from."""
    return name if name in known else name.rpartition(".")[0] if name.rpartition(".")[0] in known else None


def wrong_imports(package: Path) -> list[str]:
    """What the package's files import against the rules, as `wing/file.py imports name`."""
    wrong = []
    known = modules(package)
    for file in known.values():
        wing = file.relative_to(package).parts[0]
        for name, _ in imports_of(file):
            top, _, rest = name.partition(".")
            if top == package.name:
                other = rest.partition(".")[0]
                allowed = other in WINGS[wing] | {wing}
            elif top in ("functions", "scripts", "tests"):
                allowed = False
            else:
                allowed = _is_allowed_outside(top, wing)
            if not allowed:
                wrong.append(f"{file.relative_to(package)} imports {name}")
    return wrong


def _is_allowed_outside(top: str, wing: str) -> bool:
    if top in sys.stdlib_module_names:
        return True
    if top.startswith("types_boto3"):
        # There for type checkers alone.
        return wing != "core"
    return wing in LIBRARIES.get(top, set())


def circles(package: Path) -> list[str]:
    """The modules of a circle of imports, those for types included; none where there is no circle."""
    known = modules(package)
    graph = {
        name: {module for each, _ in imports_of(file) if (module := module_of(each, known)) and module != name}
        for name, file in known.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def loaded_at_start(file: Path) -> set[str]:
    """The modules of `rollcall` that a file loads, by itself or through others, before anything is called."""
    known = modules(PACKAGE)
    found: set[str] = set()
    waiting = [file]
    while waiting:
        for name, at_start in imports_of(waiting.pop()):
            module = module_of(name, known)
            if at_start and module and module not in found:
                found.add(module)
                waiting.append(known[module])
    return found


FUNCTIONS = sorted(path.parent.name for path in ROOT.glob("functions/*/handler.py"))


def test_every_wing_has_its_rule() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == WINGS.keys()
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py"}


def test_a_wing_imports_only_from_wings_below_it_and_only_its_own_libraries() -> None:
    assert wrong_imports(PACKAGE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(PACKAGE) == []
    assert circles(ROOT / "scripts") == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_wings_may_use_is_used(library: str) -> None:
    users = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if any(name.partition(".")[0] == library for name, _ in imports_of(file))
    }

    assert users


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("core/made.py", "from rollcall.stack import keys"),
        ("stack/made.py", "from rollcall.access.gate import Gate"),
        ("access/made.py", "import rollcall.counting.receipts"),
        ("intake/made.py", "def late() -> None:\n    from rollcall.files import rows"),
        (
            "counting/made.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rollcall.archive import bucket",
        ),
        ("archive/made.py", "from rollcall.questions.segment import Condition"),
        ("files/made.py", "from rollcall.archive import bucket"),
        ("questions/made.py", "from rollcall.counting.receipts import Receipt"),
        ("operation/made.py", "from rollcall.files.progress import ImportLog"),
        ("operation/made.py", "from rollcall.http import problems"),
        ("http/made.py", "from functions.stats import handler"),
        ("http/made.py", "import scripts.cli"),
        ("http/made.py", "from tests import support"),
        ("core/made.py", "import boto3"),
        ("core/made.py", "from aws_lambda_powertools import Logger"),
        ("core/made.py", "from botocore.exceptions import ClientError"),
        ("access/made.py", "import boto3"),
        ("intake/made.py", "import pydantic"),
        ("questions/made.py", "import duckdb"),
        ("http/made.py", "import jwt"),
        ("http/made.py", "from argon2 import PasswordHasher"),
        ("files/made.py", "from fastapi import FastAPI"),
        ("stack/made.py", "import requests"),
    ],
)
def test_an_import_against_the_rules_is_found(tmp_path: Path, file: str, line: str) -> None:
    package = tmp_path / "rollcall"
    for module in modules(PACKAGE).values():
        copied = package / module.relative_to(PACKAGE)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.touch()
    assert wrong_imports(package) == []

    (package / file).write_text(f"{line}\n")

    (wrong,) = wrong_imports(package)
    assert wrong.startswith(f"{file} imports ")


def test_a_circle_is_found(tmp_path: Path) -> None:
    package = tmp_path / "rollcall"
    package.mkdir()
    (package / "one.py").write_text("from rollcall.two import a\n")
    (package / "two.py").write_text("def late() -> None:\n    import rollcall.three\n")
    (package / "three.py").write_text("from rollcall import one\n")

    assert {*circles(package)} == {"rollcall.one", "rollcall.two", "rollcall.three"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_the_consumer_loads_the_claim_protocol(function: str) -> None:
    loaded = loaded_at_start(ROOT / f"functions/{function}/handler.py")

    assert ("rollcall.counting.claims" in loaded) is (function == "consumer")


@pytest.mark.parametrize("function", ["auth", "ingest"])
def test_the_doors_load_no_archive(function: str) -> None:
    loaded = loaded_at_start(ROOT / f"functions/{function}/handler.py")

    assert "rollcall.http.app" in loaded
    assert {module for module in loaded if module.startswith("rollcall.archive")} == set()
    assert not {"rollcall.questions.remote", "rollcall.questions.asking"} & loaded
