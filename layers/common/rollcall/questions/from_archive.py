"""Reads the archived events that answer questions about a segment."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rollcall.archive.duck import connect, load_snapshot
from rollcall.archive.snapshots import Snapshots
from rollcall.questions.segment import Condition


class ArchivedEvents:
    """The events of a segment in an archive: those that meet all the conditions, or with none all events.

    DuckDB gets `megabytes` of memory.
    """

    def __init__(self, snapshots: Snapshots, megabytes: int, conditions: Sequence[Condition]) -> None:
        self._snapshots = snapshots
        self._megabytes = megabytes
        self._conditions = conditions

    def query(self, sql: str, first: str, last: str, **parameters: object) -> tuple[str, list[tuple[Any, ...]]]:
        """Run a query over `matching`, the segment's events of the days from `first` to `last`, both inclusive.

        `first` is empty for all days up to `last`. Returns the time by which an event had to be counted to be among
        them (UTC, RFC 3339), and the rows.
        """
        where, values = _where(self._conditions)
        snapshot = self._snapshots.take(first, last)
        with TemporaryDirectory() as folder, closing(connect(Path(folder), self._megabytes)) as connection:
            load_snapshot(connection, snapshot)
            matching = (
                "WITH matching AS (SELECT * FROM events "
                f"WHERE day >= CAST($first AS DATE) AND day <= CAST($last AS DATE){where}) SELECT * FROM ({sql})"
            )
            given = {"first": first or "0001-01-01", "last": last, **values, **parameters}
            return snapshot.as_of, connection.execute(matching, given).fetchall()


def _where(conditions: Sequence[Condition]) -> tuple[str, dict[str, object]]:
    """Conditions as SQL, and the values of its parameters: what a caller wrote is among these alone."""
    terms: list[str] = []
    values: dict[str, object] = {}
    for number, condition in enumerate(conditions):
        value = f"$value{number}"
        values[f"value{number}"] = condition.value
        if condition.property is None:
            terms.append(f"event_type = {value}")
            continue
        path, member = f"$path{number}", condition.member()
        values[f"path{number}"] = condition.pointer()
        # A string's own text, since DuckDB escapes some characters otherwise than the stored JSON.
        kind, found = f"json_type(properties, {path})", f"(properties ->> {path})"
        term = f"({kind} = 'VARCHAR' AND {found} = {value})"
        texts = [condition.literal()]
        if condition.value in ("true", "false"):
            term += f" OR ({kind} = 'BOOLEAN' AND {found} = {value})"
            texts.append(condition.value)
        digits, as_float = condition.numbers()
        if digits:
            values[f"digits{number}"] = digits
            term += f" OR ({kind} IN ('BIGINT', 'UBIGINT', 'DOUBLE') AND list_contains($digits{number}, {found}))"
            texts += digits
        if as_float is not None:
            # DuckDB calls an integer of more than 64 bits DOUBLE too, but leaves its digits. They are compared above.
            values[f"float{number}"] = as_float
            is_float = f"{kind} = 'DOUBLE' AND regexp_matches({found}, '[.eE]')"
            term += f" OR ({is_float} AND TRY_CAST({found} AS DOUBLE) = $float{number})"
        texts = [member + text for text in texts]
        # To look for a text takes a tenth of the time of reading JSON, and most events are without it.
        for place, text in enumerate(texts):
            values[f"text{number}_{place}"] = text
        near = " OR ".join(f"contains(properties, $text{number}_{place})" for place in range(len(texts)))
        terms.append(f"({near}) AND ({term})")
    return "".join(f" AND {term}" for term in terms), values
