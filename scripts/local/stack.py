"""`rollcall up` and `rollcall down`: the whole stack on this machine, filled with sample data."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import IO, Any

import httpx2
from botocore.exceptions import BotoCoreError, ClientError

from rollcall.access.api_keys import SCOPES, ApiKeys, key_id_of
from rollcall.access.reach import ALL
from rollcall.core.days import Calendar
from rollcall.core.events import InvalidEvent, parse_event
from rollcall.core.projects import DEFAULT
from rollcall.files.rows import Row, read_rows
from rollcall.questions.from_counters import Counters
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.layout import laid_out_timezone
from rollcall.stack.settings import BadSetting, path_prefix, web_origins
from scripts import private, show
from scripts.api import Api
from scripts.local import deploy, sample, saving
from scripts.local.ministack import FOLDERS as MINISTACK_FOLDERS
from scripts.local.ministack import LOCAL_STACK, SERVICES, MiniStack, listens
from scripts.local.watch import LOOK_SECONDS, Watch
from scripts.operate import stacks
from scripts.operate.archive import consumer_of
from scripts.operate.send_file import HttpImport, read_chunks
from scripts.terminal import SafeConsole

SAMPLE_ROWS = 6_000
SAMPLE_USERS = 400
SAMPLE_DAYS = 30
SAMPLE_SEED = 1
EVENTS_PER_REQUEST = 500
REQUEST_SECONDS = 60.0
DRAIN_SECONDS = 120
DRAIN_POLL_SECONDS = 0.1
GB = 1_000_000_000
# How long the printed link to the page is good for, unless it is used before.
LINK_SECONDS = 86_400
# Measured with 30,000 items: MiniStack holds them in 6 bytes for each byte of a save, and has a copy while it saves.
MEMORY_OF_A_SAVED_BYTE = 12
# The emulator reads a shard after the other.
ONE_SHARD = {"UserShards": "1", "CounterShards": "1"}
NOTE_OF_DATA, LOG = "sample.json", "ministack.log"
# What this writes into the folder of the data. The folder may be one that the user has other files in.
KEPT = (stacks.NOTE_OF_RUNNING, NOTE_OF_DATA, LOG, stacks.KEY_FILE, *MINISTACK_FOLDERS)


class CannotStart(Exception):
    """The local stack cannot start; the text says why and what to do."""


class NotKept(Exception):
    """The data could not be saved; the text says what is kept."""


class NotRunning(Exception):
    """There is no `rollcall up` to stop; the text names the place where it was looked for."""


class Stopped(BaseException):
    """A Ctrl-C or SIGTERM asks `up` to end."""


@dataclass(frozen=True)
class LocalSettings:
    """Settings of the local stack."""

    port: int
    state: Path
    sample: bool
    seed: Path | None
    """A file with events to send instead of the sample; None for the sample."""
    timezone: str | None = None
    """The timezone whose days are counted; None for that of the data, at first UTC."""
    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may call the API; `*` alone for all."""
    ingest_prefix: str = ""
    """A path below which the routes that take in events are as well; empty for none."""

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str],
        seed: Path | None = None,
        timezone: str | None = None,
        cors_origins: Sequence[str] = (),
        ingest_prefix: str | None = None,
    ) -> "LocalSettings":
        """Read the settings; raises `CannotStart`, which names the setting, if one is unusable.

        An option goes before its variable.
        """
        try:
            port = stacks.port_of(environment)
        except stacks.NoStack as error:
            raise CannotStart(str(error)) from None
        wanted = environment.get("ROLLCALL_SAMPLE") or "1"
        if wanted not in ("0", "1"):
            raise CannotStart(f"ROLLCALL_SAMPLE has to be 0 or 1, not {wanted!r}")
        state = stacks.state_of(environment)
        if state.exists() and not state.is_dir():
            raise CannotStart(f"ROLLCALL_STATE names {state}, which is not a folder")
        if seed is None and environment.get("ROLLCALL_SEED"):
            seed = Path(environment["ROLLCALL_SEED"])
        if seed is not None and not seed.is_file():
            raise CannotStart(f"there is no file {seed} to begin with")
        setting = "ROLLCALL_TIMEZONE" if timezone is None else "--timezone"
        timezone = (environment.get("ROLLCALL_TIMEZONE") or None) if timezone is None else timezone
        if timezone is not None:
            try:
                Calendar(timezone)
            except ValueError as error:
                raise CannotStart(f"{setting}: {error}") from None
        told = {**environment, "--cors-origin": ",".join(cors_origins), "--ingest-prefix": ingest_prefix or ""}
        try:
            origins = web_origins(told, "--cors-origin" if cors_origins else "ROLLCALL_CORS_ORIGINS")
            prefix = path_prefix(told, "ROLLCALL_INGEST_PREFIX" if ingest_prefix is None else "--ingest-prefix")
        except BadSetting as error:
            raise CannotStart(str(error)) from None
        return cls(port, state, wanted == "1", seed, timezone, origins, prefix)


