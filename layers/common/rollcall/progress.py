"""How far the imports of uploaded files have come: what is planned, and what has become of each part."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rollcall.claims import Receipt
from rollcall.dynamo import Dynamo, Item
from rollcall.keys import import_id_of, import_key, import_part_key, receipt_key

REMEMBERED_SECONDS = 90 * 86_400
# Of a larger import the receipts are not added up: it would take too long.
MAX_ADDED_RECEIPTS = 5_000


class UnknownImport(LookupError):
    """There is no import of that id."""


class Part(NamedTuple):
    """What became of a part of a file."""

    number: int
    rows: int
    accepted: int
    rejected: int
    duplicates: int
    """Rows whose id came earlier, within the same few thousand rows."""
    batch_ids: list[str]


class Counted(NamedTuple):
    """What became of the accepted rows' batches."""

    inserted: int
    duplicates: int
    conflicts: int
    pending_batches: int


class Progress(NamedTuple):
    """An import."""

    import_id: str
    key: str
    etag: str | None
    """None until the file is there."""
    size: int
    """Of the file, in bytes."""
    planned: int | None
    """Parts that it has; None until it has been read through."""
    parts: list[Part]
    """Those that are done, by number."""
    started_at: str

    @property
    def done(self) -> bool:
        """Whether every row has been taken in or rejected."""
        return self.planned is not None and len(self.parts) == self.planned


class ImportLog:
    """The imports in the stats table. `clock` is in seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def expect(self, key: str) -> str:
        """Note an upload that is to come; returns the import's id."""
        self._note(key, {})
        return import_id_of(key)

    def begin(self, key: str, etag: str, size: int) -> None:
        """Note that a file is being read through."""
        self._note(key, {"etag": {"S": etag}, "size": {"N": str(size)}})

    def plan(self, key: str, etag: str, parts: int) -> None:
        """Note how many parts a file has, unless there is another file under its key by now."""
        self._dynamo.update(
            self._table,
            import_key(import_id_of(key)),
            "-",
            UpdateExpression="SET planned = :parts",
            ConditionExpression="etag = :etag",
            ExpressionAttributeValues={":parts": {"N": str(parts)}, ":etag": {"S": etag}},
        )

    def finish_part(self, key: str, etag: str, part: Part) -> None:
        """Note what became of a part; the same again changes nothing."""
        counts = {
            name: {"N": str(value)} for name, value in part._asdict().items() if name not in ("number", "batch_ids")
        }
        self._dynamo.put(
            self._table,
            [
                {
                    "pk": {"S": import_key(import_id_of(key))},
                    "sk": {"S": import_part_key(etag, part.number)},
                    **counts,
                    "batch_ids": {"L": [{"S": batch_id} for batch_id in part.batch_ids]},
                    "expires_at": self._expiry(),
                }
            ],
        )

    def read(self, import_id: str) -> Progress:
        """An import as it stands; raises `UnknownImport`. A read unit for each 4 KB of its parts."""
        pages = self._dynamo.query(
            TableName=self._table,
            KeyConditionExpression="pk = :import",
            ExpressionAttributeValues={":import": {"S": import_key(import_id)}},
            ConsistentRead=True,
        )
        items = {item["sk"]["S"]: item for page in pages for item in page}
        head = items.pop("-", None)
        if head is None:
            raise UnknownImport(import_id)
        etag = head.get("etag", {}).get("S")
        # Parts of another version of the file are no part of this one.
        parts = [_part(sk, item) for sk, item in sorted(items.items()) if sk.startswith(f"{etag}#")]
        return Progress(
            import_id=import_id,
            key=head["key"]["S"],
            etag=etag,
            size=int(head.get("size", {"N": "0"})["N"]),
            planned=int(head["planned"]["N"]) if "planned" in head else None,
            parts=parts,
            started_at=head["started_at"]["S"],
        )

    def counted(self, parts: Sequence[Part]) -> Counted | None:
        """What became of the parts' batches, or None where they are too many. Half a read unit for each batch."""
        batch_ids = list(dict.fromkeys(batch_id for part in parts for batch_id in part.batch_ids))
        if len(batch_ids) > MAX_ADDED_RECEIPTS:
            return None
        receipts = list(self._receipts(batch_ids))
        return Counted(
            inserted=sum(receipt.inserted for receipt in receipts),
            duplicates=sum(receipt.duplicates for receipt in receipts),
            conflicts=sum(receipt.conflicts for receipt in receipts),
            pending_batches=len(batch_ids) - len(receipts),
        )

    def _receipts(self, batch_ids: Sequence[str]) -> Iterator[Receipt]:
        keys = [{"pk": {"S": receipt_key(batch_id)}, "sk": {"S": "0"}} for batch_id in batch_ids]
        for item in self._dynamo.get(self._table, keys):
            if item["applied"] == item["total"]:
                yield Receipt.of_item(item)

    def _note(self, key: str, attributes: Item) -> None:
        started_at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds").removesuffix("+00:00")
        item = {
            "pk": {"S": import_key(import_id_of(key))},
            "sk": {"S": "-"},
            "key": {"S": key},
            "started_at": {"S": f"{started_at}Z"},
            "expires_at": self._expiry(),
            **attributes,
        }
        self._dynamo.put(self._table, [item])

    def _expiry(self) -> Item:
        return {"N": str(int(self._clock()) + REMEMBERED_SECONDS)}


def _part(sk: str, item: Item) -> Part:
    return Part(
        number=int(sk.rpartition("#")[2]),
        rows=int(item["rows"]["N"]),
        accepted=int(item["accepted"]["N"]),
        rejected=int(item["rejected"]["N"]),
        duplicates=int(item["duplicates"]["N"]),
        batch_ids=[batch_id["S"] for batch_id in item["batch_ids"]["L"]],
    )
