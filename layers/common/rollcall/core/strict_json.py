"""A strict JSON parser: without Python's extensions, without repeated names, and with a bound on values."""

import json
import math
import re
from typing import Any

from rollcall.core.characters import shown
from rollcall.core.events import InvalidEvent

MAX_VALUES = 200_000
MAX_INTEGER_DIGITS = 1_000

_STRUCTURE = b'",[]{}\n'
_OTHER_BYTES = bytes({*range(256)} - {*_STRUCTURE})
# No string goes on after the end of a line, so a line that is not JSON hides nothing of the next one.
_STRING = re.compile(rb'"[^"\n]*"')


class TooManyValues(ValueError):
    """A document holds more values than are allowed; the text says how many are, and goes on after the document."""

    def __init__(self, most: int) -> None:
        super().__init__(f"has more than {most} values: fields of objects and elements of arrays")


def parse_json(text: str, most: int = MAX_VALUES) -> Any:
    """Parse JSON without Python's extensions (`NaN`, `Infinity`); raises `ValueError`.

    Text with more than `most` values is not parsed: raises `TooManyValues`. An integer with more than
    `MAX_INTEGER_DIGITS` digits is read as infinity: its digits would take time by their square. An object that names a
    field twice is read as an `InvalidEvent`. No field of an event accepts either.
    """
    check_values(text, most)
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def check_values(text: str, most: int) -> None:
    """Raise `TooManyValues` if JSON, or lines of JSON, hold more than `most` values.

    Raises another `ValueError` if that many values are in brackets that do not match.
    """
    if most_values(text) > most and _count_values(text, most) > most:
        raise TooManyValues(most)


def most_values(text: str) -> int:
    """As many values as JSON can hold, told at a glance: what its strings hold is counted in."""
    return text.count(",") + text.count("{") + text.count("[")


def unrepeated(pairs: list[tuple[Any, Any]]) -> object:
    """The object with these fields, or an `InvalidEvent` if a name is repeated: either value might be the right one."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return InvalidEvent("repeated_field", f"{shown(name)} is named twice in one object")
        seen.add(name)
    raise AssertionError("the names were found to repeat")


def _count_values(text: str, most: int) -> int:
    """The fields and elements of JSON. An empty object or array counts too."""
    plain = text.encode(errors="surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = plain.translate(None, _OTHER_BYTES)
    # Each string is a value or the name of one. Of a text with more of them, none has to be taken out.
    if structure.count(b'"') <= 4 * most:
        structure = _STRING.sub(b"", structure.replace(b'""', b""))
        if structure.count(b"[") != structure.count(b"]") or structure.count(b"{") != structure.count(b"}"):
            raise ValueError("its brackets do not match")
    return structure.count(b",") + structure.count(b"{") + structure.count(b"[")


def _parse_integer(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else math.inf


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unrepeated, parse_int=_parse_integer)
