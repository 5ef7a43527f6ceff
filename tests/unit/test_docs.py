import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args
from urllib.parse import parse_qsl

import typer

from rollcall.core.events import PROFILE_TYPES
from rollcall.http.document import describe
from rollcall.intake.dialects.registry import routes as sdk_routes
from rollcall.questions.question import Definition
from rollcall.questions.remote_handler import QUESTIONS
from scripts.bench.documents import FOLDER, blocks_of, documents, fill_in, read_all
from scripts.cli import app
from scripts.local.deploy import template
from scripts.paths import ROOT

DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
TEXTS = {document: document.read_text() for document in documents()}
MOST_FILES_OF_A_BEHAVIOUR = 2


class Occurrence(NamedTuple):
    """An event of the example in docs/numbers.md."""

    event_id: str
    day: date
    user_id: str
    event_type: str
    country: str


def test_the_readme_has_at_most_200_lines() -> None:
    assert len(README.splitlines()) <= 200


def test_the_table_of_routes_is_the_api() -> None:
    named = set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[\w./{}-]*)`", _section("api.md", "Routes")))
    assert named - {"GET /docs", "GET /openapi.json"} == set(_operations())


def test_the_table_of_routes_names_the_scope_that_each_asks_for() -> None:
    named = {
        route: scope
        for cell, scope, _ in _rows(_section("api.md", "Routes"))
        for route in re.findall(r"`([A-Z]+ /\S+)`", cell)
    }
    asked = {
        # A route that lists nothing among its ways needs no credential.
        route: (operation["security"][0]["ApiKey"] or ["any" if route == "POST /auth/codes" else "account"])[0]
        if {} not in operation.get("security", [{}])
        else ""
        for route, operation in _operations().items()
    }
    assert {route: named[route] for route in asked} == asked


def test_the_types_of_profile_calls_are_listed_for_readers_and_for_queries_of_athena() -> None:
    (listed,) = re.findall(r"\n\n((?:`\$\w+`(?:, )?)+)\n", _section("numbers.md", "Profile calls"))
    (queried,) = re.findall(r"event_type NOT IN \(([^)]*)\)", _section("archive.md", "Athena"))
    assert set(re.findall(r"`([^`]+)`", listed)) == set(re.findall(r"'([^']+)'", queried)) == PROFILE_TYPES


def test_the_table_of_sdks_routes_has_each_of_them() -> None:
    rows = _rows(_section("api.md", "Routes of other services' SDKs"))
    named = {route for _, cell, _ in rows for route in re.findall(r"`(?:GET )?(/[\w./{}-]*)`", cell)}
    assert sdk_routes().keys() <= named


def test_every_code_of_a_refusal_is_explained() -> None:
    raised = re.compile(
        r"(?:Refused|problem_response)\(\s*\d+,\s*\"(\w+)\""
        r"|(?:InvalidEvent|UnreadableBody|[Uu]nauthenticated|super\(\).__init__)\(\s*\"(\w+)\""
    )
    sources = "\n".join(path.read_text() for path in (ROOT / "layers").rglob("*.py"))
    codes = {first or second for first, second in raised.findall(sources)} | {"retry", "internal_error"}
    explained = set(re.findall(r"`(\w+)`", TEXTS[DOCS / "api.md"] + TEXTS[DOCS / "files.md"]))
    assert {"missing_scope", "invalid_csv", "wrong_credentials", "too_large"} <= codes
    assert codes - explained == set()


def test_the_make_commands_that_documents_name_exist() -> None:
    named = {target for text in TEXTS.values() for target in re.findall(r"\bmake ([a-z][a-z0-9-]*)", _code(text))}
    assert {"run", "test"} <= named
    assert named - _targets() == set()


def test_the_page_about_the_command_line_has_every_make_command() -> None:
    named = set(re.findall(r"`make ([a-z][a-z0-9-]*)", _section("cli.md", "make")))
    assert named - {"help"} == _targets() - {"help"}


def test_the_page_about_the_command_line_has_every_command() -> None:
    rows = {row[0].strip("`").removeprefix("rollcall "): row[1] for row in _rows(_section("cli.md", "Commands"))}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert rows.keys() == commands.keys()
    for name, command in commands.items():
        for subcommand in getattr(command, "commands", {}):
            assert f"`{subcommand}`" in rows[name]


