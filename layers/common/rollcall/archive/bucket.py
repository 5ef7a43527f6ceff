"""The archive: a bucket with every counted event, for the questions that the counters do not answer.

The consumer puts the events that a batch owns in one object, `batches/<batch>.json.gz`, before it counts the batch.
Bundling moves the rows of counted batches to few larger objects, `bundles/<tier>/<name>.json.gz`. Compaction moves the
rows of both to one Parquet file a day, `events/day=<day>/events.parquet`. Event id and batch identify a row and never
change, so a row that is put twice is kept once.

Batches are tier 0. A bundle stands in a tier after those of all objects that it was made of, and it is put before these
are deleted. So rows move to later tiers only, and in the end to the days. Who reads one tier after the other, and lists
a tier only after the objects of the one before are fetched, meets every row.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from rollcall.core.batch import Batch
from rollcall.core.events import Event
from rollcall.core.projects import Project
from rollcall.counting.receipts import finished
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import (
    batch_object,
    batch_objects,
    batch_of_object,
    bundle_object,
    contents_object,
    day_object,
    day_objects,
    day_of_object,
    project_waiting_in,
    tier_of_object,
    volume_object,
    volume_objects,
    volume_of_object,
    waiting_objects,
)
from rollcall.stack.objects import Gone, read_object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


# The most objects that S3 deletes in a request.
DELETES_PER_CALL = 1_000
READERS = 16
# From this tier on stands what compaction had no time for. Bundling leaves it alone: if it made a bundle of what
# compaction is at, compaction would meet the days that it has written once more.
FIRST_TIER_OF_RESTS = 500_000
_GONE = frozenset({"NoSuchKey", "404"})
# S3 gives `ConditionalRequestConflict` if two conditional writes are made at the same time.
_CHANGED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class Stored(NamedTuple):
    """One version of an object of the archive."""

    key: str
    etag: str
    size: int
    """Size in bytes."""


class VolumeObjects(NamedTuple):
    """The two objects of a volume."""

    rows: Stored
    contents: Stored


class Archive:
    """A project's objects in the bucket of an archive. All methods raise botocore's errors."""

    def __init__(self, s3: "S3Client", bucket: str, project: Project) -> None:
        self._s3 = s3
        self._bucket = bucket
        self.project = project

    def keep(self, batch: Batch, events: Sequence[Event], days: Sequence[str]) -> None:
        """Put the events that a batch owns, each with its day, in place of any put before; one PUT.

        They are put where the batch's project has its own, whichever project's objects these are.
        """
        body = encode(batch, events, days)
        self._s3.put_object(Bucket=self._bucket, Key=batch_object(batch.project, batch.batch_id), Body=body)

    def batches(self) -> Iterator[Stored]:
        """The objects of batches that are neither bundled nor compacted; one LIST for each 1,000 objects."""
        return self._list(batch_objects(self.project))

    def tiers(self) -> Iterator[Iterator[Stored]]:
        """The objects that are not compacted, tier after tier: the batches, and then the bundles.

        Each tier is listed while its iterator is read, which has to end before the next tier is asked for. One LIST for
        each tier and for each 1,000 objects in it, and one for the end.
        """
        after = ""
        while True:
            objects = self._list(waiting_objects(self.project), after)
            first = next(objects, None)
            if first is None:
                return
            tier = self.tier_of(first)
            yield takewhile(lambda one, tier=tier: self.tier_of(one) == tier, chain([first], objects))  # type: ignore[misc]
            # The last key of a tier that there can be.
            after = f"{first.key.rpartition('/')[0]}/~"

    def days(self, first: str = "", last: str = "~") -> dict[str, Stored]:
        """The objects of the days from `first` to `last`, both inclusive, by day; one LIST for each 1,000 days."""
        found = {}
        prefix = day_objects(self.project)
        # S3 lists the keys after this prefix of the first day's key, so the first day's object is the first one listed.
        for stored in self._list(prefix, f"{prefix}{first}"):
            day = day_of_object(self.project, stored.key)
            if day > last:
                break
            found[day] = stored
        return found

    def fetch(self, key: str, path: Path, etag: str = "") -> str:
        """Write an object to a file; returns its ETag. Returns `""` if the object is gone or has another ETag."""
        try:
            reading = read_object(self._s3, self._bucket, key, etag=etag, chunk_bytes=1024 * 1024)
            with path.open("wb") as file:
                for chunk in reading.chunks:
                    file.write(chunk)
        except Gone:
            path.unlink(missing_ok=True)
            return ""
        return reading.etag

    def fetch_all(self, objects: Sequence[Stored], folder: Path) -> list[tuple[Stored, Path]]:
        """Write objects to files in a folder; returns each fetched version and its file, without those that are gone.

        One GET each.
        """

        def fetch(stored: Stored) -> tuple[Stored, Path] | None:
            # Not by its key, which could lead out of the folder.
            path = folder / f"{hashlib.sha256(ascii(stored.key).encode()).hexdigest()}.json.gz"
            etag = self.fetch(stored.key, path)
            return (stored._replace(etag=etag), path) if etag else None

        with ThreadPoolExecutor(READERS, thread_name_prefix="archive") as readers:
            return [one for one in readers.map(fetch, objects) if one]

    def move(self, objects: Sequence[Stored], path: Path, first_tier: int = 1) -> None:
        """Put a bundle, whose content is in a file, in place of these versions of objects; raises `ArchiveError`.

        The bundle stands in the tier after the last of the objects', or in `first_tier` if that is later. So a reader
        who does not meet an object meets the bundle. Its name follows from its content. One PUT, and one request for
        each 1,000 objects.
        """
        tier = max(first_tier, *(1 + self.tier_of(one) for one in objects))
        with path.open("rb") as body:
            name = hashlib.file_digest(body, "sha256").hexdigest()[:32]
            body.seek(0)
            self._s3.put_object(Bucket=self._bucket, Key=bundle_object(self.project, tier, name), Body=body)
        self.drop(objects)

    def replace_day(self, day: str, path: Path, etag: str) -> bool:
        """Put a day's file if the stored version has this ETag, or, for an empty `etag`, if there is no stored version.

        Else returns False and changes nothing. One PUT.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with path.open("rb") as body:
            try:
                self._s3.put_object(Bucket=self._bucket, Key=day_object(self.project, day), Body=body, **condition)  # type: ignore[arg-type]
            except ClientError as error:
                if _code(error) not in _GONE | _CHANGED:
                    raise
                return False
        return True

    def drop(self, objects: Sequence[Stored]) -> None:
        """Delete these versions of objects; keeps objects that were put again since. Raises `ArchiveError`."""
        for start in range(0, len(objects), DELETES_PER_CALL):
            answer = self._s3.delete_objects(
                Bucket=self._bucket,
                Delete={
                    "Objects": [
                        {"Key": one.key, "ETag": one.etag} for one in objects[start : start + DELETES_PER_CALL]
                    ],
                    "Quiet": True,
                },
            )
            for failure in answer.get("Errors", ()):
                if failure.get("Code") not in _GONE | _CHANGED:
                    raise ArchiveError(f"{failure.get('Key')} cannot be deleted: {failure.get('Code')}")

    def volumes(self) -> tuple[list[VolumeObjects], list[Stored]]:
        """The volumes in the order of their names, and the objects that are half of one.

        One LIST for each 500 volumes.
        """
        found: dict[str, dict[str, Stored]] = {}
        for stored in self._list(volume_objects(self.project)):
            found.setdefault(volume_of_object(self.project, stored.key), {})[stored.key] = stored
        whole: list[VolumeObjects] = []
        halves: list[Stored] = []
        for name, objects in found.items():
            if len(objects) == len(VolumeObjects._fields):
                whole.append(
                    VolumeObjects(
                        objects[volume_object(self.project, name)], objects[contents_object(self.project, name)]
                    )
                )
            else:
                halves += objects.values()
        return whole, halves

    def put_volume(self, rows: Path, versions: Mapping[str, str]) -> None:
        """Put a volume, whose rows are in a file and are those of these versions of days' files, by day. Two PUTs."""
        contents = json.dumps(versions, sort_keys=True).encode()
        name = hashlib.sha256(contents).hexdigest()[:32]
        with rows.open("rb") as body:
            self._s3.put_object(Bucket=self._bucket, Key=volume_object(self.project, name), Body=body)
        self._s3.put_object(Bucket=self._bucket, Key=contents_object(self.project, name), Body=contents)

    def tier_of(self, stored: Stored) -> int:
        """The tier of an object, from 1 on for a bundle; 0 for a batch's object."""
        return tier_of_object(self.project, stored.key)

    def batch_of(self, stored: Stored) -> str:
        """The id of the batch whose object this is."""
        return batch_of_object(self.project, stored.key)

    def counted(self, dynamo: Dynamo, stats_table: str, objects: Sequence[Stored]) -> list[Stored]:
        """Those of the objects whose rows are counted: all bundles, and the batches that are. One read unit a batch."""
        batches = [self.batch_of(one) for one in objects if not self.tier_of(one)]
        done = finished(dynamo, stats_table, self.project, batches)
        return [one for one in objects if self.tier_of(one) or self.batch_of(one) in done]

    def _list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, StartAfter=after or prefix):
            for entry in page.get("Contents", ()):
                yield Stored(entry["Key"], entry["ETag"], entry["Size"])


