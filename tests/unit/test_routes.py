"""How the routes of the API are written."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from rollcall.http import routes
from rollcall.http.security import parameters_of_anybody

MODULES = [module.name for module in pkgutil.iter_modules(routes.__path__)]


def called(dependant: Dependant) -> Iterator[object]:
    """A route and all that it depends on."""
    yield dependant.call
    for each in dependant.dependencies:
        yield from called(each)


def needs_a_thread(call: object) -> bool:
    """Whether FastAPI runs it in a thread."""
    return not (inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)))  # noqa: B004


@pytest.mark.parametrize("name", MODULES)
def test_no_route_and_nothing_that_it_depends_on_takes_a_thread(name: str) -> None:
    router = importlib.import_module(f"{routes.__name__}.{name}").router
    found = [call for route in router.routes if isinstance(route, APIRoute) for call in called(route.dependant)]

    assert found
    assert [call for call in (*found, parameters_of_anybody) if needs_a_thread(call)] == []
