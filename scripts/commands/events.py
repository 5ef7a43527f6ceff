"""`rollcall generate` and `import`."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import typer
from botocore.exceptions import ClientError
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from rollcall.core.days import Calendar, parse_day
from rollcall.core.projects import Project
from rollcall.files.numbering import WARNING, Numbering
from rollcall.files.rows import MOST_BYTES, Row, read_rows
from rollcall.intake.bodies import MAX_REQUEST_EVENTS
from rollcall.intake.intake import CONFLICT
from scripts import private, show
from scripts.api import PATIENCE_SECONDS
from scripts.commands.common import Failed, KeyText, ProjectName, Raw, StackName, api, output, say
from scripts.commands.projects import calendar_of
from scripts.local import sample
from scripts.local.deploy import template
from scripts.operate import send_file, stacks
from scripts.operate.stored_events import StoredEvents
from scripts.terminal import SafeConsole

SHOWN_REJECTS = 20
STANDARD = "-"


class Way(StrEnum):
    """The door through which a file is imported."""

    http = "http"
    s3 = "s3"


def day_option(text: str) -> date:
    """Parse the day in an option; raises `typer.BadParameter`."""
    try:
        return date.fromisoformat(parse_day(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def generate(
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="CSV, or JSONL for .jsonl; gzip for .gz; - is standard output.")
    ],
    rows: Annotated[int, typer.Option(min=0, help="Events to make.")] = 10_000,
    users: Annotated[int, typer.Option(min=1, help="Users they are of, at most.")] = 500,
    days: Annotated[int, typer.Option(min=1, max=3_650, help="Days they are spread over.")] = 30,
    seed: Annotated[int, typer.Option(help="Another one makes other events.")] = 1,
    last_day: Annotated[
        date | None, typer.Option(parser=day_option, metavar="DAY", help="Their last day; yesterday without it.")
    ] = None,
) -> None:
    """Write made-up events to a file; the same options always make the same bytes."""
    last = last_day or datetime.now(UTC).date() - timedelta(days=1)
    if last.toordinal() < days:
        raise typer.BadParameter(f"--days {days} up to --last-day {last} begin before the year 1")
    events = sample.stream(rows, users, days, last, seed)
    if out == STANDARD:
        sample.write(events, sys.stdout.buffer, out)
        return
    with Path(out).open("wb") as file:
        sample.write(events, file, out)
    say(f"{rows:,} events written to {out}")


def import_file(
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or JSONL, plain or gzip; - is standard input.")],
    batch_size: Annotated[int, typer.Option(min=1, max=MAX_REQUEST_EVENTS, help="Rows in a request.")] = 500,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the file and send nothing.")] = False,
    via: Annotated[
        Way, typer.Option(help="Row by row through the API, or whole through the upload bucket.")
    ] = Way.http,
    rejects: Annotated[Path | None, typer.Option(help="Write all rejected rows to this CSV file.")] = None,
    raw: Raw = False,
    stack: StackName = None,
    key: KeyText = None,
    project: ProjectName = None,
) -> None:
    """Send a file of events, wait until they are counted, and report the outcome.

    Importing a file again counts nothing twice. Exits with 1 if no row is accepted, or a row is in conflict.
    """
    if via is Way.s3 and file == STANDARD and not dry_run:
        raise typer.BadParameter("standard input goes via http only")
    if raw and rejects is None:
        raise typer.BadParameter("--raw is about --rejects")
    with ExitStack() as opened:
        source = opened.enter_context(_opened(file))
        if rejects is not None and _same_file(source.file, rejects):
            raise typer.BadParameter(f"--rejects {rejects} is the file to import")
        if via is Way.s3 and not dry_run and source.size is not None and source.size > send_file.MAX_UPLOAD_BYTES:
            raise Failed(f"{file}: S3 takes 5 GB at once; gzip the file or cut it, or send it via http")
        rejected = _Rejected(opened.enter_context(_rejects_file(rejects, raw=raw)) if rejects is not None else None)
        if dry_run:
            outcome = _survey(source, rejected, stack, key, project)
        elif via is Way.s3:
            outcome = _upload(source, rejected, stack, key, project)
        else:
            outcome = _send(source, rejected, batch_size, stack, key, project)
    if outcome.conflicts:
        rows = "1 row is" if outcome.conflicts == 1 else f"{outcome.conflicts:,} rows are"
        raise Failed(f"{rows} in conflict: other content has the event_id, and stays")
    if rejected.count and not outcome.taken:
        raise Failed("no row is accepted")


class _Source(NamedTuple):
    """The file to import."""

    file: IO[bytes]
    name: str
    size: int | None
    """None for standard input."""
    start: int | None
    """Where it begins in `file`; None if it can be read only once."""

    def rows(self, progress: Progress, task: TaskID, most_bytes: int | None = None) -> Iterator[Row]:
        """The rows from where the file stands now; advances the task."""
        chunks = send_file.read_chunks(self.file, lambda count: progress.advance(task, count))
        return read_rows(chunks, most_bytes, self.name)


class _Outcome(NamedTuple):
    """What the exit status depends on, in numbers of rows."""

    taken: int
    conflicts: int


class _Rejected:
    """Collects rejected rows: keeps the first ones to show, and writes all to a file if there is one."""

    def __init__(self, file: send_file.RejectFile | None) -> None:
        self._first: list[send_file.Reject] = []
        self.count = 0
        self._file = file

    def add(self, reject: send_file.Reject) -> None:
        """Add a rejected row."""
        self.count += 1
        if len(self._first) < SHOWN_REJECTS:
            self._first.append(reject)
        if self._file is not None:
            self._file.add(reject)

    def show(self) -> None:
        """Print the first rejected rows, if there are any."""
        if self._first:
            output(show.rejects(self._first, self.count - len(self._first)))


@contextmanager
def _rejects_file(path: Path, *, raw: bool) -> "Iterator[send_file.RejectFile]":
    """A rejects file, which replaces an older file at the end of the block.

    If the block fails, the new file replaces the older one only if it has rows. A path that is not a plain file, such
    as a pipe, is written to directly.
    """
    place = path.resolve()
    plain = place.is_file() or not place.exists()
    written = place.with_name(f".rollcall-{secrets.token_hex(8)}.part") if plain else place
    try:
        # A new file is its owner's alone: it has events in it.
        text = open(  # noqa: SIM115 - closed below
            written,
            "x" if plain else "w",
            encoding="utf-8",
            errors="backslashreplace",
            newline="",
            opener=lambda name, flags: os.open(name, flags, private.FILE),
        )
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    complete = False
    with ExitStack() as closing:
        if plain:
            closing.callback(written.unlink, missing_ok=True)
        closing.enter_context(text)
        if plain and place.exists():
            shutil.copymode(place, written)
        rejects = send_file.RejectFile(text, raw=raw)
        try:
            yield rejects
            complete = True
        finally:
            if plain and (complete or rejects.count):
                text.close()
                written.replace(place)


def _same_file(file: IO[bytes], path: Path) -> bool:
    """Whether an open file is the file at a path, even under another name."""
    # An OSError means that the path does not exist yet, or that the input is not a file of the system.
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _survey(source: _Source, rejected: _Rejected, stack: str | None, key: str | None, project: str | None) -> _Outcome:
    stored_events = None
    try:
        found = stacks.find(stack)
    except stacks.NoStack:
        if stack:
            raise
        # Without a stack, the file is checked against a stack with the template's defaults.
        defaults = template()["Parameters"]
        calendar = Calendar(defaults["ReportingTimezone"]["Default"], defaults["FirstDay"]["Default"])
        say("No stack was asked: which ids are taken already is not known.")
    else:
        what = "which ids are taken already"
        of = _project_sent_to(found, stack, key, project, what)
        calendar = calendar_of(found, of.name if of else None)
        stored_events = _stored_events(found, of, what) if of else None
    numbering = Numbering()
    with _progress() as progress:
        rows = numbering.watch(source.rows(progress, progress.add_task("Reading", total=source.size), MOST_BYTES))
        surveyed = send_file.survey(rows, datetime.now(UTC), rejected.add, calendar, stored_events)
    rejected.show()
    output(show.survey(surveyed))
    if numbering.found:
        _warn(WARNING)
    say("Nothing was sent.")
    return _Outcome(surveyed.good, surveyed.all_conflicts)


def _send(
    source: _Source, rejected: _Rejected, batch_size: int, stack: str | None, key: str | None, project: str | None
) -> _Outcome:
    found = stacks.find(stack)
    sender = send_file.HttpImport(
        api(found, stack, key, PATIENCE_SECONDS, project), _naming(found, stack, key, project), batch_size
    )
    numbering = Numbering()
    started = datetime.now(UTC)
    with _progress() as progress:
        reading = progress.add_task("Sending", total=source.size)
        counting = progress.add_task("Counting", total=None, visible=False)

        def sent(rows: int) -> None:
            progress.update(reading, rate=_rate(rows, started))

        def counted(done: int, batches: int) -> None:
            progress.update(counting, visible=True, total=batches, completed=done)

        rows = numbering.watch(source.rows(progress, reading))
        report = sender.run(rows, rejected.add, sent, counted)
    seconds, rate = (datetime.now(UTC) - started).total_seconds(), _rate(report.rows, started)
    conflicts = _conflicts(source, found, stack, key, project) if report.conflicts else None
    for conflict in conflicts or ():
        rejected.add(conflict)
    rejected.show()
    output(show.import_report(report))
    if numbering.found:
        _warn(WARNING)
    say(f"{seconds:.1f} s, {rate}")
    return _Outcome(report.accepted, report.conflicts)


def _stored_events(stack: stacks.Stack, project: Project, what: str) -> StoredEvents | None:
    """A project's stored events; None if they may not be read, which is said with `what` is not known therefore."""
    try:
        return StoredEvents.of(stack, project)
    except (ClientError, stacks.NoStack) as error:
        say(f"rollcall: {what} is not known: {error}")
        return None


