"""Has questions about segments answered by the function that reads the archive."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from botocore.exceptions import ReadTimeoutError

from rollcall.core.projects import DEFAULT, Project
from rollcall.questions.question import Answer, ArchiveQuestion, AsOf, SegmentsFailed, SegmentsSlow
from rollcall.stack import clients
from rollcall.stack.settings import AskSettings

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient


class SegmentClient:
    """Invokes the function, `rollcall.questions.remote_handler.SegmentFunction`."""

    def __init__(self, client: "LambdaClient", function: str) -> None:
        self._client = client
        self._function = function

    def ask(self, project: Project, question: ArchiveQuestion[Answer], segment: Sequence[str]) -> AsOf[Answer]:
        """The answer about a project's events that meet all conditions of a segment.

        Raises `SegmentsFailed`, `SegmentsSlow` and botocore's errors.
        """
        named = {} if project == DEFAULT else {"project": project.name}
        # Among what is asked: a function of an earlier version fails, and does not answer about another project.
        asked = {**asdict(question), **named}
        payload = json.dumps({"question": question.name, "asked": asked, "segment": list(segment)})
        try:
            answer = self._client.invoke(FunctionName=self._function, Payload=payload)
        except ReadTimeoutError as error:
            raise SegmentsSlow from error
        said = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            if "Task timed out" in str(said.get("errorMessage")):
                raise SegmentsSlow
            raise SegmentsFailed(said.get("errorType"))
        return AsOf(said["as_of"], question.decode(said["answer"]))


def build(settings: AskSettings) -> SegmentClient | None:
    """The client of a stack, or None where the stack keeps no archive."""
    if not settings.segments_function:
        return None
    return SegmentClient(clients.later(clients.functions), settings.segments_function)
