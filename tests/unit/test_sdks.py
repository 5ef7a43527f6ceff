"""The suite that runs other services' SDKs, without any of them: what it takes for a fault, and what it does not."""

import base64
import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlencode, urlsplit
from zoneinfo import ZoneInfo

import httpx2
import pytest
from typer.testing import CliRunner

from rollcall.access.api_keys import key_id_of
from scripts.api import Api
from scripts.cli import app
from scripts.paths import ROOT
from scripts.sdks.drivers import CannotRun, Drivers, Report
from scripts.sdks.load import Load, load_for
from scripts.sdks.numbers import Numbers, StoredEvent, faults
from scripts.sdks.pages import Pages
from scripts.sdks.proxy import Proxy, marks_in
from scripts.sdks.registry import HERE, NODE_PINS, SDKS, Sdk
from scripts.sdks.report import lines_of, rows, write
from scripts.sdks.suite import Result, Suite

UTC = ZoneInfo("UTC")
TODAY = date(2026, 3, 5)
RUN = "0a1b2c3d"
KEY = f"rc_{16 * '0'}_{48 * '0'}"
PATTERN = re.compile(rf"{RUN}-\d{{3}}")
SDK = Sdk("Some", "segment-analytics-python", "python", "segment_driver", lambda event_id: f"some:{event_id}")
LOCK = json.loads((HERE / "node/package-lock.json").read_text())["packages"]


def test_there_are_eighteen_sdks_each_with_a_driver_and_a_name_of_its_own() -> None:
    assert len({sdk.name for sdk in SDKS}) == len(SDKS) == 18
    suffix = {"python": ".py", "node": "", "browser": ""}
    assert [sdk for sdk in SDKS if not (HERE / sdk.runtime / f"{sdk.driver}{suffix[sdk.runtime]}").is_file()] == []


def test_each_sdk_is_pinned_to_one_release() -> None:
    assert [sdk for sdk in SDKS if not re.fullmatch(r"\d+\.\d+\.\d+", sdk.version)] == []


