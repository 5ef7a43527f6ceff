"""What `sam build` makes of the functions and the layer, as far as it can be told without SAM and without a network."""

import ast
import importlib.util
import shutil
import subprocess
import sys
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from scripts.local import packages
from scripts.local.deploy import template
from scripts.local.packages import LAYER, MACHINES, check, inspect, machine
from scripts.paths import ROOT

RESOURCES: dict[str, dict[str, Any]] = template()["Resources"]
FUNCTIONS = {name: each for name, each in RESOURCES.items() if each["Type"] == "AWS::Serverless::Function"}
MAKEFILES = ROOT / "scripts/package"
LOCALSTACK = "localstack"


@pytest.fixture
def this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages are compiled by the Python that runs the tests, in place of Lambda's."""
    monkeypatch.setattr(packages, "MAGIC", importlib.util.MAGIC_NUMBER)
    monkeypatch.setattr(packages, "TAG", sys.implementation.cache_tag)


def make(folder: str, resource: str, source: Path, built: Path, *, pip: bool = False, charts: str = "") -> Path:
    """Run what `sam build` runs for a resource, without third-party packages unless `pip` is to install them.

    `charts` is the hash of the page's chart library, in place of the pinned one.
    """
    built.mkdir()
    command = shutil.which("make")
    assert command, "there is no make"
    told = [f"ARTIFACTS_DIR={built}", f"PYTHON={sys.executable}", *([] if pip else ["PIP=true"])]
    told += [f"CHARTS_SHA256={charts}"] if charts else []
    subprocess.run(
        [command, "--silent", "--makefile", MAKEFILES / folder / "Makefile", f"build-{resource}", *told],
        cwd=source,
        check=True,
        capture_output=True,
    )
    return built


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """The folder of a function with no requirements."""
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "handler.py").write_text("said = 'the source that was built'\n")
    (folder / "requirements.txt").write_text("")
    # Bytecode of the developer's is not shipped.
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/handler.cpython-311.pyc").write_bytes(b"")
    return folder


