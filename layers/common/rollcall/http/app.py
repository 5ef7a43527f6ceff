"""FastAPI apps: one for each function, with its own routes only, behind API Gateway."""

import logging
from typing import Any

from aws_lambda_powertools import Logger
from fastapi import APIRouter, FastAPI
from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from rollcall.http import problems
from rollcall.http.headers import SecurityHeaders


def create_app(*routers: APIRouter, logger: Logger, **services: Any) -> FastAPI:
    """An app of some routes; `services` are what the routes work with, by the names they know."""
    # The documentation is a router of its own: it describes the routes of all functions.
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    problems.install(app, logger)
    for router in routers:
        app.include_router(router)
    app.state.logger = logger
    for name, service in services.items():
        setattr(app.state, name, service)
    return app


def serve(app: FastAPI) -> Mangum:
    """The app as a Lambda handler."""
    # The app logs its errors itself, in the form of all logs.
    logging.getLogger("mangum").setLevel(logging.CRITICAL)
    # A type that Mangum does not know as text would be sent as base64.
    return Mangum(SecurityHeaders(app), lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE])
