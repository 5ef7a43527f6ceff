import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.bench.cold import BARE, environment, functions
from scripts.bench.cpu import DOOR_SIZE, INGEST_SIZES, PROFILE_LINES, SDK_SIZE
from scripts.bench.documents import fill_in
from scripts.bench.http_reads import BOUNDS, FIRST_BOUND
from scripts.bench.report import Report, Target
from scripts.bench.writes import users_for
from scripts.cli import app
from scripts.paths import ROOT


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def bench() -> Callable[..., str]:
    """Measures something and returns what is printed; no test looks at how long anything takes."""
    return run


@pytest.fixture(scope="session")
def cpu_report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("cpu")
    options = ("--rounds", "1", "--batches", "1", "--profile", "--json", "--into", str(folder))
    printed: dict[str, Any] = json.loads(run("cpu", *options))
    assert json.loads((folder / "cpu.json").read_text()) == printed
    return printed


@pytest.mark.xdist_group("cpu")
def test_cpu_measures_the_way_from_the_door_to_the_counter(cpu_report: dict[str, Any]) -> None:
    found = cpu_report["figures"]

    assert [one["size"] for one in found["ingest"]] == list(INGEST_SIZES)
    assert all(one["accepted_per_second"] == pytest.approx(1_000_000 / one["microseconds"]) for one in found["ingest"])
    (door,) = (one["microseconds"] for one in found["ingest"] if one["size"] == DOOR_SIZE)
    assert found["door_to_counter"] == pytest.approx(door + found["consumer"])
    assert found["door_to_counter_in_dumps"] == pytest.approx(found["door_to_counter"] / found["json_dumps"])
    assert found["literal_over_consumer"] == pytest.approx(found["literal"] / found["consumer"])
    (native,) = (one["microseconds"] for one in found["ingest"] if one["size"] == SDK_SIZE)
    assert found["segment_over_ingest"] == pytest.approx(found["segment"] / native)
    # Both designs do the same work: an event, a user-day for each tenth, a counter.
    assert found["consumer_events"] == found["literal_events"] == 500
    assert found["literal_requests"] == {"PutItem": 500 + 50, "UpdateItem": 500}
    # 500 events, 50 user-days and 5 first days, 25 in a request.
    assert found["consumer_requests"]["BatchExecuteStatement"] == 20 + 2 + 1
    assert found["consumer_requests"]["TransactWriteItems"] == 1
    assert {target["what"]: target["bound"] for target in cpu_report["targets"]} == {
        "literal design ÷ consumer": 20,
        "door to counter, µs an event, where json.dumps takes 3": 60,
        "Segment batch ÷ native events, 100 in a request": 1.5,
    }
    for profile in (found["consumer_profile"], found["ingest_profile"]):
        assert len(profile) == PROFILE_LINES
        assert 0 < sum(line["share"] for line in profile) <= 1
        assert not any(line["where"].startswith("/") for line in profile)


@pytest.mark.xdist_group("cpu")
def test_cpu_prints_tables(cpu_report: dict[str, Any]) -> None:
    for name in (
        "consumer",
        "literal design",
        "Segment batch",
        "door to counter",
        "json.dumps",
        "5,000",
        "most own time",
        "target",
    ):
        assert name in cpu_report["text"]


def test_cold_starts_functions_beside_a_bare_client(bench: Callable[..., str]) -> None:
    report = json.loads(bench("cold", "--rounds", "1", "--function", "consumer", "--json"))
    found = report["figures"]

    bare, *starts = found["starts"]
    assert bare["function"] == BARE
    assert (bare["over_bare"], bare["compiling_over_bare"]) == (1, 1)
    assert [one["function"] for one in starts] == ["consumer"]
    for one in starts:
        assert one["over_bare"] == pytest.approx(one["milliseconds"] / bare["milliseconds"])
        ratio = one["compiling_milliseconds"] / bare["compiling_milliseconds"]
        assert one["compiling_over_bare"] == pytest.approx(ratio)
        assert one["modules"] > bare["modules"] > 0
    (target,) = report["targets"]
    (consumer,) = (one for one in starts if one["function"] == "consumer")
    assert (target["figure"], target["bound"]) == (consumer["over_bare"], 1.3)


def test_cold_starts_each_function_with_settings_that_are_whole() -> None:
    unresolved = [name for folder in functions() for name, value in environment(folder).items() if "${AWS" in value]

    assert unresolved == []


def test_cold_knows_the_functions() -> None:
    assert functions().keys() == {folder.name for folder in (ROOT / "functions").iterdir()}

    done = CliRunner().invoke(app, ["bench", "cold", "--function", "nothing"])

    assert done.exit_code != 0
    assert "no function nothing" in done.output


