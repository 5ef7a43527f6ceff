"""Numbers in canonical JSON: equal numbers are one text, however they were sent."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Below it, a whole number is written with all its digits, as most JSON writers do. 2^53 + 1 stays what it is.
FIRST_EXPONENT = 10**21
_LONG = len(str(FIRST_EXPONENT))

_STRING_OR_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:e[+-]\d+)?')


def may_differ(value: Mapping[str, Any]) -> bool:
    """Whether an object may hold a number that its JSON does not have in canonical form; false for most objects."""
    # To look at the values takes less time than to look through the text, which may be long.
    waiting: list[Iterable[Any]] = [value.values()]
    for values in waiting:
        for each in values:
            kind = type(each)
            if kind is str or kind is bool or each is None:
                continue
            if kind is int:
                if not -FIRST_EXPONENT < each < FIRST_EXPONENT:
                    return True
            elif kind is float:
                if each.is_integer():
                    return True
            elif kind is dict:
                waiting.append(each.values())
            elif kind is list:
                waiting.append(each)
            else:
                return True
    return False


def with_canonical_numbers(text: str) -> str:
    """JSON as Python's `json` writes it without spaces, with each number in its canonical form.

    A float that is whole and below `FIRST_EXPONENT` is written as an integer, and an integer from there on that equals
    a float as that float: 100.0 is 100, -0.0 is 0, and 10^22 is 1e+22.
    """
    return _STRING_OR_NUMBER.sub(_canonical, text)


def canonical_number(text: str) -> str:
    """The canonical form of a number as Python's `json` writes it."""
    if "." in text or "e" in text:
        number = float(text)
        return str(int(number)) if number.is_integer() and abs(number) < FIRST_EXPONENT else text
    if len(text) < _LONG:
        return text
    whole = int(text)
    if abs(whole) < FIRST_EXPONENT:
        return text
    try:
        number = float(whole)
    except OverflowError:
        return text
    return repr(number) if number == whole else text


def _canonical(found: re.Match[str]) -> str:
    text = found[0]
    return text if text.startswith('"') else canonical_number(text)
