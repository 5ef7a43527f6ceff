import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.numbers import canonical_number, may_differ, with_canonical_numbers

values = st.recursive(
    st.integers(-(10**40), 10**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def as_python(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("100", "100"),
        ("100.0", "100"),
        ("1e2", "100"),
        ("1E+2", "100"),
        ("100.00", "100"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("0e5", "0"),
        ("-7.0", "-7"),
        ("1e16", "10000000000000000"),
        ("1.5e16", "15000000000000000"),
        ("9007199254740992.0", "9007199254740992"),
        ("9007199254740993", "9007199254740993"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("1000000000000000000000", "1e+21"),
        ("-1000000000000000000000", "-1e+21"),
        ("1000000000000000000001", "1000000000000000000001"),
        ("10000000000000000000000", "1e+22"),
        ("999999999999999999999", "999999999999999999999"),
        ("-165733580542041522176", "-165733580542041522176"),
        ("6.02e23", "6.02e+23"),
        ("9" * 400, "9" * 400),
        ("1.5", "1.5"),
        ("1e-7", "1e-07"),
        ("1e300", "1e+300"),
    ],
)
def test_equal_numbers_are_one_text(sent: str, kept: str) -> None:
    written = as_python({"a": [json.loads(sent), json.loads(sent)], "b": json.loads(sent)})
    assert with_canonical_numbers(written) == f'{{"a":[{kept},{kept}],"b":{kept}}}'


@pytest.mark.parametrize("text", ["1.0,", "100.0]", "2.0}", "1e+22", "1" + "0" * 22, '\\"1.0,', 'a"1.0]'])
def test_what_strings_and_names_hold_is_no_number(text: str) -> None:
    written = as_python({text: text, "n": 1.0})
    assert json.loads(with_canonical_numbers(written)) == {text: text, "n": 1}
    assert with_canonical_numbers(written) == written.replace(":1.0", ":1")


@settings(max_examples=200, deadline=None)
@given(values)
def test_canonical_numbers_are_the_numbers_that_were_sent_and_do_not_change_again(value: Any) -> None:
    kept = with_canonical_numbers(as_python(value))
    assert json.loads(kept) == value
    assert with_canonical_numbers(kept) == kept


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30).map(round))
def test_a_whole_number_is_one_text_as_an_integer_and_as_a_float(whole: int) -> None:
    assert canonical_number(str(whole)) == canonical_number(repr(float(whole)))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_an_object_whose_numbers_change_is_told_before_it_is_read(value: dict[str, Any]) -> None:
    text = as_python(value)
    assert may_differ(value) or with_canonical_numbers(text) == text


def test_most_objects_are_not_read_for_their_numbers() -> None:
    assert not may_differ({"a": "x" * 1_000, "b": 2**53 + 1, "c": -3, "d": True, "e": None})
