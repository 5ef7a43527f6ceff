"""Which properties do events have, and with which values?"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rollcall.questions.question import ArchiveQuestion, AsOf
from rollcall.questions.segment import BadSegment, Condition, parse_segment

if TYPE_CHECKING:
    from rollcall.questions.from_archive import ArchivedEvents

MOST_PROPERTIES = 200
MOST_VALUES = 20
MOST_CHARACTERS = 100
"""Of a name or a value; a longer one is cut."""
# DuckDB has seven names of kinds, and three of them are numbers.
_KINDS = "CASE each.type WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'NULL' THEN 'null' "
_KINDS += "WHEN 'OBJECT' THEN 'object' WHEN 'ARRAY' THEN 'list' ELSE 'number' END"


class PropertyValue(NamedTuple):
    """A value of a property, and the events that have it."""

    text: str
    """A string as it is, a number or a boolean as JSON writes it; its first characters where it is `cut`."""
    kind: str
    events: int
    cut: bool
    condition: str | None
    """The condition of a segment that these events meet; None where none can be written."""


class Property(NamedTuple):
    """A property at the top of `properties`."""

    name: str
    cut: bool
    """Whether `name` has only the first characters of the name."""
    events: int
    kinds: dict[str, int]
    """The events with a value of each kind."""
    first_seen: str
    last_seen: str
    values: list[PropertyValue]
    """The most frequent strings, numbers and booleans."""


class FoundProperties(NamedTuple):
    """The most frequent properties, and the number of further ones."""

    properties: list[Property]
    others: int


@dataclass(frozen=True)
class Properties(ArchiveQuestion[FoundProperties]):
    """The properties of events from day `first` to day `last`: the `MOST_PROPERTIES` that the most events have.

    The most frequent one comes first, and equals in the order of their names. So do the `MOST_VALUES` values of each.
    """

    name = "properties"
    definition = "properties"

    first: str
    last: str

    def from_archive(self, archived: "ArchivedEvents") -> AsOf[FoundProperties]:
        """Reads the files of the days. DuckDB holds each property's different values, or spills them."""
        as_of, rows = archived.query(
            f"WITH parts AS (SELECT day, each.key AS name, {_KINDS} AS kind, each.value ->> '$' AS text "
            "FROM matching, json_each(matching.properties) AS each), "
            "found AS MATERIALIZED (SELECT name, kind, CASE WHEN kind IN ('string', 'number', 'boolean') THEN text END "
            "AS text, count(*) AS events, min(day) AS first, max(day) AS last FROM parts GROUP BY ALL), "
            "names AS MATERIALIZED (SELECT name, sum(events) AS total FROM found GROUP BY name "
            "ORDER BY total DESC, name LIMIT $properties), "
            "shown AS (SELECT * FROM found SEMI JOIN names USING (name)), "
            "frequent AS (SELECT name, kind, text, events FROM shown WHERE text IS NOT NULL "
            "QUALIFY row_number() OVER (PARTITION BY name ORDER BY events DESC, text, kind) <= $values) "
            "SELECT 'kind' AS what, name, kind, NULL AS text, CAST(sum(events) AS BIGINT) AS events, "
            "CAST(min(first) AS VARCHAR) AS first, CAST(max(last) AS VARCHAR) AS last FROM shown GROUP BY name, kind "
            "UNION ALL SELECT 'value', name, kind, text, events, NULL, NULL FROM frequent "
            "UNION ALL SELECT 'others', NULL, NULL, NULL, count(DISTINCT name), NULL, NULL FROM found",
            self.first,
            self.last,
            properties=MOST_PROPERTIES,
            values=MOST_VALUES,
        )
        kinds: dict[str, list[tuple[str, int, str, str]]] = {}
        values: dict[str, list[tuple[str, str, int]]] = {}
        others = 0
        for what, name, kind, text, events, first, last in rows:
            if what == "kind":
                kinds.setdefault(name, []).append((kind, events, first, last))
            elif what == "value":
                values.setdefault(name, []).append((text, kind, events))
            else:
                others = events
        found = [
            Property(
                name[:MOST_CHARACTERS],
                len(name) > MOST_CHARACTERS,
                sum(events for _, events, _, _ in of_kinds),
                {kind: events for kind, events, _, _ in sorted(of_kinds)},
                min(first for _, _, first, _ in of_kinds),
                max(last for _, _, _, last in of_kinds),
                [
                    _value(name, *value)
                    for value in sorted(values.get(name, ()), key=lambda each: (-each[2], each[0], each[1]))
                ],
            )
            for name, of_kinds in kinds.items()
        ]
        found.sort(key=lambda each: (-each.events, each.name))
        return AsOf(as_of, FoundProperties(found, others - len(found)))

    @staticmethod
    def decode(answer: Any) -> FoundProperties:
        """The answer from its JSON."""
        found, others = answer
        return FoundProperties(
            [
                Property(name, cut, events, kinds, first, last, [PropertyValue(*value) for value in values])
                for name, cut, events, kinds, first, last, values in found
            ],
            others,
        )


def _value(name: str, text: str, kind: str, events: int) -> PropertyValue:
    cut = len(text) > MOST_CHARACTERS
    return PropertyValue(text[:MOST_CHARACTERS], kind, events, cut, None if cut else _condition(name, text))


def _condition(name: str, value: str) -> str | None:
    """The text of the condition that a property has a value; None where it would be read otherwise, as is a colon in
    the name."""
    text = f"properties.{name}:{value}"
    try:
        return text if len(name) <= MOST_CHARACTERS and parse_segment(text) == Condition(name, value) else None
    except BadSegment:
        return None
