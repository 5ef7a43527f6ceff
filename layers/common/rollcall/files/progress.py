"""How far the imports of uploaded files have come: what is planned, and what has become of each part.

Each time that a file is read through is a run of its import, and each part belongs to one. What an earlier run still
does is nothing to a later one.
"""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rollcall.core.days import timestamp
from rollcall.counting.receipts import receipts_of
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import import_batches_key, import_id_of, import_key, import_part_key

REMEMBERED_SECONDS = 90 * 86_400
# Of a larger import the receipts are not added up: it would take too long.
MAX_ADDED_RECEIPTS = 5_000

_IMPORT_ID = re.compile(r"[0-9a-f]{32}")


class UnknownImport(LookupError):
    """There is no import of that id."""


class FilePart(NamedTuple):
    """What became of a part of a file."""

    number: int
    rows: int
    accepted: int
    rejected: int
    duplicates: int
    """Rows whose id came earlier, within the same few thousand rows."""


class Counted(NamedTuple):
    """What became of the accepted rows, as far as their batches are counted."""

    inserted: int
    duplicates: int
    conflicts: int
    refused: int
    pending_batches: int


class Progress(NamedTuple):
    """An import."""

    import_id: str
    key: str
    run: str | None
    """None until the file is there."""
    size: int
    """Of the file, in bytes."""
    planned: int | None
    """Parts that it has; None until it has been read through."""
    parts: list[FilePart]
    """Those that are taken in, by number."""
    done: bool
    """Every row has been taken in or rejected, and what was rejected is put together."""
    gone: bool
    """The file was deleted or replaced before it was taken in."""
    started_at: str

    @property
    def taken_in(self) -> bool:
        """Whether all parts are."""
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

    def begin(self, key: str, size: int) -> str:
        """Note that a file is being read through; returns the name of this run."""
        run = secrets.token_hex(8)
        self._note(key, {"run": {"S": run}, "size": {"N": str(size)}})
        return run

    def plan(self, key: str, run: str, parts: int) -> None:
        """Note how many parts a file has."""
        self._mark(key, run, "planned", parts)

    def finish(self, key: str, run: str) -> None:
        """Note that all is done."""
        self._mark(key, run, "finished", 1)

    def lose(self, key: str, run: str) -> None:
        """Note that the file is gone."""
        self._mark(key, run, "gone", 1)

    def finish_part(self, key: str, run: str, part: FilePart, batch_ids: list[str]) -> None:
        """Note what became of a part and which batches it made; the same again changes nothing."""
        import_id, sk = import_id_of(key), {"S": import_part_key(run, part.number)}
        counts = {name: {"N": str(value)} for name, value in part._asdict().items() if name != "number"}
        named = {"L": [{"S": batch_id} for batch_id in batch_ids]}
        expiry = {"expires_at": self._expiry()}
        self._dynamo.put(
            self._table,
            [{"pk": {"S": import_batches_key(import_id)}, "sk": sk, "batch_ids": named, **expiry}],
        )
        # The part counts as done by this item.
        self._dynamo.put(self._table, [{"pk": {"S": import_key(import_id)}, "sk": sk, **counts, **expiry}])

    def read(self, import_id: str) -> Progress:
        """An import as it stands; raises `UnknownImport`. A read unit for each 4 KB, which is about 30 parts."""
        head = self._dynamo.find(self._table, import_key(import_id)) if _IMPORT_ID.fullmatch(import_id) else None
        if head is None:
            raise UnknownImport(import_id)
        run = head.get("run", {}).get("S")
        return Progress(
            import_id=import_id,
            key=head["key"]["S"],
            run=run,
            size=int(head.get("size", {"N": "0"})["N"]),
            planned=int(head["planned"]["N"]) if "planned" in head else None,
            parts=[_part(item) for item in self._of_run(import_key(import_id), run)] if run else [],
            done="finished" in head,
            gone="gone" in head,
            started_at=head["started_at"]["S"],
        )

    def counted(self, progress: Progress) -> Counted | None:
        """What became of an import's rows, or None where it has too many batches. A read unit for each batch."""
        if not progress.run:
            return Counted(0, 0, 0, 0, 0)
        times: Counter[str] = Counter()
        for item in self._of_run(import_batches_key(progress.import_id), progress.run):
            times.update(batch_id["S"] for batch_id in item["batch_ids"]["L"])
            if len(times) > MAX_ADDED_RECEIPTS:
                return None
        receipts = receipts_of(self._dynamo, self._table, list(times))
        # The same rows again make the same batch again, of which nothing more is inserted.
        again = sum((times[batch_id] - 1) * receipt.received for batch_id, receipt in receipts.items())
        return Counted(
            inserted=sum(receipt.inserted for receipt in receipts.values()),
            duplicates=sum(receipt.duplicates for receipt in receipts.values()) + again,
            conflicts=sum(receipt.conflicts for receipt in receipts.values()),
            refused=sum(receipt.refused for receipt in receipts.values()),
            pending_batches=len(times) - len(receipts),
        )

    def _of_run(self, pk: str, run: str) -> Iterator[Item]:
        pages = self._dynamo.query(
            TableName=self._table,
            KeyConditionExpression="pk = :import AND begins_with(sk, :run)",
            ExpressionAttributeValues={":import": {"S": pk}, ":run": {"S": f"{run}#"}},
            ConsistentRead=True,
        )
        for page in pages:
            yield from page

    def _mark(self, key: str, run: str, name: str, value: int) -> None:
        """Note something of a run, unless there is a later one."""
        self._dynamo.update(
            self._table,
            import_key(import_id_of(key)),
            "-",
            UpdateExpression="SET #name = :value",
            ConditionExpression="#run = :run",
            ExpressionAttributeNames={"#name": name, "#run": "run"},
            ExpressionAttributeValues={":value": {"N": str(value)}, ":run": {"S": run}},
        )

    def _note(self, key: str, attributes: Item) -> None:
        item = {
            "pk": {"S": import_key(import_id_of(key))},
            "sk": {"S": "-"},
            "key": {"S": key},
            "started_at": {"S": timestamp(self._clock())},
            "expires_at": self._expiry(),
            **attributes,
        }
        self._dynamo.put(self._table, [item])

    def _expiry(self) -> Item:
        return {"N": str(int(self._clock()) + REMEMBERED_SECONDS)}


def _part(item: Item) -> FilePart:
    counts = (int(item[name]["N"]) for name in FilePart._fields if name != "number")
    return FilePart(int(item["sk"]["S"].rpartition("#")[2]), *counts)
