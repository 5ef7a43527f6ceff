"""The services that routes work with. An app has at most one of each class, and a route asks for it by the class."""

from typing import Any, TypeVar

from fastapi import FastAPI, Request

_Service = TypeVar("_Service")


def provide(app: FastAPI, *services: object) -> None:
    """Give an app services, each under its class and the bases of it, in place of those it had there."""
    for each in services:
        app.state.services |= dict.fromkeys(type(each).__mro__[:-1], each)


def service(of: Request | FastAPI, kind: type[_Service]) -> _Service:
    """The service of a class; raises `KeyError` where the app was composed without it."""
    app = of if isinstance(of, FastAPI) else of.app
    services: dict[type, Any] = app.state.services
    found: _Service = services[kind]
    return found
