"""Query parameters that a route does not have, or has once only, and numbers that are not in digits: all refused."""

import re
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from rollcall.core.characters import shown
from rollcall.http.ranges import refuse

_DIGITS = re.compile(r"-?\d+", re.ASCII)
# What asks for these may add parameters of its own, such as one that gets around a cache.
_ANY_PARAMETERS = frozenset({"/health", "/healthz"})
# SDKs of other services send parameters that say nothing here.
ANY_PARAMETERS_TAG = "sdks"


def check_parameters(request: Request) -> None:
    """Refuse a query with a parameter that the route does not have, or that comes more often than it may.

    A whole number has to be in digits: pydantic would read `1_0` as 10, and `5.0` as 5.
    """
    sent = request.query_params
    if not sent:
        return
    route: APIRoute = request.scope["route"]
    if takes_any(route):
        return
    known = dict(_parameters(route.dependant))
    for name, times in Counter(name for name, _ in sent.multi_items()).items():
        if name not in known:
            alike = get_close_matches(name[:100], known, 1)
            hint = f"; {alike[0]} is one" if alike else ""
            raise refuse(shown(name) or "an empty name", f"is no parameter of this route{hint}")
        if times > 1 and list not in known[name]:
            raise refuse(name, f"comes {times} times, 1 is allowed")
        if int in known[name] and not _DIGITS.fullmatch(sent[name]):
            raise refuse(name, "has to be a whole number, written in digits")


def takes_any(route: APIRoute) -> bool:
    """Whether a route passes over parameters that it does not have.

    So do health checks, the routes of other services' SDKs, and what the document leaves out.
    """
    return not route.include_in_schema or route.path in _ANY_PARAMETERS or ANY_PARAMETERS_TAG in route.tags


def _parameters(dependant: Dependant) -> Iterator[tuple[str, set[Any]]]:
    """The names of a route's query parameters, each with the types that it may have."""
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        yield field.alias, {get_origin(each) or each for each in (annotation, *get_args(annotation))}
    for each in dependant.dependencies:
        yield from _parameters(each)
