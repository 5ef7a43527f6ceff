import ast
import json
import logging
import re
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from rollcall.archive.duck import connect, load_batches, merge_day
from rollcall.core.projects import DEFAULT, Project
from rollcall.intake.dialects.registry import routes as sdk_routes
from rollcall.questions.keeping import DAYS
from rollcall.stack import settings
from rollcall.stack.keys import BUNDLING_KEY, day_object, day_users_object, rejects_objects
from scripts.bench.aws_like import Limits
from scripts.local.deploy import template
from scripts.operate.anonymous import KINDS
from scripts.operate.smoke import NEW_ACCOUNT_CONCURRENCY, RESERVED
from scripts.paths import ROOT
from tests.support import BELOW_VERSION, UNKNOWN, routes

TEMPLATE = template()
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


FUNCTIONS = of_type("AWS::Serverless::Function")
TABLES = of_type("AWS::DynamoDB::Table")
QUEUES = of_type("AWS::SQS::Queue")
BUCKETS = of_type("AWS::S3::Bucket")
ROLES = of_type("AWS::IAM::Role")


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> list[dict[str, Any]]:
    """All statements of a role, those that hang on a condition too."""
    found = [
        statement for policy in ROLES[role]["Policies"] for statement in listed(policy["PolicyDocument"]["Statement"])
    ]
    return [statement["Fn::If"][1] if "Fn::If" in statement else statement for statement in found]


def allowed(role: str, action: str) -> list[Any]:
    return [
        resource
        for statement in statements(role)
        if statement["Effect"] == "Allow" and action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]


