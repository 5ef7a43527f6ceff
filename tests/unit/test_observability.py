import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.paths import ROOT
from tests.unit.test_template import (
    API,
    FUNCTIONS,
    PARAMETERS,
    QUEUES,
    RESOURCES,
    ROLES,
    TABLES,
    TEMPLATE,
    failure_queues,
    nodes,
    of_function,
    of_type,
)

ALARMS = of_type("AWS::CloudWatch::Alarm")
(DASHBOARD,) = of_type("AWS::CloudWatch::Dashboard").values()
WIDGETS: list[dict[str, Any]] = json.loads(DASHBOARD["DashboardBody"]["Fn::Sub"])["widgets"]
STACK = {"Ref": "AWS::StackName"}

Metric = tuple[str, str, dict[str, Any]]


def metrics_of(alarm: str) -> list[Metric]:
    """Namespace, name and dimensions of what an alarm watches."""
    watched = [query["MetricStat"]["Metric"] for query in ALARMS[alarm].get("Metrics", ()) if "MetricStat" in query]
    return [
        (metric["Namespace"], metric["MetricName"], {one["Name"]: one["Value"] for one in metric["Dimensions"]})
        for metric in watched or [ALARMS[alarm]]
    ]


def shown() -> Iterator[Metric]:
    """Namespace, name and dimensions of what the dashboard shows."""
    for widget in WIDGETS:
        parts: list[str] = []
        for row in widget["properties"]["metrics"]:
            # CloudWatch's short forms: three dots for the row before, one for what stands there in it.
            texts = [part for part in row if isinstance(part, str)]
            parts = parts if texts == ["..."] else [parts[n] if text == "." else text for n, text in enumerate(texts)]
            namespace, name, *rest = parts
            yield namespace, name, {key: written_out(value) for key, value in zip(rest[::2], rest[1::2], strict=True)}


def written_out(text: str) -> object:
    """What a text with one placeholder refers to, in the form that it has outside of a text."""
    found = re.fullmatch(r"\$\{([\w:]+)(?:\.(\w+))?\}", text)
    if not found:
        return text
    return {"Fn::GetAtt": [found[1], found[2]]} if found[2] else {"Ref": found[1]}


def is_there(metric: Metric) -> bool:
    """Whether the stack has what the dimensions of a metric name."""
    namespace, _, dimensions = metric
    match namespace, dimensions:
        case "AWS/SQS", {"QueueName": {"Fn::GetAtt": [name, "QueueName"]}, **others}:
            return name in QUEUES and not others
        case "AWS/Lambda", {"FunctionName": {"Ref": name}, **others}:
            return name in FUNCTIONS and not others
        case "AWS/ApiGateway", {"ApiName": name, "Stage": stage, **others}:
            return (name, stage) == (API["Name"], API["StageName"]) and not others
        case "AWS/DynamoDB", {"TableName": {"Ref": name}, **others}:
            indexes = [index["IndexName"] for index in TABLES[name].get("GlobalSecondaryIndexes", ())]
            return others in [{}, *({"GlobalSecondaryIndexName": index} for index in indexes)]
        case "Rollcall", _:
            return bool(dimensions == {"service": STACK})
    return False


def emitted(but: str = "") -> dict[str, set[str]]:
    """The units of each metric that the code emits, read from its source, leaving out what one function adds."""
    found: dict[str, set[str]] = {}
    sources = [*(ROOT / "layers/common").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) == but:
                continue
            if ast.unparse(node.func) == "add_count":
                name, unit = node.args[1], "Count"
            # Those for Prometheus are added to families.
            elif ast.unparse(node.func).endswith("metrics.add_metric") and path.name != "telemetry.py":
                assert isinstance(node.args[1], ast.Attribute)
                name, unit = node.args[0], node.args[1].attr
            else:
                continue
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno} computes the name of a metric"
            found.setdefault(str(name.value), set()).add(unit)
    return found


