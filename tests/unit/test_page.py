"""The page's function: what it answers, and with which headers. tests/e2e/browser has the page in a browser."""

import gzip
import io
import json
import re
import subprocess
import sys
import zipfile
from base64 import b64decode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rollcall.http.page import ASSETS, Page, Unservable
from rollcall.http.problems import Problem
from rollcall.stack.settings import BadSetting, PageSettings
from scripts.local.deploy import archive_of, template
from scripts.operate.anonymous import HEADER_BYTES, KINDS
from scripts.paths import ROOT
from tests.gateway import Gateway
from tests.support import SETTINGS, routes, sample_event

LIBRARY = "/* charts */" * 200
INDEX = """<!doctype html><base href="{{base}}"><link rel="stylesheet" href="{{assets}}/style.css">
{{preloads}}<script src="{{library}}" defer></script>"""
CHROME = "gzip, deflate, br, zstd"

Make = Callable[..., Page]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a page of some files, beside an index, under some settings."""

    def make_page(files: dict[str, str] | None = None, **settings: str) -> Page:
        site = tmp_path / "site"
        site.mkdir(exist_ok=True)
        for path in site.iterdir():
            path.unlink()
        for name, text in {"index.html": INDEX, "main.js": "main", "style.css": "style", **(files or {})}.items():
            (site / name).write_text(text)
        library = tmp_path / "charts.min.js"
        if not library.exists():
            library.write_text(LIBRARY)
        return Page(site, library, PageSettings.read(SETTINGS | settings))

    return make_page


def ask(page: Page, path: str = "/v1/", method: str = "GET", encoding: str | None = CHROME, base: str = "") -> Any:
    """Send a request for the page, or below `base` for an asset."""
    event = sample_event("page") | {"httpMethod": method}
    event["headers"] = event["headers"] | ({} if encoding is None else {"accept-encoding": encoding})
    if base:
        _, version, name = path.split("/")
        event |= {"resource": ASSETS, "path": f"/{path}", "pathParameters": {"version": version, "name": name}}
        path = f"{base}/{path}"
    event["requestContext"] = event["requestContext"] | {"path": path}
    return page.answer(event)


def asset(page: Page, path: str, **request: Any) -> Any:
    return ask(page, path, base="/v1", **request)


def addresses(page: Page) -> dict[str, str]:
    """The addresses of the assets that the page names, by their files."""
    named = re.findall(r'"(assets/[^"]+)"', ask(page)["body"])
    return {path.rpartition("/")[2]: path for path in named}


def all_addresses(shipped: Page) -> dict[str, str]:
    """Those, and the addresses of the scripts that the page asks for later."""
    named = addresses(shipped)
    scripts = (path.name for path in (HERE / "site").glob("*.js"))
    return named | {name: named["main.js"].replace("main.js", name) for name in scripts}


def policy(page: Page) -> dict[str, list[str]]:
    text = ask(page)["headers"]["Content-Security-Policy"]
    return {words[0]: words[1:] for words in (part.split() for part in text.split("; "))}


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/v1/", "/v1/"),
        # Without the slash, all addresses would be relative to what is above.
        ("/v1", "/v1/"),
        ("/", "/"),
        ("", "/"),
        ("/rollcall/v1", "/rollcall/v1/"),
    ],
)
def test_all_addresses_are_relative_to_where_the_api_is(make: Make, path: str, base: str) -> None:
    assert f'<base href="{base}">' in ask(make(), path)["body"]


@pytest.mark.parametrize("path", ["//evil.example/", '/"><script>', "/v1/%22", "/v1/ x", "/v1\n/", "evil.example/"])
def test_a_path_that_no_api_has_is_not_written_into_the_page(make: Make, path: str) -> None:
    body = ask(make(), path)["body"]

    assert '<base href="./">' in body
    assert "evil" not in body
    assert body == ask(make(), path.rstrip("/") or "//")["body"]


def test_browsers_ask_for_the_page_each_time_and_for_its_assets_once_a_year(make: Make) -> None:
    page = make()

    assert ask(page)["headers"]["Cache-Control"] == "no-cache"
    assert ask(page)["headers"]["Content-Type"] == "text/html; charset=utf-8"
    for path in addresses(page).values():
        assert asset(page, path)["headers"]["Cache-Control"] == "public, max-age=31536000, immutable"


def test_every_asset_is_the_file_with_its_type_compressed_for_who_takes_that(make: Make) -> None:
    page = make({"logo.svg": "<svg/>"})
    named = addresses(page)
    version = named["main.js"].rpartition("/")[0]
    expected = {
        named["main.js"]: ("main", "text/javascript; charset=utf-8"),
        named["style.css"]: ("style", "text/css; charset=utf-8"),
        f"{version}/logo.svg": ("<svg/>", "image/svg+xml"),
        named["charts.min.js"]: (LIBRARY, "text/javascript; charset=utf-8"),
    }

    for path, (content, media_type) in expected.items():
        plain, compressed = asset(page, path, encoding=None), asset(page, path)
        assert (plain["statusCode"], plain["body"], plain["isBase64Encoded"]) == (200, content, False)
        assert "Content-Encoding" not in plain["headers"]
        assert compressed["headers"]["Content-Encoding"] == "gzip"
        assert compressed["isBase64Encoded"]
        assert gzip.decompress(b64decode(compressed["body"])).decode() == content
        assert compressed == asset(page, path)
        for answer in (plain, compressed):
            assert answer["headers"]["Content-Type"] == media_type
            assert answer["headers"]["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("encoding", "taken"),
    [
        (CHROME, True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("", False),
        ("br", False),
        ("gzipped", False),
        ("gzip;q=0, br", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0.001", True),
    ],
)
def test_gzip_is_for_who_names_it(make: Make, encoding: str, taken: bool) -> None:
    page = make()

    answer = asset(page, addresses(page)["main.js"], encoding=encoding)

    assert ("Content-Encoding" in answer["headers"]) is taken


def test_files_that_are_compressed_already_are_sent_as_they_are(make: Make, tmp_path: Path) -> None:
    make()
    (tmp_path / "site/font.woff2").write_bytes(b"\xff\x00font")
    page = Page(tmp_path / "site", tmp_path / "charts.min.js", PageSettings.read(SETTINGS))
    version = addresses(page)["main.js"].rpartition("/")[0]

    answer = asset(page, f"{version}/font.woff2")

    assert (answer["isBase64Encoded"], b64decode(answer["body"])) == (True, b"\xff\x00font")
    assert not {"Content-Encoding", "Vary"} & answer["headers"].keys()


def test_an_asset_has_a_new_address_whenever_any_of_its_kind_changes(make: Make) -> None:
    before = addresses(make())
    again = addresses(make())
    changed = addresses(make({"style.css": "another"}))
    renamed = addresses(make({"mainst.js": "yle"}))

    assert before == again
    # The files may name each other, so they change together.
    assert changed["main.js"] != before["main.js"]
    assert renamed["main.js"] != before["main.js"]
    assert changed["charts.min.js"] == before["charts.min.js"]


def test_nothing_is_answered_for_ever_under_an_address_that_was_another_content_s(make: Make) -> None:
    old = addresses(make())
    page = make({"main.js": "new"})
    new = addresses(page)
    charts = old["charts.min.js"].split("/")[1]
    crossed = [f"assets/{charts}/main.js", new["main.js"].replace("main.js", "charts.min.js")]
    unknown = [new["main.js"].replace("main", "nothing"), new["main.js"].replace("main.js", "index.html")]
    traversed = [new["main.js"].replace("main.js", "..%2fhandler.py"), "assets/../handler.py"]

    for path in (old["main.js"], *crossed, *unknown, *traversed):
        answer = asset(page, path)
        assert answer["statusCode"] == 404, path
        assert answer["headers"]["Content-Type"] == "application/problem+json"
        assert answer["headers"]["Cache-Control"] == "no-store"
        problem = Problem(**json.loads(answer["body"]))
        assert problem.model_dump(exclude_none=True) == json.loads(answer["body"])
        assert (problem.code, problem.status) == ("not_found", 404)


def test_head_is_answered_as_get_without_the_body(make: Make) -> None:
    page = make()
    named = addresses(page)["main.js"]

    for got, asked in (
        (ask(page), ask(page, method="HEAD")),
        (asset(page, named), asset(page, named, method="HEAD")),
        (asset(page, named, encoding=None), asset(page, named, method="HEAD", encoding=None)),
        (asset(page, "assets/0/main.js"), asset(page, "assets/0/main.js", method="HEAD")),
    ):
        assert got["body"]
        assert asked == got | {"body": "", "isBase64Encoded": False}


def test_what_the_main_script_imports_is_fetched_at_once_and_what_it_may_need_later_is_not(make: Make) -> None:
    scripts = {
        "main.js": 'import { a } from "./one.js";\nconst later = () => import("./later.js");',
        "one.js": 'import {\n  b,\n} from "./two.js";',
        "two.js": 'import { a } from "./one.js";',
        "later.js": "later",
    }
    body = ask(make(scripts))["body"]

    preloaded = re.findall(r'<link rel="modulepreload" href="(assets/[^"]+)">', body)
    assert [path.rpartition("/")[2] for path in preloaded] == ["main.js", "one.js", "two.js"]


def test_the_policy_lets_in_nothing_but_the_page_s_own_files(make: Make) -> None:
    said = policy(make())

    assert said["default-src"] == said["object-src"] == said["form-action"] == said["frame-ancestors"] == ["'none'"]
    assert said["script-src"] == said["style-src"] == said["font-src"] == said["base-uri"] == ["'self'"]
    assert said["img-src"] == ["'self'", "data:"]
    assert said["connect-src"] == ["'self'", "https://uploads.s3.us-east-1.amazonaws.com"]
    text = ask(make())["headers"]["Content-Security-Policy"]
    assert "unsafe" not in text
    assert "*" not in text


def test_no_page_may_embed_the_page_but_those_of_the_listed_origins(make: Make) -> None:
    assert policy(make())["frame-ancestors"] == ["'none'"]
    assert ask(make())["headers"]["Cross-Origin-Resource-Policy"] == "same-origin"

    page = make(FRAME_ANCESTORS="https://wiki.example.com, http://localhost:3000  https://b.example")

    listed = ["https://wiki.example.com", "http://localhost:3000", "https://b.example"]
    assert policy(page)["frame-ancestors"] == listed
    assert ask(page)["headers"]["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize(
    "origins", ["*", "example.com", "https://a.example/path", "https://a.example;script-src", "'self'", "https://a b"]
)
def test_what_is_no_origin_fails_the_start_and_is_named(origins: str) -> None:
    pattern = template()["Parameters"]["FrameAncestors"]["AllowedPattern"]

    with pytest.raises(BadSetting, match="FRAME_ANCESTORS has to list origins"):
        PageSettings.read(SETTINGS | {"FRAME_ANCESTORS": origins})
    assert not re.fullmatch(pattern, origins)


@pytest.mark.parametrize(
    "origins", ["", "https://a.example", "https://a.example, http://b.example:80 https://c.example"]
)
def test_what_the_template_allows_the_function_takes(origins: str) -> None:
    pattern = template()["Parameters"]["FrameAncestors"]["AllowedPattern"]

    assert re.fullmatch(pattern, origins)
    assert len(PageSettings.read(SETTINGS | {"FRAME_ANCESTORS": origins}).frame_ancestors) == origins.count("://")


def test_every_answer_has_the_headers_that_bound_what_browsers_do_with_it(make: Make) -> None:
    page = make()
    answers = [ask(page), asset(page, addresses(page)["main.js"]), asset(page, "assets/0/main.js")]

    for answer in answers:
        assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
        assert answer["headers"]["Referrer-Policy"] == "no-referrer"
        assert answer["headers"]["Strict-Transport-Security"] == "max-age=31536000"
        assert answer["headers"]["Content-Security-Policy"]
    assert answers[0]["headers"]["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answers[0]["headers"]["Permissions-Policy"]
    assert answers[1]["headers"]["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_stack_may_show_no_page(make: Make) -> None:
    shown, hidden = make(), make(PAGE="false")

    for answer in (ask(hidden), asset(hidden, addresses(shown)["main.js"])):
        assert answer["statusCode"] == 404
        assert json.loads(answer["body"])["code"] == "not_found"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.txt": ""}, r"notes\.txt is of no kind"),
        ({"index.html": "{{base}} {{nothing}}"}, r"index\.html names nothing"),
    ],
)
def test_a_folder_that_is_no_page_fails_the_start_and_says_what_is_wrong(
    make: Make, files: dict[str, str], said: str
) -> None:
    with pytest.raises(Unservable, match=said):
        make(files)


# The page of this project, as it is shipped.

HERE = ROOT / "functions/page"


@pytest.fixture
def shipped(make: Make, tmp_path: Path) -> Page:
    """The project's page, with a chart library that need not be there."""
    make()
    return Page(HERE / "site", tmp_path / "charts.min.js", PageSettings.read(SETTINGS))


