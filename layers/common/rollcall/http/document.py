"""The OpenAPI document of the whole API: the routes of all functions."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from rollcall.http.parameters import takes_any
from rollcall.http.problems import Problem, problem_responses
from rollcall.http.routes import (
    accounts,
    actives,
    arrivals,
    auth,
    batches,
    events,
    health,
    imports,
    keys,
    ledger,
    live,
    meta,
    metrics,
    projects,
    rejects,
    retention,
    sessions,
    shares,
    stats,
)


@cache
def describe() -> dict[str, Any]:
    """The OpenAPI document as JSON."""
    whole = FastAPI(openapi_url=None)
    routers = (
        events.router,
        imports.router,
        arrivals.router,
        batches.router,
        rejects.router,
        stats.router,
        retention.router,
        actives.router,
        meta.router,
        live.router,
        auth.router,
        sessions.router,
        accounts.router,
        keys.router,
        shares.router,
        ledger.router,
        projects.router,
        health.router,
        metrics.router,
    )
    for part in routers:
        whole.include_router(part)
    document = get_openapi(
        title="Rollcall",
        version="1",
        summary="Event ingestion and product analytics",
        routes=whole.routes,
        servers=[{"url": "./"}],
    )
    # FastAPI's own form of a 422, for parameters that any text is good for.
    for schema in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(schema, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                impossible = operation["responses"]["422"]["content"]["application/json"]["schema"]
                if impossible.get("$ref", "").endswith("/HTTPValidationError"):
                    del operation["responses"]["422"]
    # Each route refuses parameters that it does not have, unless it takes any.
    for route in (route for part in routers for route in part.routes):
        if isinstance(route, APIRoute) and not takes_any(route):
            for method in route.methods or ():
                responses = document["paths"][route.path][method.lower()]["responses"]
                responses.setdefault("422", problem_responses(422)[422])
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    return document
