"""The browser of this machine: Debian's chromium, or another one of its family."""

import os
import shutil
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SETTING = "ROLLCALL_CHROMIUM"


class BadBrowser(Exception):
    """The setting names no file."""


def chromium() -> Path | None:
    """What the setting names, else what is on the PATH; raises `BadBrowser`."""
    if named := os.environ.get(SETTING):
        if not Path(named).is_file():
            raise BadBrowser(f"{SETTING} names {named}, which is no file")
        return Path(named)
    return next((Path(found) for name in BROWSERS if (found := shutil.which(name))), None)