def test_the_lock_of_node_has_a_hash_of_each_package_and_names_no_registry() -> None:
    wanted = json.loads(NODE_PINS.read_text())["dependencies"]
    assert {name: LOCK[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert [name for name, package in LOCK.items() if name and not package["integrity"].startswith("sha512-")] == []
    assert "://" not in (HERE / "node/package-lock.json").read_text()


def test_a_load_has_events_of_three_days_before_today_wherever_the_clock_is() -> None:
    for name in ("UTC", "Pacific/Auckland", "America/Los_Angeles"):
        zone = ZoneInfo(name)
        due = Numbers.due(SDK, load_for(SDK, RUN, TODAY, zone), TODAY, zone)
        # Other users each day, fewer each day: a number of one day is not taken for that of another.
        assert due.actives == {"2026-03-02": 5, "2026-03-03": 4, "2026-03-04": 3}
        assert {day for day, _ in due.events} == set(due.actives)


def test_what_is_sent_twice_is_due_once() -> None:
    load = load_for(SDK, RUN, TODAY, UTC)
    assert len(load.sent) == len(load.events) + 3
    assert Numbers.due(SDK, load, TODAY, UTC).events.total() == len(load.events) == 18


def test_events_without_a_time_of_their_own_are_due_today() -> None:
    sdk = Sdk("Some", "@jitsu/js", "node", "jitsu.mjs", SDK.stored_id, ids=False, times=False, calls={"page": "$page"})
    load = load_for(sdk, RUN, TODAY, UTC)
    due = Numbers.due(sdk, load, TODAY, UTC)
    assert {day for day, _ in due.events} == {"2026-03-05"} == set(due.actives)
    assert due.events["2026-03-05", "$page"] == 2
    assert load.again == ()


JSON = json.dumps({"batch": [{"load": f"{RUN}-001", "text": "☕?>>>~~"}, {"load": f"{RUN}-002"}]})
# The + and the / of base64, and its - and _ in URLs.
TRICKY = json.dumps({"a": "??>>~~ûÿ", "load": f"{RUN}-001", "b": f"{RUN}-002"}, ensure_ascii=False).encode()
ENCODED = {
    "JSON": (JSON.encode(), ""),
    "gzip": (gzip.compress(JSON.encode()), ""),
    "form": (f"data={quote_plus(JSON)}&verbose=1".encode(), ""),
    "base64 in a form": (b"data=" + quote(base64.b64encode(TRICKY), safe="").encode(), ""),
    "base64 as it is": (b"data=" + base64.b64encode(TRICKY), ""),
    "base64 in the query": (b"", urlencode({"data": base64.b64encode(TRICKY)})),
    "base64 of URLs in JSON": (json.dumps({"ue_px": base64.urlsafe_b64encode(TRICKY).decode()}).encode(), ""),
    "query": (b"", urlencode({"se_la": f"{RUN}-001", "page": f"Café {RUN}-002"})),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_events_are_found_once_in_each_encoding_that_an_sdk_may_send(encoding: str) -> None:
    assert b"+" in base64.b64encode(TRICKY)
    assert b"/" in base64.b64encode(TRICKY)
    assert marks_in(*ENCODED[encoding], PATTERN) == {f"{RUN}-001": 1, f"{RUN}-002": 1}


def test_an_event_that_is_twice_in_a_body_is_found_twice() -> None:
    body = gzip.compress(json.dumps([{"load": f"{RUN}-001"}] * 2).encode())
    assert marks_in(body, "", PATTERN) == {f"{RUN}-001": 2}


class Counting:
    """A stack that counts what comes to it at `POST /batch`, once for each id."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []
        self.duplicates = 0
        self.rejected: dict[str, int] = {}
        self.status = 200
        self.headers: dict[str, str] = {}
        # What the faulty ones do: how often they count an event, by its mark.
        self.times: dict[str, int] = {}
        self.also: Counter[tuple[str, str]] = Counter()

    def take(self, body: bytes) -> None:
        for event in json.loads(body)["events"]:
            self.duplicates += event["event_id"] in self.events
            self.events.setdefault(event["event_id"], event)

    def counted(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for event in self.events.values():
            for _ in range(self.times.get(event["properties"]["load"], 1)):
                yield datetime.fromisoformat(event["moment"]).date().isoformat(), event

    def api(self) -> Api:
        """What reads its stats."""
        return Api("http://stack", "key", patience=0, transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        day = request.url.params["from"]
        if request.url.path == f"/keys/{key_id_of(KEY)}/ledger":
            fates = {"counted": len(self.events), "duplicates": self.duplicates, "refused": 0, "conflicts": 0}
            return httpx2.Response(200, json={"data": [{**fates, "rejected": self.rejected}]})
        if request.url.path == "/stats/top-events":
            types = Counter(event["event_type"] for at, event in self.counted() if at == day)
            types.update({event_type: count for (at, event_type), count in self.also.items() if at == day})
            return httpx2.Response(
                200, json={"data": [{"event_type": name, "count": count} for name, count in types.items()]}
            )
        users = Counter(at for at, _ in {(at, event["user_id"]) for at, event in self.counted()})
        data = [{"date": at, "dau": count} for at, count in users.items()]
        return httpx2.Response(200, json={"timezone": "UTC", "data": data})

    def handler(self) -> type[BaseHTTPRequestHandler]:
        stack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    body = b""
                    while size := int(self.rfile.readline(), 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                stack.asked.append((self.path, dict(self.headers.items()), body))
                if stack.status == 200 and body.startswith(b'{"events"'):
                    stack.take(body)
                self.reply(stack.status, b'{"ok": true}')

            def reply(self, status: int, content: bytes) -> None:
                self.send_response_only(status)
                for name, value in {"X-Told": "by the stack", **stack.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


@pytest.fixture
def stack() -> Iterator[tuple[Counting, str]]:
    """A stack, and the URL of its API."""
    counting = Counting()
    server = ThreadingHTTPServer(("127.0.0.1", 0), counting.handler())
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield counting, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def post(url: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=10)
    connection.request("POST", f"{parts.path}?{parts.query}", body, headers)
    answer = connection.getresponse()
    said = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return said


def test_the_proxy_passes_requests_and_answers_on_as_they_are(stack: tuple[Counting, str]) -> None:
    counting, url = stack
    counting.status = 418
    body = gzip.compress(JSON.encode())
    with Proxy(url, PATTERN) as proxy:
        assert proxy.url.endswith("/v1")
        said = post(f"{proxy.url}/batch/?a=b%20c", body, **{"Content-Type": "text/plain", "X-Some": "é"})
    assert (said[0], said[1]["X-Told"], said[2]) == (418, "by the stack", b'{"ok": true}')
    ((path, headers, received),) = counting.asked
    assert (path, headers["Content-Type"], headers["X-Some"], received) == (
        "/v1/batch/?a=b%20c",
        "text/plain",
        "é",
        body,
    )


def test_the_proxy_passes_chunks_on_as_chunks(stack: tuple[Counting, str]) -> None:
    counting, url = stack
    with Proxy(url, PATTERN) as proxy:
        parts = urlsplit(proxy.url)
        connection = HTTPConnection(parts.netloc, timeout=10)
        connection.request("POST", "/v1/events", iter([b"one ", b"two"]), encode_chunked=True)
        assert connection.getresponse().read() == b'{"ok": true}'
        connection.close()
    ((_, headers, received),) = counting.asked
    assert headers["Transfer-Encoding"] == "chunked"
    assert received == b"one two"


@pytest.mark.parametrize(("allowed", "barred"), [("http://page", ""), ("*", ""), ("http://other", "http://page")])
def test_the_proxy_records_the_page_that_an_answer_does_not_let_in(
    stack: tuple[Counting, str], allowed: str, barred: str
) -> None:
    counting, url = stack
    counting.headers = {"Access-Control-Allow-Origin": allowed}
    with Proxy(url, PATTERN) as proxy:
        post(f"{proxy.url}/t", b"{}", Origin="http://page")
        post(f"{proxy.url}/t", b"{}")
        assert [each.barred for each in proxy.exchanges] == [barred, ""]


def test_the_proxy_records_no_query_which_may_hold_a_key(stack: tuple[Counting, str]) -> None:
    _, url = stack
    with Proxy(url, PATTERN) as proxy:
        post(f"{proxy.url}/i?aid=rc_secret", b"{}")
        (exchange,) = proxy.exchanges
    assert str(exchange) == "POST /i: 200"
    assert "secret" not in repr(exchange)


def send(url: str, events: Sequence[Mapping[str, Any]]) -> tuple[int, dict[str, str], bytes]:
    return post(f"{url}/batch", json.dumps({"events": events}).encode())


class Driver(Drivers):
    """An SDK that sends what it is given in batches of seven, and then what `more` has it do."""

    def __init__(self, more: Callable[[str, list[Any]], list[str] | None] = lambda _url, _events: None) -> None:
        super().__init__()
        self._more = more

    def check(self, sdk: Sdk) -> None:
        if sdk.runtime == "browser":
            raise CannotRun("there is no chromium on this machine")

    def run(self, _sdk: Sdk, given: Mapping[str, Any], _answered: Callable[[int], None]) -> Report:
        events = given["events"]
        for start in range(0, len(events), 7):
            send(given["url"], events[start : start + 7])
        return Report(len(events), self._more(given["url"], events) or [], 0.1)


def run(stack: tuple[Counting, str], driver: Drivers, *, losing: bool = False) -> Result:
    suite = Suite(stack[1], KEY, stack[0].api(), driver, patience=0.01, losing=losing)
    (result,) = suite.run([SDK])
    return result


def test_an_sdk_whose_events_are_counted_once_passes(stack: tuple[Counting, str]) -> None:
    result = run(stack, Driver())
    assert result.faults == []
    assert result.passed
    assert (result.sent, result.counted, result.duplicates, result.requests, result.retries) == (21, 18, 3, 3, 0)


def test_an_sdk_that_sends_an_answered_event_again_fails_though_it_is_counted_once(stack: tuple[Counting, str]) -> None:
    def again(url: str, events: list[Any]) -> None:
        send(url, events[:2])

    result = run(stack, Driver(again))
    assert result.faults == ["it sent an event again 2 times", "the ledger has 5 events duplicates, 3 are due"]
    assert (result.counted, result.retries) == (18, 2)


def test_an_sdk_that_reports_an_error_fails(stack: tuple[Counting, str]) -> None:
    assert run(stack, Driver(lambda _url, _events: ["a warning"])).faults == ["a warning"]


def test_an_sdk_that_keeps_an_event_for_itself_fails(stack: tuple[Counting, str]) -> None:
    class Lossy(Driver):
        def run(self, sdk: Sdk, given: Mapping[str, Any], answered: Callable[[int], None]) -> Report:
            return super().run(sdk, {**given, "events": given["events"][:-4]}, answered)

    result = run(stack, Lossy())
    assert result.faults[0] == "it did not send 4 of 21 events"
    assert result.faults[1].endswith("2 events are due, 1 counted")


def test_a_stack_that_refuses_an_event_fails(stack: tuple[Counting, str]) -> None:
    stack[0].status = 403
    result = run(stack, Driver())
    assert result.faults[:3] == ["answered POST /batch: 403"] * 3
    assert result.counted == 0


def test_an_event_that_the_stack_rejects_without_a_word_is_a_fault(stack: tuple[Counting, str]) -> None:
    driver = Driver(lambda _url, _events: stack[0].rejected.update(too_old=1))
    assert run(stack, driver).faults == ["the ledger has 1 events rejected as too_old, 0 are due"]


def test_a_call_about_people_that_the_stack_did_not_take_in_is_a_fault(stack: tuple[Counting, str]) -> None:
    sdk = Sdk("Some", "posthog", "python", "posthog_driver", SDK.stored_id, profiles=1)
    (result,) = Suite(stack[1], KEY, stack[0].api(), Driver(), patience=0.01).run([sdk])
    assert result.faults == ["the ledger has 18 events counted, 19 are due"]


def test_a_page_that_is_not_let_in_is_told_with_the_setting_that_lets_it(stack: tuple[Counting, str]) -> None:
    def from_a_page(url: str, _events: list[Any]) -> None:
        post(f"{url}/t", b"{}", Origin="http://page")

    result = run(stack, Driver(from_a_page))
    assert result.faults == ["pages of http://page are not let in: CorsOrigins of the stack has to name it"]


@pytest.mark.parametrize("times", [0, 2])
def test_a_stack_that_counts_an_event_never_or_twice_fails(stack: tuple[Counting, str], times: int) -> None:
    counting, _ = stack
    driver = Driver(lambda _url, events: counting.times.update({events[5]["properties"]["load"]: times}))
    result = run(stack, driver)
    assert f"events are due, {times} counted" not in result.faults[0]
    assert result.counted == 17 + times


def test_where_answers_are_lost_an_sdk_is_told_so_once_for_each_event_that_the_stack_took_in(
    stack: tuple[Counting, str],
) -> None:
    with Proxy(stack[1], PATTERN, losing=True) as proxy:
        first, second = (send(proxy.url, [{"event_id": "1", "load": f"{RUN}-001"}]) for _ in range(2))
    assert (first[0], first[1]["Retry-After"], second[0]) == (503, "1", 200)
    assert stack[0].events.keys() == {"1"}


def test_where_answers_are_lost_an_sdk_may_complain_and_send_again(stack: tuple[Counting, str]) -> None:
    def complain(url: str, events: list[Any]) -> list[str]:
        send(url, events[:2])
        return ["an error"]

    result = run(stack, Driver(complain), losing=True)
    assert result.faults == []
    assert (result.counted, result.retries) == (18, 2)


def test_where_answers_are_lost_an_event_that_is_counted_twice_is_a_fault(stack: tuple[Counting, str]) -> None:
    counting, _ = stack
    driver = Driver(lambda _url, events: counting.times.update({events[5]["properties"]["load"]: 2}))
    assert len(run(stack, driver, losing=True).faults) == 1


def test_a_stack_that_counts_what_nobody_sent_fails(stack: tuple[Counting, str]) -> None:
    counting, _ = stack
    today = datetime.now(UTC).date().isoformat()
    result = run(stack, Driver(lambda _url, _events: counting.also.update({(today, "$identify"): 1})))
    assert result.faults == [f"{today} $identify: 0 events are due, 1 counted"]


def test_an_sdk_whose_runtime_is_missing_is_not_run_and_said_so(stack: tuple[Counting, str]) -> None:
    browser = Sdk("Page", "posthog-js", "browser", "posthog.html", SDK.stored_id)
    suite = Suite(stack[1], KEY, stack[0].api(), Driver(), patience=0.01)
    skipped, passed = suite.run_together([browser, SDK])
    assert (skipped.sdk, skipped.passed, skipped.faults) == (browser, False, ())
    assert rows([skipped])[0][-1] == "not run: there is no chromium on this machine"
    assert passed.passed


def test_sdks_that_run_together_are_each_held_to_their_own_numbers(stack: tuple[Counting, str]) -> None:
    counting, url = stack
    other = Sdk("Other", "posthog", "python", "posthog_driver", SDK.stored_id, uuids=True, calls={"page": "$page"})

    class Second(Driver):
        def run(self, sdk: Sdk, given: Mapping[str, Any], answered: Callable[[int], None]) -> Report:
            if sdk == SDK:
                counting.times[given["events"][0]["properties"]["load"]] = 2
            return super().run(sdk, given, answered)

    suite = Suite(url, KEY, counting.api(), Second(), patience=0.01)
    one, two = suite.run_together([SDK, other], at_once=2)
    assert len(one.faults) == 1
    assert (one.counted, two.counted, two.faults) == (19, 20, [])


def stored_of(load: Load) -> list[StoredEvent]:
    return [
        StoredEvent(
            f"some:{event.event_id}", event.moment, event.user_id, event.event_type, {**event.properties, "$lib": 1}
        )
        for event in load.events
    ]


def test_stored_events_as_they_were_sent_have_no_fault_whatever_the_sdk_added() -> None:
    load = load_for(SDK, RUN, TODAY, UTC)
    assert faults(SDK, load, stored_of(load)) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "other:id"),
        ("occurred_at", datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ("user_id", f"{RUN}-nobody"),
        ("event_type", "other"),
        ("properties", {"load": f"{RUN}-007", "text": "na?ve"}),
    ],
)
def test_a_stored_event_that_differs_from_what_was_sent_is_a_fault(field: str, value: Any) -> None:
    load = load_for(SDK, RUN, TODAY, UTC)
    stored = stored_of(load)
    stored[7] = stored[7]._replace(**{field: value})
    (fault,) = faults(SDK, load, stored)
    assert f"{value!r}"[:20] in fault


def test_an_event_that_is_not_stored_is_a_fault() -> None:
    load = load_for(SDK, RUN, TODAY, UTC)
    (fault,) = faults(SDK, load, stored_of(load)[:-1])
    assert fault.endswith("is not stored")


def test_a_page_is_served_with_its_load_and_nothing_from_outside_its_folders(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/some.js").write_text("here")
    (tmp_path / "secret").write_text("there")
    waited: list[int] = []
    with Pages(0, tmp_path / "node_modules", {"key": "é"}, waited.append) as pages:
        assert json.loads(pages.get("/load")[2]) == {"key": "é"}
        assert pages.get("/packages/some.js") == (200, "text/javascript; charset=utf-8", b"here")
        assert pages.get("/packages/../secret")[0] == pages.get("/../registry.py")[0] == 404
        assert pages.get("/answered/7")[0] == 200
        assert post(f"{pages.origin}/report", b'{"sent": 1}')[0] == 204
        assert pages.report(5) == {"sent": 1}
    assert waited == [7]


def test_the_table_of_a_run_goes_between_its_marks_in_a_document(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- sdks -->\nold\n<!-- end -->\nafter\n")
    write(document, [Result(SDK, 21, 18, 3, 0, [])], "2026-03-05")
    text = document.read_text()
    assert text.startswith("before\n<!-- sdks -->\n\n| SDK |")
    assert f"| Some | segment-analytics-python | {SDK.version} | 21 | 18 | 3 | 3 | 0 | passed |\n" in text
    assert "\n2026-03-05, " in text
    assert "old" not in text
    assert text.endswith("\n<!-- end -->\nafter\n")


def test_equal_faults_are_told_once_and_many_are_cut_short() -> None:
    result = Result(SDK, faults=["same", "same", *map(str, range(20))])
    assert lines_of(result)[0] == "same (2 times)"
    assert lines_of(result)[-1] == "and 9 more"


def test_the_table_in_the_documents_is_that_of_a_run_of_the_pinned_releases_which_all_passed() -> None:
    text = (ROOT / "docs/sdks.md").read_text()
    block = text.partition("<!-- sdks -->\n")[2].partition("<!-- end -->")[0]
    told = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines() if line.startswith("|")
    ]
    assert [row[:3] for row in told[2:]] == [[sdk.name, sdk.package, sdk.version] for sdk in SDKS]
    assert {row[-1] for row in told[2:]} == {"passed"}


def test_a_target_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLLCALL_KEY", raising=False)
    done = CliRunner().invoke(app, ["sdks", "--target", "http://127.0.0.1:9/v1"])
    assert done.exit_code == 1
    assert "--target asks for a key: --key or ROLLCALL_KEY" in done.output
    done = CliRunner().invoke(app, ["sdks", "--target", "http://127.0.0.1:9/v1", "--key", "eyJ"])
    assert done.exit_code == 1
    assert "that is no API key, which begins with rc_" in done.output


def test_words_that_name_no_sdk_are_told() -> None:
    done = CliRunner().invoke(app, ["sdks", "nobody"])
    assert done.exit_code == 1
    assert "no SDK has nobody in its name" in done.output


@pytest.mark.parametrize("more", [["segment"], ["--lose-answers"]])
def test_only_a_whole_run_is_written_into_a_document(tmp_path: Path, more: list[str]) -> None:
    done = CliRunner().invoke(app, ["sdks", "--write", str(tmp_path / "page.md"), *more])
    assert done.exit_code == 2
    assert list(tmp_path.iterdir()) == []
