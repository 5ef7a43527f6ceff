"""Asks for bundling as batches come, so that no schedule has to run for it while none do."""

import json
import random
from typing import TYPE_CHECKING, Any

from rollcall.core.projects import DEFAULT, Project

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient


# A consumer asks once in so many batches.
EVERY_BATCHES = 64
_BUNDLE = "bundle"
_PROJECT = "project"


def asks_to_bundle(event: dict[str, Any]) -> Project | None:
    """The project to bundle, if the function that compacts was invoked by a `Backlog`; None if by its schedule."""
    return Project(event.get(_PROJECT, DEFAULT.name)) if event.get(_BUNDLE) is True else None


class Backlog:
    """Invokes the function that compacts, to bundle, once in `EVERY_BATCHES` batches of all projects together.

    It asks for the project of the batch at which the turn comes, so each project as often as its share of the batches.

    The first time comes at random, so that a consumer that ends early asks as often for its batches as any other. What
    the batches hold has no say in it.
    """

    def __init__(self, client: "LambdaClient", function: str) -> None:
        self._client = client
        self._function = function
        self._left = random.randint(1, EVERY_BATCHES)  # noqa: S311

    def grew(self, project: Project) -> None:
        """A batch of a project was counted. Does not wait for the bundling. Raises botocore's errors."""
        self._left -= 1
        if not self._left:
            self._left = EVERY_BATCHES
            named = {} if project == DEFAULT else {_PROJECT: project.name}
            asked = json.dumps({_BUNDLE: True, **named})
            self._client.invoke(FunctionName=self._function, InvocationType="Event", Payload=asked)