EMITTED = emitted()


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_tells_the_topic_if_there_is_one_when_it_begins_and_ends(alarm: str) -> None:
    told = {"Fn::If": ["Notified", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}

    assert ALARMS[alarm]["AlarmActions"] == ALARMS[alarm]["OKActions"] == told
    assert TEMPLATE["Conditions"]["Notified"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "AlarmTopicArn"}, ""]}]}
    assert PARAMETERS["AlarmTopicArn"]["Default"] == ""


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_says_what_it_means_and_what_to_do_first(alarm: str) -> None:
    meaning, _, first = ALARMS[alarm]["AlarmDescription"].partition(" First: ")

    assert meaning.endswith(".")
    assert first.endswith(".")
    # All that CloudWatch takes.
    assert len(ALARMS[alarm]["AlarmDescription"]) <= 1024


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_is_not_raised_by_the_lack_of_traffic(alarm: str) -> None:
    assert ALARMS[alarm]["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_watches_what_is_there(alarm: str) -> None:
    assert [metric for metric in metrics_of(alarm) if not is_there(metric)] == []


@pytest.mark.parametrize("alarm", [name for name in ALARMS if "Metrics" in ALARMS[name]])
def test_an_alarm_is_computed_from_the_metrics_that_it_reads(alarm: str) -> None:
    (expression,) = [query["Expression"] for query in ALARMS[alarm]["Metrics"] if "Expression" in query]
    inputs = {query["Id"] for query in ALARMS[alarm]["Metrics"] if query.get("ReturnData") is False}
    assert len(inputs) == len(ALARMS[alarm]["Metrics"]) - 1
    assert set(re.findall(r"\b[a-z]\w*", expression)) <= inputs


def test_all_alarms_are_there_unless_told_otherwise() -> None:
    assert ALARMS
    assert {RESOURCES[name].get("Condition") for name in ALARMS} == {"WithAlarms"}
    assert TEMPLATE["Conditions"]["WithAlarms"] == {"Fn::Equals": [{"Ref": "Alarms"}, "true"]}
    assert PARAMETERS["Alarms"]["Default"] == "true"


def test_whatever_is_given_up_raises_an_alarm() -> None:
    watched = {
        dimensions["QueueName"]["Fn::GetAtt"][0]
        for alarm in ALARMS
        for _, name, dimensions in metrics_of(alarm)
        if name == "ApproximateNumberOfMessagesVisible" and ALARMS[alarm]["Threshold"] == 0
    }

    assert watched == failure_queues()


def test_the_throttling_of_any_function_raises_an_alarm() -> None:
    watched = metrics_of("ThrottlesAlarm") + metrics_of("PageThrottlesAlarm")

    assert {name for _, name, _ in watched} == {"Throttles"}
    assert sorted(dimensions["FunctionName"]["Ref"] for _, _, dimensions in watched) == sorted(FUNCTIONS)
    assert ALARMS["ThrottlesAlarm"]["Metrics"][0]["Expression"] == "SUM(METRICS())"
    for alarm in ("ThrottlesAlarm", "PageThrottlesAlarm"):
        assert (ALARMS[alarm]["ComparisonOperator"], ALARMS[alarm]["Threshold"]) == ("GreaterThanThreshold", 0)
    # All that CloudWatch takes in one alarm.
    assert len(ALARMS["ThrottlesAlarm"]["Metrics"]) <= 10


def test_messages_that_wait_too_long_raise_an_alarm_at_the_age_of_the_parameter() -> None:
    ((_, name, dimensions),) = metrics_of("OldestMessageAlarm")

    assert (name, dimensions["QueueName"]["Fn::GetAtt"][0]) == ("ApproximateAgeOfOldestMessage", "BatchQueue")
    assert ALARMS["OldestMessageAlarm"]["Threshold"] == {"Ref": "OldestMessageAlarmSeconds"}
    # A queue that waits to fill an invocation is not late.
    assert PARAMETERS["OldestMessageAlarmSeconds"]["Default"] >= PARAMETERS["BatchWindow"]["MaxValue"]


@pytest.mark.parametrize(
    ("requests", "errors", "alarming"),
    [(19, 19, False), (20, 1, True), (20, 0, False), (1_000, 10, False), (1_000, 11, True)],
)
def test_more_than_one_failure_in_a_hundred_requests_raises_an_alarm(
    requests: int, errors: int, alarming: bool
) -> None:
    alarm = ALARMS["ApiErrorsAlarm"]
    names = {"requests": requests, "errors": errors, "IF": lambda condition, yes, no: yes if condition else no}
    share = eval(alarm["Metrics"][0]["Expression"], {}, names)  # noqa: S307

    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert (share > alarm["Threshold"]) is alarming
    watched = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"][1:]}
    assert {key: (stat["Metric"]["MetricName"], stat["Stat"], stat["Period"]) for key, stat in watched.items()} == {
        "requests": ("Count", "Sum", 300),
        "errors": ("5XXError", "Sum", 300),
    }


def test_the_dashboard_shows_what_is_there() -> None:
    metrics = list(shown())

    assert metrics
    assert [metric for metric in metrics if not is_there(metric)] == []


def test_the_dashboard_names_only_metrics_that_the_code_emits() -> None:
    own = {name for namespace, name, _ in shown() if namespace == "Rollcall"}

    assert own
    assert own <= EMITTED.keys()


@pytest.mark.parametrize(
    ("namespace", "names"),
    [
        ("AWS/ApiGateway", {"Count", "5XXError", "Latency"}),
        ("Rollcall", {"EventsAccepted", "EventsRejected", "EventsInserted", "EventsDuplicates", "EventsConflicts"}),
        ("Rollcall", {"BatchAge", "ClaimRetries", "TransactionConflicts"}),
        ("AWS/SQS", {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"}),
        ("AWS/Lambda", {"Errors", "Throttles", "Duration"}),
        ("AWS/DynamoDB", {"WriteThrottleEvents", "ReadThrottleEvents", "ConsumedWriteCapacityUnits"}),
    ],
)
def test_the_dashboard_shows_the_way_of_the_events(namespace: str, names: set[str]) -> None:
    assert names <= {name for shown_namespace, name, _ in shown() if shown_namespace == namespace}


def test_every_queue_of_what_was_given_up_is_on_the_dashboard() -> None:
    queues = {
        dimensions["QueueName"]["Fn::GetAtt"][0] for namespace, _, dimensions in shown() if namespace == "AWS/SQS"
    }

    assert failure_queues() <= queues


def test_there_is_a_dashboard_unless_it_is_not_wanted() -> None:
    (name,) = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::CloudWatch::Dashboard"]

    assert RESOURCES[name]["Condition"] == "WithDashboard"
    assert TEMPLATE["Conditions"]["WithDashboard"] == {"Fn::Equals": [{"Ref": "Dashboard"}, "true"]}
    assert PARAMETERS["Dashboard"]["Default"] == "true"


def test_every_count_is_left_out_where_it_is_zero() -> None:
    counting = {name for name, units in emitted(but="add_count").items() if "Count" in units}

    assert len(EMITTED) > 10
    assert not counting


@pytest.mark.parametrize("metric", EMITTED)
def test_a_metric_has_one_unit(metric: str) -> None:
    assert EMITTED[metric] == {"Seconds" if metric == "BatchAge" else "Count"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_stacks_of_an_account_are_told_apart_by_the_dimension_of_their_metrics(function: str) -> None:
    variables = of_function(function)["Environment"]["Variables"]

    assert (variables["POWERTOOLS_METRICS_NAMESPACE"], variables["POWERTOOLS_SERVICE_NAME"]) == ("Rollcall", STACK)


def test_nothing_is_traced_unless_it_is_wanted() -> None:
    assert PARAMETERS["Tracing"]["Default"] == "PassThrough"
    assert TEMPLATE["Conditions"]["Traced"] == {"Fn::Equals": [{"Ref": "Tracing"}, "Active"]}
    assert API["TracingEnabled"] == {"Fn::If": ["Traced", True, False]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_is_traced_where_it_is_wanted_and_its_role_allows_it_from_the_start(function: str) -> None:
    role = ROLES[FUNCTIONS[function]["Role"]["Fn::GetAtt"][0]]
    conditional = [node["Fn::If"] for node in nodes(role) if isinstance(node, dict) and "Fn::If" in node]

    assert of_function(function)["Tracing"] == {"Ref": "Tracing"}
    # Lambda refuses a traced function whose role lacks these, and waits for no policy that is attached later.
    (traced,) = conditional
    condition, statement, otherwise = traced
    assert (condition, otherwise) == ("Traced", {"Ref": "AWS::NoValue"})
    assert statement["Action"] == ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
    assert sum(isinstance(node, str) and node.startswith("xray:") for node in nodes(role)) == 2
    assert TEMPLATE["Conditions"]["Traced"] == {"Fn::Equals": [{"Ref": "Tracing"}, "Active"]}
