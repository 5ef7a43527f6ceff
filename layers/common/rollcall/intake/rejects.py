"""The events that were sent in another service's form and not accepted, whose SDK cannot be told which they are.

They are kept in the archive's bucket, one object for each request, by project, API key and day of receipt. An object is
named after what it keeps, so that a request that comes again on the same day puts the same one.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rollcall.core.gunzip import gunzip
from rollcall.core.projects import Project
from rollcall.stack.keys import rejects_object, rejects_objects, split_rejects_object
from rollcall.stack.objects import Gone, read_object

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_ITEM_CHARACTERS = 32 * 1024
# What a list reads and answers at most, whatever its limit.
MAX_OBJECTS = 100
MAX_CHARACTERS = 4 * 1024 * 1024
# In place of a key's id, for what people sent.
NO_KEY = "account"
# In place of a credential.
HIDDEN = "***"

_KEY = re.compile(r"rc_[0-9a-f]{16}_[0-9a-f]{48}")
_CURSOR = re.compile(r"\d{4}-\d\d-\d\d/[0-9a-f]{32}/\d{1,6}", re.ASCII)
_PIECE_BYTES = 64 * 1024


class BadCursor(ValueError):
    """A list cannot go on from there."""


class Reject(NamedTuple):
    """An event that was not accepted, with the reason."""

    code: str
    message: str
    event_id: str | None
    item: str
    """As it was sent, as JSON; the first `MAX_ITEM_CHARACTERS` of it."""
    dialect: str

    @classmethod
    def of(cls, code: str, message: str, event_id: str | None, item: object, dialect: str) -> "Reject":
        """A reject of an item of a body, which was decoded from JSON."""
        return cls(code, message, event_id, json.dumps(item, default=str), dialect)


class Kept(NamedTuple):
    """A reject as it is read."""

    day: str
    received_at: str
    reject: Reject


class Page(NamedTuple):
    """A part of a list."""

    rejects: list[Kept]
    after: str | None
    """Where the list goes on; None at its end."""


class Rejects:
    """The rejects in a bucket. All methods raise botocore's errors."""

    def __init__(self, s3: "S3Client", bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def keep(
        self,
        project: Project,
        key_id: str | None,
        day: str,
        received_at: str,
        rejects: Sequence[Reject],
        credential: str,
    ) -> None:
        """Keep the rejects of a request of a key, or of an account; one PUT, none where there are none.

        Neither the credential nor anything that looks like an API key is kept of them.
        """
        if not rejects:
            return
        lines = [json.dumps(_without(credential, reject)) for reject in rejects]
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
        text = "".join(f"{line}\n" for line in (json.dumps(received_at), *lines))
        self._s3.put_object(
            Bucket=self._bucket,
            Key=rejects_object(project, key_id or NO_KEY, day, digest),
            # The same bytes for the same rejects.
            Body=gzip.compress(text.encode(), mtime=0),
        )

    def list(self, project: Project, key_id: str, first: str, last: str, limit: int, after: str | None = None) -> Page:
        """The rejects of a key on days from `first` to `last`, day by day, up to `limit` of them.

        A page may have fewer, and goes on after `Page.after`. One GET for each request that was kept, up to
        `MAX_OBJECTS`, and one LIST for each 1,000. Raises `BadCursor`.
        """
        found: list[Kept] = []
        characters = 0
        start, passed = _place_of(after)
        for number, (day, digest) in enumerate(self._objects(project, key_id, first, last, start)):
            here = f"{day}/{digest}"
            skipped = passed if here == start else 0
            if number == MAX_OBJECTS:
                return Page(found, f"{here}/{skipped}")
            for place, kept in enumerate(self._read(project, key_id, day, digest)):
                if place < skipped:
                    continue
                characters += sum(len(text or "") for text in kept.reject)
                if len(found) == limit or (found and characters > MAX_CHARACTERS):
                    return Page(found, f"{here}/{place}")
                found.append(kept)
        return Page(found, None)

    def _objects(self, project: Project, key_id: str, first: str, last: str, start: str) -> Iterator[tuple[str, str]]:
        """The days and digests of objects, in order: from the first day on, or from a place as `here` above."""
        prefix = rejects_objects(project, key_id)
        # What follows a day or a digest in a key comes after it.
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix, StartAfter=f"{prefix}{max(first, start)}"
        )
        for page in pages:
            for each in page.get("Contents", ()):
                day, digest = split_rejects_object(project, key_id, each["Key"])
                if day > last:
                    return
                yield day, digest

    def _read(self, project: Project, key_id: str, day: str, digest: str) -> Iterator[Kept]:
        try:
            reading = read_object(self._s3, self._bucket, rejects_object(project, key_id, day, digest))
        except Gone:
            # It has expired since it was listed.
            return
        lines = _lines(gunzip(reading.chunks, _PIECE_BYTES))
        received_at = json.loads(next(lines))
        for line in lines:
            yield Kept(day, received_at, Reject(*json.loads(line)))


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of an object, each of which ends in a newline."""
    begun = b""
    for piece in pieces:
        *whole, begun = (begun + piece).split(b"\n")
        yield from whole


def _place_of(after: str | None) -> tuple[str, int]:
    if after is None:
        return "", 0
    if not _CURSOR.fullmatch(after):
        raise BadCursor("is not what an answer had as next")
    here, _, place = after.rpartition("/")
    return here, int(place)


def _without(credential: str, reject: Reject) -> Reject:
    def hidden(text: str) -> str:
        return _KEY.sub(HIDDEN, text.replace(credential, HIDDEN) if credential else text)

    code, message, event_id, item, dialect = reject
    return Reject(
        code,
        hidden(message),
        None if event_id is None else hidden(event_id),
        hidden(item)[:MAX_ITEM_CHARACTERS],
        dialect,
    )
