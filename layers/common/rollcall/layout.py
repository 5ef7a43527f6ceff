"""What must never change under stored data: the reporting timezone and the shard counts.

A user's (day, user) pair under another shard or another day would be claimed, and counted, a second time.
"""

from rollcall.days import Calendar
from rollcall.dynamo import Dynamo
from rollcall.keys import LAYOUT_KEY, Tables
from rollcall.settings import BadSetting


def hold_layout(dynamo: Dynamo, tables: Tables, calendar: Calendar) -> None:
    """Write down the layout at first use, and from then on hold the settings to it; raises `BadSetting`."""
    layout = {
        "REPORTING_TIMEZONE": calendar.name,
        "USER_SHARDS": str(tables.user_shards),
        "COUNTER_SHARDS": str(tables.counter_shards),
    }
    item = {name: {"S": value} for name, value in layout.items()}
    standing = dynamo.put_if_absent(tables.stats, {"pk": {"S": LAYOUT_KEY}, "sk": {"S": "-"}, **item})
    for name, value in layout.items():
        stored = standing.get(name, {"S": value})["S"]
        if stored != value:
            raise BadSetting(f"{name} is {value}, but the stored data was laid out with {stored}; set it back")