def nodes(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def references(value: Any) -> set[str]:
    found = set()
    for node in nodes(value):
        if isinstance(node, dict) and isinstance(node.get("Ref"), str):
            found.add(node["Ref"])
        if isinstance(node, dict) and "Fn::Sub" in node:
            found.update(re.findall(r"\$\{([^.!}]+)", listed(node["Fn::Sub"])[0]))
    return found


def of_function(function: str) -> dict[str, Any]:
    """A function's properties over those that all functions have."""
    properties = {**TEMPLATE["Globals"]["Function"], **FUNCTIONS[function]}
    shared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    own = FUNCTIONS[function].get("Environment", {}).get("Variables", {})
    logs = {**TEMPLATE["Globals"]["Function"]["LoggingConfig"], **FUNCTIONS[function].get("LoggingConfig", {})}
    return {**properties, "Environment": {"Variables": {**shared, **own}}, "LoggingConfig": logs}


def test_there_is_one_function_for_each_folder() -> None:
    folders = sorted(f"functions/{path.parent.name}" for path in (ROOT / "functions").glob("*/handler.py"))

    assert folders
    assert sorted(properties["CodeUri"] for properties in FUNCTIONS.values()) == folders


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_s_folder_holds_its_handler_and_its_requirements_alone(function: str) -> None:
    folder = ROOT / FUNCTIONS[function]["CodeUri"]

    page = {"site", "types.d.ts", "charts-requirements.txt"} if function == "PageFunction" else set()
    # The chart library is never committed.
    made = {"__pycache__", *(page and {"vendor"})}
    assert {path.name for path in folder.iterdir()} - made == {"handler.py", "requirements.txt", *page}
    assert of_function(function)["Handler"] == "handler.handler"


def test_every_function_has_a_role_of_its_own() -> None:
    roles = [properties["Role"]["Fn::GetAtt"] for properties in FUNCTIONS.values()]

    assert all(attribute == "Arn" and name in ROLES for name, attribute in roles)
    assert len({name for name, _ in roles}) == len(FUNCTIONS)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_for_lambda_alone(role: str) -> None:
    assert ROLES[role]["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]
    assert "ManagedPolicyArns" not in ROLES[role]


ALLOW_STATEMENTS = [
    pytest.param(node, id=f"{name}-{number}")
    for name, resource in RESOURCES.items()
    for number, node in enumerate(nodes(resource))
    if isinstance(node, dict) and node.get("Effect") == "Allow"
]


# Actions that AWS knows no resource for.
WITHOUT_RESOURCE = [{"cloudwatch:GetMetricData"}, {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}]


@pytest.mark.parametrize("statement", ALLOW_STATEMENTS)
def test_nothing_is_allowed_by_a_wildcard_but_the_objects_under_a_prefix(statement: dict[str, Any]) -> None:
    assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys()
    assert "*" not in str([statement["Action"], statement.get("Principal")])
    if set(listed(statement["Action"])) in WITHOUT_RESOURCE:
        assert statement["Resource"] == "*"
        return
    for resource in listed(statement.get("Resource", [])):
        text = resource["Fn::Sub"] if isinstance(resource, dict) and "Fn::Sub" in resource else str(resource)
        assert "*" not in re.sub(
            r"(:s3:::|^)[^/*]+/(project=\*/)?(uploads|rejects|staged|day-users|batches|bundles|events|volumes)/\*$",
            "",
            text,
        )


@pytest.mark.parametrize("statement", ALLOW_STATEMENTS)
def test_nobody_may_scan_or_delete_events(statement: dict[str, Any]) -> None:
    actions = {action.lower() for action in listed(statement["Action"])}

    assert not {action for action in actions if "scan" in action or "partiqlselect" in action}
    if {"EventsTable", "StatsTable"} & {resource["Fn::GetAtt"][0] for resource in arns(statement)}:
        assert not {action for action in actions if action.startswith("dynamodb:") and "delete" in action}


def test_compaction_writes_nothing_to_the_tables_but_the_lease_of_bundling() -> None:
    writes = [
        statement
        for statement in RESOURCES["CompactRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        if {"dynamodb:UpdateItem", "dynamodb:PutItem"} & set(listed(statement.get("Action", [])))
    ]

    only = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [BUNDLING_KEY]}}
    assert [(statement["Action"], statement["Condition"]) for statement in writes] == [
        ("dynamodb:UpdateItem", {**only, "Null": {"dynamodb:LeadingKeys": "false"}})
    ]


def test_the_users_of_days_are_read_and_made_by_the_functions_that_keep_them_alone() -> None:
    found = {
        role: statement["Action"]
        for role in ROLES
        for statement in statements(role)
        for resource in listed(statement["Resource"])
        if "/day-users/" in str(resource)
    }

    assert found == {role: ["s3:GetObject", "s3:PutObject"] for role in ("RetentionRole", "CompactRole")}
    (expiry,) = (
        rule["ExpirationInDays"]
        for rule in BUCKETS["UploadBucket"]["LifecycleConfiguration"]["Rules"]
        if day_users_object(DEFAULT, "2025-08-01", 1).startswith(rule["Prefix"])
    )
    assert expiry == {"Ref": "DayUsersRetentionDays"}
    # Else what is kept when a day ends would be gone, and be made again, while the day is still among those to keep.
    assert PARAMETERS["DayUsersRetentionDays"]["Default"] > DAYS


def arns(statement: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources of a statement that are named by reference."""
    resources = listed(statement.get("Resource", []))
    return [resource for resource in resources if isinstance(resource, dict) and "Fn::GetAtt" in resource]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_run_on_python_3_13_on_arm_unless_told_otherwise(function: str) -> None:
    assert TEMPLATE["Globals"]["Function"]["Runtime"] == "python3.13"
    assert TEMPLATE["Globals"]["Function"]["Architectures"] == [{"Ref": "Architecture"}]
    assert PARAMETERS["Architecture"]["Default"] == "arm64"
    assert not {"Runtime", "Architectures"} & FUNCTIONS[function].keys()


def test_the_layer_is_for_what_the_functions_run_on() -> None:
    (layer,) = of_type("AWS::Serverless::LayerVersion").values()

    assert layer["CompatibleRuntimes"] == [TEMPLATE["Globals"]["Function"]["Runtime"]]
    assert layer["CompatibleArchitectures"] == PARAMETERS["Architecture"]["AllowedValues"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_logs_to_a_group_of_its_own_that_is_kept_for_a_time(function: str) -> None:
    group = FUNCTIONS[function]["LoggingConfig"]["LogGroup"]["Ref"]
    others = [
        properties["LoggingConfig"]["LogGroup"]["Ref"] for name, properties in FUNCTIONS.items() if name != function
    ]

    assert RESOURCES[group]["Type"] == "AWS::Logs::LogGroup"
    assert RESOURCES[group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert group not in others
    role = FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]
    assert allowed(role, "logs:PutLogEvents") == [{"Fn::GetAtt": [group, "Arn"]}]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lambda_passes_what_a_function_logs_and_measures_and_leaves_out_its_own_lines(function: str) -> None:
    logs = of_function(function)["LoggingConfig"]

    # Lambda knows levels in this format alone.
    assert logs["LogFormat"] == "JSON"
    # A line of metrics has no level, and Lambda takes it for INFO: under a higher level all metrics would be lost.
    # Lambda sets the root logger to its level: under a lower one botocore would log requests and answers whole.
    assert logs["ApplicationLogLevel"] == "INFO"
    assert logs["SystemLogLevel"] == {"Ref": "SystemLogLevel"}
    assert PARAMETERS["SystemLogLevel"]["Default"] == "WARN"
    assert of_function(function)["Environment"]["Variables"]["LOG_LEVEL"] == {"Ref": "LogLevel"}


def test_no_level_of_the_functions_is_below_the_one_that_lambda_filters_by() -> None:
    filtered = logging.getLevelNamesMapping()["INFO"]

    assert PARAMETERS["LogLevel"]["Default"] == "INFO"
    assert all(logging.getLevelNamesMapping()[level] >= filtered for level in PARAMETERS["LogLevel"]["AllowedValues"])


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_are_encrypted(queue: str) -> None:
    assert QUEUES[queue]["SqsManagedSseEnabled"] is True


def test_the_queue_gives_up_on_a_message_to_a_queue_that_keeps_it_longer() -> None:
    redrive = QUEUES["BatchQueue"]["RedrivePolicy"]
    name, attribute = redrive["deadLetterTargetArn"]["Fn::GetAtt"]

    assert (name, attribute) == ("DeadLetterQueue", "Arn")
    assert redrive["maxReceiveCount"] == {"Ref": "MaxReceives"}
    # A message keeps its age as it moves on.
    assert QUEUES[name]["MessageRetentionPeriod"] > QUEUES["BatchQueue"]["MessageRetentionPeriod"]
    assert "RedrivePolicy" not in QUEUES[name]


def test_uploads_wait_in_a_queue_for_as_many_planners_as_their_parameter_says() -> None:
    (notified,) = BUCKETS["UploadBucket"]["NotificationConfiguration"]["QueueConfigurations"]
    event = FUNCTIONS["PlanFunction"]["Events"]["Uploads"]
    mapping, name, parameter = event["Properties"]["ScalingConfig"]["MaximumConcurrency"]["Fn::FindInMap"]

    assert notified["Queue"] == event["Properties"]["Queue"] == {"Fn::GetAtt": ["UploadQueue", "Arn"]}
    assert notified["Event"] == "s3:ObjectCreated:*"
    assert notified["Filter"]["S3Key"]["Rules"] == [{"Name": "prefix", "Value": "uploads/"}]
    assert (event["Type"], event["Properties"]["BatchSize"]) == ("SQS", 1)
    assert parameter == {"Ref": "PlanConcurrency"}
    # Reserved functions would be taken from the account's other functions, and a new account has none to reserve.
    assert "ReservedConcurrentExecutions" not in FUNCTIONS["PlanFunction"]
    assert set(PARAMETERS["PlanConcurrency"]["AllowedValues"]) == set(TEMPLATE["Mappings"][mapping][name])
    assert PARAMETERS["PlanConcurrency"]["Default"] == "2"
    assert QUEUES["UploadQueue"]["VisibilityTimeout"] > FUNCTIONS["PlanFunction"]["Timeout"]


def test_only_the_bucket_of_uploads_may_send_to_their_queue() -> None:
    statements = RESOURCES["UploadQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (allowing,) = [statement for statement in statements if statement["Effect"] == "Allow"]
    bucket = BUCKETS["UploadBucket"]["BucketName"]["Fn::Sub"]

    assert allowing["Principal"] == {"Service": "s3.amazonaws.com"}
    assert allowing["Action"] == "sqs:SendMessage"
    assert allowing["Condition"]["ArnEquals"] == {
        "aws:SourceArn": {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}"}
    }
    assert allowing["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    assert RESOURCES["UploadBucket"]["DependsOn"] == "UploadQueuePolicy"


def test_an_import_may_tell_an_object_that_is_gone_from_one_that_is_forbidden() -> None:
    name = BUCKETS["UploadBucket"]["BucketName"]["Fn::Sub"]

    assert allowed("ImportRole", "s3:ListBucket") == [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{name}"}]


def test_the_api_hands_out_rejected_rows_and_reads_nothing_else_of_a_bucket() -> None:
    name = BUCKETS["UploadBucket"]["BucketName"]["Fn::Sub"]

    # S3 refuses a presigned URL of what its signer may not read itself.
    assert allowed("IngestRole", "s3:GetObject") == [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{name}/rejects/*"}]
    assert allowed("IngestRole", "s3:ListBucket") == [{"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{name}"}]
    # By a key of KMS, its signer would have to be allowed to decrypt as well.
    (rule,) = BUCKETS["UploadBucket"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def failure_queues() -> set[str]:
    """The queues that hold what was given up."""
    targets = [queue["RedrivePolicy"]["deadLetterTargetArn"] for queue in QUEUES.values() if "RedrivePolicy" in queue]
    return {target["Fn::GetAtt"][0] for target in targets}


def test_what_was_given_up_is_kept_for_the_14_days_that_sqs_allows() -> None:
    queues = failure_queues()

    assert queues == {"DeadLetterQueue", "FailedImportsQueue"}
    assert {QUEUES[queue]["MessageRetentionPeriod"] for queue in queues} == {14 * 86_400}


(API,) = of_type("AWS::Serverless::Api").values()
GATEWAY_RESPONSES: dict[str, Any] = API["GatewayResponses"]


@pytest.mark.parametrize("response", GATEWAY_RESPONSES)
def test_what_the_gateway_answers_by_itself_is_a_problem_of_one_text(response: str) -> None:
    answer = GATEWAY_RESPONSES[response]
    (body,) = answer["ResponseTemplates"].values()
    problem = json.loads(body)

    # A variable could repeat what the caller sent, such as a credential.
    assert "$" not in body
    assert answer["ResponseParameters"]["Headers"]["Content-Type"] == "'application/problem+json'"
    assert answer["ResponseTemplates"].keys() == {"application/json"}
    assert all(problem[name] for name in ("type", "title", "code", "message"))
    assert problem.get("status") == answer.get("StatusCode")


@pytest.mark.parametrize("response", GATEWAY_RESPONSES)
def test_pages_may_read_what_the_gateway_answers_where_any_page_may_call(response: str) -> None:
    headers = GATEWAY_RESPONSES[response]["ResponseParameters"]["Headers"]
    nothing = {"Ref": "AWS::NoValue"}

    assert headers["Access-Control-Allow-Origin"] == {"Fn::If": ["WithCors", "'*'", nothing]}
    assert headers["Access-Control-Expose-Headers"] == {"Fn::If": ["WithCors", "'Retry-After'", nothing]}
    assert TEMPLATE["Conditions"]["WithCors"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "CorsOrigins"}, ""]}]}


def test_what_may_be_tried_again_says_when() -> None:
    retried = {name for name, answer in GATEWAY_RESPONSES.items() if answer.get("StatusCode") in (429, 503)}

    assert retried == {"THROTTLED", "INTEGRATION_FAILURE"}
    for name, answer in GATEWAY_RESPONSES.items():
        assert ("Retry-After" in answer["ResponseParameters"]["Headers"]) == (name in retried)


def test_a_status_of_the_default_is_for_nothing_but_unknown_routes() -> None:
    # Types that have no response of their own get the status of the default. These may come of any request; the others
    # are about authorizers, usage plans and signatures, which the API has none of.
    assert {
        "ACCESS_DENIED",
        "BAD_REQUEST_BODY",
        "BAD_REQUEST_PARAMETERS",
        "REQUEST_TOO_LARGE",
        "THROTTLED",
        "UNSUPPORTED_MEDIA_TYPE",
        "WAF_FILTERED",
    } < GATEWAY_RESPONSES.keys()
    assert GATEWAY_RESPONSES["DEFAULT_4XX"] == GATEWAY_RESPONSES["MISSING_AUTHENTICATION_TOKEN"]
    assert GATEWAY_RESPONSES["DEFAULT_4XX"]["StatusCode"] == 404
    assert "StatusCode" not in GATEWAY_RESPONSES["DEFAULT_5XX"]
    assert not {"Authorizers", "UsagePlan", "ApiKeyRequired"} & {*API, *API.get("Auth", {})}


def test_answers_are_compressed_and_small_ones_are_not() -> None:
    assert API["MinimumCompressionSize"] == 1024


ROUTES = routes()


def test_head_is_a_method_wherever_get_is() -> None:
    assert {path for path, method in ROUTES if method == "head"} == {path for path, method in ROUTES if method == "get"}


def test_every_method_of_an_unknown_route_leads_to_a_function() -> None:
    methods = {"get", "head", "post", "put", "patch", "delete", "options"}

    assert {method for path, method in ROUTES if path == UNKNOWN} == methods


def test_below_the_version_every_method_leads_to_the_function_that_unknown_routes_lead_to() -> None:
    assert (BELOW_VERSION, "any") in routes("ingest")
    assert {place for place in ROUTES if place[0] == UNKNOWN} <= routes("ingest")


def of_sdks() -> tuple[set[str], set[str]]:
    """The paths that the template has all methods of, and those of the dialects that it names no method of."""
    # With a method each, the policy of the function that signs in and shares would be too long.
    others = {BELOW_VERSION, "/auth/codes", "/shares", "/shares/{share_id}"}
    everything = {path for path, method in ROUTES if method == "any"} - others
    named = {(path, method) for path, method in ROUTES if method != "any"}
    assert not everything & {path for path, _ in named}
    sdks = {(path, method.lower()) for path, methods in sdk_routes().items() for method in methods}
    return everything, {path for path, _ in sdks - named}


def test_every_route_of_the_sdks_is_in_the_template_and_leads_to_ingest() -> None:
    everything, sdks = of_sdks()

    assert sdks
    assert sdks <= everything
    assert everything <= {path for path, _ in routes("ingest")}


def test_the_template_has_no_route_of_all_methods_that_is_of_no_sdk() -> None:
    everything, sdks = of_sdks()

    assert everything <= sdks


def test_no_path_of_the_api_may_begin_with_the_prefix() -> None:
    pattern = PARAMETERS["IngestPrefix"]["AllowedPattern"]
    first = {f"/{path.split('/')[1]}" for path, _ in ROUTES}
    rule = TEMPLATE["Rules"]["APrefixIsNoRoute"]
    (assertion,) = rule["Assertions"]
    forbidden, prefix = assertion["Assert"]["Fn::Not"][0]["Fn::Contains"]

    assert rule["RuleCondition"] == TEMPLATE["Conditions"]["WithIngestPrefix"]
    assert prefix == {"Ref": "IngestPrefix"}
    assert {each for each in first if re.fullmatch(pattern, each)} <= set(forbidden)
    assert {each.removeprefix("/") for each in forbidden} == settings.FIRST_SEGMENTS
    assert all(re.fullmatch(pattern, each) for each in forbidden)
    assert "IngestPrefix" in assertion["AssertDescription"]
    assert FUNCTIONS["IngestFunction"]["Environment"]["Variables"]["INGEST_PREFIX"] == {"Ref": "IngestPrefix"}


def throttled_path(setting: dict[str, str]) -> str:
    """The path that a method's setting is for. CloudFormation has the root as a slash alone."""
    return setting["ResourcePath"][1:].replace("~1", "/") or "/"


def test_what_asks_for_no_key_is_throttled_by_limits_of_its_own_and_all_else_by_the_stage_s() -> None:
    public = re.compile(
        r"/|/assets/.*|/docs(/.*)?|/openapi\.json|/healthz?|/auth/(register|login|refresh|logout|session(/refresh)?)|"
        r"/\{proxy\+\}"
    )
    stage, *own = API["MethodSettings"]

    assert stage == {
        "ResourcePath": "/*",
        "HttpMethod": "*",
        "ThrottlingRateLimit": {"Ref": "ThrottlingRate"},
        "ThrottlingBurstLimit": {"Ref": "ThrottlingBurst"},
    }
    for setting in own:
        limits = [setting["ThrottlingRateLimit"], setting["ThrottlingBurstLimit"]]
        page = setting["ResourcePath"] == "/" or setting["ResourcePath"].startswith("/~1assets~1")
        # A page asks for all its assets at once.
        lower = [{"Ref": "PublicRate"}, {"Ref": "PageBurst" if page else "PublicBurst"}]
        # Below the prefix, events are taken in by the route of what no other route has.
        below_prefix = setting["ResourcePath"] == "/~1{proxy+}" and setting["HttpMethod"] in ("GET", "POST", "OPTIONS")
        usual = [{"Ref": "ThrottlingRate"}, {"Ref": "ThrottlingBurst"}]
        either = [{"Fn::If": ["WithIngestPrefix", *each]} for each in zip(usual, lower, strict=True)]
        assert limits == (either if below_prefix else lower)
        # CloudFormation wants each slash but the first as ~1, and no wildcard beside a path.
        assert setting["ResourcePath"].count("/") == 1
    places = [(throttled_path(each), each["HttpMethod"].lower()) for each in own]
    assert sorted(places) == sorted(place for place in ROUTES if public.fullmatch(place[0]))


def test_each_route_that_asks_for_no_key_has_a_stated_cost() -> None:
    _, *own = API["MethodSettings"]
    limited = {(each["HttpMethod"], throttled_path(each)) for each in own}
    stated = {tuple(kind.what.split(" ")) for kind in KINDS if kind.rate == "PublicRate"}

    # HEAD answers no more than GET does, and OPTIONS no more at these routes than at others, which have a higher limit.
    asked = {place for place in limited if place[0] not in ("HEAD", "OPTIONS") and place[1] != UNKNOWN}
    assert {place for place in stated if place[1].startswith("/")} == asked
    assert {kind.what for kind in KINDS} >= {"an unknown route", "OPTIONS", "other routes, no key"}
    functions = {properties["CodeUri"].removeprefix("functions/"): name for name, properties in FUNCTIONS.items()}
    for kind in KINDS:
        method, path = kind.what.split(" ", 1) if "/" in kind.what else ("", "")
        served = [name for folder, name in functions.items() if (path, method.lower()) in routes(folder)]
        assert served in ([kind.function], [])
    largest = max(FUNCTIONS[name].get("MemorySize", 512) for folder, name in functions.items() if routes(folder))
    assert FUNCTIONS["RetentionFunction"]["MemorySize"] == largest


def test_no_function_reserves_concurrency_unless_a_parameter_says_so() -> None:
    # AWS refuses a reservation that leaves less than 100 of the quota, and a new account has 10.
    reserving = {
        name: properties["ReservedConcurrentExecutions"]["Fn::If"]
        for name, properties in FUNCTIONS.items()
        if "ReservedConcurrentExecutions" in properties
    }
    assert reserving.keys() == {name.replace("Reserved", "Function") for name in RESERVED}
    conditions = template()["Conditions"]
    for name, (condition, set_to, otherwise) in reserving.items():
        parameter = name.replace("Function", "Reserved")
        assert (set_to, otherwise) == ({"Ref": parameter}, {"Ref": "AWS::NoValue"})
        assert conditions[condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, "0"]}]}
        assert PARAMETERS[parameter]["Default"] == 0


