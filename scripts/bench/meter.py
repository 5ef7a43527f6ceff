"""Counts a DynamoDB client's requests and the units that AWS bills for them, whatever an emulator reports.

A write takes one write unit for each KB of the item, even if its condition does not hold. It takes the same again for
each index that the item is in, or twice that if the index key changes. In a transaction it takes twice as many. A read
takes one read unit for each 4 KB of an item, or of all items in a page of a query. An eventually consistent read takes
half.
"""

import json
import math
import time
from collections import Counter
from threading import Lock
from typing import Any

KB = 1024


class Meter:
    """Counts the requests of a client and the units that AWS bills for them. Any thread may use the client.

    `unmetered` is another client of the same tables, for the meter's own reads.
    """

    def __init__(self, client: Any, unmetered: Any) -> None:
        self.requests: Counter[str] = Counter()
        self.write_units = 0
        self.read_units = 0.0
        self.items_read = 0
        self.seconds = 0.0
        """CPU time of the metering itself."""
        self._reader = unmetered
        self._lock = Lock()
        self._events = client.meta.events
        # Read the body that goes over the wire, which other handlers may have changed.
        self._events.register_last("before-call.dynamodb", self._before)
        self._events.register("after-call.dynamodb", self._after)

    def stop(self) -> None:
        """Stop counting."""
        self._events.unregister("before-call.dynamodb", self._before)
        self._events.unregister("after-call.dynamodb", self._after)

    def _before(self, params: Any, context: Any, **_: Any) -> None:
        context["metered"] = params["body"]

    def _after(self, model: Any, parsed: Any, context: Any, **_: Any) -> None:
        with self._lock:
            started = time.process_time()
            self.requests[model.name] += 1
            getattr(self, f"_{model.name}")(json.loads(context["metered"]), parsed)
            self.seconds += time.process_time() - started

    def _PutItem(self, params: Any, _parsed: Any) -> None:  # noqa: N802
        self.write_units += write_units(params["Item"])

    def _UpdateItem(self, params: Any, _parsed: Any) -> None:  # noqa: N802
        self.write_units += write_units(self._stored(params))

    def _Query(self, params: Any, parsed: Any) -> None:  # noqa: N802
        # A query is billed for whole items, whatever it projects.
        whole = {name: value for name, value in params.items() if name != "ProjectionExpression"}
        whole.pop("ExpressionAttributeNames", None)
        items = self._reader.query(**whole, Limit=parsed["Count"])["Items"] if parsed["Count"] else []
        self.items_read += len(items)
        units = max(1, math.ceil(sum(map(_item_size, items)) / (4 * KB)))
        self.read_units += units * (1 if params.get("ConsistentRead") else 0.5)

    def _GetItem(self, params: Any, parsed: Any) -> None:  # noqa: N802
        self.items_read += "Item" in parsed
        self.read_units += _read_units(parsed.get("Item", {}), params.get("ConsistentRead", False))

    def _BatchGetItem(self, params: Any, parsed: Any) -> None:  # noqa: N802
        for table, asked in params["RequestItems"].items():
            consistent = asked.get("ConsistentRead", False)
            found = parsed["Responses"].get(table, [])
            self.items_read += len(found)
            self.read_units += sum(_read_units(item, consistent) for item in found)
            self.read_units += (len(asked["Keys"]) - len(found)) * _read_units({}, consistent)

    def _BatchExecuteStatement(self, params: Any, parsed: Any) -> None:  # noqa: N802
        for statement, response in zip(params["Statements"], parsed["Responses"], strict=True):
            size = sum(_size(value) for value in statement["Parameters"])
            written = "Error" not in response
            # Attribute names are a part of the item's size. In a statement they are in quotes.
            size += sum(len(word) for word in statement["Statement"].split("'")[1::2])
            units = math.ceil(size / KB)
            if written and "first_day" in statement["Statement"]:
                units += 1 if statement["Statement"].startswith("INSERT") else 2
            self.write_units += units

    def _TransactWriteItems(self, params: Any, _parsed: Any) -> None:  # noqa: N802
        for write in params["TransactItems"]:
            item = write["Put"]["Item"] if "Put" in write else self._stored(write["Update"])
            self.write_units += 2 * write_units(item)

    def _stored(self, request: Any) -> Any:
        return self._reader.get_item(TableName=request["TableName"], Key=request["Key"])["Item"]


def write_units(item: dict[str, Any]) -> int:
    """The write units that AWS bills for an item, once for its table and once for each index."""
    return math.ceil(_item_size(item) / KB)


def _read_units(item: dict[str, Any], consistent: bool) -> float:
    return max(1, math.ceil(_item_size(item) / (4 * KB))) * (1 if consistent else 0.5)


def _item_size(item: dict[str, Any]) -> int:
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    if not isinstance(content, str):
        return len(json.dumps(content))
    # A number takes a byte for each two digits, and one more.
    return len(content) // 2 + 2 if kind == "N" else len(content.encode())
