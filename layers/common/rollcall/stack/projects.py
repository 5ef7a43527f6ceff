"""The projects of a stack: their records, and the days by which each is counted.

A project's timezone can change until its first event is stored. The consumer then fixes it in the project's record and
keeps it in the project's layout. Both stay, so a project that is laid out is read once by each process.
"""

import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from rollcall.core.characters import holds_hidden
from rollcall.core.days import Calendar, timestamp
from rollcall.core.projects import DEFAULT, Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import PROJECTS_KEY, Tables
from rollcall.stack.layout import hold_layout, laid_out_timezone, laid_out_timezones

MAX_DISPLAY_NAME_CHARACTERS = 100
# For so long, a process may know a project as it was.
REMEMBERED_SECONDS = 30

# Of a project whose timezone stays. DynamoDB reserves the word `fixed`.
_FIXED = "timezone_fixed"


class UnknownProject(LookupError):
    """The stack has no project of this name."""

    def __init__(self, project: Project) -> None:
        super().__init__(f"there is no project {project.name}")


class ProjectArchived(Exception):
    """The project is archived, so nothing more is taken in."""

    def __init__(self, project: Project) -> None:
        super().__init__(f"the project {project.name} is archived")


class ProjectExists(ValueError):
    """The stack has a project of this name already."""


class TimezoneFixed(ValueError):
    """The project has events, so its days stay those of its timezone."""


