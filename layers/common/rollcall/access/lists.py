"""Lists of what the access table has: all keys, all shares, all accounts.

A list is a partition. An entry has the id of what it stands for as its sort key, and the reach of that.
"""

from collections.abc import Callable, Iterator, Sequence

from rollcall.access.reach import Reach, may_reach, reach_of
from rollcall.stack.dynamo import Dynamo, Item


def entry(partition: str, entry_id: str, reach: Reach, **more: Item) -> Item:
    """An entry of a list, with further attributes."""
    return {"pk": {"S": partition}, "sk": {"S": entry_id}, **reach.attribute, **more}


def listed(
    dynamo: Dynamo,
    table: str,
    partition: str,
    key_of: Callable[[str], str],
    within: Reach,
    attributes: Sequence[str] = (),
) -> Iterator[Item]:
    """What is listed and within a reach, in any order. `key_of` makes an id the partition of what it stands for.

    The named attributes of each, or all if none is named. `project` and `scopes` have to be among them, which tell the
    reach. Consistent: a read unit for each 4 KB of the entries, and of each item that may be within the reach.
    """
    pages = dynamo.query(
        TableName=table,
        KeyConditionExpression="pk = :list",
        ExpressionAttributeValues={":list": {"S": partition}},
        ConsistentRead=True,
    )
    ids = [item["sk"]["S"] for page in pages for item in page if may_reach(item, within)]
    keys: list[Item] = [{"pk": {"S": key_of(each)}, "sk": {"S": "-"}} for each in ids]
    found = dynamo.get(table, keys, attributes, consistent=True)
    return (item for item in found if within.covers(reach_of(item)))
