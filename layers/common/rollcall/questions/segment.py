"""Segments: the conditions on events that a caller adds to a question."""

import json
import re
from math import isinf
from typing import NamedTuple

from rollcall.core.numbers import canonical_number
from rollcall.core.strict_json import MAX_INTEGER_DIGITS

MAX_CONDITIONS = 5
_PROPERTIES = "properties."
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_to_json = json.JSONEncoder(ensure_ascii=False).encode


class BadSegment(ValueError):
    """A condition that cannot be read; the text says why."""


class Condition(NamedTuple):
    """A condition on events: their type, or the value of one of their properties."""

    property: str | None
    """A name at the top of `properties`, or None for the event type."""
    value: str

    def pointer(self) -> str:
        """The property as a JSON pointer (RFC 6901)."""
        return "/" + (self.property or "").replace("~", "~0").replace("/", "~1")

    def literal(self) -> str:
        """The value as the text that `properties` have where it is a string."""
        return _to_json(self.value)

    def member(self) -> str:
        """The text that `properties` have where they have the property. Properties are stored as canonical JSON."""
        return f"{_to_json(self.property or '')}:"

    def numbers(self) -> tuple[list[str], float | None]:
        """The number that the value is: each way in which it may be stored, and the float that equals it.

        Events that were stored before equal numbers were one text have others than the canonical one: 100.0 and 1e+16.
        """
        if not _NUMBER.fullmatch(self.value) or len(self.value) > MAX_INTEGER_DIGITS:
            return [], None
        number = json.loads(self.value)
        try:
            as_float = float(number) + 0.0  # -0.0 becomes 0.0.
        except OverflowError:
            return [str(number)], None
        if isinf(as_float):
            return [], None
        if as_float != number:
            return [str(number)], None
        texts = [canonical_number(repr(as_float)), repr(as_float)]
        if as_float.is_integer():
            texts.append(str(int(as_float)))
        if not as_float:
            texts.append("-0.0")
        return list(dict.fromkeys(texts)), as_float


def parse_segment(text: str) -> Condition:
    """Read `event_type:VALUE` or `properties.NAME:VALUE`; raises `BadSegment`.

    A name goes up to the first colon. A property has a value as its text: a string as it is, `true` and `false` as JSON
    writes them, a number by its value: 100, 100.0 and 1e2 are one. Objects, arrays and null have none.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise BadSegment("has to be event_type:VALUE or properties.NAME:VALUE")
    if name == "event_type" and value:
        return Condition(None, value)
    if name.startswith(_PROPERTIES) and name != _PROPERTIES:
        return Condition(name.removeprefix(_PROPERTIES), value)
    raise BadSegment("has to be event_type:VALUE or properties.NAME:VALUE, with a name and a value")
