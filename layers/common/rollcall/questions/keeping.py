"""Keeps the users of days when they have ended, so that whoever asks first need not wait for that."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from rollcall.core.days import add_days, days_between
from rollcall.core.projects import Project
from rollcall.questions.day_users import Counted
from rollcall.questions.from_counters import Counters
from rollcall.stack.keys import BUNDLE, day_of_kept_object, day_users_object, kept_objects, new_users_object
from rollcall.stack.projects import Projects

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# So many days back, days are kept: those of a quarter.
DAYS = 92
# Users of so many days before a day are not looked up to tell whether they are new on it.
DAYS_BEFORE = 7
# A day that changes is kept again when what is kept of it is so old. So a day of late events is not kept each hour.
AGAIN_SECONDS = 20 * 3_600
# With less time left, no further day is begun.
LEAST_MILLISECONDS = 60_000


@dataclass
class Kept:
    """The outcome of a run."""

    days: int = 0
    """Days that were kept."""
    complete: bool = True
    """Whether there was time for all days."""


class DayKeeper:
    """Keeps the days of all projects of a stack. `counters` are those of any of them; `clock` is as `time.time`.

    `counters` have to keep days in the bucket.
    """

    def __init__(
        self,
        counters: Counters,
        projects: Projects,
        s3: "S3Client",
        bucket: str,
        logger: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._counters = counters
        self._projects = projects
        self._s3 = s3
        self._bucket = bucket
        self._logger = logger
        self._clock = clock

    def handle(self, milliseconds_left: Callable[[], int]) -> None:
        """Keep days while there is time. The next run keeps the rest.

        For each project with events a read unit, one for each 4 KB of the counters of `DAYS` days in each shard, and a
        LIST for each 1,000 objects; and for each day that is kept what `DayUsers.first_seen` takes. A project that
        fails keeps no other from being kept. What such projects raised is raised together at the end.
        """
        done = Kept()
        failures: list[Exception] = []
        calendars = self._projects.laid_out([record.project for record in self._projects.all()])
        # So that no project is always the one that there is no time for.
        for project in random.sample(list(calendars), len(calendars)):
            today = calendars[project].today(datetime.fromtimestamp(self._clock(), UTC))
            counters = self._counters.of(project, calendars[project])
            try:
                self._keep(project, counters, today, milliseconds_left, done)
            except Exception as error:
                failures.append(error)
                self._logger.exception("days not kept", extra={"project": project.name})
        if done.days or not done.complete:
            self._logger.info("days kept", extra=vars(done))
        if failures:
            raise ExceptionGroup(f"the days of {len(failures)} projects could not be kept", failures)

    def _keep(
        self, project: Project, counters: Counters, today: str, milliseconds_left: Callable[[], int], done: Kept
    ) -> None:
        days = days_between(add_days(today, -DAYS), add_days(today, -1))
        counted = counters.counted(days[0], days[-1])
        if not counted:
            return
        kept = self._kept(project, days[0])
        before = done.days
        for place, day in enumerate(days):
            if day not in counted:
                continue
            current = {
                day_users_object(project, day, counted[day].users),
                new_users_object(project, day, *counted[day]),
            }
            outdated = [put_at for key, put_at in kept.get(day, {}).items() if key not in current]
            if current <= kept.get(day, {}).keys() or self._clock() - max(outdated, default=0) < AGAIN_SECONDS:
                continue
            if milliseconds_left() < LEAST_MILLISECONDS:
                done.complete = False
                break
            # Users of the days before are not new, and need not be looked up.
            for former in days[max(0, place - DAYS_BEFORE) : place]:
                number = counted.get(former, Counted()).users
                if day_users_object(project, former, number) in kept.get(former, {}):
                    counters.users(former, number, over=True)
            done.days += counters.keep(day, counted[day])
        if done.days > before or BUNDLE not in kept:
            counters.bundle(counted)

    def _kept(self, project: Project, first: str) -> dict[str, dict[str, float]]:
        """When the objects of each day were put, by their keys, and the bundle."""
        found: dict[str, dict[str, float]] = {}
        prefix = kept_objects(project)
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, StartAfter=f"{prefix}{first}"):
            for entry in page.get("Contents", ()):
                day = day_of_kept_object(project, entry["Key"])
                # The bundle is the last one. After the default project's come the others' folders.
                if day > BUNDLE:
                    return found
                found.setdefault(day, {})[entry["Key"]] = entry["LastModified"].timestamp()
        return found
