"""The services that routes work with. An app has at most one of each class. A route asks for it by the class."""

from typing import Any, TypeVar

from fastapi import FastAPI, Request

_Service = TypeVar("_Service")


def provide(app: FastAPI, *services: object) -> None:
    """Give services to an app. Each one replaces the service that the app had for its class or a base class."""
    for each in services:
        app.state.services |= dict.fromkeys(type(each).__mro__[:-1], each)


def service(of: Request | FastAPI, kind: type[_Service]) -> _Service:
    """The service of a class; raises `KeyError` where the app was composed without it."""
    app = of if isinstance(of, FastAPI) else of.app
    services: dict[type, Any] = app.state.services
    found: _Service = services[kind]
    return found
