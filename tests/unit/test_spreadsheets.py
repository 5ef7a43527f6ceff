import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollcall.core.spreadsheets import escape_formula, unescape_formula

FORMULA = "=HYPERLINK(A1)"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_text_that_begins_like_a_formula_gets_a_quote_before_it(first: str) -> None:
    assert escape_formula(f"{first}1") == f"'{first}1"
    assert escape_formula(first) == f"'{first}"


@pytest.mark.parametrize(
    "first", ["\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe62", "\ufe63", "\ufe66", "\ufe6b", "\u2212", "\u207c"]
)
def test_other_forms_of_the_same_characters_are_no_way_around_it(first: str) -> None:
    assert escape_formula(f"{first}1") == f"'{first}1"


@pytest.mark.parametrize(
    "before",
    [
        " ",
        "  ",
        "\xa0",
        "\u3000",
        "\u2028",
        "\ufeff",
        "\u200b",
        "\u202e",
        "\0",
        "\x1b",
        '"',
        "'",
        "\uff02",
        ' " ',
        "''",
        '"\t',
    ],
)
def test_a_formula_after_what_a_spreadsheet_drops_is_one(before: str) -> None:
    assert escape_formula(before + FORMULA) == f"'{before}{FORMULA}"


@pytest.mark.parametrize(
    "text", ["", "login", "a=b", "1-2", "1+1", "user@example.com", "é", "'", '"', " ", '{"a": -1}', "#"]
)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert escape_formula(text) == text


@pytest.mark.parametrize("number", [-5, -0.5, Decimal("-1.50"), 0, None, False])
def test_a_number_is_no_text(number: object) -> None:
    assert escape_formula(number) is number


def test_what_is_written_as_text_is_one() -> None:
    assert escape_formula(timedelta(days=-1)) == "'-1 day, 0:00:00"


@given(st.text() | st.text("=+-@'\"\t\r\n \uff1d1a"))
@example("'=1")
@example("''=1")
@example("'")
def test_the_quote_can_be_taken_off_again_whatever_the_text_was(text: str) -> None:
    escaped = escape_formula(text)
    assert unescape_formula(str(escaped)) == text
    assert escape_formula(escaped) == (escaped if escaped == text else f"'{escaped}")


def test_a_reader_of_csv_gives_the_escaped_texts_back() -> None:
    texts = [FORMULA, "-1", "\r=1", "'=1", '"=1"', "plain"]
    file = io.StringIO(newline="")
    csv.writer(file).writerow(map(escape_formula, texts))
    (cells,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert all(cell[0] not in "=+-@\t\r" for cell in cells)
    assert list(map(unescape_formula, cells)) == texts