def _project_sent_to(
    found: stacks.Stack, stack: str | None, key: str | None, project: str | None, what: str
) -> Project | None:
    """The project that rows are sent to; None if the keys may not be read, which is said with `what` is not known."""
    try:
        return send_file.project_of(found, stacks.key_for(stack, key, os.environ), project)
    except (ClientError, stacks.NoStack) as error:
        say(f"rollcall: {what} is not known: {error}")
        return None


def _conflicts(
    source: _Source,
    found: stacks.Stack,
    stack: str | None,
    key: str | None,
    project: str | None,
    most_bytes: int | None = None,
) -> Iterator[send_file.Reject] | None:
    """The rows of an imported file that are in conflict; None if they cannot be found, and then a line says why."""
    what = "which rows are in conflict"
    if source.start is None:
        say(f"rollcall: {what} is not known: the input can be read only once")
        return None
    of = _project_sent_to(found, stack, key, project, what)
    stored_events = _stored_events(found, of, what) if of else None
    if of is None or stored_events is None:
        return None
    source.file.seek(source.start)

    def compared() -> Iterator[send_file.Reject]:
        with _progress() as progress:
            rows = source.rows(progress, progress.add_task("Comparing", total=source.size), most_bytes)
            calendar = calendar_of(found, of.name)
            yield from send_file.stored_conflicts(rows, datetime.now(UTC), calendar, stored_events)

    return compared()


