"""Requests that schemathesis makes up for the routes of SDKs: none of them is a defect."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.openapi.utils import get_openapi
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    CoveragePhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import status_code_conformance

from rollcall.http.routes import dialects
from tests.dialects import KEY, Door, door

ANYTHING: dict[str, Any] = {}
TIME = {"type": ["string", "number", "null", "object"]}
FIELDS = (
    *("properties", "event_properties", "traits", "context", "options", "$set", "data"),
    *("event", "event_type", "userId", "user_id", "distinct_id", "uid", "subject"),
    *("messageId", "uuid", "insert_id", "eid", "id", "source", "ue_px", "ue_pr"),
)
# The fields of all dialects.
EVENT = {
    "type": "object",
    "properties": {
        "type": {"enum": ["track", "page", "identify", "alias", 7, None]},
        "e": {"enum": ["se", "ue", "pv", "pp", 7, None]},
        "specversion": {"enum": ["1.0", 1, None]},
        **dict.fromkeys(("timestamp", "time", "dtm", "ttm", "stm"), TIME),
        **dict.fromkeys(FIELDS, ANYTHING),
    },
}
EVENTS = {"type": "array", "items": EVENT, "maxItems": 3}
BODY = {
    "anyOf": [
        {"type": "object", "properties": {name: EVENTS}, "required": [name], "additionalProperties": {}}
        for name in ("batch", "events", "data")
    ]
    + [EVENT, EVENTS]
}


def document() -> Any:
    """The routes as OpenAPI, with a body that any dialect may have."""
    described = get_openapi(title="SDKs", version="1", routes=dialects.router.routes)
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            operation["responses"] = {str(status): {"description": ""} for status in (200, 400, 401, 413, 415)}
            operation.pop("security", None)
            operation["parameters"] = [
                {"in": "path", "name": name, "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in re.findall(r"\{(\w+)\}", path)
            ]
            if method == "post":
                operation["requestBody"] = {
                    "content": {
                        "application/json": {"schema": BODY},
                        "application/x-www-form-urlencoded": {
                            "schema": {"type": "object", "properties": {"data": {"type": "string"}}}
                        },
                        "text/plain": {"schema": {"type": "string"}},
                    }
                }
            else:
                operation["parameters"] += [
                    {"in": "query", "name": name, "schema": {"type": "string"}} for name in ("data", "e", "dtm", "uid")
                ]
    return described


described = schemathesis.openapi.from_dict(
    document(),
    config=SchemathesisConfig(
        projects=ProjectsConfig(
            default=ProjectConfig(
                generation=GenerationConfig(with_security_parameters=False),
                phases=PhasesConfig(coverage=CoveragePhaseConfig(enabled=False)),
                request_timeout=60,
            )
        )
    ),
)


@pytest.fixture(scope="module")
def sdk() -> Iterator[Door]:
    with door() as opened:
        yield opened


@pytest.fixture
def statuses() -> Iterator[Counter[int]]:
    found: Counter[int] = Counter()
    yield found
    assert found


@described.parametrize()
@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_made_up_request_is_a_defect(case: schemathesis.Case[Any], sdk: Door, statuses: Counter[int]) -> None:
    answer = case.call(app=sdk.app, headers={"X-API-Key": KEY})

    statuses[answer.status_code] += 1
    if case.method.upper() == case.operation.method.upper():
        case.validate_response(answer, [not_a_server_error, status_code_conformance])
    assert answer.status_code < 500
