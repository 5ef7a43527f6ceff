"""A model of API Gateway: what it does with a request before and after a function, made from template.yaml.

It models a regional REST API whose methods are Lambda proxy integrations. AWS documents the behaviour in the developer
guide of API Gateway, under the headings that the comments here name. Where its documents say nothing, a comment says
so, and docs/deploy.md lists it under what only AWS can tell.
"""

import base64
import gzip
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

from scripts.local.deploy import template
from tests.support import LAMBDA_CONTEXT

# "Quotas for configuring and running a REST API": payload size.
MOST_BYTES = 10 * 1024**2
# What Invoke of Lambda takes and returns: "Lambda quotas", and the text of RequestEntityTooLargeException.
MOST_PAYLOAD_BYTES = 6_291_456
# "Gateway response types": the status that each has unless the API gives it another.
DEFAULT_STATUSES = {
    "API_CONFIGURATION_ERROR": 500,
    "DEFAULT_4XX": 403,
    "DEFAULT_5XX": 500,
    "INTEGRATION_FAILURE": 504,
    "INTEGRATION_TIMEOUT": 504,
    "INVALID_SIGNATURE": 403,
    "MISSING_AUTHENTICATION_TOKEN": 403,
    "REQUEST_TOO_LARGE": 413,
    "THROTTLED": 429,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "WAF_FILTERED": 403,
}
# "Amazon API Gateway important notes": headers of an integration's answer that come to the client under another name.
REMAPPED = frozenset({"content-length", "date", "server", "www-authenticate"})
_DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "deflate": zlib.decompress,
    "gzip": gzip.decompress,
    "identity": bytes,
}
_SIGNATURE = re.compile(r"AWS4-HMAC-SHA256 Credential=\S+, ?SignedHeaders=\S+, ?Signature=\S+")

Handler = Callable[[dict[str, Any], Any], Any]


class FunctionThrottled(Exception):
    """Lambda has no instance left for a function."""


