"""Presigned URLs for the files that clients want to import."""

import secrets
from typing import TYPE_CHECKING, NamedTuple

from rollcall.core.projects import Project
from rollcall.files.progress import ImportLog
from rollcall.stack.keys import invited_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class Upload(NamedTuple):
    """A URL that takes one PUT of one file, if its size was named; else any PUTs while it is good."""

    import_id: str
    key: str
    url: str
    headers: dict[str, str]
    """Headers that the PUT has to have. They are signed: S3 refuses a request with others."""


class Uploads:
    """Makes presigned URLs for uploads to a bucket."""

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