def test_one_caller_cannot_hold_all_functions_that_a_new_account_may_run() -> None:
    behind = sum(int(PARAMETERS[name]["Default"]) for name in ("ConsumerConcurrency", "ImportConcurrency"))
    assert PARAMETERS["LongRequestsPerKey"]["Default"] + behind < NEW_ACCOUNT_CONCURRENCY


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_policy_that_lets_the_api_call_a_function_fits_into_20_kb(function: str) -> None:
    # SAM gives a function a permission for each of its routes, and Lambda refuses a longer policy.
    name, region, account = "s" * 40, "ap-southeast-1", "1" * 12
    api = f"arn:aws:execute-api:{region}:{account}:{'a' * 10}"
    statements = [
        {
            "Sid": f"{name}-{function}{event}Permissionv1-{'x' * 13}",
            "Effect": "Allow",
            "Principal": {"Service": "apigateway.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Resource": f"arn:aws:lambda:{region}:{account}:function:{name}-segments",
            "Condition": {"ArnLike": {"AWS:SourceArn": f"{api}/*/OPTIONS{about['Properties']['Path']}"}},
        }
        for event, about in FUNCTIONS[function].get("Events", {}).items()
        if about["Type"] == "Api"
    ]

    assert len(json.dumps(statements, separators=(",", ":"))) < 20 * 1024


def test_the_api_has_fewer_resources_than_api_gateway_allows() -> None:
    # Each segment of a path is one, and the root.
    parts = {tuple(path.split("/")[: depth + 1]) for path, _ in ROUTES for depth in range(path.count("/") + 1)}

    # "Quotas for configuring and running a REST API": 300 for an API, which AWS raises for who asks.
    assert len(parts) < 300


def test_what_sam_makes_of_the_template_is_small_enough_for_cloudformation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    document = template()
    document["Transform"] = "AWS::Serverless-2016-10-31"
    for resource in document["Resources"].values():
        for code in {"CodeUri", "ContentUri"} & resource["Properties"].keys():
            resource["Properties"][code] = "s3://bucket/key"

    made = transform(document, {}, ManagedPolicyLoader(None))

    # "CloudFormation quotas". Each route has a permission of its own.
    assert sum(len(each["Properties"].get("Events", ())) for each in RESOURCES.values()) < len(made["Resources"]) < 500
    assert len(json.dumps(made)) < 1_000_000


def test_a_message_stays_out_of_sight_for_six_times_as_long_as_the_consumer_may_take_and_the_window() -> None:
    mapping, name, parameter = QUEUES["BatchQueue"]["VisibilityTimeout"]["Fn::FindInMap"]
    timeouts = PARAMETERS["ConsumerTimeout"]["AllowedValues"]

    window = PARAMETERS["BatchWindow"]["MaxValue"]
    event = FUNCTIONS["ConsumerFunction"]["Events"]["Batches"]["Properties"]

    assert parameter == FUNCTIONS["ConsumerFunction"]["Timeout"] == {"Ref": "ConsumerTimeout"}
    assert event["MaximumBatchingWindowInSeconds"] == {"Ref": "BatchWindow"}
    # The time that Lambda waits for more messages passes while it holds those that it has.
    assert TEMPLATE["Mappings"][mapping][name] == {timeout: 6 * int(timeout) + window for timeout in timeouts}
    assert timeouts


def test_the_consumer_runs_as_often_at_once_as_its_parameter_says() -> None:
    scaling = FUNCTIONS["ConsumerFunction"]["Events"]["Batches"]["Properties"]["ScalingConfig"]
    mapping, name, parameter = scaling["MaximumConcurrency"]["Fn::FindInMap"]
    numbers = PARAMETERS["ConsumerConcurrency"]["AllowedValues"]

    assert parameter == {"Ref": "ConsumerConcurrency"}
    assert TEMPLATE["Mappings"][mapping][name] == {number: int(number) for number in numbers}
    assert numbers


def test_the_consumer_reports_failed_messages_one_by_one() -> None:
    (event,) = FUNCTIONS["ConsumerFunction"]["Events"].values()

    assert event["Type"] == "SQS"
    assert event["Properties"]["Queue"] == {"Fn::GetAtt": ["BatchQueue", "Arn"]}
    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


@pytest.mark.parametrize("table", TABLES)
def test_tables_are_on_demand_encrypted_restorable_and_expire_their_items(table: str) -> None:
    assert TABLES[table]["BillingMode"] == "PAY_PER_REQUEST"
    assert TABLES[table]["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert TABLES[table]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    # Without one, DynamoDB encrypts by a key that AWS owns. `SSEEnabled` asks for a key of KMS, whose use is billed.
    assert "SSESpecification" not in TABLES[table]


@pytest.mark.parametrize("name", [*TABLES, *BUCKETS])
def test_stored_data_outlives_the_stack_unless_told_otherwise(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == {"Ref": "DataProtection"}
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"
    # CloudFormation refuses RetainExceptOnCreate as the value of a parameter.
    assert PARAMETERS["DataProtection"]["AllowedValues"] == ["Retain", "Delete"]
    assert PARAMETERS["DataProtection"]["Default"] == "Retain"
    # CloudFormation reads a parameter there only with this transform.
    assert TEMPLATE["Transform"][0] == "AWS::LanguageExtensions"


def test_the_page_s_function_may_do_nothing_but_log() -> None:
    actions = {action for statement in statements("PageRole") for action in listed(statement["Action"])}

    assert {action for action in actions if not action.startswith("xray:")} == {
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }


def test_the_upload_bucket_lets_the_api_s_own_page_send_files_and_no_other() -> None:
    (rule,) = BUCKETS["UploadBucket"]["CorsConfiguration"]["CorsRules"]
    own = {"Fn::Sub": "https://${Api}.execute-api.${AWS::Region}.${AWS::URLSuffix}"}
    domain = {"Fn::If": ["WithDomain", {"Fn::Sub": "https://${DomainName}"}, {"Ref": "AWS::NoValue"}]}

    assert rule["AllowedOrigins"] == [own, domain]
    assert rule["AllowedMethods"] == ["PUT"]
    # What is signed, and what a browser adds by itself.
    assert set(rule["AllowedHeaders"]) == {"If-None-Match", "Content-Type"}
    # The API waits for its functions, and the bucket for the API: none of them may wait for the bucket.
    assert [name for name in RESOURCES if "UploadBucket" in strings(RESOURCES[name])] == ["UploadBucketPolicy"]
    origins = FUNCTIONS["PageFunction"]["Environment"]["Variables"]["UPLOAD_ORIGINS"]["Fn::Sub"].split()
    bucket = BUCKETS["UploadBucket"]["BucketName"]["Fn::Sub"]
    assert origins == [
        f"https://{bucket}.s3.{suffix}" for suffix in ("${AWS::Region}.${AWS::URLSuffix}", "${AWS::URLSuffix}")
    ]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_are_private_and_encrypted(bucket: str) -> None:
    assert BUCKETS[bucket]["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    (rule,) = BUCKETS[bucket]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] in ("AES256", "aws:kms")


def denials_without_tls(policy: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": False}}
    ]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_are_for_tls_only(bucket: str) -> None:
    (policy,) = [one for one in of_type("AWS::S3::BucketPolicy").values() if one["Bucket"] == {"Ref": bucket}]
    (denial,) = denials_without_tls(policy)

    assert (denial["Principal"], denial["Action"]) == ("*", "s3:*")
    assert {"Fn::GetAtt": [bucket, "Arn"]} in denial["Resource"]
    assert {"Fn::Sub": f"${{{bucket}.Arn}}/*"} in denial["Resource"]


@pytest.mark.parametrize("queue", QUEUES)
def test_queues_are_for_tls_only_each_by_a_policy_of_its_own(queue: str) -> None:
    (policy,) = [one for one in of_type("AWS::SQS::QueuePolicy").values() if {"Ref": queue} in one["Queues"]]
    (denial,) = denials_without_tls(policy)

    # SQS refuses a policy that names another queue.
    assert policy["Queues"] == [{"Ref": queue}]
    assert (denial["Principal"], denial["Action"]) == ("*", "sqs:*")
    assert denial["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}


def test_a_role_has_all_its_rights_from_the_start() -> None:
    assert not {kind for kind in (one["Type"] for one in RESOURCES.values()) if kind.startswith("AWS::IAM::")} - {
        "AWS::IAM::Role"
    }


# Names that are taken once in an account or in the world, whichever region a stack is in.
GLOBAL_NAMES = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
}


def test_a_second_region_may_have_a_stack_of_the_same_name() -> None:
    names = [
        resource["Properties"][GLOBAL_NAMES[resource["Type"]]]["Fn::Sub"]
        for resource in RESOURCES.values()
        if GLOBAL_NAMES.get(resource["Type"]) in resource["Properties"]
    ]

    assert len(names) == len(BUCKETS) + 1
    assert all("${AWS::StackName}" in name and "${AWS::Region}" in name for name in names)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_s_name_fits_with_the_longest_stack_name_that_the_documents_allow(bucket: str) -> None:
    (longest,) = re.findall(r"at most (\d+)\s+characters", (ROOT / "docs/deploy.md").read_text())
    parts = {"AWS::StackName": "s" * int(longest), "AWS::AccountId": "0" * 12, "AWS::Region": "ap-northeast-1"}

    name = re.sub(r"\$\{([\w:]+)\}", lambda found: parts[found[1]], BUCKETS[bucket]["BucketName"]["Fn::Sub"])

    assert len(name) <= 63


def test_the_default_concurrency_leaves_the_api_half_of_a_new_account_s_quota() -> None:
    defaults = [int(PARAMETERS[name]["Default"]) for name in ("ConsumerConcurrency", "ImportConcurrency")]

    assert sum(defaults) <= NEW_ACCOUNT_CONCURRENCY / 2


def strings(value: Any) -> list[str]:
    return [node for node in nodes(value) if isinstance(node, str)]


def test_no_text_needs_an_escaped_placeholder() -> None:
    # LocalStack does not know that form of Fn::Sub.
    assert [text for text in strings(TEMPLATE) if "${!" in text] == []


DOMAIN = {"Domain": "WithDomain", "DomainMapping": "WithDomain", "DomainRecord": "WithRecord"}


def test_a_domain_is_there_where_it_is_wanted_and_leads_to_the_throttled_stage() -> None:
    assert {name: RESOURCES[name]["Condition"] for name in DOMAIN} == DOMAIN
    assert {PARAMETERS[name]["Default"] for name in ("DomainName", "CertificateArn", "HostedZoneId")} == {""}
    assert RESOURCES["Domain"]["Properties"]["SecurityPolicy"] == "TLS_1_2"
    mapping = RESOURCES["DomainMapping"]["Properties"]
    # Without a base path: the stage is not in the URL.
    assert mapping == {"DomainName": {"Ref": "Domain"}, "RestApiId": {"Ref": "Api"}, "Stage": {"Ref": "Api.Stage"}}
    condition, own, _ = TEMPLATE["Outputs"]["ApiUrl"]["Value"]["Fn::If"]
    assert (condition, own) == ("WithDomain", {"Fn::Sub": "https://${DomainName}"})


def test_a_domain_without_a_certificate_is_refused_before_anything_is_made() -> None:
    rule = TEMPLATE["Rules"]["ADomainHasACertificate"]

    assert rule["RuleCondition"] == TEMPLATE["Conditions"]["WithDomain"]
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "CertificateArn"}, ""]}]}
    assert {"DomainName", "CertificateArn"} <= set(re.findall(r"\w+", assertion["AssertDescription"]))


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("events.example.com", True),
        ("", True),
        ("a-b.example.co", True),
        ("https://example.com", False),
        ("example.com/v1", False),
        ("-a.example.com", False),
        ("a b.example.com", False),
    ],
)
def test_a_domain_is_a_name_alone(name: str, good: bool) -> None:
    assert (re.fullmatch(PARAMETERS["DomainName"]["AllowedPattern"], name) is not None) is good


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_every_parameter_is_described_has_a_default_and_is_used(parameter: str) -> None:
    definition = PARAMETERS[parameter]
    allowed_values = definition.get("AllowedValues", [definition["Default"]])

    assert definition["Description"]
    assert definition["Default"] in allowed_values
    assert parameter in references({key: value for key, value in TEMPLATE.items() if key != "Parameters"})


