"""`rollcall compact` and `rollcall query`."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer

from rollcall.core.projects import DEFAULT, Project
from scripts import show
from scripts.commands.common import (
    AllProjects,
    AsJson,
    Failed,
    OneProject,
    Raw,
    StackName,
    check_one_or_all,
    output,
    output_json,
    say,
    tell,
)
from scripts.operate import stacks
from scripts.operate.archive import StackArchive, consumer_of, opened_together
from scripts.terminal import write_csv

_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


def compact(
    backfill: Annotated[
        bool,
        typer.Option("--backfill", help="Add what was counted before there was an archive, too. Scans the table."),
    ] = False,
    project: OneProject = DEFAULT.name,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Compact the archive of a project now, without waiting for the schedule."""
    where, meant = stacks.find(stack), Project(project)
    calendar = where.projects.calendar(meant)
    archive = StackArchive.of(where, meant)
    done = archive.compact()
    if backfill:
        settings, _ = consumer_of(where)
        archive.backfill(settings.tables.events, calendar, done)
    if as_json:
        output_json(vars(done))
        return
    tell(f"{done.batches:,} batches compacted: {done.rows:,} events, {done.days:,} files of a day written")


def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(help="SQL of DuckDB over the views events, user_days and profiles.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    raw: Raw = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", metavar="FILE", help="Write Parquet.")] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where fetched files are kept; the user's cache without it.")
    ] = None,
    project: OneProject = DEFAULT.name,
    all_projects: AllProjects = False,
    stack: StackName = None,
    as_json: AsJson = False,
) -> None:
    """Query all counted events of a project in the archive with SQL.

    The view `events` has event_id, occurred_at, user_id, event_type, properties, received_at, source, batch and day.
    The view `user_days` has day and user_id. The view `profiles` has profile calls, which no number counts, with the
    same columns as `events`. With --all-projects, project is the first column of each. Files of the archive are fetched
    once and kept.
    """
    if as_csv + as_json + (parquet is not None) > 1:
        raise typer.BadParameter("--csv, --json and --parquet exclude each other")
    if raw and not as_csv:
        raise typer.BadParameter("--raw is about --csv")
    check_one_or_all(context, all_projects=all_projects)
    where = stacks.find(stack)
    if all_projects:
        archives = StackArchive.of_each(where, [each.project for each in where.projects.all()], cache)
        opened = opened_together(archives)
    else:
        meant = Project(project)
        where.projects.find(meant)
        opened = StackArchive.of(where, meant, cache).opened()
    with opened as connection:
        try:
            if parquet:
                rows = connection.sql(sql)
                rows.write_parquet(str(parquet), compression="zstd")
                ((count,),) = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(parquet)]).fetchall()
                say(f"{count:,} rows written to {parquet}")
                return
            answer = connection.execute(sql)
            columns = [column[0] for column in answer.description or ()]
            types = [column[1] for column in answer.description or ()]
            found = answer.fetchall()
        except duckdb.Error as error:
            raise Failed(str(error).partition("\n\n")[0]) from error
    if as_csv:
        write_csv(columns, (map(_cell, types, row) for row in found), raw=raw)
    elif as_json:
        output_json([dict(zip(columns, row, strict=True)) for row in found], default=str)
    else:
        output(show.rows(columns, found))


def _cell(kind: object, value: Any) -> object:
    """A value for CSV. DuckDB answers a number out of JSON as text."""
    number = kind == "JSON" and isinstance(value, str) and _NUMBER.fullmatch(value)
    return Decimal(value) if number else value