def test_the_table_of_parameters_is_that_of_the_template() -> None:
    rows = [(name.strip("`"), default, text) for name, default, text in _rows(TEXTS[DOCS / "parameters.md"])]
    assert rows == [
        (name, str(parameter["Default"]) or "(none)", parameter["Description"])
        for name, parameter in template()["Parameters"].items()
    ]


def test_the_table_of_alarms_is_that_of_the_template() -> None:
    resources = template()["Resources"]
    alarms = {name for name, resource in resources.items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
    assert {row[0].strip("`") for row in _rows(_section("operate.md", "Alarms"))} == alarms


def test_the_figures_are_those_of_the_reports() -> None:
    reports = read_all(FOLDER)
    assert [document for document, text in TEXTS.items() if fill_in(text, reports) != text] == []


def test_every_report_is_shown_once() -> None:
    shown = Counter(name for text in TEXTS.values() for name in blocks_of(text))
    assert shown == Counter([*read_all(FOLDER), "targets"])


def test_the_dollars_in_the_readme_are_those_of_the_report() -> None:
    figures = json.loads((FOLDER / "cost.json").read_text())["figures"]

    def of_a_million(events_in_a_request: int, part: str) -> str:
        return f"${figures['batch_sizes'][str(events_in_a_request)]['dollars_per_million_events'][part]:.2f}"

    said = re.findall(r"\$\d+\.\d\d", README.partition("## What it costs\n")[2].partition("\n## ")[0])
    assert said == [
        of_a_million(500, "taking_in"),
        of_a_million(1, "taking_in"),
        of_a_million(500, "keeping_a_month"),
        f"${figures['idle']['dollars_a_month']:.2f}",
    ]


def test_links_lead_somewhere() -> None:
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document, text in TEXTS.items()
        for link, target, anchor in _links(document, text)
        if not target.exists() or (anchor and anchor not in _anchors(target.read_text()))
    ]
    assert broken == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page in TEXTS:
            reached.add(page)
            waiting += [target for _, target, _ in _links(page, TEXTS[page])]
    assert TEXTS.keys() - reached == set()


def test_the_index_of_decisions_lists_every_file_with_its_title_and_date() -> None:
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    expected = []
    for number, file in enumerate(files, 1):
        assert file.name.startswith(f"{number:04d}-")
        title, decided = file.read_text().splitlines()[0:3:2]
        day = decided.removeprefix("Decided on ").rstrip(".")
        assert date.fromisoformat(day)
        expected.append([f"[{number:04d}]({file.name})", title.removeprefix(f"# {number}. "), day])
    assert expected
    assert list(_rows(TEXTS[DOCS / "decisions/README.md"])) == expected


def test_the_environment_variables_that_documents_name_are_read() -> None:
    sources = "".join(path.read_text() for folder in ("scripts", "tests") for path in (ROOT / folder).rglob("*.py"))
    read = set(re.findall(r"[\"'](ROLLCALL_\w+)[\"']", sources))
    named = {name for text in TEXTS.values() for name in re.findall(r"\bROLLCALL_\w+", text)}
    assert "ROLLCALL_PORT" in named
    assert named - read == set()


def test_each_behaviour_is_where_the_page_about_the_architecture_says() -> None:
    rows = list(_rows(_section("architecture.md", "Where is …?")))
    assert len(rows) >= 20
    missing = []
    for behaviour, files, definitions in rows:
        places = list(zip(_quoted(files), _quoted(definitions), strict=True))
        assert 1 <= len(places) <= MOST_FILES_OF_A_BEHAVIOUR, behaviour
        missing += [(behaviour, *place) for place in places if place[1] not in _defined(ROOT / place[0])]
    assert missing == []


def test_each_definition_that_an_answer_names_has_its_chapter() -> None:
    definitions = set(get_args(Definition))
    assert definitions - _anchors(TEXTS[DOCS / "numbers.md"]) == set()
    assert {question.definition for question in QUESTIONS.values()} | {"cohort"} == definitions


