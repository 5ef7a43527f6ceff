import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from scripts.bench import Target, WritePath, users_for
from scripts.bench_cold import BARE, environment, functions
from scripts.bench_cpu import DOOR_SIZE, INGEST_SIZES, PROFILE_LINES
from scripts.cli import app
from scripts.deploy import ROOT


@pytest.fixture
def bench() -> Callable[..., str]:
    """Measures something and returns what is printed; no test looks at how long anything takes."""

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["bench", *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_cpu_measures_the_way_from_the_door_to_the_counter(bench: Callable[..., str]) -> None:
    found = json.loads(bench("cpu", "--rounds", "1", "--batches", "1", "--profile", "--json"))

    assert [one["size"] for one in found["ingest"]] == list(INGEST_SIZES)
    assert all(one["accepted_per_second"] == pytest.approx(1_000_000 / one["microseconds"]) for one in found["ingest"])
    (door,) = (one["microseconds"] for one in found["ingest"] if one["size"] == DOOR_SIZE)
    assert found["door_to_counter"] == pytest.approx(door + found["consumer"])
    assert found["door_to_counter_in_dumps"] == pytest.approx(found["door_to_counter"] / found["json_dumps"])
    assert found["literal_over_consumer"] == pytest.approx(found["literal"] / found["consumer"])
    # Both designs do the same work: an event, a user-day for each tenth, a counter.
    assert found["consumer_events"] == found["literal_events"] == 500
    assert found["literal_requests"] == {"PutItem": 500 + 50, "UpdateItem": 500}
    # 500 events, 50 user-days and 5 first days, 25 in a request.
    assert found["consumer_requests"]["BatchExecuteStatement"] == 20 + 2 + 1
    assert found["consumer_requests"]["TransactWriteItems"] == 1
    assert {target["what"]: target["bound"] for target in found["targets"]} == {
        "literal design ÷ consumer": 20,
        "door to counter, µs an event, where json.dumps takes 3": 60,
    }
    for profile in (found["consumer_profile"], found["ingest_profile"]):
        assert len(profile) == PROFILE_LINES
        assert 0 < sum(line["share"] for line in profile) <= 1
        assert not any(line["where"].startswith("/") for line in profile)


def test_cpu_prints_tables(bench: Callable[..., str]) -> None:
    printed = bench("cpu", "--rounds", "1", "--batches", "1", "--profile")

    for name in ("consumer", "literal design", "door to counter", "json.dumps", "5,000", "most own time", "target"):
        assert name in printed


def test_cold_starts_functions_beside_a_bare_client(bench: Callable[..., str]) -> None:
    found = json.loads(bench("cold", "--rounds", "1", "--function", "consumer", "--json"))

    bare, *starts = found["starts"]
    assert bare["function"] == BARE
    assert (bare["over_bare"], bare["compiling_over_bare"]) == (1, 1)
    assert [one["function"] for one in starts] == ["consumer"]
    for one in starts:
        assert one["over_bare"] == pytest.approx(one["milliseconds"] / bare["milliseconds"])
        ratio = one["compiling_milliseconds"] / bare["compiling_milliseconds"]
        assert one["compiling_over_bare"] == pytest.approx(ratio)
        assert one["modules"] > bare["modules"] > 0
    (target,) = found["targets"]
    (consumer,) = (one for one in starts if one["function"] == "consumer")
    assert (target["figure"], target["bound"]) == (consumer["over_bare"], 1.3)


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
    assert found["UPLOAD_BUCKET"] == "bench-uploads-000000000000"
    assert found["QUEUE_URL"].startswith("https://")
    assert found["REMEMBERED_USER_DAYS"] == "100000"


def test_write_counts_units_and_requests(bench: Callable[..., str]) -> None:
    found = json.loads(bench("write", "--events", "200", "--days", "2", "--new-user-days", "0.5", "--json"))

    assert found["events"] == 200
    assert found["new_user_day_share"] == found["new_user_days"] / 200
    assert found["requests_per_1000_events"] == sum(found["requests"].values()) * 5
    floor = 200 + found["new_user_days"] + 2 * found["new_users"]
    assert found["units_over_floor"] == found["write_units"] / floor
    assert {target["what"]: target["bound"] for target in found["targets"]} == {
        "requests per 1,000 events": 75,
        "write units ÷ floor": 1.05,
    }


def test_import_measures_a_file(bench: Callable[..., str]) -> None:
    (found,) = json.loads(bench("import", "--megabytes", "1", "--json"))

    assert found["rows"] > 0
    assert found["plan_peak_mb"] > 0
    assert found["import_peak_mb"] > 0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.85, 0.99])
@pytest.mark.parametrize(("events", "days"), [(100_000, 30), (10_000, 1)])
def test_users_are_as_many_as_make_the_share_of_new_user_days(events: int, days: int, share: float) -> None:
    users, a_day = users_for(events, days, share), events / days

    assert users * (1 - (1 - 1 / users) ** a_day) / a_day == pytest.approx(share, rel=0.02)


def test_there_is_a_user_at_least() -> None:
    assert users_for(1, 1, 0.01) >= 1
    assert users_for(1, 30, 0.99) >= 1


def test_requests_are_held_to_a_target_at_half_new_user_days_alone() -> None:
    found: dict[str, Any] = {"read_units": 0.0, "requests": {"GetItem": 80}, "seconds": 1.0}
    path = WritePath(events=1_000, new_user_days=500, new_users=100, write_units=1_700, **found)

    assert [(target.figure, target.met) for target in path.targets(0.5)] == [(80, False), (1, True)]
    assert [target.what for target in path.targets(None)] == ["write units ÷ floor"]


@pytest.mark.parametrize(("figure", "at_least", "met"), [(2, False, True), (3, False, False), (3, True, True)])
def test_a_target_is_a_bound_to_either_side(figure: float, at_least: bool, met: bool) -> None:
    assert Target("figure", figure, 2.5, at_least=at_least).met is met
