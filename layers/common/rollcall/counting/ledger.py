"""What messages add to the ledger: what each API key delivered on each day, and what became of it.

A key's events of a day add up. Those that were received are the accepted and the rejected ones. Those that were
accepted are the counted ones, the duplicates, the conflicts and the refused ones, as soon as all of them are counted.

Each message is in the ledger exactly once. The delivery that counts a batch is added in the transaction that puts the
batch's receipt, which names it. Any other message is added in a transaction that puts a mark of its own: a body that is
sent again, a batch of which nothing can be stored, and a request of which all events were rejected.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rollcall.core.batch import Batch, Delivery
from rollcall.core.days import LONGEST_WAY_DAYS
from rollcall.counting.receipts import Receipt
from rollcall.stack.dynamo import Item, addition
from rollcall.stack.keys import (
    Tables,
    delivery_key,
    ledger_key,
    rejected_attribute,
    rejection_key,
    rejections_key,
    shard_of,
)

MARK_SECONDS = LONGEST_WAY_DAYS * 86_400

Write = Mapping[str, Any]


def named_in(first_part: Item, delivery: Delivery) -> bool:
    """Whether a delivery is the one that was added with a receipt."""
    return first_part.get("delivery") == {"S": delivery.delivery_id}


def name_of(batch: Batch) -> Item:
    """What names the delivery in the first part of a receipt."""
    return {"delivery": {"S": batch.delivery.delivery_id}} if batch.delivery else {}


def mark(batch: Batch, delivery: Delivery, tables: Tables, now: datetime) -> Write:
    """The write that marks a message as added, and fails if it is. The mark expires when no queue has the message."""
    item = {
        "pk": {"S": delivery_key(batch.project, delivery.delivery_id)},
        "sk": {"S": str(delivery.part)},
        "expires_at": {"N": str(int(now.timestamp()) + MARK_SECONDS)},
    }
    return {"Put": {"TableName": tables.stats, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}}


def additions(batch: Batch, receipt: Receipt, tables: Tables, *, counted: bool) -> list[Write]:
    """The writes that add a message to the ledger: one, two where events were rejected, none without a delivery.

    `receipt` tells what became of the batch. `counted` is whether this delivery is the one that stored the events. They
    are duplicates otherwise. A key's lines have as many shards as the counters, and a batch has the same shard in both.
    """
    delivery = batch.delivery
    if delivery is None:
        return []
    rejected = {rejected_attribute(code): count for code, count in delivery.rejected if count}
    accepted = len(batch.events) + delivery.repeats
    line = {
        "received": accepted + sum(rejected.values()),
        "accepted": accepted,
        "counted": receipt.inserted if counted else 0,
        "duplicates": delivery.repeats + receipt.duplicates + (0 if counted else receipt.inserted),
        "conflicts": receipt.conflicts,
        "refused": receipt.refused,
        **rejected,
    }
    # All empty batches have one name.
    shard = shard_of(batch.batch_id if batch.events else delivery.delivery_id, tables.counter_shards)
    of_day = ledger_key(batch.project, delivery.key_id, shard)
    found: list[Write] = [
        addition(tables.stats, of_day, delivery.day, {name: count for name, count in line.items() if count})
    ]
    if rejected:
        of_key = rejection_key(batch.project, delivery.key_id)
        found.append(addition(tables.stats, rejections_key(shard), of_key, rejected))
    return found
