"""Bundling: moves the rows of counted batches to few larger objects, so that a reader has few objects to fetch.

An object is JSON lines in gzip, and so are several of them one after the other. A bundle is therefore made without
reading a row. A run that stops at any point loses nothing: `Archive.move` puts a bundle before it deletes what the
bundle was made of. Several runs at the same time bundle the same batches twice, which readers and compaction undo. A
lease keeps that rare, and nothing depends on it.
"""

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from aws_lambda_powertools import Logger

from rollcall.archive.bucket import FIRST_TIER_OF_RESTS, Archive, Stored, groups
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import BUNDLING_KEY, lease_key

# With fewer batches, a run does nothing but list them. With fewer bundles, it leaves their tier alone.
LEAST_BATCHES = 100
LEAST_BUNDLES = 16
# The limits of what becomes one bundle. A bundle of so many bytes stays as it is.
BUNDLE_OBJECTS = 500
BUNDLE_BYTES = 64 * 1024 * 1024
# Longer than it takes to make a bundle. If a run dies, so long no other one bundles.
LEASE_SECONDS = 10
# With less time left, no further bundle is begun.
LEAST_MILLISECONDS = 60_000


@dataclass
class Bundled:
    """The outcome of a run."""

    objects: int = 0
    """Batches and bundles that became parts of bundles."""
    bundles: int = 0


class Bundler:
    """Bundles what is in an archive. `clock` gives seconds, as `time.time`."""

    def __init__(
        self, archive: Archive, dynamo: Dynamo, stats_table: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._archive = archive
        self._dynamo = dynamo
        self._stats_table = stats_table
        self._clock = clock

    def run(self, milliseconds_left: Callable[[], int]) -> Bundled:
        """Bundle the counted batches while there are `LEAST_BATCHES`, and the bundles of tiers with `LEAST_BUNDLES`.

        One LIST; if there is something to do, two write units, one LIST for each tier, one GET for each object, one
        read unit for each batch, and for each bundle a PUT and a write unit. Raises
        `rollcall.archive.bucket.ArchiveError`, `rollcall.stack.dynamo.Unavailable` and botocore's errors.
        """
        done = Bundled()
        run = uuid.uuid4().hex
        if self._is_backlog() and self._lease(run, LEASE_SECONDS):
            # While this run holds the lease, those that are asked for end at once. So it looks again for what has come.
            while self._bundle_tiers(run, milliseconds_left, done) and self._is_backlog():
                pass
            self._lease(run, 0)
        return done

    def _is_backlog(self) -> bool:
        return len(list(islice(self._archive.batches(), LEAST_BATCHES))) == LEAST_BATCHES

    def _bundle_tiers(self, run: str, milliseconds_left: Callable[[], int], done: Bundled) -> bool:
        """Bundle the batches, and one group of bundles; returns whether there was anything, and the run may go on.

        No more of the bundles, because batches come meanwhile.
        """
        before = done.bundles
        for tier in self._archive.tiers():
            small = (one for one in tier if one.size < BUNDLE_BYTES)
            for group in groups(small, BUNDLE_OBJECTS, BUNDLE_BYTES):
                if self._archive.tier_of(group[0]) >= FIRST_TIER_OF_RESTS:
                    return done.bundles > before
                least = LEAST_BUNDLES if self._archive.tier_of(group[0]) else LEAST_BATCHES
                if len(group) < least and sum(one.size for one in group) < BUNDLE_BYTES:
                    continue
                if milliseconds_left() < LEAST_MILLISECONDS:
                    return False
                self._bundle(self._archive.counted(self._dynamo, self._stats_table, group), done)
                if not self._lease(run, LEASE_SECONDS):
                    return False
                if self._archive.tier_of(group[0]):
                    return done.bundles > before
        return done.bundles > before

    def _bundle(self, group: list[Stored], done: Bundled) -> None:
        with TemporaryDirectory() as name:
            fetched = self._archive.fetch_all(group, Path(name))
            if len(fetched) < 2:
                return
            bundle = Path(name) / "bundle"
            with bundle.open("wb") as whole:
                for _, path in fetched:
                    with path.open("rb") as part:
                        shutil.copyfileobj(part, whole)
            self._archive.move([stored for stored, _ in fetched], bundle)
        done.objects += len(fetched)
        done.bundles += 1

    def _lease(self, run: str, seconds: int) -> bool:
        """Keep other runs from beginning for so many seconds; returns False if another one does so already."""
        now = self._clock()
        held, _ = self._dynamo.update(
            self._stats_table,
            BUNDLING_KEY,
            lease_key(self._archive.project),
            UpdateExpression="SET bundler = :run, held_until = :until",
            ConditionExpression="attribute_not_exists(pk) OR bundler = :run OR held_until <= :now",
            ExpressionAttributeValues={
                ":run": {"S": run},
                ":now": {"N": f"{now:.3f}"},
                ":until": {"N": f"{now + seconds:.3f}"},
            },
        )
        return held


class Bundling:
    """The handler of the function's runs that bundle. `bundlers` gives that of a project."""

    def __init__(self, bundlers: Callable[[Project], Bundler], logger: Logger) -> None:
        self._bundlers = bundlers
        self._logger = logger

    def handle(self, project: Project, milliseconds_left: Callable[[], int]) -> None:
        """Bundle what there is of a project. Most runs find too little, and log nothing."""
        done = self._bundlers(project).run(milliseconds_left)
        if done.bundles:
            self._logger.info("archive bundled", extra={"project": project.name, **vars(done)})