@dataclass(frozen=True)
class Filled:
    """The data that a local stack was filled with: the sample or a file, and the days to show."""

    what: str
    first_day: date
    last_day: date
    complete: bool
    """Whether all events were sent."""

    def range(self) -> dict[str, str]:
        """The days as parameters for the API."""
        return {"from": self.first_day.isoformat(), "to": self.last_day.isoformat()}

    @classmethod
    def read(cls, note: Path) -> "Filled | None":
        """The note of an earlier start; None if there is no readable note."""
        try:
            noted = json.loads(note.read_text())
            last_day = date.fromisoformat(noted["last_day"])
            first_day = date.fromisoformat(noted.get("first_day") or str(last_day - timedelta(days=SAMPLE_DAYS - 1)))
            return cls(noted.get("what", "sample"), first_day, last_day, complete=noted["complete"] is True)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, note: Path) -> None:
        """Write the note for the next start."""
        days = {"first_day": self.first_day.isoformat(), "last_day": self.last_day.isoformat()}
        private.write(note, json.dumps({"what": self.what, **days, "complete": self.complete}))


def up(settings: LocalSettings, console: SafeConsole) -> None:
    """Start and deploy the stack, fill it at the first start, show answers, and run until Ctrl-C or SIGTERM.

    Saves the state at the end. Raises `CannotStart`, `NotKept` and `scripts.local.ministack.MiniStackError`.
    """
    with _stoppable(), _noted_running(settings):
        stack = MiniStack(settings.port, settings.state / LOG, settings.state)
        if warning := room_warning(settings.state, memory_bytes()):
            console.print(warning, soft_wrap=True)
        started = saved = False
        try:
            with console.status("Starting the local AWS"):
                stack.start()
            started = True
            with console.status("Deploying template.yaml"):
                deployed = _deploy(stack, settings)
            local = LocalStack(stack, deployed.outputs, console, deployed.calendar)
            console.print(f"API  {local.url}", soft_wrap=True)
            key = local.unlock(settings.state / stacks.KEY_FILE)
            console.print(f"Key  {key}", soft_wrap=True)
            if settings.seed or settings.sample:
                local.show_answers(local.fill(settings.state / NOTE_OF_DATA, settings.seed))
            # Before anybody is told where to send events: what they send is new.
            watch = local.watch()
            local.try_page()
            local.show_hints(key, Api(local.url, key).page_link(LINK_SECONDS))
            local.stay(watch)
        except Stopped:
            console.print("Stopping.")
        finally:
            with console.status("Saving the data") as status:
                saved = stack.stop(status.update)
            if started or saved:
                console.print(kept(settings.state, saved=saved), soft_wrap=True)
    if started and not saved:
        raise NotKept(f"the local AWS ended without saving its data; {settings.state / LOG} says why")


def down(settings: LocalSettings) -> None:
    """Stop the `up` that runs with these settings, and wait until it has ended; raises `NotRunning` or `NotKept`.

    `up` writes its process id in a file and locks the file while it runs. So no other process is taken for it.
    """
    missing = NotRunning(f"no rollcall up runs with the data in {settings.state}")
    try:
        file = (settings.state / stacks.NOTE_OF_RUNNING).open()
    except FileNotFoundError:
        raise missing from None
    with file:
        if _locked(file):
            raise missing
        running = json.load(file)
        if running["port"] != settings.port:
            raise NotRunning(f"the data in {settings.state} is that of port {running['port']}: set ROLLCALL_PORT to it")
        services = settings.state / SERVICES
        before = saving.saved_by(services)
        os.kill(running["pid"], signal.SIGTERM)
        # Ends when that process does, which may have much to save.
        fcntl.flock(file, fcntl.LOCK_EX)
        if saving.saved_by(services) == before:
            raise NotKept(kept(settings.state, saved=False))


