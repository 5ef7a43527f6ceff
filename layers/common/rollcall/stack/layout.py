"""The layout: the settings that must not change once data is stored, the reporting timezone and the shard counts.

After a change, a user's (day, user) pair could fall under another day or shard. The consumer would then claim it and
count it a second time.
"""

from collections.abc import Mapping
from typing import Any

from rollcall.core.days import Calendar
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import LAYOUT_KEY, Tables
from rollcall.stack.settings import BadSetting

_KEY = {"pk": {"S": LAYOUT_KEY}, "sk": {"S": "-"}}


def hold_layout(dynamo: Dynamo, tables: Tables, calendar: Calendar) -> None:
    """Store the layout at first use; afterwards raise `BadSetting` if the settings differ from it. One write unit."""
    item = {name: {"S": value} for name, value in _layout(tables, calendar).items()}
    _compare(dynamo.put_if_absent(tables.stats, {**_KEY, **item}), tables, calendar)


def check_layout(dynamo: Dynamo, tables: Tables, calendar: Calendar) -> None:
    """For readers: raise `BadSetting` if a layout is stored and the settings differ from it. Half a read unit."""
    _compare(dynamo.client.get_item(TableName=tables.stats, Key=_KEY).get("Item", {}), tables, calendar)


def laid_out_timezone(dynamo: Dynamo, stats_table: str) -> str | None:
    """The timezone by whose days the stored data is counted; None if nothing is stored. Half a read unit."""
    item = dynamo.client.get_item(TableName=stats_table, Key=_KEY).get("Item")
    return item["REPORTING_TIMEZONE"]["S"] if item else None


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
