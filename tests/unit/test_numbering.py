import pytest

from rollcall.core.events import InvalidEvent
from rollcall.files.numbering import Numbering
from rollcall.files.rows import Row


def numbered(*event_ids: object) -> bool:
    numbering = Numbering()
    rows = [Row(line, "", {"event_id": event_id}) for line, event_id in enumerate(event_ids)]
    assert list(numbering.watch(rows)) == rows
    return numbering.found


@pytest.mark.parametrize(
    "event_ids",
    [("1", "2", "3"), ("0", "1"), ("001", "002", "003"), ("1.0", "2.0"), (1, 2, 3), tuple(map(str, range(1, 200)))],
    ids=["from one", "from zero", "padded", "decimals", "numbers", "many"],
)
def test_ids_that_are_the_numbers_of_their_rows_are_found(event_ids: tuple[object, ...]) -> None:
    assert numbered(*event_ids)


@pytest.mark.parametrize(
    "event_ids",
    [(), ("1",), ("1", "3"), ("2", "1"), ("7", "8", "9"), ("1", "2", "c"), ("a1", "a2"), ("1", None, "2"), ("1", "1")],
    ids=["none", "one", "gap", "backwards", "from seven", "a word last", "prefixed", "missing", "repeated"],
)
def test_other_ids_are_not(event_ids: tuple[object, ...]) -> None:
    assert not numbered(*event_ids)


@pytest.mark.parametrize("after", ["2", "3"])
def test_a_row_that_cannot_be_read_may_have_had_a_number(after: str) -> None:
    numbering = Numbering()
    rows = [Row(2, "", {"event_id": "1"}), Row(3, "", InvalidEvent("invalid_csv", "")), Row(4, "", {"event_id": after})]
    assert list(numbering.watch(rows)) == rows
    assert numbering.found
