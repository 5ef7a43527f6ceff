import time

import pytest

from rollcall.http.preferences import preferences


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("wait=5", "5"),
        ("Wait=5", "5"),
        ("WAIT = 5", "5"),
        ("wait\t=\t5", "5"),
        ('wait="5"', "5"),
        (r'wait="\1\0"', "10"),
        ("respond-async, wait=5", "5"),
        ("wait=5, respond-async", "5"),
        (" , ,wait=5,", "5"),
        ("return=minimal; foo=bar, wait=5", "5"),
        ('wait=5; foo="a, wait=6"; bar;', "5"),
        ('foo="a, wait=6", wait=5', "5"),
        (r'foo="a\", wait=6", wait=5', "5"),
        ("wait=5, Wait=6", "5"),
        ("wait, wait=6", ""),
        ("wait=, wait=6", ""),
        ("foo bar, wait=5", "5"),
        ("wait==6, wait=5", "5"),
        ("wait 6, wait=5", "5"),
        ("wait=6; =, wait=5", "5"),
        ('"wait"=6, wait=5', "5"),
        ("é, wait=5", "5"),
        ('wait=5, foo="', "5"),
        ('foo="never closed, wait=6', None),
        ("respond-async; wait=6", None),
        ("await=6", None),
        ("", None),
    ],
)
def test_a_preference_is_read_as_rfc_7240_writes_it(header: str, wait: str | None) -> None:
    assert preferences(header).get("wait") == wait


@pytest.mark.parametrize("part", ['"', '"\\', "a=1;", "a ", " ", ";", "a = ", 'a="b', "(", ",", "=\t"])
def test_a_long_header_takes_no_longer_than_its_length(part: str) -> None:
    began = time.process_time()
    preferences(part * 20_000)
    assert time.process_time() - began < 1
