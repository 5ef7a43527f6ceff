"""Segments: the conditions on events that a caller adds to a question."""

import json
import re
from typing import NamedTuple

MAX_CONDITIONS = 5
_PROPERTIES = "properties."
_PLAIN = re.compile(r"true|false|-?(?:0|[1-9]\d*)", re.ASCII)
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

    def literals(self) -> list[str]:
        """The value as JSON writes it: as a string, and where it is one, as a whole number, `true` or `false`."""
        texts = [_to_json(self.value)]
        if _PLAIN.fullmatch(self.value):
            texts.append(self.value)
        return texts

    def member(self) -> str:
        """The text that `properties` have where they have the property. Properties are stored as canonical JSON."""
        return f"{_to_json(self.property or '')}:"

    def number(self) -> float | None:
        """The value as a number with a fraction or an exponent, or None where it is none: 118.640 is 118.64."""
        try:
            number = json.loads(self.value, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            return None
        return number if isinstance(number, float) else None


def parse_segment(text: str) -> Condition:
    """Read `event_type:VALUE` or `properties.NAME:VALUE`; raises `BadSegment`.

    A name goes up to the first colon. A property has a value as its text: a string as it is, a whole number, `true` and
    `false` as JSON writes them, any other number by its value. Objects, arrays and null have none.
    """
    name, colon, value = text.partition(":")
    if not colon:
        raise BadSegment("has to be event_type:VALUE or properties.NAME:VALUE")
    if name == "event_type" and value:
        return Condition(None, value)
    if name.startswith(_PROPERTIES) and name != _PROPERTIES:
        return Condition(name.removeprefix(_PROPERTIES), value)
    raise BadSegment("has to be event_type:VALUE or properties.NAME:VALUE, with a name and a value")
