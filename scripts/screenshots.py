"""Makes the pictures of the page in docs/images, of a local stack with the sample.

    python -m scripts.screenshots [FOLDER]     `make screenshots` runs this

It needs Debian's chromium, or another one that ROLLCALL_CHROMIUM names.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, expect, sync_playwright

from scripts.browsers import chromium
from scripts.local.ministack import free_port
from scripts.local.stack import REQUEST_SECONDS
from scripts.paths import ROOT

FOLDER = ROOT / "docs/images"
LOADING = "[aria-busy], .loading"
# A busy machine takes its time for the first answers.
MILLISECONDS = 1_000 * REQUEST_SECONDS


@dataclass(frozen=True)
class Shot:
    """A picture: its file's name, the fragment of the page, the width and the colours."""

    name: str
    fragment: str
    width: int = 1280
    scheme: str = "light"
    height: int | None = None
    """Of the picture; None for as high as the view is."""


SHOTS = (
    Shot("overview", "#/overview"),
    Shot("overview-dark", "#/overview?period=week", scheme="dark"),
    Shot("overview-narrow", "#/overview", width=360, height=1600),
    Shot("live", "#/live"),
    Shot("files", "#/files"),
    Shot("settings", "#/settings"),
)


@contextmanager
def local_stack() -> Iterator[str]:
    """A local stack with the sample and nothing else; gives the link to its page."""
    with TemporaryDirectory() as state:
        environment = {**os.environ, "ROLLCALL_PORT": str(free_port()), "ROLLCALL_STATE": state, "ROLLCALL_SAMPLE": "1"}
        up = [sys.executable, "-m", "scripts.cli", "up"]
        with subprocess.Popen(up, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            try:
                lines = process.stdout or ()
                link = next((line.split()[1] for line in lines if line.startswith("Page ")), None)
                if link is None:
                    raise SystemExit("the local stack does not start; run make run to see why")
                yield link
            finally:
                process.terminate()
                process.communicate()


def settle(page: Page) -> None:
    """Wait until everything in a view is loaded and drawn."""
    expect(page.locator(".panel, .card, .drop").first).to_be_visible(timeout=MILLISECONDS)
    expect(page.locator(LOADING)).to_have_count(0, timeout=MILLISECONDS)
    for chart in page.locator(".chart").all():
        expect(chart.locator("canvas")).to_be_visible(timeout=MILLISECONDS)


def take(link: str, folder: Path) -> None:
    """Take all pictures of a page that the link signs in to."""
    folder.mkdir(parents=True, exist_ok=True)
    address = link.partition("#")[0]
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=chromium(), args=options)
        profile = opened.new_context(reduced_motion="reduce", locale="en-US", timezone_id="UTC")
        page = profile.new_page()
        page.goto(link)
        settle(page)
        for shot in SHOTS:
            page.set_viewport_size({"width": shot.width, "height": shot.height or 900})
            page.emulate_media(color_scheme=shot.scheme)  # type: ignore[arg-type]
            # Else the view before it would be taken for this one.
            page.goto("about:blank")
            page.goto(address + shot.fragment)
            settle(page)
            page.screenshot(path=folder / f"{shot.name}.png", full_page=shot.height is None)
        opened.close()


def main() -> None:
    """Start a local stack and take the pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    with local_stack() as link:
        take(link, folder)


if __name__ == "__main__":
    main()
