"""The reach of a credential: the project that it belongs to, or all projects."""

from collections.abc import Collection
from dataclasses import dataclass

from rollcall.core.projects import DEFAULT, Project
from rollcall.stack.dynamo import Item

_ALL = "*"
_ATTRIBUTE = "project"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a key, an account or a session is for. `project` is None where it is for all projects."""

    project: Project | None

    @classmethod
    def read(cls, text: str) -> "Reach":
        """The reach that `str` made a text of; raises `rollcall.core.projects.BadProject`."""
        return ALL if text == _ALL else cls(Project(text))

    def __str__(self) -> str:
        return _ALL if self.project is None else self.project.name

    def covers(self, other: "Reach") -> bool:
        """Whether everything that the other is for is within this."""
        return self.project is None or self == other

    @property
    def attribute(self) -> Item:
        """What an item has of it."""
        return {_ATTRIBUTE: {"S": str(self)}}


ALL = Reach(None)


def unnamed(scopes: Collection[str]) -> Reach:
    """The reach of a credential for which nobody named a project: an admin is for all, and others for the default one.

    Items of a time before there were projects name none. An admin of that time could do everything in the stack, and
    can still. Any other credential reads and writes what it did, and nothing of the projects that are made later.
    """
    return ALL if "admin" in scopes else Reach(DEFAULT)


def may_reach(item: Item, within: Reach) -> bool:
    """Whether what an entry of a list stands for may be within a reach. Entries of earlier versions do not tell."""
    return _ATTRIBUTE not in item or within.covers(Reach.read(item[_ATTRIBUTE]["S"]))


def reach_of(item: Item) -> Reach:
    """The reach of a stored key, account or session."""
    return Reach.read(item[_ATTRIBUTE]["S"]) if _ATTRIBUTE in item else unnamed(item["scopes"]["SS"])
