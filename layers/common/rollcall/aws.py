"""Clients of AWS. Where AWS is, and as whom, is boto3's own business: `AWS_ENDPOINT_URL`, profiles, roles."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient
    from types_boto3_ssm import SSMClient

# All tries together end before API Gateway stops waiting, so that a dependency that hangs can be named.
_QUICK = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=2, read_timeout=5)
# The queue's sender tries again by itself.
_ONCE = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=2, read_timeout=5)
# An object is read as fast as its rows are taken in.
_PATIENT = Config(
    retries={"mode": "standard", "max_attempts": 4},
    connect_timeout=3,
    read_timeout=60,
    # Else a URL to upload to would be signed in the old way, for a host that sends other regions elsewhere.
    signature_version="s3v4",
    s3={"addressing_style": "virtual"},
)


def dynamodb() -> "DynamoDBClient":
    """A client that sends what it is given: checking parameters costs more time than all else an item takes."""
    return boto3.client("dynamodb", config=_QUICK.merge(Config(parameter_validation=False, max_pool_connections=32)))


def sqs() -> "SQSClient":
    """A client of the queues."""
    return boto3.client("sqs", config=_ONCE)


def s3() -> "S3Client":
    """A client of the bucket."""
    return boto3.client("s3", config=_PATIENT)


def ssm() -> "SSMClient":
    """A client of the parameter store."""
    return boto3.client("ssm", config=_QUICK)


def cloudwatch() -> "CloudWatchClient":
    """A client of the metrics that AWS keeps."""
    return boto3.client("cloudwatch", config=_QUICK)
