"""Presigned URLs for the files that clients want to import, and for the rows of them that were rejected."""

import re
import secrets
from typing import TYPE_CHECKING, NamedTuple

from rollcall.core.projects import Project
from rollcall.files.progress import ImportLog
from rollcall.stack.keys import invited_key
from rollcall.stack.objects import Gone, is_there

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Of the 100 that a name may have.
_KEPT_CHARACTERS = 96


class Upload(NamedTuple):
    """A URL that takes one PUT of one file, if its size was named; else any PUTs while it is good."""

    import_id: str
    key: str
    url: str
    headers: dict[str, str]
    """Headers that the PUT has to have. They are signed: S3 refuses a request with others."""


class Uploads:
    """Makes presigned URLs of a bucket: for uploads to it, and for the rejected rows that are in it."""

    def __init__(self, s3: "S3Client", bucket: str, log: ImportLog) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._log = log

    def invite(self, project: Project, name: str, size: int | None, seconds: int) -> Upload:
        """Prepare the upload of a project's file. The URL is good for `seconds`.

        With `size`, it is good for one PUT of so many bytes. Without it, S3 bounds a PUT by its own 5 GB.
        """
        key = invited_key(project, secrets.token_hex(16), name)
        # S3 takes the object if there is none, and no other length than the one that is signed.
        signed = {} if size is None else {"ContentLength": size, "IfNoneMatch": "*"}
        url = self._s3.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": key, **signed}, ExpiresIn=seconds
        )
        headers = {} if size is None else {"Content-Length": str(size), "If-None-Match": "*"}
        return Upload(self._log.expect(project, key), key, url, headers)

    def hand_out(self, key: str, name: str, seconds: int) -> str:
        """A URL to download a CSV file of the bucket from, as a file of that name. It is good for `seconds`.

        Browsers save the file and never show it: it holds what others wrote. Raises `rollcall.stack.objects.Gone` and
        botocore's errors. One HEAD.
        """
        if not is_there(self._s3, self._bucket, key):
            raise Gone(key)
        answered = {
            "ResponseContentDisposition": f'attachment; filename="{plain_name(name)}"',
            "ResponseContentType": "text/csv; charset=utf-8",
            "ResponseCacheControl": "no-store",
        }
        params = {"Bucket": self._bucket, "Key": key, **answered}
        return self._s3.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)


def plain_name(name: str) -> str:
    """A name of a file as `POST /imports` takes them: plain. It is kept as far as possible, for people to recognise.

    Its ending is kept whole, because that tells JSONL.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)[-_KEPT_CHARACTERS:]
    return plain if plain[:1].isalnum() else f"file{plain}"