def test_the_page_names_assets_that_are_there_and_nothing_of_other_hosts(shipped: Page) -> None:
    body = ask(shipped)["body"]
    named = re.findall(r'(?:href|src)="([^"]*)"', body)

    for path in all_addresses(shipped).values():
        assert asset(shipped, path)["statusCode"] == 200
    for path in named:
        assert path.startswith(("assets/", "/v1/", "#"))
    # The policy would stop them.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", body)


def test_no_answer_of_the_page_is_larger_than_its_cost_was_reckoned_with(shipped: Page) -> None:
    most = {kind.what: kind.answer_bytes for kind in KINDS}
    answers = {"GET /": [ask(shipped)]}
    answers["GET " + ASSETS] = [asset(shipped, path, encoding=None) for path in all_addresses(shipped).values()]

    for what, each in answers.items():
        for answer in each:
            assert len(answer["body"]) <= most[what]
            assert sum(len(name) + len(value) + 4 for name, value in answer["headers"].items()) <= HEADER_BYTES


def test_the_gateway_sends_on_what_is_compressed_already_as_it_is(shipped: Page) -> None:
    gateway = Gateway(lambda _: lambda event, _context: shipped.answer(event), {"PageBurst": "1000"}, lambda: 0.0)
    page = gateway.request("GET", "/", {"Accept-Encoding": CHROME})
    assert page.status_code == 200

    for name, path in all_addresses(shipped).items():
        answer = gateway.request("GET", f"/{path}", {"Accept-Encoding": CHROME})
        assert answer.headers["content-encoding"] == "gzip"
        expected = LIBRARY.encode() if name == "charts.min.js" else (HERE / "site" / name).read_bytes()
        assert gzip.decompress(answer.content) == expected


