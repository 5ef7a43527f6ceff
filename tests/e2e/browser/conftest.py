"""A real browser on the page. Each test fails where the page breaks its policy, asks another host or throws."""

import os
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from scripts.browsers import chromium
from tests.e2e.conftest import NO_BROWSER, DeployedStack

FAULT_SECONDS = 30.0
# On a busy machine, the first request to an emulated function takes its time.
expect.set_options(timeout=90_000)
SCHEMES = ("light", "dark")
SERIOUS = {"serious", "critical"}
# The policy's own words for what it stopped.
WATCH = """document.addEventListener("securitypolicyviolation", event =>
  reportViolation(`${event.effectiveDirective} stopped ${event.blockedURI} at line ${event.lineNumber}`))"""
# A browser logs each answer of the API that is an error. Tests of what a view says then are no failures of the page.
OF_AN_ANSWER = "Failed to load resource: the server responded with a status of "

Open = Callable[..., Page]


class Watched:
    """What was wrong with the pages of a test."""

    def __init__(self, host: str) -> None:
        self.faults: list[str] = []
        self._host = host

    def watch(self, profile: BrowserContext) -> None:
        """Note from now on what the pages of a profile do wrong."""
        profile.on("weberror", lambda error: self.faults.append(f"it throws {error.error}"))
        profile.on("console", self._said)
        profile.on("request", self._asked)
        profile.on("response", self._answered)
        profile.expose_function("reportViolation", lambda text: self.faults.append(f"its policy {text}"))
        profile.add_init_script(WATCH)

    def take(self, page: Page, beginning: str) -> list[str]:
        """Wait for a fault that begins so, and forget all that were noted until then; returns them."""
        deadline = time.monotonic() + FAULT_SECONDS
        while not any(fault.startswith(beginning) for fault in self.faults):
            assert time.monotonic() < deadline, f"there is no such fault: {self.faults}"
            # Playwright hands over what the browser reports while it waits for the browser.
            page.wait_for_timeout(10)
        taken = list(self.faults)
        self.faults.clear()
        return taken

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(OF_AN_ANSWER):
            self.faults.append(f"it logs {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self.faults.append(f"it asks {request.url}")

    def _answered(self, response: Response) -> None:
        if "/assets/" in urlsplit(response.url).path and response.status != 200:
            self.faults.append(f"{response.url} is answered with {response.status}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window; it ends with the module, since Playwright keeps an event loop running as long."""
    path = chromium()
    if path is None:
        pytest.skip(NO_BROWSER)
    # Chromium refuses to run as root within its sandbox.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=options)
        yield launched
        launched.close()


@pytest.fixture
def watched(stack: DeployedStack) -> Watched:
    """What was wrong with the pages so far. A test that means something to go wrong takes it out."""
    return Watched(stack.http.base_url.netloc.decode())


@pytest.fixture
def open_page(browser: Browser, stack: DeployedStack, watched: Watched) -> Iterator[Open]:
    """Opens the page at an address relative to the API's, each time in a profile of its own, with options of one."""
    profiles = []

    def open_at(address: str = "", **options: object) -> Page:
        profile = browser.new_context(base_url=f"{str(stack.http.base_url).rstrip('/')}/", **options)  # type: ignore[arg-type]
        profiles.append(profile)
        profile.set_default_timeout(90_000)
        watched.watch(profile)
        page = profile.new_page()
        page.goto(address)
        return page

    yield open_at
    for profile in profiles:
        profile.close()
    assert watched.faults == []


@pytest.fixture
def barriers() -> Callable[[Page], list[str]]:
    """Finds what keeps people from using a page as it is shown, in light and dark colours: what axe calls serious."""
    axe = Axe()

    def find(page: Page) -> list[str]:
        found = []
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            for violation in axe.run(page).response["violations"]:
                if violation["impact"] in SERIOUS:
                    nodes = "; ".join(node["html"] for node in violation["nodes"])
                    found.append(f"{scheme}: {violation['help']}: {nodes}")
        return found

    return find
