"""Reads the events of runs from a stack's archive."""

import json
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

from rollcall.core.projects import Project
from scripts.operate.archive import StackArchive
from scripts.operate.stacks import Stack
from scripts.sdks.numbers import StoredEvent
from scripts.sdks.suite import Stored

# All users of a run are named after it.
_OF_RUNS = """
SELECT event_id, occurred_at, user_id, event_type, properties
FROM events WHERE list_contains($runs, split_part(user_id, '-', 1))
"""


def archived(stack: Stack, project: Project, folder: Path) -> Stored:
    """What reads the stored events of runs, with the credentials of who runs the suite. `folder` keeps the files."""
    archive = StackArchive.of(stack, project, folder)

    def stored(runs: Sequence[str]) -> list[StoredEvent]:
        with archive.opened() as connection:
            found = connection.execute(_OF_RUNS, {"runs": list(runs)}).fetchall()
        return [
            StoredEvent(event_id, at.replace(tzinfo=UTC), user, event_type, json.loads(properties))
            for event_id, at, user, event_type, properties in found
        ]

    return stored