def kept(state: Path, *, saved: bool) -> str:
    """What is kept in the folder of the data after a stop."""
    if saved:
        return f"The data is kept in {state}."
    last = saving.saved_at(state / SERVICES)
    if last is None:
        return f"The data is not saved: none is kept in {state}. Remove the folder before the next start."
    return f"The data is not saved: {state} keeps what was saved at {last}, and what was counted since is lost."


def room_warning(state: Path, memory: int) -> str | None:
    """A warning if a machine with so many bytes of memory has no room for the data that is kept."""
    needed = saving.size_of(state / SERVICES) * MEMORY_OF_A_SAVED_BYTE
    if needed <= memory:
        return None
    return (
        f"The data in {state} takes some {needed / GB:,.1f} GB of memory until it is saved, and this machine has "
        f"{memory / GB:,.1f} GB. Name another ROLLCALL_STATE to begin with less."
    )


def memory_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class LocalStack:
    """A deployed local stack: fills it, and prints answers and hints for the user."""

    def __init__(self, stack: MiniStack, outputs: Mapping[str, str], console: SafeConsole, calendar: Calendar) -> None:
        self.url = stack.api_url
        self._stack = stack
        self._outputs = outputs
        self._console = console
        self._calendar = calendar
        self._sqs = stack.client("sqs")
        self._http = httpx2.Client(base_url=self.url, timeout=REQUEST_SECONDS, trust_env=False)

    def unlock(self, note: Path) -> str:
        """The text of a key for everything. Made at the first start, and kept in the folder of the data."""
        text = note.read_text() if note.exists() else ""
        self._http.headers["X-API-Key"] = text
        if not text or not self._opens_everything(text):
            keys = ApiKeys(Dynamo(self._stack.client("dynamodb")), self._outputs["AccessTableName"])
            _, text = keys.create("local", SCOPES, "http", reach=ALL)
            private.write(note, text)
            self._http.headers["X-API-Key"] = text
        return text

    def _opens_everything(self, text: str) -> bool:
        """Whether this is a good key with all scopes, for all projects.

        One of an earlier version may lack a scope that is new.
        """
        answer = self._http.get("/keys")
        keys = answer.json()["keys"] if answer.status_code == 200 else []
        return any(
            key["key_id"] == key_id_of(text) and set(key["scopes"]) == set(SCOPES) and key["project"] == str(ALL)
            for key in keys
        )

    def fill(self, note: Path, seed: Path | None) -> "Filled":
        """Send the file `seed`, or the sample without one, unless the stack has events; returns the days to show.

        The file `note` records, for the next start, which events were sent.
        """
        noted = Filled.read(note)
        if noted and noted.complete and any(day["dau"] for day in self._get("/stats/dau", noted.range())["data"]):
            self._console.print(f"The {noted.what} data is there from an earlier start.")
            return noted
        started = time.monotonic()
        count, filled = self._send_file(seed) if seed else self._send_sample(note, noted)
        filled.write(note)
        seconds = time.monotonic() - started
        self._console.print(f"{count:,} {filled.what} events sent and counted in {seconds:.1f} s.")
        return filled

    def _send_sample(self, note: Path, noted: "Filled | None") -> "tuple[int, Filled]":
        last_day = noted.last_day if noted else self._today() - timedelta(days=1)
        filled = Filled("sample", last_day - timedelta(days=SAMPLE_DAYS - 1), last_day, complete=True)
        # Noted before the first event is sent. So after an interrupted start, the next start sends the same events.
        replace(filled, complete=False).write(note)
        events = sample.generate(SAMPLE_ROWS, SAMPLE_USERS, SAMPLE_DAYS, last_day, SAMPLE_SEED, self._calendar)
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            answer = self._http.post("/events", json=events[start : start + EVENTS_PER_REQUEST])
            answer.raise_for_status()
        self._drain()
        return len(events), filled

    def _send_file(self, seed: Path) -> "tuple[int, Filled]":
        days: set[str] = set()

        def watched(rows: Iterator[Row]) -> Iterator[Row]:
            now = datetime.now(UTC)
            for row in rows:
                with suppress(InvalidEvent):  # the import reports it
                    days.add(self._calendar.day_of(parse_event(row.event, now).occurred_at))
                yield row

        api = Api(self.url, self._http.headers["X-API-Key"])
        with self._console.status(f"Importing {seed}"), seed.open("rb") as file:
            rows = read_rows(read_chunks(file, lambda _bytes: None), name=seed.name)
            report = HttpImport(api, None, EVENTS_PER_REQUEST).run(watched(rows), lambda _reject: None)
        if not days:
            raise CannotStart(f"{seed} holds no good event; rollcall import --dry-run {seed} says why")
        for count, what in ((report.rejected, "rejected"), (report.conflicts, "in conflict")):
            if count:
                hint = f"rollcall import --dry-run {seed} lists them"
                self._console.print(f"{count:,} of {report.rows:,} rows are {what}; {hint}.", soft_wrap=True)
        first_day, last_day = (date.fromisoformat(day) for day in (min(days), max(days)))
        first_day = max(first_day, last_day - timedelta(days=SAMPLE_DAYS - 1))
        return report.accepted - report.conflicts, Filled(seed.name, first_day, last_day, complete=True)

    def show_answers(self, filled: "Filled") -> None:
        """Print the three answers about the events in the stack."""
        week = {**filled.range(), "from": max(filled.first_day, filled.last_day - timedelta(days=6)).isoformat()}
        cohort = {"start_date": filled.first_day.isoformat(), "windows": "7"}
        self._console.print(show.daily_actives(self._get("/stats/dau", week)))
        self._console.print(show.top_events(self._get("/stats/top-events", {**filled.range(), "limit": "5"})))
        self._console.print(show.retention(self._get("/stats/retention", cohort)))

    def try_page(self) -> None:
        """Ask for the page, so that its function has started by the time that somebody opens it."""
        self._http.get("/").raise_for_status()

    def show_hints(self, key: str, page: str) -> None:
        """Print commands to try, and a link to the page."""
        now = datetime.now(UTC)
        event = {
            "event_id": f"try-{now:%H%M%S}",
            "occurred_at": now.isoformat(timespec="seconds"),
            "user_id": "me",
            "event_type": "hello",
        }
        today = self._today().isoformat()
        for line in (
            "",
            "Try:",
            f"  curl -H 'X-API-Key: {key}' '{self.url}/events' -d '[{json.dumps(event)}]'",
            f"  curl -H 'X-API-Key: {key}' '{self.url}/stats/dau?from={today}&to={today}'",
            f"  curl -T FILE.csv '{self._stack.endpoint}/{self._outputs['UploadBucketName']}/uploads/FILE.csv'",
            f"Docs {self.url}/docs",
            f"Page  {page} (signs in once)",
            "Ctrl-C stops it.",
        ):
            self._console.print(line, soft_wrap=True)

    def watch(self) -> Watch:
        """What tells of the events that are counted from now on."""
        settings, _ = consumer_of(stacks.Stack(LOCAL_STACK, self._stack.client, self._outputs, {}))
        counters = Counters(Dynamo(self._stack.client("dynamodb")), settings.tables, DEFAULT, settings.calendar)

        def tell(text: str) -> None:
            self._console.print(f"{datetime.now(UTC):%H:%M:%S}  {text}", soft_wrap=True)

        return Watch(self.depth, lambda: counters.totals()[0].total(), tell)

    def stay(self, watch: Watch) -> None:
        """Tell of what is counted until the stack ends; raises `CannotStart` if by itself."""
        while self._stack.running():
            pause = LOOK_SECONDS
            with suppress(BotoCoreError):  # it may end while it is asked, and misses nothing where it does not
                pause = watch.look()
            time.sleep(pause)
        raise CannotStart("the local AWS ended by itself; its log is beside its data")

    def depth(self) -> tuple[int, int]:
        """The number of batches that wait in the queue, and of those that consumers are working on."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self._sqs.get_queue_attributes(QueueUrl=self._outputs["BatchQueueUrl"], AttributeNames=names)
        waiting, working = (int(found["Attributes"][name]) for name in names)
        return waiting, working

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        with self._console.status("Counting") as status:
            while any(depth := self.depth()):
                if time.monotonic() > deadline:
                    raise CannotStart(f"the sample is not counted after {DRAIN_SECONDS} s; see the log beside the data")
                status.update(f"Counting: {depth[0]} batches waiting, {depth[1]} at work")
                time.sleep(DRAIN_POLL_SECONDS)

    def _today(self) -> date:
        return date.fromisoformat(self._calendar.today(datetime.now(UTC)))

    def _get(self, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        answer = self._http.get(path, params=dict(parameters))
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into `Stopped`. A second one does not interrupt the saving."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _noted_running(settings: LocalSettings) -> Iterator[None]:
    """Keep the process id and the port where `down` and all other commands find them.

    Raises `CannotStart` if another process has the same data, or the same port.
    """
    private.make_folder(settings.state)
    for name in KEPT:
        # Earlier versions made them as the umask said.
        private.tighten(settings.state / name)
    with private.open_file(settings.state / stacks.NOTE_OF_RUNNING, "ab") as file:
        if not _locked(file):
            raise CannotStart(f"another rollcall up has the data in {settings.state}; name another ROLLCALL_STATE")
        # Refused before it is noted, so that the next start does not take it for the port of this data.
        _refuse_taken_port(settings.port)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "port": settings.port}).encode())
        file.flush()
        yield


def _locked(file: IO[Any]) -> bool:
    """Lock a file until it is closed; returns False if another process holds the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refuse_taken_port(port: int) -> None:
    if listens(port):
        raise CannotStart(f"port {port} is taken; name another one: ROLLCALL_PORT={port + 1} make run")


