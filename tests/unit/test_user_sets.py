"""Sets of users as bits are the sets of ids that they stand for."""

from collections.abc import Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.questions.user_sets import Numbering, Users, union

IDS = st.sampled_from([f"u{number}" for number in range(40)])
SETS = st.sets(IDS)


@given(first=SETS, second=SETS, shared=st.booleans())
def test_sets_are_united_cut_and_compared_as_python_does_it(first: set[str], second: set[str], shared: bool) -> None:
    numbering = Numbering()
    ours = numbering.users(first)
    theirs: Set[str] = (numbering if shared else Numbering()).users(second)
    for other in (theirs, second):
        assert (set(ours | other), set(ours & other), set(ours - other)) == (
            first | second,
            first & second,
            first - second,
        )
        assert (set(other | ours), set(other & ours), set(other - ours)) == (
            second | first,
            second & first,
            second - first,
        )
        assert (ours == other) == (first == second)
        assert (ours <= other) == (first <= second)
    assert len(ours) == len(first)
    assert set(ours) == first
    assert {user for user in first | second if user in ours} == first


@given(sets=st.lists(SETS))
def test_the_union_has_the_users_of_all_sets(sets: list[set[str]]) -> None:
    numbering = Numbering()
    assert set(union(numbering.users(users) for users in sets)) == set().union(*sets)


@given(lists=st.lists(st.lists(IDS)))
def test_who_is_named_twice_has_one_number(lists: list[list[str]]) -> None:
    numbering = Numbering()
    sets = [numbering.users(names) for names in lists]
    assert [len(users) for users in sets] == [len(set(names)) for names in lists]
    assert len(numbering) == len(set().union(*lists))


def test_a_set_takes_a_bit_for_each_user_who_has_a_number() -> None:
    numbering = Numbering()
    assert numbering.users([str(number) for number in range(8_000)]).size == 1_001


def test_a_set_is_no_key() -> None:
    with pytest.raises(TypeError):
        hash(Users(Numbering(), 0))