def wheel(folder: Path, source: str) -> str:
    """Make a wheel of a module `tiny` in a folder; returns its hash."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        about = {
            "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }
        archive.writestr("tiny.py", source)
        for name, text in about.items():
            archive.writestr(f"tiny-1.0.dist-info/{name}", text)
    return sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("folder", ["arm64", "x86_64"])
def test_a_functions_package_is_made_of_the_files_whose_hashes_are_pinned(
    function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    pinned = wheel(index, "said = 'pinned'\n")
    (function / "requirements.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{pinned}\n")
    built = make(folder, "AnyFunction", function, tmp_path / "pinned", pip=True)
    assert (built / "tiny.py").read_text() == "said = 'pinned'\n"
    # The same name and version with other content, as from an index that was broken into.
    wheel(index, "said = 'replaced'\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(folder, "AnyFunction", function, tmp_path / "replaced", pip=True)
    assert b"DO NOT MATCH THE HASHES" in refused.value.stderr
    (function / "requirements.txt").write_text("tiny==1.0\n")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(folder, "AnyFunction", function, tmp_path / "without", pip=True)
    assert b"--require-hashes" in refused.value.stderr
    assert not list(tmp_path.glob("replaced/tiny*")) + list(tmp_path.glob("without/tiny*"))


def charts_wheel(index: Path, content: bytes) -> str:
    """Make a wheel that has a chart library where the pinned one has it; returns the wheel's hash."""
    index.mkdir(exist_ok=True)
    path = index / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("panel/dist/bundled/echarts/echarts@6.0.0/dist/echarts.min.js", content)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def page(function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a page's function, with a wheel for its chart library."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    pinned = charts_wheel(tmp_path / "index", b"charts")
    (function / "charts-requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{pinned}\n")
    (function / "site").mkdir()
    (function / "site/index.html").write_text("page")
    return function


def test_the_page_is_built_with_its_chart_library_and_nothing_else_of_the_librarys_wheel(
    page: Path, tmp_path: Path
) -> None:
    built = make("arm64", "PageFunction", page, tmp_path / "built", pip=True, charts=sha256(b"charts").hexdigest())

    shipped = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert shipped == {"handler.py", "requirements.txt", "site/index.html", "vendor/echarts.min.js"}
    assert (built / "vendor/echarts.min.js").read_bytes() == b"charts"
    assert {path.name for path in (page / "vendor").iterdir()} == {"echarts.min.js"}


def test_a_chart_library_of_another_hash_is_not_taken(page: Path, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make("arm64", "PageFunction", page, tmp_path / "built", pip=True, charts="0" * 64)
    assert f"has the hash {sha256(b'charts').hexdigest()}, not 0000".encode() in refused.value.stderr
    charts_wheel(tmp_path / "index", b"another")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make("arm64", "PageFunction", page, tmp_path / "again", pip=True, charts=sha256(b"another").hexdigest())
    assert b"DO NOT MATCH THE HASHES" in refused.value.stderr

    assert not list(tmp_path.rglob("*.js"))


def run(code: str, folder: Path) -> str:
    """What code prints that finds nothing but the standard library and a folder."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.usefixtures("this_python")
def test_bytecode_is_shipped_and_python_takes_it_without_a_look_at_the_source(function: Path, tmp_path: Path) -> None:
    built = make("arm64", "AnyFunction", function, tmp_path / "built")
    assert inspect(built, "arm64").faults == ()
    assert [path.name for path in built.rglob("*.pyc")] == [f"handler.{sys.implementation.cache_tag}.pyc"]
    (built / "handler.py").write_text("said = 'compiled anew'\n")
    assert run("import handler; print(handler.said)", built) == "the source that was built"
    assert inspect(built, "arm64").faults == ("handler.py has the bytecode of another source",)


def test_the_same_sources_make_the_same_bytecode(function: Path, tmp_path: Path) -> None:
    folders = [make("arm64", "AnyFunction", function, tmp_path / name) for name in ("one", "another")]
    one, another = ({path.name: path.read_bytes() for path in folder.rglob("*.pyc")} for folder in folders)
    assert one == another != {}


@pytest.mark.usefixtures("this_python")
def test_the_layer_is_the_package_with_its_bytecode_and_nothing_else(tmp_path: Path) -> None:
    built = make("arm64", LAYER, ROOT / RESOURCES[LAYER]["Properties"]["ContentUri"], tmp_path / "built")
    assert inspect(built, "arm64").faults == ()
    package = ROOT / "layers/common/rollcall"
    sources = {path.relative_to(package) for path in package.rglob("*") if path.suffix in (".py", ".typed")}
    shipped = {path.relative_to(built / "python/rollcall") for path in built.rglob("*") if path.is_file()}
    assert {path for path in shipped if path.suffix != ".pyc"} == sources


def test_functions_for_aws_leave_the_layers_code_to_the_layer(function: Path, tmp_path: Path) -> None:
    built = make("x86_64", "AnyFunction", function, tmp_path / "built")
    assert {path.name for path in built.iterdir()} == {"handler.py", "requirements.txt", "__pycache__"}


@pytest.mark.usefixtures("this_python")
def test_functions_for_localstack_need_no_layer(function: Path, tmp_path: Path) -> None:
    built = make(LOCALSTACK, "AnyFunction", function, tmp_path / "built")
    assert run("import rollcall.core.days; print(rollcall.__file__)", built) == str(built / "rollcall/__init__.py")
    assert inspect(built, "arm64").faults == ()


def test_localstack_is_built_and_deployed_by_a_configuration_of_its_own() -> None:
    configured = tomllib.loads((ROOT / "samconfig.toml").read_text())[LOCALSTACK]
    assert ROOT / configured["build"]["parameters"]["manifest"] == MAKEFILES / LOCALSTACK / "Makefile"
    # It would keep a function as it was built last while the layer's code changes.
    assert "cached" not in configured["build"]["parameters"]
    assert configured["deploy"]["parameters"]["stack_name"] == "rollcall"


@pytest.mark.parametrize("name", [*FUNCTIONS])
def test_every_function_is_built_for_the_processor_that_it_runs_on(name: str) -> None:
    assert FUNCTIONS[name]["Metadata"] == {
        "BuildMethod": "makefile",
        "ContextPath": {"Fn::Sub": "scripts/package/${Architecture}"},
    }
    assert template()["Globals"]["Function"]["Architectures"] == [{"Ref": "Architecture"}]


def test_the_processors_makefiles_differ_in_the_processor_alone() -> None:
    assert set(template()["Parameters"]["Architecture"]["AllowedValues"]) == MACHINES.keys()
    arm, intel = ((MAKEFILES / folder / "Makefile").read_text() for folder in ("arm64", "x86_64"))
    assert arm.replace("PROCESSOR := aarch64", "PROCESSOR := x86_64") == intel != arm
    layer = RESOURCES[LAYER]["Metadata"]
    assert (layer["BuildMethod"], ROOT / layer["ContextPath"]) == ("makefile", MAKEFILES / "arm64")


def package(folder: Path, processor: int) -> Path:
    """A package with a module, its bytecode by Python 3.13, and a native library."""
    folder.mkdir(parents=True)
    source, compiled = folder / "module.py", folder / f"__pycache__/module.{packages.TAG}.pyc"
    compiled.parent.mkdir()
    source.write_bytes(b"one = 1\n")
    content_hash = bytes.fromhex("f6346c4c0c5cbb28")
    compiled.write_bytes(packages.MAGIC + packages.UNCHECKED_HASH + content_hash + b"code")
    (folder / "native.so").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0" + processor.to_bytes(2, "little"))
    return folder


def test_native_code_for_another_processor_is_found(tmp_path: Path) -> None:
    built = package(tmp_path / "built", MACHINES["arm64"])
    assert machine(built / "native.so") == 0xB7
    assert machine(built / "module.py") is None
    assert inspect(built, "arm64").faults == ()
    assert inspect(built, "x86_64").faults == ("native.so is not for x86_64",)


@pytest.mark.parametrize(
    ("at", "instead", "said"),
    [
        (0, (3495).to_bytes(2, "little"), "has the bytecode of another Python"),
        (4, b"\x03", "has bytecode that Python checks first"),
        (4, b"\x00", "has bytecode that Python checks first"),
        (8, b"\x00", "has the bytecode of another source"),
    ],
)
def test_bytecode_that_lambdas_python_would_not_take_is_found(
    tmp_path: Path, at: int, instead: bytes, said: str
) -> None:
    built = package(tmp_path / "built", MACHINES["arm64"])
    (compiled,) = built.rglob("*.pyc")
    content = compiled.read_bytes()
    compiled.write_bytes(content[:at] + instead + content[at + len(instead) :])
    assert inspect(built, "arm64").faults == (f"module.py {said}",)
    compiled.unlink()
    assert inspect(built, "arm64").faults == ("module.py has no bytecode",)


def test_a_package_over_lambdas_limit_or_off_its_documented_size_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OneFunction", LAYER):
        with (package(tmp_path / name, MACHINES["arm64"]) / "data").open("wb") as file:
            file.truncate(packages.MB)

    def wrong(sizes: dict[str, float]) -> dict[str, list[str]]:
        return {found.name: faults for found, faults in check(tmp_path, "arm64", sizes)}

    assert wrong({"OneFunction": 1, LAYER: 1}) == {"OneFunction": [], LAYER: []}
    assert wrong({"OneFunction": 1.2, LAYER: 1})["OneFunction"] == ["it has 1.0 MB; docs/deploy.md says 1.2"]
    assert wrong({LAYER: 1})["OneFunction"] == ["docs/deploy.md does not name its size"]
    assert wrong({"OneFunction": 1, LAYER: 1, "Other": 1})["Other"] == ["it was not built"]
    monkeypatch.setattr(packages, "LIMIT_MB", 1.5)
    assert wrong({"OneFunction": 1, LAYER: 1})["OneFunction"] == ["with the layer it has 2 MB; Lambda allows 1.5"]


def test_the_documents_name_the_size_of_every_package() -> None:
    assert packages.documented().keys() == {*FUNCTIONS, LAYER}


def test_what_localstack_cannot_do_is_not_asked_of_it() -> None:
    """LocalStack encodes form bodies anew, so a test that sends one is not for it."""
    found = []
    for file in (ROOT / "tests/e2e").glob("test_*.py"):
        for each in ast.walk(ast.parse(file.read_text())):
            if isinstance(each, ast.FunctionDef) and "application/x-www-form-urlencoded" in ast.unparse(each):
                found += [ast.unparse(decorator) for decorator in each.decorator_list]
                assert any("targets(" in marker and LOCALSTACK not in marker for marker in found), each.name
    assert found
