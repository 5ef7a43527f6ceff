"""A strict JSON parser: without Python's extensions, and without objects that name a field twice."""

import json
import math
from collections import Counter
from typing import Any

from rollcall.core.events import InvalidEvent

MAX_INTEGER_DIGITS = 4_000


def parse_json(text: str) -> Any:
    """Parse JSON without Python's extensions (`NaN`, `Infinity`); raises `ValueError` or `RecursionError`.

    An integer with more digits than Python converts is read as infinity. An object that names a field twice is read as
    an `InvalidEvent`. No field of an event accepts either.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unrepeated)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unrepeated, parse_int=_parse_integer)


def unrepeated(pairs: list[tuple[Any, Any]]) -> object:
    """The object with these fields, or an `InvalidEvent` if a name is repeated: either value might be the right one."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
    return InvalidEvent("repeated_field", f"{ascii(repeated)[1:33]} is named twice in one object")


def _parse_integer(digits: str) -> float:
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else math.inf


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
