"""The functions' roles allow what their requests need, for every service."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.response import StreamingBody

from rollcall.archive import binding, compaction, snapshots
from rollcall.archive.bucket import Archive
from rollcall.archive.bundling import Bundler
from rollcall.core.batch import make_batch
from rollcall.core.days import Calendar, add_days
from rollcall.core.events import Event
from rollcall.core.projects import DEFAULT, Project
from rollcall.counting.claims import Claims
from rollcall.counting.receipts import Receipt
from rollcall.files.progress import ImportLog
from rollcall.files.uploads import Uploads
from rollcall.intake.rejects import Reject, Rejects
from rollcall.stack import clients, keys
from rollcall.stack.dynamo import Dynamo
from rollcall.stack.keys import receipt_key
from rollcall.stack.projects import Projects
from scripts.local.deploy import template
from scripts.local.ministack import LOADER
from tests.roles import Watch, holds, permissions, statements
from tests.support import LAMBDA_CONTEXT, RECEIVED_AT, SETTINGS, KeptDeadLetters, create_buckets

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


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({}, {}, True),
        ({"StringEquals": {"k": "a"}}, {"k": ("a",)}, True),
        ({"StringEquals": {"k": "a"}}, {"k": ("A",)}, False),
        ({"StringEquals": {"k": ["a", "b"]}}, {"k": ("b",)}, True),
        ({"StringEquals": {"k": "a*"}}, {"k": ("ab",)}, False),
        ({"StringEquals": {"k": "a"}}, {}, False),
        ({"StringEqualsIfExists": {"k": "a"}}, {}, True),
        ({"StringEqualsIfExists": {"k": "a"}}, {"k": ("b",)}, False),
        ({"StringLike": {"k": "a*c?"}}, {"k": ("a#bc.",)}, True),
        ({"StringLike": {"k": "a[bc]"}}, {"k": ("ab",)}, False),
        ({"ForAllValues:StringLike": {"k": ["a*", "b"]}}, {"k": ("a1", "b", "a2")}, True),
        ({"ForAllValues:StringLike": {"k": ["a*", "b"]}}, {"k": ("a1", "c")}, False),
        # The trap: of no value, all values are good.
        ({"ForAllValues:StringLike": {"k": "a*"}}, {}, True),
        ({"ForAllValues:StringLike": {"k": "a*"}, "Null": {"k": "false"}}, {}, False),
        ({"ForAllValues:StringLike": {"k": "a*"}, "Null": {"k": "false"}}, {"k": ("a",)}, True),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, {"k": ("b", "a")}, True),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, {}, False),
        ({"Null": {"k": "true"}}, {}, True),
        ({"StringEquals": {"k": "a", "l": "b"}}, {"k": ("a",)}, False),
    ],
)
def test_conditions_hold_as_iam_evaluates_them(
    condition: dict[str, Any], context: dict[str, tuple[str, ...]], expected: bool
) -> None:
    assert holds(condition, context) is expected


def test_a_condition_that_is_not_known_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        holds({"NumericEquals": {"k": "1"}}, {"k": ("1",)})


TAKES = {
    "a token of a key": (
        "key#k",
        "SET #g = :n, full_at_2 = if_not_exists(full_at_2, :n) + :n REMOVE full_at_1 ADD #r :n",
    ),
    "a token of an account": ("bucket#account#a", "SET full_at_1 = full_at_1 + :n, expires_at = :n"),
    "a place": ("bucket#places#key k", "SET place_3 = :n, expires_at = :n"),
    "a place given back": ("bucket#places#key k", "REMOVE place_3"),
}
FORBIDDEN = {
    "scopes of a key": ("key#k", "SET scopes = :n"),
    "the secret of a key": ("key#k", "SET full_at_1 = :n, #h = :n"),
    "the end of a key": ("key#k", "REMOVE revoked_at"),
    "a key that expires and is gone": ("key#k", "SET expires_at = :n"),
    "a higher rate": ("key#k", "SET rate = :n"),
    "a password": ("account#a", "SET password = :n"),
    "a session that never ends": ("account#a", "SET expires_at = :n"),
    "a token of an account's item": ("account#a", "SET full_at_1 = :n"),
    "the logins of an account": ("bucket#login#a", "SET full_at_1 = :n"),
    "those from everywhere": ("bucket#logins#a", "SET full_at_1 = :n"),
    "the list of keys": ("keys", "SET full_at_1 = :n"),
    "scopes in a bucket": ("bucket#account#a", "SET scopes = :n"),
}
LIMITED = ["ingest", "stats", "retention"]


class EmptyAnswer:
    """The body of an answer with nothing in it."""

    def stream(self) -> Iterator[bytes]:
        yield b"{}"


def ask_for_update(function: str, pk: str, update: str, **more: str) -> set[tuple[str, str]]:
    """What of an update is denied."""
    watch = Watch(function, SETTINGS)
    dynamodb: Any = boto3.client("dynamodb")
    watch.register(dynamodb.meta.events)
    # What a request of DynamoDB asks for is read when it is about to be signed, which comes before this.
    answer = AWSResponse("https://dynamodb", 200, cast(Any, {}), cast(Any, EmptyAnswer()))
    dynamodb.meta.events.register("before-send.dynamodb", lambda **_: answer)
    names = {
        name: full
        for name, full in {"#g": "generation", "#r": "requests#GET /keys", "#h": "hash"}.items()
        if name in update
    }
    dynamodb.update_item(
        TableName=SETTINGS["ACCESS_TABLE"],
        Key={"pk": {"S": pk}, "sk": {"S": "-"}},
        UpdateExpression=update,
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": {":n": {"N": "1"}}} if ":n" in update else {}),
        **more,
    )
    assert watch.needed == {("dynamodb:UpdateItem", "AccessTable")}
    return watch.denied


@pytest.mark.parametrize("function", LIMITED)
@pytest.mark.parametrize("what", TAKES)
def test_a_function_that_lets_callers_in_may_take_their_tokens_and_places(aws: None, function: str, what: str) -> None:
    for returned in ({}, {"ReturnValues": "NONE"}, {"ReturnValues": "UPDATED_NEW"}):
        assert ask_for_update(function, *TAKES[what], **returned) == set()
    assert ask_for_update(function, *TAKES[what], ConditionExpression="attribute_exists(pk) AND sk = :n") == set()


@pytest.mark.parametrize("function", LIMITED)
@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_function_that_lets_callers_in_may_change_nothing_else_of_who_may_call(
    aws: None, function: str, what: str
) -> None:
    assert ask_for_update(function, *FORBIDDEN[what]) == {("dynamodb:UpdateItem", "AccessTable")}


@pytest.mark.parametrize("function", LIMITED)
@pytest.mark.parametrize("what", TAKES)
def test_a_function_that_takes_a_token_is_shown_nothing_else_of_the_item_nor_asks_about_it(
    aws: None, function: str, what: str
) -> None:
    for returned in ("ALL_NEW", "ALL_OLD"):
        assert ask_for_update(function, *TAKES[what], ReturnValues=returned)
    # A condition would tell what it compares.
    assert ask_for_update(function, *TAKES[what], ConditionExpression="password_version = :n")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_condition_on_all_values_holds_for_want_of_any(function: str) -> None:
    for statement in statements(function):
        for operator, compared in statement.condition.items():
            if operator.startswith("ForAllValues:"):
                asked = statement.condition["Null"]
                assert {key: asked[key] for key in compared} == dict.fromkeys(compared, "false")


@pytest.mark.parametrize("function", LIMITED)
def test_no_way_around_the_conditions_is_allowed(function: str) -> None:
    actions = {action for action, resource in permissions(function) if resource == "AccessTable"}
    assert actions <= {f"dynamodb:{name}" for name in ("GetItem", "BatchGetItem", "Query", "UpdateItem")}
    updates = [one for one in statements(function) if ("dynamodb:UpdateItem", "AccessTable") in one.permissions]
    assert all(one.condition for one in updates)


def test_the_function_of_projects_may_do_nothing_else_in_the_table_of_what_is_counted() -> None:
    (records,) = (one for one in statements("auth") if ("dynamodb:PutItem", "StatsTable") in one.permissions)
    assert {resource for _, resource in records.permissions} == {"StatsTable"}
    assert {resource for one in statements("auth") for _, resource in one.permissions} >= {"AccessTable", "StatsTable"}
    assert sum(any(resource == "StatsTable" for _, resource in one.permissions) for one in statements("auth")) == 1
    for partitions, allowed in (
        (("projects",), True),
        (("counts#0",), False),
        (("projects", "layout"), False),
        ((), False),
    ):
        context = {"dynamodb:LeadingKeys": partitions} if partitions else {}
        assert records.allows("dynamodb:UpdateItem", "StatsTable", context) is allowed


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


@pytest.mark.parametrize("project", [DEFAULT, Project("shop")], ids=lambda project: project.name)
def test_the_objects_of_every_project_are_within_the_roles(project: Project) -> None:
    batch, bundle = keys.batch_object(project, "b" * 32), keys.bundle_object(project, 1, "n")
    day, day_users = keys.day_object(project, "2025-08-01"), keys.day_users_object(project, "2025-08-01", 7)
    new_users = keys.new_users_object(project, "2025-08-01", 7, 1)
    upload = keys.invited_key(project, "0" * 32, "a.csv")
    for function, bucket, key, actions in (
        ("consumer", "ArchiveBucket", batch, {"s3:PutObject"}),
        ("compact", "ArchiveBucket", batch, {"s3:GetObject", "s3:DeleteObject"}),
        ("compact", "ArchiveBucket", bundle, {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}),
        ("compact", "ArchiveBucket", day, {"s3:GetObject", "s3:PutObject"}),
        ("segments", "ArchiveBucket", batch, {"s3:GetObject"}),
        ("segments", "ArchiveBucket", bundle, {"s3:GetObject"}),
        ("segments", "ArchiveBucket", day, {"s3:GetObject"}),
        ("retention", "UploadBucket", day_users, {"s3:GetObject", "s3:PutObject"}),
        ("retention", "UploadBucket", new_users, {"s3:GetObject", "s3:PutObject"}),
        ("compact", "UploadBucket", day_users, {"s3:GetObject", "s3:PutObject"}),
        ("compact", "UploadBucket", new_users, {"s3:GetObject", "s3:PutObject"}),
        ("ingest", "UploadBucket", upload, {"s3:PutObject"}),
        ("import_csv", "UploadBucket", upload, {"s3:GetObject"}),
        ("import_part", "UploadBucket", upload, {"s3:GetObject"}),
    ):
        allowed = {action for action, resource in permissions(function) if fnmatchcase(f"{bucket}/{key}", resource)}
        assert {action for action in allowed if action.startswith("s3:")} == actions, (function, key)


@pytest.mark.parametrize("project", [DEFAULT, Project("shop")], ids=lambda project: project.name)
def test_a_project_is_bundled_under_the_lease_that_the_role_may_change(aws: None, project: Project) -> None:
    watch = Watch("compact", SETTINGS)
    dynamodb: Any = clients.dynamodb()
    watch.register(dynamodb.meta.events)
    answer = AWSResponse("https://dynamodb", 200, cast(Any, {}), cast(Any, EmptyAnswer()))
    dynamodb.meta.events.register("before-send.dynamodb", lambda **_: answer)
    archive = Archive(cast(Any, None), "b", project)
    assert Bundler(archive, Dynamo(dynamodb), SETTINGS["STATS_TABLE"])._lease("run", 1)
    assert watch.needed == {("dynamodb:UpdateItem", "StatsTable")}
    assert not watch.denied


def test_what_a_role_does_not_allow_is_denied(aws: None) -> None:
    watch, s3 = watching("compact", clients.s3)
    s3.put_object(Bucket=SETTINGS["ARCHIVE_BUCKET"], Key="other/day", Body=b"")
    s3.get_object(Bucket=SETTINGS["UPLOAD_BUCKET"], Key="events/day")
    assert watch.denied == {
        ("s3:PutObject", "ArchiveBucket/other/day"),
        ("s3:GetObject", "UploadBucket/events/day"),
    }


@pytest.mark.parametrize("project", [DEFAULT, Project("shop")], ids=lambda project: project.name)
def test_rejects_are_kept_and_listed_with_what_the_roles_allow(aws: None, project: Project) -> None:
    bucket = SETTINGS["ARCHIVE_BUCKET"]
    kept = Reject.of("missing_field", "userId is missing", None, {}, "segment")
    watch, s3 = watching("ingest", clients.s3)
    Rejects(s3, bucket).keep(project, "a" * 16, "2025-09-01", RECEIVED_AT, [kept], "key")
    assert {action for action, _ in watch.needed} == {"s3:PutObject"}
    assert not watch.denied
    key = keys.rejects_object(project, "a" * 16, "2025-09-01", "0" * 32)
    body = b"".join(f"{json.dumps(line)}\n".encode() for line in (RECEIVED_AT, kept))
    packed = gzip.compress(body)
    content = {"Contents": [{"Key": key}], "ContentLength": len(packed), "ETag": '"e"'}
    watch, s3 = watching(
        "stats", clients.s3, {**content, "Body": StreamingBody(io.BytesIO(packed), len(packed)), "IsTruncated": False}
    )
    found = Rejects(s3, bucket).list(project, "a" * 16, "2025-09-01", "2025-09-01", 10)
    assert [each.reject for each in found.rejects] == [kept]
    assert {action for action, _ in watch.needed} == {"s3:ListBucket", "s3:GetObject"}
    assert not watch.denied


def test_a_presigned_url_needs_what_its_request_needs(aws: None) -> None:
    watch, s3 = watching("ingest", clients.s3)
    s3.generate_presigned_url("put_object", Params={"Bucket": SETTINGS["UPLOAD_BUCKET"], "Key": "uploads/a.csv"})
    assert watch.needed == {("s3:PutObject", "UploadBucket/uploads/a.csv")}
    assert not watch.denied


def test_the_role_that_signs_the_urls_of_rejected_rows_reads_no_other_object(aws: None) -> None:
    watch, s3 = watching("ingest", clients.s3)
    bucket = SETTINGS["UPLOAD_BUCKET"]
    Uploads(s3, bucket, Mock(spec=ImportLog)).hand_out("rejects/uploads/a.csv.csv", "a.csv", 60)
    assert watch.needed == {
        ("s3:GetObject", "UploadBucket/rejects/uploads/a.csv.csv"),
        ("s3:ListBucket", "UploadBucket"),
    }
    assert not watch.denied
    s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "uploads/a.csv"})
    assert watch.denied == {("s3:GetObject", "UploadBucket/uploads/a.csv")}


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


@pytest.mark.parametrize("project", [DEFAULT, Project("shop")], ids=lambda project: project.name)
def test_compaction_and_segments_ask_for_nothing_that_their_roles_refuse(
    project: Project,
    load_handler: Callable[[str], ModuleType],
    aws_clients: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(binding, "LEAST_DAYS", 1)
    monkeypatch.setattr(compaction, "BIND_DAYS", 1)
    monkeypatch.setattr(snapshots, "FROM_DAYS", 0)
    create_buckets(aws_clients["s3"])
    compact, segments = load_handler("compact"), load_handler("segments")
    event = Event("e1", "2025-08-01T12:00:00Z", "u", "open", "{}")
    tables, utc = compact.tables, Calendar("UTC")
    yesterday = add_days(utc.today(datetime.now(UTC)), -1)
    projects = Projects(Dynamo(aws_clients["dynamodb"]), tables.stats, utc)
    if project != DEFAULT:
        projects.create(project, project.name, "UTC")
    claims = Claims(Dynamo(aws_clients["dynamodb"]), tables, lambda of: projects.lay_out(tables, of), KeptDeadLetters())
    claims.apply(make_batch(project, [event._replace(occurred_at=f"{yesterday}T00:00:00Z")], "test", RECEIVED_AT))
    for number in range(2):
        batch = make_batch(project, [event._replace(event_id=f"e{number}")], "test", RECEIVED_AT)
        Archive(aws_clients["s3"], SETTINGS["ARCHIVE_BUCKET"], project).keep(batch, batch.events, ["2025-08-01"])
        numbers = {"received": 1, "inserted": 1, "applied": 1, "total": 1} | dict.fromkeys(Receipt._fields[2:], 0)
        receipt = {name: {"N": str(value)} for name, value in numbers.items()}
        key = {"pk": {"S": receipt_key(project, batch.batch_id)}, "sk": {"S": "0"}}
        aws_clients["dynamodb"].put_item(TableName=compact.settings.stats_table, Item=key | receipt)
        asked = {"first": "2025-08-01", "last": "2025-08-01", "project": project.name}
        question = {"question": "daily_actives", "asked": asked, "segment": []}
        assert segments.handler(question, LAMBDA_CONTEXT)["answer"] == [["2025-08-01", 1]]
        compact.handler({}, SimpleNamespace(**vars(LAMBDA_CONTEXT) | {"get_remaining_time_in_millis": lambda: 900_000}))
    kept = aws_clients["s3"].list_objects_v2(Bucket=SETTINGS["UPLOAD_BUCKET"])["Contents"]
    assert [one["Key"] for one in kept] == [
        keys.day_users_object(project, yesterday, 1),
        keys.new_users_object(project, yesterday, 1, 0),
        keys.bundled_users_object(project),
    ]
    found = aws_clients["s3"].list_objects_v2(Bucket=SETTINGS["ARCHIVE_BUCKET"])["Contents"]
    volumes = keys.volume_objects(project)
    places = [one["Key"].removeprefix(volumes).partition("/")[2] for one in found if one["Key"].startswith(volumes)]
    assert sorted(places) == ["days.json", "events.parquet"]
    assert [one["Key"] for one in found if not one["Key"].startswith(volumes)] == [
        keys.day_object(project, "2025-08-01")
    ]