def _warn(warning: str) -> None:
    say(f"Warning: {warning}.")


def _naming(found: stacks.Stack, stack: str | None, key: str | None, project: str | None) -> send_file.Naming | None:
    try:
        return send_file.Naming.of(found, stacks.key_for(stack, key, os.environ), project)
    except ClientError as error:
        say(f"rollcall: what was counted before will be told as inserted: {error}")
        return None


def _upload(source: _Source, rejected: _Rejected, stack: str | None, key: str | None, project: str | None) -> _Outcome:
    found = stacks.find(stack)
    with _progress() as progress:
        uploading = progress.add_task("Uploading", total=source.size)
        importing_task = progress.add_task("Importing", total=None, visible=False)

        def told(status: dict[str, Any]) -> None:
            parts = status["parts"]
            progress.update(importing_task, visible=True, total=parts["planned"], completed=parts["done"])

        status = send_file.UploadImport(api(found, stack, key, PATIENCE_SECONDS, project)).run(
            Path(source.name), lambda count: progress.advance(uploading, count), told
        )
    report = send_file.report_of(status)
    conflicts = _conflicts(source, found, stack, key, project, MOST_BYTES) if report.conflicts else None
    for reject in send_file.bucket_rejects(found, [status["rejects"]] if status["rejects"] else []):
        # The bucket's file has the conflicts of rows that are near each other alone.
        if conflicts is None or reject.code != CONFLICT:
            rejected.add(reject)
    for conflict in conflicts or ():
        rejected.add(conflict)
    rejected.show()
    output(show.import_report(report))
    # The API of an older stack does not warn.
    for warning in status.get("warnings", ()):
        _warn(warning["message"])
    if not report.added_up:
        say("The batches are many; what became of the accepted rows is not added up. --dry-run tells the conflicts.")
    return _Outcome(report.accepted, report.conflicts)


@contextmanager
def _opened(name: str) -> "Iterator[_Source]":
    """The opened file, or standard input."""
    if name == STANDARD:
        yield _Source(sys.stdin.buffer, name, None, _place(sys.stdin.buffer))
        return
    with Path(name).open("rb") as file:
        yield _Source(file, name, os.fstat(file.fileno()).st_size, _place(file))


def _place(file: IO[bytes]) -> int | None:
    return file.tell() if file.seekable() else None


class _Rate(TextColumn):
    """A column with the speed of a task, empty if the task reports none."""

    def __init__(self) -> None:
        super().__init__("{task.fields[rate]}")


class _Tasks(Progress):
    """A progress bar whose tasks may report a speed."""

    def add_task(self, description: str, *args: Any, **fields: Any) -> TaskID:
        """Add a task without a speed."""
        return super().add_task(description, *args, **{"rate": "", **fields})


def _progress() -> Progress:
    """A progress bar on standard error if that is a terminal. The bar disappears at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), _Rate(), TimeElapsedColumn())
    console = SafeConsole(stderr=True)
    return _Tasks(*columns, console=console, transient=True, disable=not console.is_terminal)


def _rate(rows: int, started: datetime) -> str:
    seconds = (datetime.now(UTC) - started).total_seconds()
    return f"{rows / seconds:,.0f} rows a second" if seconds else ""