def waiting_projects(s3: "S3Client", bucket: str) -> set[Project]:
    """The projects with batches or bundles that are not compacted; one LIST for each 1,000 of them."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/")
    folders = (each["Prefix"] for page in pages for each in page.get("CommonPrefixes", ()))
    return {project for folder in folders if (project := project_waiting_in(folder))}


class ArchiveError(Exception):
    """S3 did not delete an object; the text names the object and the reason."""


def groups(objects: Iterable[Stored], most: int, most_bytes: int) -> Iterator[list[Stored]]:
    """The objects in groups: each has `most`, or no fewer than `most_bytes` bytes, but the last may have less."""
    group: list[Stored] = []
    size = 0
    for one in objects:
        group.append(one)
        size += one.size
        if len(group) == most or size >= most_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def encode(batch: Batch, events: Sequence[Event], days: Sequence[str]) -> bytes:
    """The rows of a batch's events: a JSON object a line, in gzip. The same batch and events make the same bytes."""
    # Encodes only the strings with the JSON encoder. Encoding a mapping for each event takes eight times as long.
    common = (
        f'"received_at":{_quote(batch.received_at)},"source":{_quote(batch.source)},"batch":{_quote(batch.batch_id)}'
    )
    # Line by line: the texts of large events would take several times their bytes. Level 1 takes half the time of the
    # default level and makes a tenth more bytes, which are soon compacted.
    gzip = zlib.compressobj(1, wbits=31)
    pieces = [
        gzip.compress(
            f'{{"event_id":{_quote(event_id)},"occurred_at":{_quote(occurred_at)},"user_id":{_quote(user_id)},'
            f'"event_type":{_quote(event_type)},"properties":{_quote(properties)},{common},"day":{_quote(day)}}}\n'.encode()
        )
        for (event_id, occurred_at, user_id, event_type, properties), day in zip(events, days, strict=True)
    ]
    return b"".join((*pieces, gzip.flush()))


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