def test_functions_are_started_in_the_template_s_environment_and_nobody_s_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "somebody")

    found = environment("ingest", "consumer")

    assert "AWS_PROFILE" not in found
    assert found["AWS_CONFIG_FILE"] == os.devnull
    assert found["EVENTS_TABLE"] == "EventsTable"
    assert found["UPLOAD_BUCKET"] == "bench-uploads-000000000000-us-east-1"
    assert found["QUEUE_URL"].startswith("https://")
    assert found["REMEMBERED_USER_DAYS"] == "100000"


@pytest.mark.parametrize("share", [None, 0.5])
def test_write_counts_units_and_requests_of_both_designs(bench: Callable[..., str], share: float | None) -> None:
    option = [] if share is None else ["--new-user-days", str(share)]
    report = json.loads(bench("write", "--events", "1000", "--users", "500", "--days", "2", *option, "--json"))
    ours, literal = report["figures"]["ours"], report["figures"]["literal"]

    assert (ours["events"], literal["events"]) == (1_000, 500)
    for found in (ours, literal):
        assert found["new_user_day_share"] == found["new_user_days"] / found["events"]
        assert found["requests_per_1000_events"] == sum(found["requests"].values()) * 1_000 / found["events"]
        assert found["write_units_per_1000_events"] == found["write_units"] * 1_000 / found["events"]
        assert found["cpu_microseconds"] > 0
    floor = 1_000 + ours["new_user_days"] + 2 * ours["new_users"]
    assert ours["units_over_floor"] == ours["write_units"] / floor
    # An event, a user-day, a counter of less than a KB: a request and a write unit each.
    assert literal["requests"] == {"PutItem": 500 + literal["new_user_days"], "UpdateItem": 500}
    assert literal["write_units"] == sum(literal["requests"].values())
    (target,) = report["targets"]
    if share is None:
        assert (target["figure"], target["bound"]) == (ours["units_over_floor"], 1.05)
    else:
        assert ours["new_user_day_share"] == pytest.approx(share, rel=0.1)
        assert (target["figure"], target["bound"]) == (ours["requests_per_1000_events"], 75)


def test_pipeline_counts_what_it_sends(bench: Callable[..., str]) -> None:
    options = ["--events", "600", "--users", "50", "--days", "2", "--aws-like", "--json"]
    found = json.loads(bench("pipeline", *options))["figures"]

    # Those of the consumer went through the proxy, one for each request.
    assert found["aws_like"]["transactions"] == 2
    assert (found["events"], found["batch_size"]) == (600, 500)
    assert found["counted_seconds"] >= found["sent_seconds"] > 0
    assert found["events_per_second"] == 600 / found["counted_seconds"]


def test_reads_tells_what_answers_read_by_the_events_that_are_stored(bench: Callable[..., str]) -> None:
    sizes = ["--events", "40", "--events", "120", "--long-events", "40"]
    report = json.loads(bench("reads", *sizes, "--rounds", "2", "--users", "5", "--json"))
    by_route = {(read["route"], read["events"], read["days"]): read for read in report["figures"]["reads"]}

    assert len(by_route) == 2 * 5 + 2
    for (route, events, days), read in by_route.items():
        assert 0 < read["p50_milliseconds"] <= read["p95_milliseconds"]
        if route in ("/stats/dau", "/stats/top-events"):
            # Each event is a batch here, which finds its day's item in its shard or makes it; a query of each shard
            # reads a unit at least.
            assert min(events, 4 * days) / 2 < read["items"] <= min(events, 4 * days) + 1
            assert read["read_units"] >= 4
    # The users of the days are remembered from the first round. What is read again are the counters of eight days.
    for events in (40, 120):
        assert 1 <= by_route["/stats/retention, 7 days", events, 30]["items"] <= 4 * 8
    growth, *others = report["targets"]
    few, many = (by_route["/stats/dau", events, 30]["p50_milliseconds"] for events in (40, 120))
    assert (growth["figure"], growth["bound"]) == (many / few, 1.2)
    over_http = {read["route"]: read for read in report["figures"]["http"]["reads"]}
    assert over_http.keys() == BOUNDS.keys()
    for route, read in over_http.items():
        assert (read["events"], read["users"]) == (120, 5)
        assert 0 < read["p50_milliseconds"] <= read["p95_milliseconds"]
        assert (read["first_milliseconds"] is not None) == (BOUNDS[route] is not None)
    health = over_http["/health"]["p50_milliseconds"]
    assert sorted((target["figure"], target["bound"]) for target in others) == sorted(
        [
            *((over_http[route]["p50_milliseconds"], bound) for route, bound in BOUNDS.items() if bound),
            *((over_http[route]["first_milliseconds"], FIRST_BOUND) for route, bound in BOUNDS.items() if bound),
            *((over_http[route]["p50_milliseconds"] / health, 2) for route in ("/stats/dau", "/stats/top-events")),
        ]
    )


