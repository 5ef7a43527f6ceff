"""Projects: namespaces of events, users, counters, receipts, imports and archive in one stack."""

import re
from dataclasses import dataclass

# Between a project's name and the rest of a key.
SEPARATOR = "\x1f"

NAME = "[a-z][a-z0-9-]{0,31}"


class BadProject(ValueError):
    """No project can have this name; the text says what a name is."""


@dataclass(frozen=True, slots=True, order=True)
class Project:
    """A project, by its name. Raises `BadProject` for a name that none can have."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise BadProject("a project's name has to be 1 to 32 of a-z, 0-9 and -, and to begin with a letter")


DEFAULT = Project("default")
"""The project that is always there. Its keys and the names of its objects do not name it."""