def test_each_answer_to_a_question_says_what_it_is() -> None:
    document = describe()
    lacking = []
    for path, operations in document["paths"].items():
        if path.startswith("/stats/"):
            schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            for answer in schema.get("anyOf", [schema]):
                name = answer["$ref"].rpartition("/")[2]
                required = set(document["components"]["schemas"][name]["required"])
                whose: set[str] = set() if name.endswith("OfAll") else {"timezone"}
                lacking += [
                    (name, each) for each in {"definition", "as_of", "from_store"} | whose if each not in required
                ]
                assert "complete" in str(_with_parts(document, answer)), name
    assert lacking == []


def _with_parts(document: dict[str, Any], schema: Any) -> Any:
    """A schema with what it refers to in place of the references."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _with_parts(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        return {name: _with_parts(document, part) for name, part in schema.items() if name != "description"}
    return [_with_parts(document, part) for part in schema] if isinstance(schema, list) else schema


def test_the_example_s_numbers_are_those_of_a_recount() -> None:
    text = TEXTS[DOCS / "numbers.md"]
    events = [
        Occurrence(event_id, datetime.fromisoformat(at).astimezone(UTC).date(), *rest)
        for event_id, at, *rest in _rows(text.partition("\n## ")[0])
    ]
    answers = re.findall(r"^`GET /(?:stats|meta)/([\w/-]+)\?(\S+)`[^|`]*:\n\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert {question for question, _, _ in answers} == {
        "actives",
        "dau",
        "event-types",
        "lifecycle",
        "properties",
        "retention",
        "retention/table",
        "stickiness",
        "top-events",
    }
    for question, query, table in answers:
        asked = dict(parse_qsl(query))
        matching = [event for event in events if asked.get("segment") in (None, f"event_type:{event.event_type}")]
        assert list(_rows(table)) == _recount(question, asked, matching), query


def _recount(question: str, asked: dict[str, str], events: Sequence[Occurrence]) -> list[list[str]]:
    """The rows of an answer, by nothing but its definition."""
    active: dict[date, set[str]] = {}
    for event in events:
        active.setdefault(event.day, set()).add(event.user_id)
    if question == "retention":
        return _recount_retention(asked, active)
    first, last = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
    if question == "retention/table":
        return _recount_table(asked, active)
    if question in ("actives", "lifecycle", "stickiness"):
        return _recount_periods(question, asked, active)
    if question == "dau":
        days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
        users = [sorted(active.get(day, ())) for day in days]
        return [[str(day), str(len(of_day)), ", ".join(of_day)] for day, of_day in zip(days, users, strict=True)]
    if question == "event-types":
        return _recount_types([event for event in events if first <= event.day <= last])
    if question == "properties":
        of_type = [event for event in events if event.event_type == asked["event_type"] and first <= event.day <= last]
        countries = Counter(event.country for event in of_type)
        return [
            ["country", "string", value, str(count), f"properties.country:{value}"]
            for value, count in sorted(countries.items(), key=lambda entry: (-entry[1], entry[0]))
        ]
    types = Counter(event.event_type for event in events if first <= event.day <= last)
    return [
        [
            name,
            str(count),
            ", ".join(event.event_id for event in events if event.event_type == name and first <= event.day <= last),
        ]
        for name, count in sorted(types.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _recount_types(events: Sequence[Occurrence]) -> list[list[str]]:
    days: dict[str, list[date]] = {}
    for event in events:
        days.setdefault(event.event_type, []).append(event.day)
    return [
        [name, str(len(seen)), str(min(seen)), str(max(seen)), f"event_type:{name}"]
        for name, seen in sorted(days.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]


def _recount_periods(question: str, asked: dict[str, str], active: dict[date, set[str]]) -> list[list[str]]:
    first, last = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])

    def users(start: date, days: int) -> set[str]:
        return {user for number in range(days) for user in active.get(start + timedelta(days=number), ())}

    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    if question == "stickiness":
        rows = []
        for day in days:
            dau, mau = len(users(day, 1)), len(users(day - timedelta(days=29), 30))
            rows.append([str(day), str(dau), str(mau), str(round(100 * dau / mau, 2))])
        return rows
    if "rolling" in asked:
        length = int(asked["rolling"])
        starts = [day - timedelta(days=length - 1) for day in days]
    else:
        length = {"day": 1, "week": 7}[asked["period"]]
        starts = sorted({day - timedelta(days=day.weekday() if length == 7 else 0) for day in days})
    if question == "lifecycle":
        rows = []
        for start in starts:
            now, before = users(start, length), users(start - timedelta(days=length), length)
            seen = {user for day, of_day in active.items() if day < start for user in of_day}
            numbers = map(len, (now, before, now - seen, now & before, (now & seen) - before, before - now))
            rows.append([str(start), str(start + timedelta(days=length - 1)), *map(str, numbers)])
        return rows
    return [
        [
            str(start),
            str(start + timedelta(days=length - 1)),
            str(len(users(start, length))),
            ", ".join(sorted(users(start, length))),
        ]
        for start in starts
    ]


def _recount_retention(asked: dict[str, str], active: dict[date, set[str]]) -> list[list[str]]:
    start, length = date.fromisoformat(asked["start_date"]), 7 if asked.get("period") == "week" else 1
    cohort = set(active[start])
    if asked.get("cohort") == "new":
        cohort -= {user for day, users in active.items() if day < start for user in users}
    rows = []
    for number in range(1, int(asked["windows"]) + 1):
        window = [start + timedelta(days=number * length + offset) for offset in range(length)]
        back = sorted(cohort & {user for day in window for user in active.get(day, ())})
        rate = round(100 * len(back) / len(cohort), 2)
        rows.append([str(number), str(window[0]), str(len(back)), str(rate), ", ".join(back)])
    return rows


def _recount_table(asked: dict[str, str], active: dict[date, set[str]]) -> list[list[str]]:
    first, last = date.fromisoformat(asked["from"]), date.fromisoformat(asked["to"])
    length = 7 if asked.get("period") == "week" else 1
    first -= timedelta(days=first.weekday() if length == 7 else 0)
    starts = [first + timedelta(days=length * number) for number in range((last - first).days // length + 1)]
    rows = []
    for place, start in enumerate(starts):
        cohort = {user for day, users in active.items() if 0 <= (day - start).days < length for user in users}
        if asked.get("cohort") == "new":
            cohort -= {user for day, users in active.items() if day < start for user in users}
        for number, later in enumerate(starts[place:]):
            end = (starts[-1] if asked.get("on") == "or_after" else later) + timedelta(days=length - 1)
            back = sorted(cohort & {user for day, users in active.items() if later <= day <= end for user in users})
            rate = round(100 * len(back) / len(cohort), 2) if cohort else 0.0
            told = (start, len(cohort), number, later, end, len(back), rate, ", ".join(back))
            rows.append([str(each) for each in told])
    return rows


def _operations() -> dict[str, dict[str, Any]]:
    """What the API describes, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in describe()["paths"].items()
        for method, operation in methods.items()
    }


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _section(page: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    _, found, rest = TEXTS[DOCS / page].partition(f"\n## {heading}\n")
    assert found, f"{page} has no section {heading}"
    return rest.partition("\n## ")[0]


def _rows(text: str) -> Iterator[list[str]]:
    """The rows of the first table, without its head."""
    found = re.search(r"^\|.*\n\|(?: ---[- ]*\|)+\n((?:\|.*\n?)*)", text, re.MULTILINE)
    assert found, "there is no table"
    for line in found[1].splitlines():
        yield [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split(" |")]


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _code(text: str) -> str:
    """What is written as code, in blocks and between backticks."""
    blocks = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *_quoted(_prose(text))])


def _links(document: Path, text: str) -> Iterator[tuple[str, Path, str]]:
    """Links to files here, with the file and the anchor that each leads to."""
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", _prose(text)):
        path, _, anchor = link.partition("#")
        yield link, (document.parent / path).resolve() if path else document, anchor


def _anchors(text: str) -> set[str]:
    """What GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _defined(file: Path) -> set[str]:
    """The functions, classes and constants of a module, and the methods of its classes as `Class.method`."""
    if not file.exists():
        return set()
    if file.suffix == ".js":
        return set(re.findall(r"^export (?:const|class|(?:async )?function) (\w+)", file.read_text(), re.MULTILINE))
    return set(_names(ast.parse(file.read_text()).body))


def _names(body: Sequence[ast.stmt], prefix: str = "") -> Iterator[str]:
    for statement in body:
        match statement:
            case ast.ClassDef(name=name, body=inner):
                yield prefix + name
                yield from _names(inner, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.Assign(targets=targets):
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
