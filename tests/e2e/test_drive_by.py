"""The attack of a web page on the local AWS, from a real browser."""

import base64
import io
import json
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.browsers import chromium
from scripts.local.ministack import MiniStack, free_port
from tests.e2e.conftest import NO_BROWSER

browser = chromium()

pytestmark = [
    pytest.mark.xdist_group("stack"),
    pytest.mark.targets("direct", reason="of the local AWS of `rollcall up`"),
    pytest.mark.skipif(browser is None, reason=NO_BROWSER),
]

BROWSER_SECONDS = 120
# It needs no answer, so that no preflight is sent and no permission asked for.
PAGE = """<!doctype html><title>attack</title><script>
const text = {"Content-Type": "text/plain"};
const send = (url, body) => fetch(url, {method: "POST", mode: "no-cors", headers: text, body}).catch(() => 0);
const look = url => new Promise(done => {
  const image = new Image();
  image.onload = image.onerror = done;
  image.src = url;
});
(async () => {
  for (const host of HOSTS) {
    const at = `http://${host}:PORT`;
    await send(`${at}/2015-03-31/functions`, FUNCTION);
    await send(`${at}/2015-03-31/functions/drive-by/invocations`, "{}");
    await look(`${at}/?Action=CreateQueue&QueueName=drive-by`);
  }
  await fetch("/done", {method: "POST"});
})();
</script>"""


def code(mark: Path) -> str:
    """A function that leaves a mark, as base64 of its archive."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        source = f"def handler(event, context):\n    open({str(mark)!r}, 'w').close()\n"
        file.writestr(zipfile.ZipInfo("index.py"), source)
    return base64.b64encode(archive.getvalue()).decode()


@contextmanager
def served(page: str) -> Iterator[tuple[int, threading.Event]]:
    """A site with one page; yields its port, and what is set when the page has done what it came for."""
    done = threading.Event()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def do_POST(self) -> None:
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", free_port()), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], done
        server.shutdown()
        thread.join()


def visit(url: str, done: threading.Event, profile: Path) -> None:
    """Open a page in a browser until it is done. All host names resolve to this machine."""
    assert browser is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    names = "--host-resolver-rules=MAP evil.example 127.0.0.1"
    with (profile.parent / "said").open("wb") as said:
        process = subprocess.Popen(
            [browser, *options, names, f"--user-data-dir={profile}", url], stdout=said, stderr=subprocess.STDOUT
        )
        try:
            assert done.wait(BROWSER_SECONDS), (profile.parent / "said").read_text(errors="replace")
        finally:
            process.terminate()
            process.wait()


@pytest.mark.parametrize("site", ["127.0.0.1", "localhost", "evil.example"])
def test_no_page_that_a_developer_visits_runs_code_in_the_local_aws(
    ministack: MiniStack, tmp_path: Path, site: str
) -> None:
    mark = tmp_path / "mark"
    function = {
        "FunctionName": "drive-by",
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Code": {"ZipFile": code(mark)},
    }
    page = PAGE.replace("PORT", str(ministack.port)).replace("FUNCTION", json.dumps(json.dumps(function)))
    page = page.replace("HOSTS", json.dumps(["127.0.0.1", "localhost", "evil.example"]))
    with served(page) as (port, done):
        visit(f"http://{site}:{port}/", done, tmp_path / "profile")
    functions = ministack.client("lambda").list_functions()["Functions"]
    assert "drive-by" not in [function["FunctionName"] for function in functions]
    assert not mark.exists()
    assert not ministack.client("sqs").list_queues(QueueNamePrefix="drive-by").get("QueueUrls")
