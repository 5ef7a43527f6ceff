import re
from pathlib import Path

from rollcall.http.document import describe
from scripts.bench.readme import FOLDER, fill_in, read_all
from scripts.local.deploy import template
from scripts.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_table_of_routes_is_the_api() -> None:
    table = set(
        re.findall(r"`((?:GET|POST|PUT|DELETE) /[\w./{}-]*)`", README.partition("## The API")[2].partition("\n\n")[2])
    )
    described = {f"{method.upper()} {path}" for path, methods in describe()["paths"].items() for method in methods}
    assert table - {"GET /docs", "GET /openapi.json"} == described


def test_the_table_of_routes_names_the_scope_that_each_asks_for() -> None:
    named = {
        route: scope.strip()
        for cell, scope in re.findall(r"^\| (`[A-Z]+ /.*?) \| (\w* ?)\| ", README, re.MULTILINE)
        for route in re.findall(r"`([A-Z]+ /\S+)`", cell)
    }
    asked = {
        f"{method.upper()} {path}": (operation["security"][0]["ApiKey"] or ["account"])[0]
        if "security" in operation
        else ""
        for path, methods in describe()["paths"].items()
        for method, operation in methods.items()
    }
    assert {route: named[route] for route in asked} == asked


def test_its_make_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = set(re.findall(r"\bmake ([a-z][a-z-]*)\b", README)) - {"run", "test"}
    assert {"run", "test"} <= targets
    assert commands <= targets


def test_its_parameters_are_those_of_the_template() -> None:
    table = README.partition("Parameters:\n\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    parameters = template()["Parameters"]
    assert [(name, default, text) for name, default, text in rows] == [
        (name, str(parameter["Default"]) or "(none)", parameter["Description"])
        for name, parameter in parameters.items()
    ]


def test_its_figures_are_those_of_the_reports() -> None:
    assert fill_in(README, read_all(FOLDER)) == README


def test_its_links_to_files_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not Path(ROOT / link).exists()] == []


def test_every_environment_variable_it_names_is_read() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "scripts").rglob("*.py"))
    names = set(re.findall(r"\bROLLCALL_\w+", README))
    assert names
    assert [name for name in names if name not in sources] == []
