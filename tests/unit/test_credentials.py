"""The tests' own watch over what is logged; tests/conftest.py."""

import pytest

from scripts.paths import ROOT

CREDENTIALS = {
    "API key": "rc_" + 16 * "a" + "_" + 48 * "b",
    "refresh token": "rt_" + 32 * "a" + "_" + 32 * "b",
    "access token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhZGEifQ." + "c2lnbmF0dXJl",
    "password hash": "$argon2id" + "$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
    "password": "nine green" + " bottles",
}


def test_a_test_that_logs_a_credential_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text().replace('pytest_plugins = ["pytester"]', ""))
    pytester.makepyfile(
        f"""
        import logging, sys, pytest
        each = pytest.mark.parametrize("credential", {list(CREDENTIALS.values())!r}, ids=range({len(CREDENTIALS)}))
        def test_nothing(): pass
        @each
        def test_output(credential): print(credential)
        @each
        def test_errors(credential): sys.stderr.write(credential)
        @each
        def test_logs(credential): logging.getLogger().warning(credential)
        """
    )
    outcome = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    # This test is watched too.
    capsys.readouterr()
    outcome.assert_outcomes(passed=1, failed=3 * len(CREDENTIALS))
