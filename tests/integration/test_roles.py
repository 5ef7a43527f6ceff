"""The functions' roles allow what their requests need, for every service."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import botocore.session
import pytest

from rollcall.archive import bundling
from rollcall.archive.bucket import Archive
from rollcall.core.batch import make_batch
from rollcall.core.events import Event
from rollcall.counting.receipts import Receipt
from rollcall.stack import clients
from rollcall.stack.keys import receipt_key
from scripts.local.deploy import template
from scripts.local.ministack import LOADER
from tests.roles import Watch, permissions
from tests.support import LAMBDA_CONTEXT, RECEIVED_AT, SETTINGS, create_buckets

FUNCTIONS = sorted(
    resource["Properties"]["CodeUri"].removeprefix("functions/")
    for resource in template()["Resources"].values()
    if resource["Type"] == "AWS::Serverless::Function"
)


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    core = botocore.session.get_session()
    core.register_component("data_loader", LOADER)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(botocore_session=core))


def watching(function: str, make: Callable[[], Any], answer: Any = None) -> tuple[Watch, Any]:
    """A client whose requests are watched and answered here."""
    watch = Watch(function, SETTINGS)
    client = make()
    watch.register(client.meta.events)
    client.meta.events.register("before-call", lambda **_: (SimpleNamespace(status_code=200), answer or {}))
    return watch, client


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_resource_of_a_role_has_a_name_that_requests_can_be_compared_with(function: str) -> None:
    allowed = permissions(function)
    assert allowed
    assert not [resource for _, resource in allowed if "${" in resource.removeprefix("/${AWS::StackName}/")]


def test_what_is_asked_of_s3_is_named_as_iam_names_it(aws: None) -> None:
    watch, s3 = watching("compact", clients.s3)
    archive = SETTINGS["ARCHIVE_BUCKET"]
    s3.put_object(Bucket=archive, Key="events/day", Body=b"", IfMatch="etag")
    s3.head_object(Bucket=archive, Key="batches/b")
    s3.delete_objects(Bucket=archive, Delete={"Objects": [{"Key": "batches/b", "ETag": "etag"}]})
    s3.list_objects_v2(Bucket=archive)
    s3.head_bucket(Bucket=archive)
    assert watch.needed == {
        ("s3:PutObject", "ArchiveBucket/events/day"),
        ("s3:GetObject", "ArchiveBucket/events/day"),
        ("s3:GetObject", "ArchiveBucket/batches/b"),
        ("s3:DeleteObject", "ArchiveBucket/batches/b"),
        ("s3:ListBucket", "ArchiveBucket"),
    }
    assert not watch.denied


def test_what_a_role_does_not_allow_is_denied(aws: None) -> None:
    watch, s3 = watching("compact", clients.s3)
    s3.put_object(Bucket=SETTINGS["ARCHIVE_BUCKET"], Key="other/day", Body=b"")
    s3.get_object(Bucket=SETTINGS["UPLOAD_BUCKET"], Key="events/day")
    assert watch.denied == {
        ("s3:PutObject", "ArchiveBucket/other/day"),
        ("s3:GetObject", "uploads/events/day"),
        ("s3:ListBucket", "uploads"),
    }


def test_a_presigned_url_needs_what_its_request_needs(aws: None) -> None:
    watch, s3 = watching("ingest", clients.s3)
    s3.generate_presigned_url("put_object", Params={"Bucket": SETTINGS["UPLOAD_BUCKET"], "Key": "uploads/a.csv"})
    assert watch.needed == {("s3:PutObject", "UploadBucket/uploads/a.csv")}
    assert not watch.denied


def test_queues_parameters_functions_and_metrics_are_those_of_the_template(aws: None) -> None:
    for function, make, ask, needed in (
        (
            "consumer",
            clients.sqs,
            lambda sqs: sqs.send_message_batch(QueueUrl=SETTINGS["DEAD_LETTER_QUEUE_URL"], Entries=[]),
            ("sqs:SendMessage", "DeadLetterQueue"),
        ),
        (
            "auth",
            clients.ssm,
            lambda ssm: ssm.get_parameter(Name=SETTINGS["SIGNING_KEY_PARAMETER"]),
            ("ssm:GetParameter", "/${AWS::StackName}/signing-key"),
        ),
        (
            "stats",
            clients.functions,
            lambda client: client.invoke(FunctionName=SETTINGS["SEGMENTS_FUNCTION"]),
            ("lambda:InvokeFunction", "SegmentsFunction"),
        ),
        (
            "consumer",
            clients.background_functions,
            lambda client: client.invoke(FunctionName=SETTINGS["COMPACT_FUNCTION"], InvocationType="Event"),
            ("lambda:InvokeFunction", "CompactFunction"),
        ),
        (
            "stats",
            clients.cloudwatch,
            lambda client: client.get_metric_data(MetricDataQueries=[], StartTime=0, EndTime=1),
            ("cloudwatch:GetMetricData", "*"),
        ),
    ):
        watch, client = watching(function, make)
        ask(client)  # type: ignore[no-untyped-call]
        assert watch.needed == {needed}
        assert not watch.denied


def test_compaction_and_segments_ask_for_nothing_that_their_roles_refuse(
    load_handler: Callable[[str], ModuleType], aws_clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    create_buckets(aws_clients["s3"])
    compact, segments = load_handler("compact"), load_handler("segments")
    monkeypatch.setattr(bundling, "LEAST_BATCHES", 2)
    in_time = SimpleNamespace(**vars(LAMBDA_CONTEXT) | {"get_remaining_time_in_millis": lambda: 600_000})
    event = Event("e1", "2025-08-01T12:00:00Z", "u", "open", "{}")

    def keys() -> list[str]:
        found = aws_clients["s3"].list_objects_v2(Bucket=SETTINGS["ARCHIVE_BUCKET"])["Contents"]
        return [one["Key"] for one in found]

    for number in range(3):
        batch = make_batch([event._replace(event_id=f"e{number}")], "test", RECEIVED_AT)
        Archive(aws_clients["s3"], SETTINGS["ARCHIVE_BUCKET"]).keep(batch, batch.events, ["2025-08-01"])
        numbers = {"received": 1, "inserted": 1, "applied": 1, "total": 1} | dict.fromkeys(Receipt._fields[2:], 0)
        receipt = {name: {"N": str(value)} for name, value in numbers.items()}
        key = {"pk": {"S": receipt_key(batch.batch_id)}, "sk": {"S": "0"}}
        aws_clients["dynamodb"].put_item(TableName=compact.settings.stats_table, Item=key | receipt)
        question = {"question": "daily_actives", "asked": {"first": "2025-08-01", "last": "2025-08-01"}, "segment": []}
        # Of one batch nothing is bundled.
        compact.handler({"bundle": True}, in_time)
        assert segments.handler(question, LAMBDA_CONTEXT)["answer"] == [["2025-08-01", 1]]
        assert ("bundles/" in "".join(keys())) is (number == 2)
        if number != 1:
            compact.handler({}, in_time)
    assert keys() == ["events/day=2025-08-01/events.parquet"]
