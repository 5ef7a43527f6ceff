"""Tests of one `xdist_group` share a stack, which they do only in one process."""

import pytest


@pytest.mark.xdist_group("grouped")
def test_pytest_xdist_takes_notice_of_groups(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("loadgroup", False):
        pytest.skip("no tests are distributed by their groups")
    # How pytest-xdist tells its scheduler.
    assert request.node.nodeid.endswith("@grouped")
