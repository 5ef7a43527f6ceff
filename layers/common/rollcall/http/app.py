"""Makes the FastAPI app of a function, with its own routes only, and serves it behind API Gateway."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aws_lambda_powertools import Logger
from fastapi import APIRouter, Depends, FastAPI
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from rollcall.access.gate import Gate
from rollcall.http import problems
from rollcall.http.headers import with_headers
from rollcall.http.paths import Paths
from rollcall.http.security import parameters_of_anybody
from rollcall.http.services import provide, service


def create_app(*routers: APIRouter, logger: Logger, gate: Gate, services: Iterable[object] = ()) -> FastAPI:
    """An app with some routes. The routes ask for the logger, the gate and the other `services` by their classes."""
    # FastAPI would describe the routes of this function alone. `routes/docs.py` describes those of all functions.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    problems.install(app, logger)
    for router in routers:
        app.include_router(router, dependencies=[Depends(parameters_of_anybody)])
    app.state.services = {}
    provide(app, logger, gate, *services)
    return app


def serve(
    app: FastAPI, cors_origins: Sequence[str], prefix: str | None = None
) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """The app as a Lambda handler, which logs the route and the status of each request.

    Pages of the `cors_origins` may call it from browsers. With a `prefix`, which may be empty, it takes requests below
    the prefix and below `/v1` too, as `Paths` has it.
    """
    # The app logs its errors itself, in the form of all logs.
    logging.getLogger("mangum").setLevel(logging.CRITICAL)
    # A type that Mangum does not know as text would be sent as base64.
    text = [*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE]
    paths = Paths(app, prefix)
    mangum = Mangum(with_headers(paths, cors_origins), lifespan="off", text_mime_types=text)  # type: ignore[arg-type]

    def answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
        # A preflight is answered before any route is looked for.
        paths.route = None
        answered = mangum(event, context)
        # The route and not the path, which names batches and keys. The principal is among the logger's keys.
        request = {"method": event.get("httpMethod"), "route": paths.route or event.get("resource")}
        service(app, Logger).info("request answered", extra={**request, "status": answered["statusCode"]})
        return answered

    return answer
