"""The promises about security, and the tests that hold them."""

import re

from scripts.paths import ROOT

SECURITY = (ROOT / "docs/security.md").read_text()


def test_every_test_that_is_said_to_hold_a_promise_about_security_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", SECURITY))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }

    assert named
    assert named - there == set()


def test_every_promise_about_security_names_a_test_that_holds_it() -> None:
    promised = SECURITY.partition("## What is promised\n")[2].partition("\n## ")[0]
    promises = re.split(r"^- ", promised, flags=re.MULTILINE)[1:]

    assert promises
    assert [promise for promise in promises if "<br>`test_" not in promise] == []
