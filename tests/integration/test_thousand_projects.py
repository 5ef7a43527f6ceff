"""A stack with a thousand projects: what it is asked, and how many requests that takes."""

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from fastapi.testclient import TestClient
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from prometheus_client.parser import text_string_to_metric_families

from rollcall.archive.bucket import waiting_projects
from rollcall.archive.compaction import Compacted
from rollcall.core.days import Calendar, add_days
from rollcall.core.projects import DEFAULT, Project
from rollcall.http.routes.stats import MAX_ROWS
from rollcall.questions.from_counters import PROJECTS_AT_ONCE, Counters
from rollcall.stack.dynamo import KEYS_PER_CALL, Dynamo
from rollcall.stack.keys import PROJECTS_KEY, Tables, batch_object, counts_key, day_object
from rollcall.stack.projects import MAX_DISPLAY_NAME_CHARACTERS, Projects
from tests.support import LAMBDA_CONTEXT, SETTINGS, create_buckets

PROJECTS = 1_000
# The default one is always there. Names are as long as they may be.
OTHERS = [Project(f"{'p' * 28}-{number:03d}") for number in range(PROJECTS - 1)]
ALL = [DEFAULT, *OTHERS]
# Each of these has events on two days, in two counter shards; the others have none.
COUNTED = OTHERS[::100]
DAYS = ("2025-08-01", "2025-08-02")
RANGE = {"from": DAYS[0], "to": DAYS[1], "project": "*"}
LAMBDA_ANSWER_BYTES = 6 * 1024 * 1024
# As many characters as may be, of four bytes each.
DISPLAY_NAME = "\U0001f6d2" * MAX_DISPLAY_NAME_CHARACTERS


@dataclass
class Api:
    """A function's routes, asked with a key for all projects, and the requests that it makes of the stats table."""

    client: TestClient
    stats_table: str
    requests: Counter[str]

    def get(self, path: str, **query: Any) -> Any:
        """The answer, which Lambda has to be able to give; `requests` has those that it took."""
        self.requests.clear()
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        # Lambda's answer is JSON that has the body as a string.
        assert len(json.dumps(answer.text, ensure_ascii=False).encode()) < LAMBDA_ANSWER_BYTES
        return answer


@pytest.fixture
def load(
    load_handler: Callable[[str], ModuleType], aws_clients: dict[str, Any], api_key: str
) -> Iterator[Callable[[str], Api]]:
    """Loads a function of a stack with a thousand projects."""
    made: list[Api] = []
    # Several projects are read at a time, by threads.
    noting = threading.Lock()

    def note(request: Any, operation_name: str, **_: Any) -> None:
        with noting:
            for api in made:
                api.requests[operation_name] += f'"{api.stats_table}"'.encode() in request.body

    def load(function: str) -> Api:
        module = load_handler(function)
        stats_table = os.environ["STATS_TABLE"]
        fill(aws_clients["dynamodb"], Tables("events", stats_table, 2, 2))
        made.append(Api(TestClient(module.app, headers={"X-API-Key": api_key}), stats_table, Counter()))
        return made[-1]

    assert boto3.DEFAULT_SESSION
    events = boto3.DEFAULT_SESSION.events
    events.register("request-created.dynamodb", note)
    yield load
    events.unregister("request-created.dynamodb", note)


def fill(client: Any, tables: Tables) -> None:
    dynamo = Dynamo(client)
    items: list[dict[str, Any]] = [
        {
            "pk": {"S": PROJECTS_KEY},
            "sk": {"S": project.name},
            "display_name": {"S": DISPLAY_NAME},
            "timezone": {"S": "Asia/Tokyo"},
            "created_at": {"S": "2025-08-01T00:00:00Z"},
        }
        for project in OTHERS
    ]
    dynamo.put(tables.stats, items)
    projects = Projects(dynamo, tables.stats, Calendar("UTC"))
    for number, project in enumerate(COUNTED, 1):
        projects.lay_out(tables, project)
        counts = {"dau": number, "@http": 10 * number, "processing_ms": 1_000, "#open": 10 * number}
        dynamo.put(
            tables.stats,
            [
                {"pk": {"S": counts_key(project, shard)}, "sk": {"S": day}}
                | {name: {"N": str(count)} for name, count in counts.items()}
                for shard in range(tables.counter_shards)
                for day in DAYS
            ],
        )


