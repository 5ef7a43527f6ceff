"""Clients of AWS. Where AWS is, and as whom, is boto3's own business: `AWS_ENDPOINT_URL`, profiles, roles."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

_RETRIES = Config(retries={"mode": "standard", "max_attempts": 4}, connect_timeout=3, read_timeout=20)


def dynamodb() -> "DynamoDBClient":
    """A client that sends what it is given: checking parameters costs more time than all else an item takes."""
    return boto3.client("dynamodb", config=_RETRIES.merge(Config(parameter_validation=False, max_pool_connections=32)))


def sqs() -> "SQSClient":
    """A client of the queues."""
    return boto3.client("sqs", config=_RETRIES)


def s3() -> "S3Client":
    """A client of the bucket."""
    return boto3.client("s3", config=_RETRIES)
