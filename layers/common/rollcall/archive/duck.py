"""DuckDB over files of the archive: reads batches' rows and days' files, and merges batches' rows into days' files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from rollcall.archive.snapshots import Later, Snapshot
from rollcall.core.events import PROFILE_TYPES

# The columns of a day's file, in order, and the SQL that makes each from a batch's row. Times are UTC.
COLUMNS = {
    "event_id": "event_id",
    "occurred_at": "CAST(occurred_at AS TIMESTAMP)",
    "user_id": "user_id",
    "event_type": "event_type",
    "properties": "properties",
    # The consumer checks that `occurred_at` is a time, but takes `received_at` as it is.
    "received_at": "TRY_CAST(received_at AS TIMESTAMP)",
    "source": "source",
    "batch": "batch",
}
# By type first, so that a query for one event type reads few row groups. Time second, because it compresses better than
# the user or the batch, as measured.
ORDER = "event_type, occurred_at, event_id, batch"
# The SQL of whether a row is a profile call.
IS_PROFILE_CALL = f"event_type IN {(*sorted(PROFILE_TYPES),)}"
_NAMES = ", ".join(COLUMNS)
_ROW = ", ".join(f"{name}: 'VARCHAR'" for name in (*COLUMNS, "day"))
_NO_ROW = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in (*COLUMNS, "day"))


def connect(folder: Path, megabytes: int, database: str = ":memory:") -> duckdb.DuckDBPyConnection:
    """A database that uses up to `megabytes` of memory and spills the rest to `folder`. It loads no extensions."""
    return duckdb.connect(
        database,
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "memory_limit": f"{megabytes}MB",
            "preserve_insertion_order": "false",
            "temp_directory": str(folder),
        },
    )


def load_batches(connection: duckdb.DuckDBPyConnection, table: str, files: Sequence[Path]) -> None:
    """Make a table of the rows in batches' objects: the columns of a day's file, and `day`."""
    made = ", ".join(f"{source} AS {name}" for name, source in COLUMNS.items())
    rows, given = f"(SELECT {_NO_ROW}) WHERE false", []
    if files:
        rows, given = f"read_json(?, format='newline_delimited', columns={{{_ROW}}})", [[str(file) for file in files]]
    connection.execute(f"CREATE TABLE {table} AS SELECT {made}, CAST(day AS DATE) AS day FROM {rows}", given)


def keep_days(connection: duckdb.DuckDBPyConnection, table: str, days: Sequence[str]) -> None:
    """Delete the rows of a table that are of none of the days."""
    connection.execute(f"DELETE FROM {table} WHERE day NOT IN (SELECT CAST(unnest(?) AS DATE))", [days])


def write_batches(connection: duckdb.DuckDBPyConnection, table: str, path: Path) -> None:
    """Write the rows of a table as an object of batches' rows, for `load_batches` to make the same table of it."""
    connection.execute(f"COPY {table} TO ? (FORMAT json, COMPRESSION gzip)", [str(path)])


def write_volume(
    connection: duckdb.DuckDBPyConnection,
    days: Mapping[Path, str],
    volumes: Mapping[Path, Sequence[str]],
    path: Path,
) -> None:
    """Write the rows of days' files, each given with its day, and those of some days of volumes, as a volume."""
    _load_taken(connection, {**{file: [day] for file, day in days.items()}, **volumes})
    parts = []
    if days:
        connection.read_parquet([*map(str, days)], filename=True, hive_partitioning=False).create_view(
            "loose", replace=True
        )
        parts.append(f"SELECT {_NAMES}, taken.day FROM loose JOIN taken ON filename = file")
    if volumes:
        _view_volumes(connection, [*volumes])
        parts.append(f"SELECT {_NAMES}, day FROM in_volumes")
    rows = " UNION ALL ".join(parts)
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) ORDER BY {ORDER}) TO ? (FORMAT parquet, COMPRESSION zstd)", [str(path)]
    )


def _load_taken(connection: duckdb.DuckDBPyConnection, taken: Mapping[Path, Sequence[str]]) -> None:
    """Make the table `taken`, with a row for each file and each day that is read from it."""
    files = [str(file) for file, days in taken.items() for _ in days]
    days = [day for of_file in taken.values() for day in of_file]
    connection.execute(
        "CREATE OR REPLACE TABLE taken AS "
        "SELECT unnest(?::VARCHAR[]) AS file, CAST(unnest(?::VARCHAR[]) AS DATE) AS day",
        [files, days],
    )