@dataclass(frozen=True)
class Answered:
    """What a client receives. Names of headers are in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class _Refusal(Exception):
    """A request that the gateway answers by itself, with its own message."""

    kind: str
    message: str
    status: int | None = None


@dataclass(frozen=True)
class _Route:
    resource: str
    method: str
    function: str
    pattern: re.Pattern[str]

    @property
    def rank(self) -> tuple[int, int, int]:
        """Routes with fewer variables come before others, and those with a greedy one last, the longest first."""
        return self.resource.count("+}"), self.resource.count("{"), -self.resource.count("/")

    def takes(self, method: str) -> bool:
        """Whether the resource has the method. ANY is all of them."""
        return self.method in (method, "ANY")


class Gateway:
    """The API of template.yaml in front of handlers. `clock` gives seconds, and `load` a function's handler."""

    def __init__(
        self,
        load: Callable[[str], Handler],
        parameters: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._clock = clock
        document = _document()
        known = {name: parameter["Default"] for name, parameter in document["Parameters"].items()}
        unknown = dict(parameters or {}).keys() - known.keys()
        assert not unknown, unknown
        self._values = known | dict(parameters or {})
        self._conditions = document["Conditions"]
        properties = document["Resources"]["Api"]["Properties"]
        self._binary: list[str] = properties["BinaryMediaTypes"]
        self._responses: dict[str, Any] = self._resolved(properties["GatewayResponses"])
        self._least_compressed: int | None = self._resolved(properties.get("MinimumCompressionSize"))
        self._limits = {
            (each["ResourcePath"].removeprefix("/").replace("~1", "/"), each["HttpMethod"]): (
                float(each["ThrottlingRateLimit"]),
                float(each["ThrottlingBurstLimit"]),
            )
            for each in self._resolved(properties["MethodSettings"])
        }
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._routes = sorted(_routes(document["Resources"]), key=lambda route: route.rank)

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Answered:
        """The answer to a request for a path below the stage, with its query. HTTP/2 has names of headers lower."""
        sent = {name.lower(): value for name, value in dict(headers or {}).items()}
        path, _, query = target.partition("?")
        try:
            return self._answered(method, path, query, sent, content)
        except _Refusal as refusal:
            answered = self._refused(refusal, sent)
        return answered if method != "HEAD" else Answered(answered.status_code, answered.headers, b"")

    def _answered(self, method: str, path: str, query: str, headers: dict[str, str], content: bytes) -> Answered:
        if len(content) > MOST_BYTES:
            raise _Refusal("REQUEST_TOO_LARGE", "Request Entity Too Large")
        # "Call an API method with a compressed payload": expanded before the API and its stage are looked up. The
        # documents do not say whether the limit counts what is expanded, nor that the header is taken away.
        content = _expanded(headers.pop("content-encoding", "identity"), content)
        if len(content) > MOST_BYTES:
            raise _Refusal("REQUEST_TOO_LARGE", "Request Entity Too Large")
        route, variables = self._route(method, path, headers)
        self._take_token(route)
        event = self._event(route, variables, method, path, query, headers, content)
        if len(json.dumps(event).encode()) > MOST_PAYLOAD_BYTES:
            raise _Refusal("REQUEST_TOO_LARGE", "Request Too Long")
        return self._compressed(headers, self._integrated(route, event, headers))

    def _route(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[_Route, dict[str, str]]:
        # A resource without the method leaves the request to a greedy one that has it. A slash at the end of the path
        # is of no account, as SAM, Chalice and Powertools found; AWS's documents do not say so. A function sees it.
        resource = path.removesuffix("/") or path
        for route in self._routes:
            matched = route.pattern.fullmatch(resource)
            if matched and route.takes(method):
                return route, {name: unquote(value) for name, value in matched.groupdict().items()}
        authorization = headers.get("authorization")
        if authorization is None:
            raise _Refusal("MISSING_AUTHENTICATION_TOKEN", "Missing Authentication Token")
        if _SIGNATURE.fullmatch(authorization):
            raise _Refusal("INVALID_SIGNATURE", "The request signature we calculated does not match")
        # Known from reports alone: IncompleteSignatureException, which no type of gateway response is named after.
        scheme, _, token = authorization.partition(" ")
        raise _Refusal(
            "DEFAULT_4XX",
            f"'{token or scheme}' not a valid key=value pair (missing equal-sign) in Authorization header: "
            f"'{authorization}'.",
        )

    def _take_token(self, route: _Route) -> None:
        """A bucket for each method of a resource, ANY being one: "Throttle requests to your REST APIs"."""
        place = (route.resource, route.method)
        rate, burst = self._limits.get(place, self._limits["*", "*"])
        now = self._clock()
        tokens, since = self._buckets.get(place, (burst, now))
        tokens = min(burst, tokens + (now - since) * rate)
        if tokens < 1:
            raise _Refusal("THROTTLED", "Too Many Requests")
        self._buckets[place] = (tokens - 1, now)

    def _event(
        self,
        route: _Route,
        variables: dict[str, str],
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        content: bytes,
    ) -> dict[str, Any]:
        """What a function is invoked with: "Input format of a Lambda function for proxy integration"."""
        # "Content type conversions": a body of a binary media type is base64.
        assert self._binary == ["*/*"]
        values = parse_qs(query, keep_blank_values=True)
        return {
            "resource": route.resource,
            "path": path,
            "httpMethod": method,
            "headers": headers,
            "multiValueHeaders": {name: [value] for name, value in headers.items()},
            "queryStringParameters": {name: several[-1] for name, several in values.items()} or None,
            "multiValueQueryStringParameters": values or None,
            "pathParameters": variables or None,
            "stageVariables": None,
            "requestContext": {
                "httpMethod": method,
                "identity": {"sourceIp": "192.0.2.1", "userAgent": headers.get("user-agent")},
                "path": f"/v1{path}",
                "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
                "resourcePath": route.resource,
                "stage": "v1",
            },
            "body": base64.b64encode(content).decode() if content else None,
            "isBase64Encoded": bool(content),
        }

    def _integrated(self, route: _Route, event: dict[str, Any], headers: Mapping[str, str]) -> Answered:
        try:
            answer = self._load(route.function)(event, LAMBDA_CONTEXT)
        except FunctionThrottled:
            # Reported by AWS's staff and by users; the documents name no type for it.
            raise _Refusal("INTEGRATION_FAILURE", "Internal server error") from None
        except TimeoutError:
            raise _Refusal("INTEGRATION_TIMEOUT", "Endpoint request timed out") from None
        except Exception:
            raise _Refusal("DEFAULT_5XX", "Internal server error", 502) from None
        # "Handle Lambda errors in API Gateway": an answer in another form is a 502.
        if not isinstance(answer, dict) or not isinstance(answer.get("statusCode"), int):
            raise _Refusal("DEFAULT_5XX", "Internal server error", 502)
        if len(json.dumps(answer).encode()) > MOST_PAYLOAD_BYTES:
            raise _Refusal("DEFAULT_5XX", "Internal server error", 502)
        body = answer.get("body") or ""
        content = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        found = {name.lower(): [value] for name, value in (answer.get("headers") or {}).items()}
        found |= {name.lower(): values for name, values in (answer.get("multiValueHeaders") or {}).items()}
        sent = {
            f"x-amzn-remapped-{name}" if name in REMAPPED else name: ", ".join(values) for name, values in found.items()
        }
        return Answered(answer["statusCode"], {"content-type": "application/json", **sent}, content)

    def _compressed(self, headers: Mapping[str, str], answer: Answered) -> Answered:
        """ "Receive an API response with a compressed payload": for who asks for gzip by its name."""
        accepted = {each.partition(";")[0].strip() for each in headers.get("accept-encoding", "").split(",")}
        if (
            self._least_compressed is None
            or len(answer.content) < self._least_compressed
            or "gzip" not in accepted
            or "content-encoding" in answer.headers
        ):
            return answer
        return Answered(
            answer.status_code, {**answer.headers, "content-encoding": "gzip"}, gzip.compress(answer.content)
        )

    def _refused(self, refusal: _Refusal, headers: Mapping[str, str]) -> Answered:
        """The gateway response of a type, or the default of its class: "Gateway responses for REST APIs"."""
        usual = refusal.status or DEFAULT_STATUSES[refusal.kind]
        response = self._responses.get(refusal.kind) or self._responses.get(f"DEFAULT_{usual // 100}XX") or {}
        body = response.get("ResponseTemplates", {}).get("application/json", '{"message":$context.error.messageString}')
        variables = {
            "$context.error.messageString": json.dumps(refusal.message),
            "$context.error.message": refusal.message,
            "$context.error.responseType": refusal.kind,
        }
        for name, value in variables.items():
            body = body.replace(name, value)
        assert "$" not in body
        sent = {"content-type": "application/json"}
        for name, source in response.get("ResponseParameters", {}).get("Headers", {}).items():
            mapped = _mapped(str(source), headers)
            if mapped is not None:
                sent[name.lower()] = mapped
        return Answered(int(response.get("StatusCode", usual)), sent, body.encode())

    def _resolved(self, value: Any) -> Any:
        """A value of the template, with the parameters and conditions that it depends on."""
        match value:
            case {"Ref": name}:
                return None if name == "AWS::NoValue" else self._values[name]
            case {"Fn::If": [condition, then, otherwise]}:
                return self._resolved(then if self._holds(self._conditions[condition]) else otherwise)
            case dict():
                resolved = {name: self._resolved(inner) for name, inner in value.items()}
                return {name: inner for name, inner in resolved.items() if inner is not None}
            case list():
                return [self._resolved(inner) for inner in value]
        return value

    def _holds(self, condition: Any) -> bool:
        match condition:
            case {"Fn::Equals": [left, right]}:
                return bool(self._resolved(left) == self._resolved(right))
            case {"Fn::Not": [inner]}:
                return not self._holds(inner)
        raise AssertionError(f"the model does not know the condition {condition}")


@cache
def _document() -> dict[str, Any]:
    # Reading it takes longer than most tests.
    return template()


def _routes(resources: Mapping[str, Any]) -> list[_Route]:
    found = []
    for resource in resources.values():
        for event in resource["Properties"].get("Events", {}).values():
            if event["Type"] == "Api":
                path, method = event["Properties"]["Path"], event["Properties"]["Method"].upper()
                text = re.sub(r"\\\{(\w+)(\\\+)?\\\}", _variable, re.escape(path))
                folder = resource["Properties"]["CodeUri"].removeprefix("functions/")
                found.append(_Route(path, method, folder, re.compile(text)))
    return found


def _variable(found: re.Match[str]) -> str:
    return f"(?P<{found[1]}>.+)" if found[2] else f"(?P<{found[1]}>[^/]+)"


def _expanded(coding: str, content: bytes) -> bytes:
    try:
        return _DECODERS[coding.strip().lower()](content)
    except (KeyError, EOFError, OSError, zlib.error):
        raise _Refusal("UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type") from None


def _mapped(source: str, headers: Mapping[str, str]) -> str | None:
    """The value of a header of a gateway response: "Parameter mapping examples", where names of headers have a case."""
    if source.startswith("'"):
        return source.strip("'")
    return headers.get(source.removeprefix("method.request.header."))