@pytest.mark.parametrize("output", TEMPLATE["Outputs"])
def test_every_output_is_described(output: str) -> None:
    assert TEMPLATE["Outputs"][output]["Description"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_s_name_is_an_output(function: str) -> None:
    assert TEMPLATE["Outputs"][f"{function}Name"]["Value"] == {"Ref": function}


CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())


@pytest.mark.parametrize("where", ["dev", "prod", "local"])
def test_what_samconfig_sets_are_parameters_and_values_that_they_may_have(where: str) -> None:
    told = CONFIG[where]["deploy"]["parameters"]
    overrides = dict(override.split("=", 1) for override in told["parameter_overrides"])

    # Else stacks of one account share their uploads, and deleting one takes those of the others away.
    assert told["s3_prefix"] == told["stack_name"]
    assert told["capabilities"] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert overrides
    for name, value in overrides.items():
        assert value in map(str, PARAMETERS[name].get("AllowedValues", [value]))


def test_production_keeps_its_data_and_asks_before_it_changes_anything() -> None:
    told = CONFIG["prod"]["deploy"]["parameters"]

    assert "DataProtection=Retain" in told["parameter_overrides"]
    assert told["confirm_changeset"] is True


def test_localstack_is_pinned_to_a_release_and_is_for_this_machine_alone() -> None:
    (service,) = yaml_parse((ROOT / "compose.yaml").read_text())["services"].values()

    assert re.fullmatch(r"localstack/localstack:\d+\.\d+\.\d+", service["image"])
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    # Packages are built for this machine, and Architecture has the default of AWS.
    assert service["environment"] == {"LAMBDA_IGNORE_ARCHITECTURE": "1"}