def _view_volumes(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Make the view `in_volumes` of the rows of the days that are `taken` from volumes."""
    volumes = connection.read_parquet([*map(str, files)], filename=True, hive_partitioning=False)
    volumes.create_view("volumes", replace=True)
    connection.execute(
        f"CREATE OR REPLACE VIEW in_volumes AS SELECT {_NAMES}, day FROM volumes "
        "SEMI JOIN taken ON volumes.filename = taken.file AND volumes.day = taken.day"
    )


def count_batches(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    """The number of batches that have rows in a table."""
    ((count,),) = connection.execute(f"SELECT count(DISTINCT batch) FROM {table}").fetchall()
    return int(count)


def load_snapshot(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
    """Make views of a snapshot.

    `stored` has each row once. `events` has those that are counted, and `profiles` the others, which are profile calls.
    `user_days` has each day and user of `events` once.
    """
    load_batches(connection, "pending", snapshot.pending)
    parts = []
    if snapshot.days:
        connection.read_parquet([*map(str, snapshot.days)], hive_partitioning=True).create_view("days")
        parts.append(f"SELECT {_NAMES}, day FROM days")
    if snapshot.volumes:
        _load_taken(connection, snapshot.volumes)
        _view_volumes(connection, [*snapshot.volumes])
        parts.append(f"SELECT {_NAMES}, day FROM in_volumes")
    if snapshot.later:
        parts += _load_later(connection, snapshot.later, parts)
    # A batch that is bundled may be in its own object too, or in another bundle.
    connection.execute(
        "DELETE FROM pending WHERE rowid NOT IN (SELECT min(rowid) FROM pending GROUP BY event_id, batch)"
    )
    if parts:
        connection.execute(f"CREATE VIEW archived AS {' UNION ALL '.join(parts)}")
        if snapshot.pending or snapshot.later:
            connection.execute(
                "DELETE FROM pending WHERE (event_id, batch) IN "
                "(SELECT (event_id, batch) FROM archived WHERE batch IN (SELECT batch FROM pending))"
            )
    else:
        connection.execute("CREATE VIEW archived AS SELECT * FROM pending WHERE false")
    connection.execute(
        f"CREATE VIEW stored AS SELECT {_NAMES}, day FROM archived UNION ALL SELECT {_NAMES}, day FROM pending"
    )
    connection.execute(f"CREATE VIEW events AS SELECT * FROM stored WHERE NOT {IS_PROFILE_CALL}")
    connection.execute(f"CREATE VIEW profiles AS SELECT * FROM stored WHERE {IS_PROFILE_CALL}")
    connection.execute("CREATE VIEW user_days AS SELECT DISTINCT day, user_id FROM events")


def _load_later(connection: duckdb.DuckDBPyConnection, later: Later, parts: Sequence[str]) -> list[str]:
    """Add what was met later to `pending`, without the batches that were met by then only; the same of days' files.

    `parts` are the queries of the rows of days that have not changed. Returns those of the days that have.
    """
    load_batches(connection, "fresh", later.pending)
    met = ["SELECT batch FROM pending", *(f"SELECT batch FROM ({part})" for part in parts)]
    now = ["SELECT batch FROM fresh"]
    if later.former:
        # Days' files and volumes, which have a column more.
        former = connection.read_parquet([*map(str, later.former)], hive_partitioning=False, union_by_name=True)
        former.create_view("former")
        met.append("SELECT batch FROM former")
    if later.days:
        connection.read_parquet([*map(str, later.days)], hive_partitioning=True).create_view("later_days")
        now.append("SELECT batch FROM later_days")
    connection.execute(
        f"CREATE TABLE too_late AS SELECT DISTINCT batch FROM ({' UNION ALL '.join(now)}) AS now "
        f"ANTI JOIN ({' UNION ALL '.join(met)}) AS met USING (batch)"
    )
    connection.execute("INSERT INTO pending SELECT * FROM fresh WHERE batch NOT IN (SELECT batch FROM too_late)")
    kept = f"SELECT {_NAMES}, day FROM later_days WHERE batch NOT IN (SELECT batch FROM too_late)"
    return [kept] if later.days else []


def merge_day(connection: duckdb.DuckDBPyConnection, table: str, day: str, former: Path | None, merged: Path) -> int:
    """Write a day's new file to `merged`: the rows of its former file, and the rows of `table` that it lacks.

    `table` holds batches' rows, as `load_batches` makes it. Returns the number of added rows. Writes nothing if there
    are none.
    """
    known = "(SELECT NULL AS event_id, NULL AS batch WHERE false)"
    if former:
        connection.read_parquet(str(former), hive_partitioning=False).create_view("former", replace=True)
        known = "former"
    connection.execute(
        f"CREATE OR REPLACE TABLE added AS SELECT DISTINCT ON (event_id, batch) {_NAMES} FROM {table} AS new "
        "WHERE day = CAST(? AS DATE) AND NOT EXISTS "
        f"(SELECT 1 FROM {known} AS old WHERE old.event_id = new.event_id AND old.batch = new.batch)",
        [day],
    )
    # A result that is not read to its end blocks the connection.
    ((count,),) = connection.execute("SELECT count(*) FROM added").fetchall()
    if not count:
        return 0
    rows = f"SELECT {_NAMES} FROM added" + (f" UNION ALL SELECT {_NAMES} FROM former" if former else "")
    connection.execute(
        f"COPY (SELECT * FROM ({rows}) ORDER BY {ORDER}) TO ? (FORMAT parquet, COMPRESSION zstd)", [str(merged)]
    )
    return int(count)