def _deploy(stack: MiniStack, settings: LocalSettings) -> stacks.Stack:
    try:
        timezone = _timezone(stack, settings)
        parameters = {"CorsOrigins": ",".join(settings.cors_origins), "IngestPrefix": settings.ingest_prefix}
        parameters |= _shards(stack, settings)
        deploy.deploy(stack.client, LOCAL_STACK, parameters | ({"ReportingTimezone": timezone} if timezone else {}))
        return stacks.described(stack.client, LOCAL_STACK, settings.port)
    except (deploy.DeploymentFailed, BotoCoreError, ClientError) as error:
        raise CannotStart(f"template.yaml cannot be deployed: {error}") from error


def _shards(stack: MiniStack, settings: LocalSettings) -> dict[str, str]:
    """The numbers of shards: those of an earlier start, which stay, else one of each.

    Shards spread writes over partitions. The emulator has none, and answers the queries of several shards one by one.
    """
    if not deploy.exists(stack.client, LOCAL_STACK):
        return ONE_SHARD
    earlier = stacks.described(stack.client, LOCAL_STACK, settings.port).parameters
    return {name: earlier[name] for name in ONE_SHARD if name in earlier}


def _timezone(stack: MiniStack, settings: LocalSettings) -> str | None:
    """The timezone to deploy with: the one asked for, else that of an earlier start, else None.

    Raises `CannotStart` where events are counted by the days of another one.
    """
    if not deploy.exists(stack.client, LOCAL_STACK):
        return settings.timezone
    earlier = stacks.described(stack.client, LOCAL_STACK, settings.port)
    # A creation that failed leaves a stack without outputs, and without data.
    table = earlier.outputs.get("StatsTableName")
    stored = laid_out_timezone(Dynamo(stack.client("dynamodb")), table, DEFAULT) if table else None
    if settings.timezone and stored and settings.timezone != stored:
        raise CannotStart(
            f"the timezone is to be {settings.timezone}, but the events in {settings.state} are counted by the days of "
            f"{stored}, which stays; leave ROLLCALL_TIMEZONE and --timezone out, or name another ROLLCALL_STATE"
        )
    return settings.timezone or stored or earlier.parameters.get("ReportingTimezone")
