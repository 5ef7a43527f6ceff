"""Measures retention by the size of the cohort: CPU time, read units and peak memory.

    python -m scripts.bench.retention WINDOWS METERED     ask the stack that standard input describes; prints JSON

Each answer is made in a new process with the function's own code. The first answer reads the days' items and puts the
users of large days in objects. The second answer reads those objects.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rollcall.core.days import Calendar
from rollcall.core.events import Event
from rollcall.counting.claims import Claims
from scripts.bench.calling import dynamodb, get, load, process_environment, settings_of
from scripts.bench.load import FIRST_MOMENT, NoDeadLetters, Uncollected, batches
from scripts.bench.memory import peak_mb
from scripts.bench.reads import metered, tables_of
from scripts.local import deploy
from scripts.local.ministack import MiniStack
from scripts.paths import ROOT

# The share of a later day's users who are in the cohort.
RETURNING_SHARE = 0.5
PATH = "/stats/retention"


@dataclass(frozen=True)
class Answer:
    """The measurements of an answer."""

    cpu_milliseconds: float
    milliseconds: float
    peak_mb: float
    """Peak memory of the whole process, the function's imports included."""
    items: int
    read_units: float


@dataclass(frozen=True)
class CohortCost:
    """The measurements of the retention of a cohort. Each of the days has as many users as the cohort."""

    users: int
    windows: int
    from_items: Answer
    again: Answer
    """The second answer, with the large days in objects."""


def retention(stack: MiniStack, sizes: Sequence[int], windows: int) -> list[CohortCost]:
    """Fill a stack for each size of a cohort, and measure the retention of the cohort."""
    return [_of_cohort(stack, users, windows) for users in sizes]


def _of_cohort(stack: MiniStack, users: int, windows: int) -> CohortCost:
    outputs = deploy.deploy(stack.client, f"bench-cohort-{users}", {})
    settings = settings_of(stack, outputs["RetentionFunctionName"])
    tables = tables_of(settings)
    claims = Claims(
        Uncollected(dynamodb(stack), tables.events, "first_day"),
        tables,
        lambda _: Calendar("UTC"),
        NoDeadLetters(),
        remember=users,
    )
    for batch in batches(_visits(users, windows)):
        claims.apply(batch)
    # The first two answers are metered. Then the objects are deleted, and the same answers are timed without the meter.
    first, second = (_ask(stack, settings, windows, metered=True) for _ in range(2))
    _forget(stack, settings)
    answers = [Answer(**{**_ask(stack, settings, windows, metered=False), **counted}) for counted in (first, second)]
    return CohortCost(users, windows, *answers)


def _visits(users: int, windows: int) -> Iterator[Event]:
    """One event of each user on each day: of the cohort on the first day, of a part of it and of others later."""
    rng = random.Random(11)  # noqa: S311 - made-up data
    for day in range(windows + 1):
        moment = (FIRST_MOMENT + timedelta(days=day)).isoformat().removesuffix("+00:00") + "Z"
        returning = int(users * RETURNING_SHARE) if day else users
        here = rng.sample(range(users), returning)
        here += range(users * (day + 1), users * (day + 2) - returning)
        for user in here:
            yield Event(f"{rng.getrandbits(128):032x}", moment, f"user-{user:032x}", "open", "{}")


def _ask(stack: MiniStack, settings: Mapping[str, str], windows: int, *, metered: bool) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.bench.retention", str(windows), str(int(metered))],
        input=json.dumps(dict(settings)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        cwd=ROOT,
        env=process_environment(stack),
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _forget(stack: MiniStack, settings: Mapping[str, str]) -> None:
    """Delete the objects with the users of large days."""
    s3, bucket = stack.client("s3"), settings["UPLOAD_BUCKET"]
    for kept in s3.list_objects_v2(Bucket=bucket, Prefix="day-users/").get("Contents", ()):
        s3.delete_object(Bucket=bucket, Key=kept["Key"])


def measure(settings: Mapping[str, str], windows: int, *, with_meter: bool) -> dict[str, Any]:
    """Answer once in this process; returns the time and memory, or with the meter the read units."""
    module = load("retention", settings)
    query = {"start_date": FIRST_MOMENT.date().isoformat(), "windows": windows}
    if with_meter:
        items, read_units = metered(module, PATH, query)
        return {"items": items, "read_units": read_units}
    cpu, started = time.process_time(), time.perf_counter()
    get(module.handler, PATH, **query)
    return {
        "cpu_milliseconds": 1000 * (time.process_time() - cpu),
        "milliseconds": 1000 * (time.perf_counter() - started),
        "peak_mb": peak_mb(),
    }


def main(windows: int, *, with_meter: bool) -> None:
    """Measure and print the results as JSON."""
    settings = json.load(sys.stdin)
    # Discard the functions' logs.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        found = measure(settings, windows, with_meter=with_meter)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), with_meter=sys.argv[2] == "1")
