import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import InvalidEvent
from rollcall.core.strict_json import MAX_DEPTH, parse_part

texts = st.text(st.sampled_from('ab:"\\{}[], \n\u2028é'), max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=6,
)


def outcome(text: str) -> str:
    found = parse_part(text, "invalid_json", "the line")
    return found.message if isinstance(found, InvalidEvent) else repr(found)


@settings(max_examples=80)
@given(st.dictionaries(texts, values, max_size=4) | values, st.booleans(), st.sampled_from([(",", ":"), (", ", " : ")]))
def test_short_json_is_read_as_long_json(value: Any, escaped: bool, separators: tuple[str, str]) -> None:
    text = json.dumps(value, ensure_ascii=escaped, separators=separators)
    assert outcome(text) == outcome(text + " " * MAX_DEPTH)


@settings(max_examples=80)
@given(st.lists(st.sampled_from(['"a"', ":", ",", "{", "}", "1", " ", "[", "]", '"b"', '":"', "NaN"]), max_size=12))
def test_short_text_that_may_be_json_is_read_as_long_text(parts: list[str]) -> None:
    text = "{" + "".join(parts) + "}"
    assert outcome(text) == outcome(text + " " * MAX_DEPTH)


@pytest.mark.parametrize(
    "text",
    [
        *('{"a":1,"a":1}', '{"a":1,"a" :2}', '{"a":1,"\\u0061":2}', '{"a":{"b":1,"b":2}}', '[{"a":1,"a":1}]'),
        *('{":":1,":":2}', '{"a":":","b":1,"b":2}', '{"a":[{"b":1},{"c":1,"c":1}],"d":1}'),
    ],
)
def test_a_name_twice_is_found_in_short_json(text: str) -> None:
    assert "named twice" in outcome(text)
