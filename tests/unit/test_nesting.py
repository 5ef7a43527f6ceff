import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.nesting import is_deeper
from rollcall.core.strict_json import MAX_DEPTH, parse_json

texts = st.text(st.sampled_from('[]{}",\\\n:a\ud800é'), max_size=6)
values = st.recursive(
    st.none() | st.integers() | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@settings(max_examples=80)
@given(st.lists(values, max_size=8), st.integers(0, 40), st.sampled_from([16, 20, 40]), st.booleans())
def test_how_deep_json_nests_is_told_without_parsing_it(
    inner: list[Any], around: int, most: int, escaped: bool
) -> None:
    value: Any = inner
    for level in range(around):
        value = [value, "]}"] if level % 3 else {'"{[': value}
    # Enough brackets that they have to be looked at.
    text = json.dumps([value, *[[{}]] * 30], ensure_ascii=escaped)
    assert is_deeper(text, most) == (1 + depth(value) > most)


@pytest.mark.parametrize("text", ["[" * 501, "]" * 600 + "[" * 600, '"' + "[" * 600, "[" * 300 + "}" * 600 + "[" * 300])
def test_what_is_no_json_is_looked_at_too(text: str) -> None:
    assert isinstance(is_deeper(text, 500), bool)


@pytest.mark.parametrize("calls", [0, 300])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_how_deep_json_may_nest_does_not_depend_on_what_calls_the_parser(calls: int, opened: str, closed: str) -> None:
    def within(levels: int, text: str) -> Any:
        return within(levels - 1, text) if levels else parse_json(text)

    assert within(calls, opened * (MAX_DEPTH - 1) + "[]" + closed * (MAX_DEPTH - 1))
    with pytest.raises(ValueError, match="nests deeper than 500 levels"):
        within(calls, opened * MAX_DEPTH + "[]" + closed * MAX_DEPTH)
