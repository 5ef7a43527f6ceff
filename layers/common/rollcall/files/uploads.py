"""Presigned URLs for the files that clients want to import."""

import secrets
from typing import TYPE_CHECKING

from rollcall.files.progress import ImportLog

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class Uploads:
    """Makes presigned URLs for uploads to a bucket."""

    def __init__(self, s3: "S3Client", bucket: str, log: ImportLog) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._log = log

    def invite(self, name: str, seconds: int) -> tuple[str, str, str]:
        """Prepare an upload; returns the import's id, the object's key, and a URL that takes a PUT for `seconds`."""
        key = f"uploads/{secrets.token_hex(8)}/{name}"
        url = self._s3.generate_presigned_url(
            "put_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
        )
        return self._log.expect(key), key, url