def test_the_stack_policy_forbids_to_replace_or_delete_whatever_holds_data() -> None:
    allowed, denied = json.loads((ROOT / "docs/stack-policy.json").read_text())["Statement"]

    assert (allowed["Effect"], allowed["Action"], allowed["Resource"]) == ("Allow", "Update:*", "*")
    assert (denied["Effect"], denied["Action"]) == ("Deny", ["Update:Replace", "Update:Delete"])
    assert sorted(denied["Resource"]) == sorted(f"LogicalResourceId/{name}" for name in [*TABLES, *BUCKETS])


@pytest.mark.parametrize("name", RESOURCES)
def test_everything_that_a_resource_refers_to_is_there(name: str) -> None:
    known = {*RESOURCES, *PARAMETERS}

    found = {reference for reference in references(RESOURCES[name]) if not reference.startswith("AWS::")}
    # What SAM makes of a resource is named after it: the stage of an API.
    assert {reference.removesuffix(".Stage") for reference in found} <= known


def settings_of(function: str) -> list[Any]:
    """The settings classes that a function's handler reads the environment with."""
    tree = ast.parse((ROOT / FUNCTIONS[function]["CodeUri"] / "handler.py").read_text())
    return [
        getattr(settings, node.func.value.id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "read"
        and isinstance(node.func.value, ast.Name)
        and [ast.unparse(argument) for argument in node.args] == ["os.environ"]
    ]


def environment_of(function: str) -> dict[str, str]:
    """A function's variables: parameters at their defaults, and some text for what AWS makes the name of."""
    return {
        name: str(PARAMETERS[value["Ref"]]["Default"])
        if isinstance(value, dict) and value.get("Ref") in PARAMETERS
        else re.sub(r"\$\{.+?\}", "some", value["Fn::Sub"])
        if isinstance(value, dict) and isinstance(value.get("Fn::Sub"), str)
        else str(value)
        for name, value in of_function(function)["Environment"]["Variables"].items()
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_setting_that_a_function_reads_is_in_its_environment(function: str) -> None:
    readers = settings_of(function)

    assert readers
    for reader in readers:
        assert reader.read(environment_of(function))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_function_logs_and_measures_under_is_in_its_environment(function: str) -> None:
    environment = environment_of(function)

    assert environment["POWERTOOLS_SERVICE_NAME"]
    assert environment["POWERTOOLS_METRICS_NAMESPACE"]
    assert environment["LOG_LEVEL"] == "INFO"


def test_the_api_has_no_stage_but_the_throttled_one() -> None:
    # SAM adds one named Stage unless the version of OpenAPI is said.
    assert RESOURCES["Api"]["Properties"]["OpenApiVersion"] == "2.0"
    assert RESOURCES["Api"]["Properties"]["StageName"] == "v1"


ATHENA = {
    "ArchiveTable": ("events", ["day"], DEFAULT),
    "ProjectsArchiveTable": ("project_events", ["project", "day"], Project("shop")),
}


@pytest.mark.parametrize("resource", ATHENA)
def test_a_table_of_athena_is_that_of_the_archive_s_files_and_there_where_it_is_wanted(
    tmp_path: Path, resource: str
) -> None:
    name, keys, project = ATHENA[resource]
    table = RESOURCES[resource]["Properties"]["TableInput"]
    file = tmp_path / "events.parquet"
    with closing(connect(tmp_path, 100)) as connection:
        load_batches(connection, "fresh", [])
        connection.execute("INSERT INTO fresh (event_id, occurred_at, day) VALUES ('e', '2025-08-01', '2025-08-01')")
        assert merge_day(connection, "fresh", "2025-08-01", None, file) == 1
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)]).fetchall()
    types = {"VARCHAR": "string", "TIMESTAMP": "timestamp"}

    assert table["Name"] == name
    columns = table["StorageDescriptor"]["Columns"]
    assert [(one["Name"], one["Type"]) for one in columns] == [(name, types[kind]) for name, kind, *_ in described]
    assert table["PartitionKeys"] == [{"Name": key, "Type": "string"} for key in keys]
    separator, parts = table["Parameters"]["storage.location.template"]["Fn::Join"]
    location = separator.join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in parts)
    path = location.removeprefix("s3://").replace("${project}", project.name).replace("${day}", "2025-08-01")
    bucket, _, key = path.partition("/")
    # Athena asks for the slash at the end.
    assert (bucket, f"{key}events.parquet") == ("<ArchiveBucket>", day_object(project, "2025-08-01"))
    for each in ("ArchiveDatabase", resource):
        assert RESOURCES[each]["Condition"] == "WithAthena"
    assert PARAMETERS["Athena"]["Default"] == "false"


