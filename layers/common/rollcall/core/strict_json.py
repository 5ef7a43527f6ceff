"""A strict JSON parser: without Python's extensions, without repeated names, and with bounds on values and levels."""

import json
import math
from typing import Any

from rollcall.core.characters import shown
from rollcall.core.events import MAX_EVENT_BYTES, InvalidEvent
from rollcall.core.nesting import is_deeper, structure, without_strings

MAX_VALUES = 200_000
# Of an event that is a line, or a field of one. No event has more, since each takes two bytes of its text.
MAX_EVENT_VALUES = MAX_EVENT_BYTES // 2
# Python has a bound too. It depends on Python's version and on what calls the parser, and so differs between doors.
MAX_DEPTH = 500
MAX_INTEGER_DIGITS = 1_000


class TooManyValues(ValueError):
    """A document holds more values than are allowed; the text says how many are, and goes on after the document."""

    def __init__(self, most: int) -> None:
        super().__init__(f"has more than {most} values: fields of objects and elements of arrays")


def parse_json(text: str, most: int = MAX_VALUES) -> Any:
    """Parse JSON without Python's extensions (`NaN`, `Infinity`); raises `ValueError`.

    Text that nests deeper than `MAX_DEPTH` levels or has more than `most` values is not parsed; the latter raises
    `TooManyValues`. An integer with more than `MAX_INTEGER_DIGITS` digits is read as infinity: its digits would take
    time by their square. An object that names a field twice is read as an `InvalidEvent`. No field of an event accepts
    either.
    """
    if is_deeper(text, MAX_DEPTH):
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    check_values(text, most)
    return _decoder.decode(text)


def parse_part(text: str, code: str, what: str) -> object:
    """Parse the JSON of one event or of a field of one. What cannot be read is an `InvalidEvent` that calls it `what`.

    Its code is `code`, or `event_too_large` for more than `MAX_EVENT_VALUES` values.
    """
    if len(text) <= MAX_DEPTH:
        # It is too short for any bound. Each name has a colon: an object with as many names as the text has colons
        # names no field twice, and holds no other object.
        try:
            found, end = _scan(text, 0)
        except (ValueError, StopIteration, RecursionError):
            found, end = None, -1
        if end == len(text) and type(found) is dict and text.count(":") == len(found):
            return found
    try:
        return parse_json(text, MAX_EVENT_VALUES)
    except TooManyValues as error:
        return InvalidEvent("event_too_large", f"{what} {error}")
    except ValueError as error:
        return InvalidEvent(code, f"{what} is not valid JSON: {error}")


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
    marks = structure(text)
    # Each string is a value or the name of one. Of a text with more of them, none has to be taken out.
    if marks.count(b'"') <= 4 * most:
        marks = without_strings(marks)
        if marks.count(b"[") != marks.count(b"]") or marks.count(b"{") != marks.count(b"}"):
            raise ValueError("its brackets do not match")
    return marks.count(b",") + marks.count(b"{") + marks.count(b"[")


def _parse_integer(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else math.inf


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unrepeated, parse_int=_parse_integer)
# For text in which neither a long integer nor a repeated name has to be looked for. It takes half the time.
_scan = json.JSONDecoder(parse_constant=_refuse_constant).scan_once  # type: ignore[attr-defined]