# One for each hundred projects that are not known to be laid out, and for each that is one for each counter shard.
READ = {"Query": 1 + 2 * (1 + len(COUNTED)), "BatchGetItem": -(-len(OTHERS) // KEYS_PER_CALL)}


def test_a_thousand_projects_are_listed_by_one_request(load: Callable[[str], Api]) -> None:
    api = load("auth")

    listed = api.get("/projects").json()["projects"]

    assert [each["name"] for each in listed] == [project.name for project in ALL]
    assert {each["display_name"] for each in listed[1:]} == {DISPLAY_NAME}
    assert +api.requests == {"Query": 1}


def test_figures_of_a_thousand_projects_read_the_counters_only_of_those_with_events(load: Callable[[str], Api]) -> None:
    api = load("stats")

    text = api.get("/metrics").text

    # And one for each of the two shards of the rejected events. Once for each process, whether it is laid out as the
    # settings say.
    read = {**READ, "Query": READ["Query"] + 2}
    assert +api.requests == {**read, "GetItem": 1 + len(COUNTED)}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    assert {(one.labels["project"], one.value) for one in samples if one.name == "events_total"} == {
        (project.name, 40 * number) for number, project in enumerate(COUNTED, 1)
    }
    processed = {one.labels["project"]: one.value for one in samples if one.name == "event_processing_seconds_count"}
    assert processed == {project.name: 0 for project in ALL} | {
        project.name: 40 * number for number, project in enumerate(COUNTED, 1)
    }
    again = api.get("/metrics").text
    assert [line for line in again.splitlines() if "events" in line] == [
        line for line in text.splitlines() if "events" in line
    ]
    assert +api.requests == read


def test_actives_of_a_thousand_projects_are_exact_and_fit_in_an_answer(load: Callable[[str], Api]) -> None:
    api, days = load("stats"), MAX_ROWS // PROJECTS

    answer = api.get("/stats/dau", **RANGE | {"to": add_days(DAYS[0], days - 1)}).json()

    assert +api.requests == {**READ, "GetItem": 1 + len(COUNTED)}
    assert len(answer["data"]) == days
    total = sum(2 * number for number in range(1, 1 + len(COUNTED)))
    assert [each["dau"] for each in answer["data"]] == [total, total, *[0] * (days - 2)]
    found = {each["project"]: [day["dau"] for day in each["data"]] for each in answer["projects"]}
    assert list(found) == [project.name for project in ALL]
    assert {name: dau for name, dau in found.items() if any(dau)} == {
        project.name: [2 * number, 2 * number, *[0] * (days - 2)] for number, project in enumerate(COUNTED, 1)
    }
    assert {len(dau) for dau in found.values()} == {days}
    assert {each["timezone"] for each in answer["projects"][1:]} == {"Asia/Tokyo"}


def test_top_events_of_a_thousand_projects_are_exact(load: Callable[[str], Api]) -> None:
    api = load("stats")

    answer = api.get("/stats/top-events", **RANGE).json()

    assert +api.requests == {**READ, "GetItem": 1 + len(COUNTED)}
    events = {project.name: 40 * number for number, project in enumerate(COUNTED, 1)}
    assert answer["data"] == [{"event_type": "open", "count": sum(events.values())}]
    assert {each["project"]: each["data"] for each in answer["projects"]} == {
        project.name: [{"event_type": "open", "count": events[project.name]}] if project.name in events else []
        for project in ALL
    }


def test_projects_are_asked_about_side_by_side() -> None:
    others = threading.Barrier(PROJECTS_AT_ONCE)
    calendars = {project: Calendar("UTC") for project in OTHERS[: 2 * PROJECTS_AT_ONCE]}
    counters = Counters(cast(Dynamo, None), Tables("events", "stats", 1, 1), DEFAULT, Calendar("UTC"))

    # Whoever waits for the others alone waits for ever.
    met = dict(counters.of_each(calendars, lambda _: others.wait(timeout=10)))

    assert list(met) == list(calendars)
    assert sorted(met.values()) == sorted(2 * list(range(PROJECTS_AT_ONCE)))


class Clock:
    """The time that a function has left, in milliseconds."""

    def __init__(self) -> None:
        self.left = 900_000

    def context(self) -> SimpleNamespace:
        return SimpleNamespace(**vars(LAMBDA_CONTEXT) | {"get_remaining_time_in_millis": lambda: self.left})


@dataclass
class Compacting:
    """The function that compacts, on an archive where each project's compaction takes so many milliseconds."""

    module: ModuleType
    waiting: set[Project]
    takes: dict[Project, int]
    fails: frozenset[Project] = frozenset()

    def __post_init__(self) -> None:
        self.clock = Clock()

    def compactor(self, project: Project) -> Any:
        def run(milliseconds_left: Callable[[], int]) -> Compacted:
            assert milliseconds_left() > 0
            self.clock.left -= self.takes.get(project, 2_000)
            if project in self.fails:
                raise OSError("no space left on device")
            if self.clock.left <= 0:
                return Compacted(complete=False)
            self.waiting.remove(project)
            return Compacted(batches=1)

        return SimpleNamespace(project=project, run=run)

    def run(self) -> None:
        self.clock = Clock()
        self.module.handler({}, self.clock.context())

    def runs_until(self, left: set[Project], run: Callable[[], None]) -> int:
        for runs in range(100):
            if self.waiting <= left:
                return runs
            run()
        raise AssertionError(f"{len(self.waiting)} projects still wait")


@pytest.fixture
def compacting(load_handler: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Iterator[Compacting]:
    made = Compacting(load_handler("compact"), set(ALL), {})
    monkeypatch.setattr(made.module, "compactor", made.compactor)
    monkeypatch.setattr(made.module, "waiting_projects", lambda *_: set(made.waiting))
    state = random.getstate()
    random.seed(18)
    yield made
    random.setstate(state)


def test_a_thousand_projects_are_compacted_in_as_many_runs_as_their_time_fills(compacting: Compacting) -> None:
    # Of 15 minutes, a run begins projects in 11: 331 of two seconds each.
    assert compacting.runs_until(set(), compacting.run) == 4


def test_a_project_that_takes_all_the_time_keeps_no_other_from_being_compacted(compacting: Compacting) -> None:
    # By its name it comes before all others.
    large = min(ALL)
    compacting.takes = {large: 900_000}

    assert compacting.runs_until({large}, compacting.run) < 30


def test_projects_that_fail_keep_no_other_from_being_compacted(
    compacting: Compacting, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = frozenset(COUNTED)
    compacting.fails = failing
    compacting.takes = dict.fromkeys(ALL, 100)

    with pytest.raises(ExceptionGroup, match="10 projects could not be compacted") as failed:
        compacting.run()

    assert compacting.waiting == failing
    assert {type(error) for error in failed.value.exceptions} == {OSError}
    told = [vars(record) for record in caplog.records]
    assert {each["project"] for each in told if each["levelname"] == "ERROR"} == {each.name for each in failing}
    assert [each["batches"] for each in told if each["msg"] == "archive compacted"] == [PROJECTS - len(failing)]
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["BatchesCompacted"] == [PROJECTS - len(failing)]


def test_projects_that_fail_slowly_leave_the_function_time_to_say_so(compacting: Compacting) -> None:
    compacting.fails = frozenset(ALL)
    compacting.takes = dict.fromkeys(ALL, 60_000)

    with pytest.raises(ExceptionGroup, match="12 projects could"):
        compacting.run()

    assert compacting.clock.left > 0


def test_which_of_a_thousand_projects_wait_is_listed_by_two_requests(aws: None, aws_clients: dict[str, Any]) -> None:
    s3 = aws_clients["s3"]
    create_buckets(s3)
    assert waited(s3) == (set(), 1)

    # With a client it takes seconds to put so many.
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key in [day_object(DEFAULT, DAYS[0]), *(batch_object(project, "b") for project in ALL)]:
        backend.put_object(SETTINGS["ARCHIVE_BUCKET"], key, b"")

    assert waited(s3) == (set(ALL), 2)


def waited(s3: Any) -> tuple[set[Project], int]:
    """The projects that wait, and the number of requests that it took to know them."""
    requests: list[str] = []

    def note(operation_name: str, **_: Any) -> None:
        requests.append(operation_name)

    s3.meta.events.register("request-created.s3", note)
    try:
        found = waiting_projects(s3, SETTINGS["ARCHIVE_BUCKET"])
    finally:
        s3.meta.events.unregister("request-created.s3", note)
    assert set(requests) == {"ListObjectsV2"}
    return found, len(requests)
