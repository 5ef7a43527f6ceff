"""Answers from the archive: what the stats answer from the counters, of the events alone that meet some conditions."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rollcall.archive.duck import connect, load_snapshot
from rollcall.archive.snapshots import Snapshots
from rollcall.core.days import add_days, days_between
from rollcall.questions.answers import AsOf, DailyActives, EventCount, Retention, Window
from rollcall.questions.segment import Condition


class Questions:
    """Asks an archive, with so many megabytes for DuckDB. Conditions have to hold all on the same event; with none it
    answers what the counters do.

    All raise `rollcall.archive.snapshots.Moving`.
    """

    def __init__(self, snapshots: Snapshots, megabytes: int) -> None:
        self._snapshots = snapshots
        self._megabytes = megabytes

    def daily_actives(self, first: str, last: str, conditions: Sequence[Condition]) -> AsOf[list[DailyActives]]:
        """Users of each day from `first` to `last`, both inclusive, days without events at 0."""
        as_of, rows = self._ask(
            "SELECT CAST(day AS VARCHAR), count(DISTINCT user_id) FROM matching GROUP BY day", first, last, conditions
        )
        actives = dict(rows)
        return AsOf(as_of, [DailyActives(day, actives.get(day, 0)) for day in days_between(first, last)])

    def top_events(self, first: str, last: str, limit: int, conditions: Sequence[Condition]) -> AsOf[list[EventCount]]:
        """The `limit` most frequent event types from `first` to `last`, equals by name."""
        as_of, rows = self._ask(
            "SELECT event_type, count(*) AS events FROM matching GROUP BY event_type "
            "ORDER BY events DESC, event_type LIMIT $limit",
            first,
            last,
            conditions,
            limit=limit,
        )
        return AsOf(as_of, [EventCount(*row) for row in rows])

    def retention(
        self,
        day: str,
        windows: int,
        window_days: int,
        *,
        new_users: bool,
        today: str,
        conditions: Sequence[Condition],
    ) -> AsOf[Retention]:
        """How many of a day's users came back, as `rollcall.questions.from_counters.Stats.retention` answers it.

        With `new_users` every day before is read too: who was seen first is told by the events that match.
        """
        ends = [add_days(day, (number + 1) * window_days - 1) for number in range(1, windows + 1)]
        last = max(day, min(ends[-1], today))
        as_of, rows = self._ask(
            "WITH user_days AS (SELECT DISTINCT day - CAST($start AS DATE) AS after, user_id FROM matching), "
            "cohort AS (SELECT user_id FROM user_days GROUP BY user_id HAVING bool_or(after = 0)"
            f"{' AND min(after) = 0' if new_users else ''}) "
            "SELECT after // $window_days AS number, count(DISTINCT user_id) "
            "FROM user_days SEMI JOIN cohort USING (user_id) WHERE after = 0 OR after >= $window_days GROUP BY number",
            "" if new_users else day,
            last,
            conditions,
            start=day,
            window_days=window_days,
        )
        users = dict(rows)
        return AsOf(
            as_of,
            Retention(
                users.get(0, 0),
                [
                    Window(number, add_days(day, number * window_days), users.get(number, 0), complete=end < today)
                    for number, end in enumerate(ends, 1)
                ],
            ),
        )

    def _ask(
        self, query: str, first: str, last: str, conditions: Sequence[Condition], **parameters: object
    ) -> tuple[str, list[tuple[Any, ...]]]:
        """Run a query over `matching`: the events of the days that meet the conditions."""
        where, values = _where(conditions)
        snapshot = self._snapshots.take(first, last)
        with TemporaryDirectory() as folder, closing(connect(Path(folder), self._megabytes)) as connection:
            load_snapshot(connection, snapshot)
            matching = (
                "WITH matching AS (SELECT * FROM events "
                f"WHERE day >= CAST($first AS DATE) AND day <= CAST($last AS DATE){where}) SELECT * FROM ({query})"
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
        path, literals, member = f"$path{number}", condition.literals(), condition.member()
        values |= {f"path{number}": condition.pointer(), f"value{number}": literals}
        term = f"list_contains({value}, CAST(properties -> {path} AS VARCHAR))"
        texts = [member + literal for literal in literals]
        if (fraction := condition.number()) is not None:
            values[f"number{number}"] = fraction
            is_equal = f"CAST(properties ->> {path} AS DOUBLE) = $number{number}"
            term = f"({term} OR (json_type(properties, {path}) = 'DOUBLE' AND {is_equal}))"
            texts = [member]
        # To look for a text takes a tenth of the time of reading JSON, and most events are without it.
        for place, text in enumerate(texts):
            values[f"text{number}_{place}"] = text
        near = " OR ".join(f"contains(properties, $text{number}_{place})" for place in range(len(texts)))
        terms.append(f"({near}) AND {term}")
    return "".join(f" AND {term}" for term in terms), values