class BadRecord(ValueError):
    """A project cannot be made or changed so; `field` names what is wrong, the text why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field


class Record(NamedTuple):
    """What is known of a project. Times are RFC 3339 in UTC."""

    project: Project
    display_name: str
    timezone: str
    created_at: str | None
    """None for the default project, which was always there."""
    archived_at: str | None
    """Since when no more events are taken in; None while they are."""


class Projects:
    """The projects in the stats table. `calendar` has the days of the default project. `clock` is as `time.time`."""

    def __init__(
        self, dynamo: Dynamo, stats_table: str, calendar: Calendar, clock: Callable[[], float] = time.time
    ) -> None:
        self._dynamo = dynamo
        self._table = stats_table
        self._calendar = calendar
        self._clock = clock
        # Of the projects that are laid out, whose days never change again.
        self._days: dict[Project, Calendar] = {DEFAULT: calendar}
        self._held = {DEFAULT}
        self._known: dict[Project, tuple[float, Record]] = {}

    def find(self, project: Project) -> Record:
        """A project's record; one read unit. Raises `UnknownProject`."""
        item = self._dynamo.find(self._table, PROJECTS_KEY, project.name)
        if item is None and project != DEFAULT:
            raise UnknownProject(project)
        return self._record(project, item or {})

    def known(self, project: Project) -> Record:
        """A project's record as it was at most `REMEMBERED_SECONDS` ago. Raises `UnknownProject`."""
        read_at, record = self._known.get(project, (float("-inf"), None))
        if record is None or self._clock() - read_at > REMEMBERED_SECONDS:
            record = self.find(project)
            self._known[project] = (self._clock(), record)
        return record

    def check_open(self, project: Project) -> None:
        """Check that events of a project are taken in, as of at most `REMEMBERED_SECONDS` ago.

        Raises `UnknownProject` and `ProjectArchived`.
        """
        if project != DEFAULT and self.known(project).archived_at:
            raise ProjectArchived(project)

    def all(self) -> list[Record]:
        """All projects, the default one first and the others by name; half a read unit for each 4 KB."""
        pages = self._dynamo.query(
            TableName=self._table,
            KeyConditionExpression="pk = :projects",
            ExpressionAttributeValues={":projects": {"S": PROJECTS_KEY}},
        )
        items = {Project(item["sk"]["S"]): item for page in pages for item in page}
        default = self._record(DEFAULT, items.pop(DEFAULT, {}))
        return [default, *(self._record(project, items[project]) for project in sorted(items))]

    def create(self, project: Project, display_name: str, timezone: str) -> Record:
        """Make a project. Raises `ProjectExists` and `BadRecord`. One write unit."""
        item = {
            "pk": {"S": PROJECTS_KEY},
            "sk": {"S": project.name},
            "display_name": {"S": _display_name(display_name)},
            "timezone": {"S": _timezone(timezone)},
            "created_at": {"S": timestamp(self._clock())},
        }
        # boto3 retries a write whose answer was lost, and then finds the item of its own first try.
        if project == DEFAULT or self._dynamo.put_if_absent(self._table, item) != item:
            raise ProjectExists(f"there is a project {project.name}")
        return self._record(project, item)

    def change(
        self,
        project: Project,
        display_name: str | None = None,
        timezone: str | None = None,
        *,
        archived: bool | None = None,
    ) -> Record:
        """Change what is not None of a project. Returns its record as it is then. One write unit.

        Raises `UnknownProject`, `BadRecord`, and `TimezoneFixed` for another timezone once events are stored. The
        default project keeps the stack's timezone, and is never archived.
        """
        values: Item = {}
        sets, condition = [], []
        if project != DEFAULT:
            condition.append("attribute_exists(pk)")
        elif archived:
            raise BadRecord("archived", "cannot be set: the default project is always there")
        elif timezone not in (None, self._calendar.name):
            raise TimezoneFixed("the default project has the stack's timezone")
        if display_name is not None:
            sets.append("display_name = :display_name")
            values[":display_name"] = {"S": _display_name(display_name)}
        if timezone is not None and project != DEFAULT:
            # The same timezone may always be set.
            sets.append("#timezone = :timezone")
            values[":timezone"] = {"S": _timezone(timezone)}
            condition.append(f"(attribute_not_exists({_FIXED}) OR #timezone = :timezone)")
        if archived:
            sets.append("archived_at = if_not_exists(archived_at, :now)")
            values[":now"] = {"S": timestamp(self._clock())}
        update = [f"SET {', '.join(sets)}"] if sets else []
        update += ["REMOVE archived_at"] if archived is False else []
        if update:
            held, standing = self._dynamo.update(
                self._table,
                PROJECTS_KEY,
                project.name,
                UpdateExpression=" ".join(update),
                **({"ConditionExpression": " AND ".join(condition)} if condition else {}),
                **({"ExpressionAttributeNames": {"#timezone": "timezone"}} if ":timezone" in values else {}),
                **({"ExpressionAttributeValues": values} if values else {}),
            )
            if not held and standing:
                raise TimezoneFixed(f"{project.name} has events, which are counted by the days of its timezone")
            if not held:
                raise UnknownProject(project)
            self._known.pop(project, None)
        return self.find(project)

    def calendar(self, project: Project) -> Calendar:
        """The days of a project, for doors and readers. Raises `UnknownProject`.

        Nothing is read of the default project, nor of one that was found to be laid out. Of any other, half a read
        unit, and one more unless it was read in the last `REMEMBERED_SECONDS`.
        """
        if project not in self._days:
            timezone = laid_out_timezone(self._dynamo, self._table, project)
            if timezone is None:
                return self._of_timezone(self.known(project).timezone)
            self._days[project] = self._of_timezone(timezone)
        return self._days[project]

    def laid_out(self, projects: Collection[Project]) -> dict[Project, Calendar]:
        """The days of those of the projects that may have events, in the same order. The others have none.

        The consumer lays a project out before it counts the project's first event, and this reads strongly consistent:
        one read unit for each project that was not found to be laid out before, and one request for each 100 of them.
        """
        unread = [project for project in projects if project not in self._days]
        for project, timezone in laid_out_timezones(self._dynamo, self._table, unread).items():
            self._days[project] = self._of_timezone(timezone)
        return {project: self._days[project] for project in projects if project in self._days}

    def lay_out(self, tables: Tables, project: Project) -> Calendar:
        """The days of a project, for the consumer: from here on they are fixed.

        Half a read unit and a write unit for each project and process; for a project without events, a read unit and
        a write unit more. Raises `UnknownProject`, and `BadSetting` where the stack's shard counts differ from those
        that the project has.
        """
        if project not in self._held:
            timezone = laid_out_timezone(self._dynamo, self._table, project) or self._fix(project)
            self._days[project] = self._of_timezone(timezone)
            hold_layout(self._dynamo, tables, project, self._days[project])
            self._held.add(project)
        return self._days[project]

    def _fix(self, project: Project) -> str:
        """Fix the timezone of a project's record; returns it."""
        while True:
            timezone = self.find(project).timezone
            held, _ = self._dynamo.update(
                self._table,
                PROJECTS_KEY,
                project.name,
                UpdateExpression=f"SET {_FIXED} = :fixed",
                ConditionExpression="#timezone = :timezone",
                ExpressionAttributeNames={"#timezone": "timezone"},
                ExpressionAttributeValues={":fixed": {"BOOL": True}, ":timezone": {"S": timezone}},
            )
            if held:
                return timezone

    def _of_timezone(self, name: str) -> Calendar:
        return Calendar(name, self._calendar.first_day)

    def _record(self, project: Project, item: Item) -> Record:
        def of(name: str, otherwise: str | None = None) -> str | None:
            return item[name]["S"] if name in item else otherwise

        return Record(
            project,
            display_name=str(of("display_name", project.name)),
            timezone=self._calendar.name if project == DEFAULT else item["timezone"]["S"],
            created_at=of("created_at"),
            archived_at=of("archived_at"),
        )


def _display_name(text: str) -> str:
    if not 1 <= len(text) <= MAX_DISPLAY_NAME_CHARACTERS or text.isspace():
        raise BadRecord("display_name", f"has to be 1 to {MAX_DISPLAY_NAME_CHARACTERS} characters, not all spaces")
    if holds_hidden(text):
        raise BadRecord("display_name", "holds control characters or others that cannot be seen")
    return text


def _timezone(name: str) -> str:
    try:
        return Calendar(name).name
    except ValueError as error:
        raise BadRecord("timezone", str(error)) from None
