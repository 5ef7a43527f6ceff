"""Reading objects of S3 to their end, also where the connection does not last as long.

botocore tries a request again until its answer begins. If the answer breaks off later, botocore raises an error. A file
of many GB takes minutes to read, so here the reading goes on in a new request, from the byte that it came to.
"""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


READ_BYTES = 256 * 1024
# Requests in a row that brought no byte, after which the reading fails.
RESUMES = 5
FIRST_PAUSE_SECONDS = 0.1

# botocore wraps most errors of a stream, but not those of TLS.
_BROKEN = (HTTPClientError, IncompleteReadError, HTTPError, OSError)
_GONE = frozenset({"NoSuchKey", "404", "PreconditionFailed", "412"})


class Gone(Exception):
    """The object, or the version of it that was asked for, is not there or is there no more."""


class Reading(NamedTuple):
    """One version of an object, whose bytes can be read once."""

    etag: str
    """As S3 writes it, in quotes."""
    size: int
    """The number of bytes to read."""
    chunks: Iterator[bytes]
    """The bytes; raises `Gone` if the version is replaced or deleted during the reading and the connection breaks."""


def read_object(
    s3: "S3Client",
    bucket: str,
    key: str,
    *,
    start: int = 0,
    end: int | None = None,
    etag: str = "",
    chunk_bytes: int = READ_BYTES,
    sleep: Callable[[float], None] = time.sleep,
) -> Reading:
    """Begin to read an object: the bytes from `start` to `end`, exclusive, or to the object's end.

    With an `etag`, reads this version only. Raises `Gone` and botocore's errors, as does reading the chunks. One GET,
    and one more for each time that the connection breaks, at most `RESUMES` of them in a row without a byte.
    """
    request: dict[str, Any] = {"Bucket": bucket, "Key": key}
    if etag:
        request["IfMatch"] = etag
    if end is not None:
        request["Range"] = f"bytes={start}-{end - 1}"
    answer = _get(s3, request)
    size: int = answer["ContentLength"]

    def chunks() -> Iterator[bytes]:
        body, place, last = answer["Body"], start, start + size
        pauses = 0
        while True:
            try:
                for chunk in body.iter_chunks(chunk_bytes):
                    place += len(chunk)
                    pauses = 0
                    yield chunk
                return
            except _BROKEN:
                body.close()
                if place == last:
                    return
                if pauses == RESUMES:
                    raise
            sleep(FIRST_PAUSE_SECONDS * 2**pauses)
            pauses += 1
            rest = f"bytes={place}-{last - 1}"
            body = _get(s3, {"Bucket": bucket, "Key": key, "IfMatch": answer["ETag"], "Range": rest})["Body"]

    return Reading(answer["ETag"], size, chunks())


def is_there(s3: "S3Client", bucket: str, key: str) -> bool:
    """Whether there is an object. Raises botocore's errors. One HEAD."""
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _GONE:
            return False
        raise
    return True


def _get(s3: "S3Client", request: dict[str, Any]) -> Any:
    try:
        return s3.get_object(**request)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _GONE:
            raise Gone(request["Key"]) from error
        raise
