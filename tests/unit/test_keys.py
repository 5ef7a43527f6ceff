"""The names of the counters, which hold what clients wrote."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rollcall.core.events import MAX_EVENT_TYPE_CHARACTERS
from rollcall.counting.counters import INLINE_BYTES, Vocabulary
from rollcall.stack.keys import (
    DAILY_ACTIVES,
    OVERFLOW,
    PROCESSING,
    counted_source,
    counted_type,
    source_attribute,
    type_attribute,
)

# What escapes are made of comes often, so that names look like escaped ones.
NAMES = st.text(st.sampled_from("~;07edf\0\n\u200b\ue000é🎉") | st.characters(exclude_categories=["Cs"]), min_size=1)
OWN = {"pk", "sk", "expires_at", DAILY_ACTIVES, OVERFLOW, PROCESSING}
# All of the first two planes, and some of the others.
CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 0xFF))]


def test_the_name_of_a_counter_has_printable_characters_only_and_tells_any_character() -> None:
    together = "".join(CHARACTERS)
    assert type_attribute(together).isprintable()
    assert counted_type(type_attribute(together)) == together


def test_usual_names_are_written_as_they_are() -> None:
    for name in ("login", "Sign up: 50% off!", "a#b", "~", "~user", "покупка", "会員登録", "عرض", "é", "🎉"):
        assert type_attribute(name) == f"#{name}"
        assert source_attribute(name) == f"@{name}"


def test_a_character_that_may_not_be_printable_is_its_code_point() -> None:
    assert type_attribute("a\0b\u200d\U000e0001") == "#a~0;b~200d;~e0001;"
    assert type_attribute("~0;") == "#~7e;0;"


@settings(max_examples=300, deadline=None)
@given(NAMES)
def test_the_name_of_a_counter_tells_what_it_counts(name: str) -> None:
    of_type, of_source = type_attribute(name), source_attribute(name)
    assert (counted_type(of_type), counted_source(of_type)) == (name, None)
    assert (counted_type(of_source), counted_source(of_source)) == (None, name)
    assert of_type.isprintable()
    assert of_source.isprintable()
    assert not OWN & {of_type, of_source}


@settings(max_examples=300, deadline=None)
@given(NAMES, NAMES)
def test_no_two_names_share_a_counter(one: str, other: str) -> None:
    assert (type_attribute(one) == type_attribute(other)) == (one == other)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(categories=["Cc", "Cf"]), min_size=1))
def test_names_that_were_stored_as_they_were_written_are_read_so(name: str) -> None:
    assert counted_type(f"#{name}") == counted_source(f"@{name}") == name


def test_what_looks_like_an_escaped_surrogate_is_read_as_it_is() -> None:
    for name in ("~d800;", "~dfff;", "~110000;", "~0d800;"):
        assert counted_type(f"#{name}") == counted_type(type_attribute(name)) == name


def test_the_room_in_a_day_is_that_of_the_names_as_they_are_stored() -> None:
    vocabulary = Vocabulary()
    wide = [f"{number}" + "\0" * (MAX_EVENT_TYPE_CHARACTERS - 1) for number in range(10)]
    admitted = [name for name in wide if vocabulary.admit(name)]
    assert 1 < len(admitted) < len(wide)
    assert sum(len(type_attribute(name).encode()) for name in admitted) <= INLINE_BYTES