def test_the_template_has_the_routes_that_the_page_answers() -> None:
    assert routes("page") == {(path, method) for path in ("/", ASSETS) for method in ("get", "head")}


def test_the_page_starts_without_a_web_framework_and_without_aws(make: Make, tmp_path: Path) -> None:
    make()
    code = f"""
import sys
from pathlib import Path
from rollcall.http.page import Page
from rollcall.stack.settings import PageSettings
from rollcall.stack.telemetry import make_logger
make_logger({{}})
Page(Path({str(tmp_path / "site")!r}), Path({str(tmp_path / "charts.min.js")!r}), PageSettings.read({SETTINGS!r}))
print(*sys.modules)
"""
    environment = {**SETTINGS, "PYTHONPATH": str(ROOT / "layers/common")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    loaded = set(done.stdout.split())

    assert "aws_lambda_powertools" in loaded
    assert not loaded & {"fastapi", "starlette", "mangum", "pydantic", "boto3", "botocore.session", "msgpack"}


def test_the_local_stack_gets_the_page_and_its_chart_library_and_nothing_else_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "function"
    for name in (
        "handler.py",
        "requirements.txt",
        "charts-requirements.txt",
        "site/index.html",
        "site/main.js",
        "vendor/charts.js",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("1")
    (folder / "vendor/unfinished").write_text("")
    (folder / "vendor/wheel").mkdir()
    (folder / "vendor/wheel/panel.whl").write_text("")

    with zipfile.ZipFile(io.BytesIO(archive_of(folder, ""))) as archive:
        names = {name for name in archive.namelist() if not name.endswith(".pyc")}

    assert names == {"handler.py", "site/index.html", "site/main.js", "vendor/charts.js"}
    assert archive_of(folder, "") == archive_of(folder, "")


def test_the_library_that_is_taken_is_the_one_that_is_pinned() -> None:
    """Where it was taken: tests of a folder without it would need the network."""
    library = HERE / "vendor/echarts.min.js"
    if not library.exists():
        pytest.skip("the chart library is not here: make run and make test take it out of its wheel")
    (pinned,) = re.findall(
        r"^CHARTS_SHA256 := (\w+)$", (ROOT / "scripts/package/arm64/Makefile").read_text(), re.MULTILINE
    )

    assert sha256(library.read_bytes()).hexdigest() == pinned
    assert library.read_bytes().startswith(b"\n/*\n* Licensed to the Apache Software Foundation")


def test_the_chart_library_is_never_committed() -> None:
    assert "functions/page/vendor/" in (ROOT / ".gitignore").read_text().splitlines()
