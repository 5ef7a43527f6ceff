"""The archive: a bucket with every event that was counted, for the questions that the counters do not answer.

What a batch owns is one object, `batches/<batch>.json.gz`, put before the batch is counted. Compaction turns finished
batches into one Parquet file a day, `events/day=<day>/events.parquet`, and deletes their objects. A row is known by its
event and its batch: neither ever changes, so that it can be put twice and is kept once.
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

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


# A request deletes so many objects at most.
DELETES_PER_CALL = 1_000
_GONE = frozenset({"NoSuchKey", "404"})
# S3 answers the second one where two writes meet.
_CHANGED = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})


class Stored(NamedTuple):
    """An object of the archive, in one of its versions."""

    key: str
    etag: str
    size: int
    """In bytes."""


class Archive:
    """The objects of an archive's bucket."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def keep(self, batch: Batch, events: Sequence[Event], days: Sequence[str]) -> None:
        """Put the events that a batch owns, each with its day, in place of what was put of it before; a PUT."""
        body = encode(batch, events, days)
        self._s3.put_object(Bucket=self._bucket, Key=batch_object(batch.batch_id), Body=body)

    def batches(self) -> Iterator[Stored]:
        """The objects of batches that are not compacted; a LIST for each thousand."""
        return self._list(BATCHES)

    def days(self, first: str = "", last: str = "~") -> dict[str, Stored]:
        """The objects of the days from `first` to `last`, both inclusive, by day; a LIST for each thousand."""
        found = {}
        # What is listed comes after this in order: the objects of the first day, and whatever follows.
        for stored in self._list(ARCHIVED_DAYS, f"{ARCHIVED_DAYS}{first}"):
            day = day_of_object(stored.key)
            if day > last:
                break
            found[day] = stored
        return found

    def fetch(self, key: str, path: Path, etag: str = "") -> str:
        """Write an object to a file; returns its ETag, or nothing where it is gone or not, or no more, of this ETag."""
        condition = {"IfMatch": etag} if etag else {}
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if _code(error) not in _GONE | _CHANGED:
                raise
            return ""
        with path.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(1024 * 1024):
                file.write(chunk)
        return answer["ETag"]

    def replace_day(self, day: str, path: Path, etag: str) -> bool:
        """Put a day's file in place of the version with this ETag, or where there is none if that is empty.

        Returns False, with nothing changed, where another version stands there.
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
        """Delete objects of batches, but those that were put anew since they were read."""
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
    """S3 does not do what it was asked to; the text says what."""


def encode(batch: Batch, events: Sequence[Event], days: Sequence[str]) -> bytes:
    """The rows of a batch's events, one of JSON a line, gzip; the same batch and events always make the same bytes."""
    # Only its strings are left to the encoder: to make an object of each event takes eight times as long.
    common = (
        f'"received_at":{_quote(batch.received_at)},"source":{_quote(batch.source)},"batch":{_quote(batch.batch_id)}'
    )
    lines = [
        f'{{"event_id":{_quote(event_id)},"occurred_at":{_quote(occurred_at)},"user_id":{_quote(user_id)},'
        f'"event_type":{_quote(event_type)},"properties":{_quote(properties)},{common},"day":{_quote(day)}}}\n'
        for (event_id, occurred_at, user_id, event_type, properties), day in zip(events, days, strict=True)
    ]
    # Level 1: it takes half the time of the default one, for a tenth more bytes that are soon compacted.
    return gzip.compress("".join(lines).encode(), 1, mtime=0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