def test_athena_computes_the_partitions_of_both_tables_and_a_query_names_the_projects() -> None:
    default, others = (RESOURCES[each]["Properties"]["TableInput"] for each in ATHENA)
    same = {name: value for name, value in others["Parameters"].items() if name != "storage.location.template"}

    assert same.pop("projection.project.type") == "injected"
    assert same["projection.enabled"] == "true"
    assert same["projection.day.type"] == "date"
    assert same.items() <= default["Parameters"].items()
    assert len(same) == len(default["Parameters"]) - 1
    assert others["StorageDescriptor"] == default["StorageDescriptor"]


def test_the_function_that_reads_files_through_has_a_whole_core() -> None:
    assert RESOURCES["PlanFunction"]["Properties"]["MemorySize"] >= 1769


@pytest.mark.parametrize("table", ["EventsTable", "StatsTable"])
def test_a_table_that_imports_write_to_is_warmed_where_that_is_wanted_and_left_alone_otherwise(table: str) -> None:
    warmed = {"Fn::If": ["Warmed", {"WriteUnitsPerSecond": {"Ref": "WarmWriteUnits"}}, {"Ref": "AWS::NoValue"}]}

    # An index that throttles a write throttles it in the table.
    for throttling in (TABLES[table], *TABLES[table].get("GlobalSecondaryIndexes", ())):
        assert throttling["WarmThroughput"] == warmed
    # AWS refuses less than it gives a new table.
    definition = PARAMETERS["WarmWriteUnits"]
    assert definition["Default"] == definition["MinValue"] == Limits().table_writes
    assert TEMPLATE["Conditions"]["Warmed"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "WarmWriteUnits"}, str(definition["Default"])]}]
    }


def test_rejects_expire_after_their_days() -> None:
    (rule,) = RESOURCES["ArchiveBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    # Nothing else of the archive does.
    assert rule["Prefix"] == "rejects/" == rejects_objects(DEFAULT, "k")[: len("rejects/")]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", {"Ref": "RejectRetentionDays"})
