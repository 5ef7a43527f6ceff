"""The progress of imports: how many parts each file has, and the outcome of each part.

A run of an import is one reading of its file by the planner. Each part belongs to one run. A new run replaces the
progress of the earlier ones; parts of earlier runs that are taken in later do not change it.
"""

import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rollcall.core.days import timestamp
from rollcall.core.projects import Project
from rollcall.counting.receipts import receipts_of
from rollcall.files.task import rejects_key
from rollcall.stack.dynamo import Dynamo, Item
from rollcall.stack.keys import import_batches_key, import_id_of, import_key, import_part_key

REMEMBERED_SECONDS = 90 * 86_400
# The receipts of an import with more batches are not added up, because that would take too long.
MAX_ADDED_RECEIPTS = 5_000

_IMPORT_ID = re.compile(r"[0-9a-f]{32}")


class UnknownImport(LookupError):
    """No import has this id."""


class FilePart(NamedTuple):
    """The outcome of a part of a file, in numbers of rows."""

    number: int
    rows: int
    accepted: int
    rejected: int
    duplicates: int
    """Rows that were dropped because the first row of the same window, of up to 5,000 rows, with their id is equal."""
    conflicts: int = 0
    """Rows that were accepted though an earlier row of the same window has their id and other content."""
    numbered: int = 0
    """1 if the ids of the rows are their numbers in the file, else 0."""


class Counted(NamedTuple):
    """The outcome of the accepted rows, in numbers of events. Leaves out the batches without a receipt."""

    inserted: int
    duplicates: int
    conflicts: int
    refused: int
    pending_batches: int
    """Batches without a receipt."""


class Progress(NamedTuple):
    """The progress of an import."""

    project: Project
    import_id: str
    key: str
    run: str | None
    """The present run; None until the planner has begun to read the file."""
    size: int
    """Size of the file, in bytes."""
    planned: int | None
    """The number of parts; None until the planner has read the whole file."""
    parts: list[FilePart]
    """The parts that are taken in, sorted by number."""
    done: bool
    """Whether every row has been accepted or rejected, and the object with the rejected rows is written."""
    gone: bool
    """Whether the file was deleted or replaced before all of it was taken in."""
    started_at: str

    @property
    def taken_in(self) -> bool:
        """Whether all parts are taken in."""
        return self.planned is not None and len(self.parts) == self.planned

    @property
    def listed(self) -> int:
        """The number of rows that were rejected, or accepted though they are in conflict with a row near them."""
        return sum(part.rejected + part.conflicts for part in self.parts)

    @property
    def rejects(self) -> str | None:
        """Key of the object with the rows that are `listed`; None where there are none, and until the import is done.

        The object may have been deleted since.
        """
        return rejects_key(self.key) if self.done and self.listed else None


class ImportLog:
    """The imports in the stats table, for 90 days each. `clock` gives seconds, as `time.time`."""

    def __init__(self, dynamo: Dynamo, table: str, clock: Callable[[], float] = time.time) -> None:
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def expect(self, project: Project, key: str) -> str:
        """Record that a client may upload a file under `key`; returns the import's id."""
        self._note(project, key, {})
        return import_id_of(key)

    def begin(self, project: Project, key: str, size: int) -> str:
        """Record that a run begins to read a file of `size` bytes; returns the name of the run."""
        run = secrets.token_hex(8)
        self._note(project, key, {"run": {"S": run}, "size": {"N": str(size)}})
        return run

    def plan(self, project: Project, key: str, run: str, parts: int) -> None:
        """Record how many parts a file has. Does nothing if a later run has begun."""
        self._mark(project, key, run, "planned", parts)

    def finish(self, project: Project, key: str, run: str) -> None:
        """Record that the import is done. Does nothing if a later run has begun."""
        self._mark(project, key, run, "finished", 1)

    def lose(self, project: Project, key: str, run: str) -> None:
        """Record that the file was deleted or replaced. Does nothing if a later run has begun."""
        self._mark(project, key, run, "gone", 1)

    def finish_part(self, project: Project, key: str, run: str, part: FilePart, batch_ids: list[str]) -> None:
        """Record the outcome of a part and the batches that it made. Recording the same again changes nothing."""
        import_id, sk = import_id_of(key), {"S": import_part_key(run, part.number)}
        counts = {name: {"N": str(value)} for name, value in part._asdict().items() if name != "number"}
        named = {"L": [{"S": batch_id} for batch_id in batch_ids]}
        expiry = {"expires_at": self._expiry()}
        self._dynamo.put(
            self._table,
            [{"pk": {"S": import_batches_key(project, import_id)}, "sk": sk, "batch_ids": named, **expiry}],
        )
        # Last, because this item marks the part as taken in.
        self._dynamo.put(self._table, [{"pk": {"S": import_key(project, import_id)}, "sk": sk, **counts, **expiry}])

    def read(self, project: Project, import_id: str) -> Progress:
        """The progress of a project's import; raises `UnknownImport`.

        One read unit for each 4 KB, which is about 30 parts.
        """
        head = (
            self._dynamo.find(self._table, import_key(project, import_id)) if _IMPORT_ID.fullmatch(import_id) else None
        )
        if head is None:
            raise UnknownImport(import_id)
        run = head.get("run", {}).get("S")
        return Progress(
            project=project,
            import_id=import_id,
            key=head["key"]["S"],
            run=run,
            size=int(head.get("size", {"N": "0"})["N"]),
            planned=int(head["planned"]["N"]) if "planned" in head else None,
            parts=[_part(item) for item in self._of_run(import_key(project, import_id), run)] if run else [],
            done="finished" in head,
            gone="gone" in head,
            started_at=head["started_at"]["S"],
        )

    def counted(self, progress: Progress) -> Counted | None:
        """The outcome of an import's rows, or None if it has over `MAX_ADDED_RECEIPTS` batches; a read unit a batch."""
        if not progress.run:
            return Counted(0, 0, 0, 0, 0)
        times: Counter[str] = Counter()
        for item in self._of_run(import_batches_key(progress.project, progress.import_id), progress.run):
            times.update(batch_id["S"] for batch_id in item["batch_ids"]["L"])
            if len(times) > MAX_ADDED_RECEIPTS:
                return None
        receipts = receipts_of(self._dynamo, self._table, progress.project, list(times))
        # Rows that a file repeats may make the same batch twice. What it inserted the first time are duplicates then.
        made = [(receipt, times[batch_id]) for batch_id, receipt in receipts.items()]
        return Counted(
            inserted=sum(receipt.inserted for receipt, _ in made),
            duplicates=sum(receipt.duplicates * count + receipt.inserted * (count - 1) for receipt, count in made),
            conflicts=sum(receipt.conflicts * count for receipt, count in made),
            refused=sum(receipt.refused * count for receipt, count in made),
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

    def _mark(self, project: Project, key: str, run: str, name: str, value: int) -> None:
        """Set an attribute of the import if `run` is its present run."""
        self._dynamo.update(
            self._table,
            import_key(project, import_id_of(key)),
            "-",
            UpdateExpression="SET #name = :value",
            ConditionExpression="#run = :run",
            ExpressionAttributeNames={"#name": name, "#run": "run"},
            ExpressionAttributeValues={":value": {"N": str(value)}, ":run": {"S": run}},
        )

    def _note(self, project: Project, key: str, attributes: Item) -> None:
        item = {
            "pk": {"S": import_key(project, import_id_of(key))},
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
    # Parts of before may lack a count that has a default.
    counts = {name: int(item[name]["N"]) for name in FilePart._fields if name in item}
    return FilePart(int(item["sk"]["S"].rpartition("#")[2]), **counts)
