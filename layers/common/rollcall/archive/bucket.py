"""The archive: a bucket with every counted event, for the questions that the counters do not answer.

The consumer puts the events that a batch owns in one object, `batches/<batch>.json.gz`, before it counts the batch.
Compaction moves the rows of counted batches to one Parquet file a day, `events/day=<day>/events.parquet`, and then
deletes the batches' objects. Event id and batch identify a row and never change, so a row that is put twice is kept
once.
"""

import gzip
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring as _quote
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from rollcall.core.batch import Batch
from rollcall.core.events import Event
from rollcall.stack.keys import ARCHIVED_DAYS, BATCHES, batch_object, day_object, day_of_object
from rollcall.stack.objects import Gone, read_object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


# The most objects that S3 deletes in a request.
DELETES_PER_CALL = 1_000
_GONE = frozenset({"NoSuchKey", "404"})
# S3 gives `ConditionalRequestConflict` if two conditional writes are made at the same time.
_CHANGED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class Stored(NamedTuple):
    """One version of an object of the archive."""

    key: str
    etag: str
    size: int
    """Size in bytes."""


class Archive:
    """The objects in the bucket of an archive. All methods raise botocore's errors."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def keep(self, batch: Batch, events: Sequence[Event], days: Sequence[str]) -> None:
        """Put the events that a batch owns, each with its day, in place of any put before; one PUT."""
        body = encode(batch, events, days)
        self._s3.put_object(Bucket=self._bucket, Key=batch_object(batch.batch_id), Body=body)

    def batches(self) -> Iterator[Stored]:
        """The objects of batches that are not compacted; one LIST for each 1,000 objects."""
        return self._list(BATCHES)

    def days(self, first: str = "", last: str = "~") -> dict[str, Stored]:
        """The objects of the days from `first` to `last`, both inclusive, by day; one LIST for each 1,000 days."""
        found = {}
        # S3 lists the keys after this prefix of the first day's key, so the first day's object is the first one listed.
        for stored in self._list(ARCHIVED_DAYS, f"{ARCHIVED_DAYS}{first}"):
            day = day_of_object(stored.key)
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

    def replace_day(self, day: str, path: Path, etag: str) -> bool:
        """Put a day's file if the stored version has this ETag, or, for an empty `etag`, if there is no stored version.

        Else returns False and changes nothing. One PUT.
        """
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        with path.open("rb") as body:
            try:
                self._s3.put_object(Bucket=self._bucket, Key=day_object(day), Body=body, **condition)  # type: ignore[arg-type]
            except ClientError as error:
                if _code(error) not in _GONE | _CHANGED:
                    raise
                return False
        return True

    def drop(self, batches: Sequence[Stored]) -> None:
        """Delete these versions of batches' objects; keeps objects that were put again since. Raises `ArchiveError`."""
        for start in range(0, len(batches), DELETES_PER_CALL):
            answer = self._s3.delete_objects(
                Bucket=self._bucket,
                Delete={
                    "Objects": [
                        {"Key": one.key, "ETag": one.etag} for one in batches[start : start + DELETES_PER_CALL]
                    ],
                    "Quiet": True,
                },
            )
            for failure in answer.get("Errors", ()):
                if failure.get("Code") not in _GONE | _CHANGED:
                    raise ArchiveError(f"{failure.get('Key')} cannot be deleted: {failure.get('Code')}")

    def _list(self, prefix: str, after: str = "") -> Iterator[Stored]:
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, StartAfter=after or prefix):
            for entry in page.get("Contents", ()):
                yield Stored(entry["Key"], entry["ETag"], entry["Size"])


class ArchiveError(Exception):
    """S3 did not delete an object; the text names the object and the reason."""


def encode(batch: Batch, events: Sequence[Event], days: Sequence[str]) -> bytes:
    """The rows of a batch's events: a JSON object a line, in gzip. The same batch and events make the same bytes."""
    # Encodes only the strings with the JSON encoder. Encoding a mapping for each event takes eight times as long.
    common = (
        f'"received_at":{_quote(batch.received_at)},"source":{_quote(batch.source)},"batch":{_quote(batch.batch_id)}'
    )
    lines = [
        f'{{"event_id":{_quote(event_id)},"occurred_at":{_quote(occurred_at)},"user_id":{_quote(user_id)},'
        f'"event_type":{_quote(event_type)},"properties":{_quote(properties)},{common},"day":{_quote(day)}}}\n'
        for (event_id, occurred_at, user_id, event_type, properties), day in zip(events, days, strict=True)
    ]
    # Level 1 takes half the time of the default level and makes a tenth more bytes, which are soon compacted.
    return gzip.compress("".join(lines).encode(), 1, mtime=0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
