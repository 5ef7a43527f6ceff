"""The layout of each project: what must not change once it has data, the reporting timezone and the shard counts.

After a change, a user's (day, user) pair could fall under another day or shard. The consumer would then claim it and
count it a second time.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rollcall.core.days import Calendar
from rollcall.core.projects import Project
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import Tables, layout_key, split_key
from rollcall.stack.settings import BadSetting


def hold_layout(dynamo: Dynamo, tables: Tables, project: Project, calendar: Calendar) -> None:
    """Store the layout at first use; afterwards raise `BadSetting` if the settings differ from it. One write unit."""
    item = {name: {"S": value} for name, value in _layout(tables, calendar).items()}
    _compare(dynamo.put_if_absent(tables.stats, {**_key(project), **item}), tables, calendar)


def check_layout(dynamo: Dynamo, tables: Tables, project: Project, calendar: Calendar) -> None:
    """For readers: raise `BadSetting` if a layout is stored and the settings differ from it. Half a read unit."""
    standing = dynamo.client.get_item(TableName=tables.stats, Key=_key(project)).get("Item", {})
    _compare(standing, tables, calendar)


def laid_out_timezone(dynamo: Dynamo, stats_table: str, project: Project) -> str | None:
    """The timezone by whose days a project is counted; None if nothing is stored. Half a read unit."""
    item = dynamo.client.get_item(TableName=stats_table, Key=_key(project)).get("Item")
    return item["REPORTING_TIMEZONE"]["S"] if item else None


def laid_out_timezones(dynamo: Dynamo, stats_table: str, projects: Iterable[Project]) -> dict[Project, str]:
    """The timezones of those of the projects for which a layout is stored, strongly consistent.

    One read unit for each of the projects, and one request for each 100 of them.
    """
    keys = [_key(project) for project in projects]
    found = dynamo.get(stats_table, keys, ["pk", "REPORTING_TIMEZONE"], consistent=True)
    return {split_key(item["pk"]["S"])[0]: item["REPORTING_TIMEZONE"]["S"] for item in found}


def _key(project: Project) -> Item:
    return {"pk": {"S": layout_key(project)}, "sk": {"S": "-"}}


def _compare(standing: Mapping[str, Any], tables: Tables, calendar: Calendar) -> None:
    for name, value in _layout(tables, calendar).items():
        stored = standing.get(name, {"S": value})["S"]
        if stored != value:
            raise BadSetting(f"{name} is {value}, but the stored data was laid out with {stored}; set it back")


def _layout(tables: Tables, calendar: Calendar) -> dict[str, str]:
    return {
        "REPORTING_TIMEZONE": calendar.name,
        "USER_SHARDS": str(tables.user_shards),
        "COUNTER_SHARDS": str(tables.counter_shards),
    }
