"""Which stored properties a segment's conditions find, asked of DuckDB as the archive asks it."""

import json
from collections.abc import Iterable

import duckdb
import pytest

from rollcall.questions.from_archive import _where
from rollcall.questions.segment import parse_segment

# Each C0 character, DEL, and what writers of JSON escape or leave as they like.
CHARACTERS = [
    *map(chr, range(0x20)),
    *("\x7f", "\x85", "\u2028", "\u2029", "\ufeff", "é", "🎉", "👩\u200d👩\u200d👧", "/", '"', "\\", "~", "'"),
]
as_stored = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def found(segment: str, rows: Iterable[str]) -> list[str]:
    where, values = _where([parse_segment(segment)])
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (properties VARCHAR)")
        connection.executemany("INSERT INTO events VALUES (?)", [[row] for row in rows])
        sql = f"SELECT properties FROM events WHERE true{where} ORDER BY rowid"
        return [row for (row,) in connection.execute(sql, values).fetchall()]


def test_equal_strings_are_equal_whatever_character_they_hold() -> None:
    rows = [as_stored({"note": f"a{character}b"}) for character in CHARACTERS]
    for character, row in zip(CHARACTERS, rows, strict=True):
        assert found(f"properties.note:a{character}b", rows) == [row], ascii(character)


def test_a_property_is_found_whatever_character_its_name_holds() -> None:
    rows = [as_stored({f"a{character}b": "x"}) for character in CHARACTERS]
    for character, row in zip(CHARACTERS, rows, strict=True):
        assert found(f"properties.a{character}b:x", rows) == [row], ascii(character)


def test_no_string_is_found_by_another_that_is_its_escape() -> None:
    rows = [as_stored({"note": text}) for text in ("a\x0bb", r"a\u000bb", r"a\u000Bb", "a\\/b", "a/b")]
    for row in rows:
        assert found(f"properties.note:{json.loads(row)['note']}", rows) == [row]


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        # As events have been stored since, and as they were before equal numbers were one text.
        (["100", "100.0", "1e2", "1E+2"], ["100", "100.0"]),
        (["0", "-0", "0.0", "-0.0"], ["0", "0.0", "-0.0"]),
        (["1e16", "10000000000000000"], ["10000000000000000", "1e+16"]),
        (["1e22", "10000000000000000000000", "1e+22"], ["1e+22", "10000000000000000000000"]),
        (["118.64", "118.640", "1.1864e2"], ["118.64"]),
        (["9007199254740993"], ["9007199254740993"]),
        (["9007199254740992", "9007199254740992.0"], ["9007199254740992", "9007199254740992.0"]),
        (["18446744073709551617"], ["18446744073709551617"]),
        (["1000000000000000000001"], ["1000000000000000000001"]),
        (["-7", "-7.0"], ["-7", "-7.0"]),
    ],
)
def test_a_number_is_found_by_its_value_however_either_is_written(values: list[str], stored: list[str]) -> None:
    others = ["7", "1001", '"100"', '"100.0"', "[100]", '"0"', "118.641", "18446744073709551616", "true", "null"]
    others += ["9007199254740994", "1000000000000000000002"]
    rows = [f'{{"a":0,"n":{each},"z":{{"n":5}}}}' for each in (*stored, *others)]
    for value in values:
        text = f'{{"a":0,"n":"{value}","z":{{"n":5}}}}'
        assert found(f"properties.n:{value}", rows) == rows[: len(stored)] + [row for row in rows if row == text]