def test_retention_reads_the_users_of_the_cohort_s_days(bench: Callable[..., str]) -> None:
    (found,) = json.loads(bench("retention", "--users", "30", "--windows", "1", "--json"))["figures"]

    assert (found["users"], found["windows"]) == (30, 1)
    # Two days' users, a counter item for each day and batch; and then the counter items alone.
    assert (found["from_items"]["items"], found["again"]["items"]) == (2 * 30 + 2, 2)
    for answer in (found["from_items"], found["again"]):
        assert min(answer["cpu_milliseconds"], answer["milliseconds"], answer["peak_mb"], answer["read_units"]) > 0


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it() -> None:
    child = [sys.executable, "-c", "from scripts.bench.memory import peak_mb; print(peak_mb())"]
    parent = f"import subprocess; held = bytearray(300 * 1024**2); subprocess.run({child!r}, check=True)"
    done = subprocess.run([sys.executable, "-c", parent], check=True, capture_output=True, text=True, cwd=ROOT)
    assert 5 < float(done.stdout) < 100


def test_import_measures_a_file(bench: Callable[..., str]) -> None:
    (found,) = json.loads(bench("import", "--megabytes", "1", "--json"))["figures"]

    assert found["rows"] > 0
    assert found["plan_peak_mb"] > 0
    assert found["import_peak_mb"] > 0


def test_archive_measures_what_a_million_events_or_fewer_take(bench: Callable[..., str]) -> None:
    found = json.loads(bench("archive", "--events", "1200", "--users", "50", "--json"))["figures"]

    assert (found["events"], found["batches"], found["rows"]) == (1_200, 3, 1_200)
    assert found["users"] > 0
    assert found["parquet_bytes"] > 0
    assert found["batch_bytes"] > 0
    assert found["compaction_peak_mb"] > 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.85, 0.99])
@pytest.mark.parametrize(("events", "days"), [(100_000, 30), (10_000, 1)])
def test_users_are_as_many_as_make_the_share_of_new_user_days(events: int, days: int, share: float) -> None:
    users, a_day = users_for(events, days, share), events / days

    assert users * (1 - (1 - 1 / users) ** a_day) / a_day == pytest.approx(share, rel=0.02)


def test_there_is_a_user_at_least() -> None:
    assert users_for(1, 1, 0.01) >= 1
    assert users_for(1, 30, 0.99) >= 1


@pytest.mark.parametrize(("figure", "at_least", "met"), [(2, False, True), (3, False, False), (3, True, True)])
def test_a_target_is_a_bound_to_either_side(figure: float, at_least: bool, met: bool) -> None:
    assert Target("figure", figure, 2.5, at_least=at_least).met is met


def test_a_report_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    targets = [Target("less", 2, 3), Target("more", 2.5, 3, at_least=True)]
    report = Report.of("some", "rollcall bench some", {"figure": 1.5}, targets, "a line", "another")

    assert Report.read(report.write(tmp_path / "new")) == report
    assert report.text == "a line\nanother"
    assert "$ rollcall bench some\na line\nanother\n" in report.block()
    assert report.block().count(report.machine) == 1


def test_a_command_writes_its_report(bench: Callable[..., str], tmp_path: Path) -> None:
    printed = bench("import", "--megabytes", "1", "--into", str(tmp_path))

    report = Report.read(tmp_path / "import.json")
    assert printed == f"{report.text}\n"
    assert report.command == "rollcall bench import"
    (figures,) = report.figures
    assert [target.figure for target in report.targets] == [figures["dry_run_over_plain"]]
    assert figures["dry_run_over_plain"] > 0
    assert figures["dry_run_peak_mb"] > 0


def test_a_document_s_blocks_are_written_from_the_reports() -> None:
    report = Report.of("some", "rollcall bench some", None, [Target("less", 2, 3)], "a line")
    text = (
        "before\n<!-- figures: some -->\nold\n<!-- end -->\nbetween\n<!-- figures: targets -->\n<!-- end -->\nafter\n"
    )

    written = fill_in(text, {"some": report})

    assert written.startswith(f"before\n<!-- figures: some -->\n{report.block()}<!-- end -->\nbetween\n")
    assert "less" in written.partition("between")[2]
    assert written.endswith("<!-- end -->\nafter\n")
    assert fill_in(written, {"some": report}) == written
    with pytest.raises(KeyError):
        fill_in(text, {})
