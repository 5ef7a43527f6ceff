"""Each dependency of a stack is asked, and told of by its name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from rollcall.operation.health import REMEMBERED_SECONDS, Health
from rollcall.stack.keys import Tables
from rollcall.stack.settings import HealthSettings

SETTINGS = HealthSettings(
    Tables("events", "stats", 4, 4), "access", "http://queue", "http://dead-letters", "uploads", "archive"
)
NAMES = [
    "events_table",
    "stats_table",
    "access_table",
    "queue",
    "dead_letter_queue",
    "upload_bucket",
    "archive_bucket",
]


def test_all_that_answers_has_no_failure() -> None:
    assert Health(SETTINGS, Mock(), Mock(), Mock()).check() == dict.fromkeys(NAMES)


class Counted:
    """A client that counts the calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.down = False

    def __getattr__(self, _name: str) -> Callable[..., None]:
        def call(**_: object) -> None:
            self.calls += 1
            if self.down:
                raise EndpointConnectionError(endpoint_url="https://nowhere")

        return call


def test_however_often_it_is_asked_aws_is_called_once_in_a_few_seconds() -> None:
    now, client = [100.0], Counted()
    aws = cast(Any, client)
    health = Health(SETTINGS, aws, aws, aws, lambda: now[0])

    for _ in range(1_000):
        assert not any(health.check().values())
    assert client.calls == len(NAMES)
    client.down = True
    now[0] += REMEMBERED_SECONDS - 0.001
    assert not any(health.check().values())
    now[0] += 0.001
    for _ in range(1_000):
        assert all(health.check().values())
    assert client.calls == 2 * len(NAMES)
    assert REMEMBERED_SECONDS <= 10


def test_a_stack_without_an_archive_is_not_asked_for_one() -> None:
    found = Health(replace(SETTINGS, archive_bucket=None), Mock(), Mock(), Mock()).check()
    assert list(found) == NAMES[:-1]


@pytest.mark.parametrize("down", ["uploads", "archive"])
def test_a_bucket_that_does_not_answer_is_named_with_the_reason(down: str) -> None:
    s3 = Mock()

    def head_bucket(Bucket: str) -> None:  # noqa: N803 - boto3's name
        if Bucket == down:
            raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadBucket")

    s3.head_bucket = head_bucket
    found = Health(SETTINGS, Mock(), Mock(), s3).check()
    assert {name for name, reason in found.items() if reason} == {f"{down.removesuffix('s')}_bucket"}
    assert "403" in found.values()


def test_what_cannot_be_reached_is_named_by_the_kind_of_error() -> None:
    dynamodb = Mock()
    dynamodb.get_item.side_effect = EndpointConnectionError(endpoint_url="https://nowhere")
    found = Health(SETTINGS, dynamodb, Mock(), Mock()).check()
    assert {name: reason for name, reason in found.items() if reason} == dict.fromkeys(
        NAMES[:3], "EndpointConnectionError"
    )
