"""What every answer of `/stats` says of itself, and how it is asked for."""

from contextlib import nullcontext
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from rollcall.access.gate import Principal
from rollcall.core.projects import Project
from rollcall.http.security import one_of_few
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.question import Answer, ArchiveQuestion, Definition, Question, Store, Told


class Explained(BaseModel):
    """What every answer says of itself."""

    model_config = ConfigDict(populate_by_name=True)

    definition: Definition = Field(description="What the numbers mean: a chapter of docs/numbers.md, by its anchor")
    as_of: str = Field(description="Every event that was counted by this time is in the answer")
    from_store: Store = Field(
        description="`counters` of days, `day-users`, the users of days, or the `archive`, as for a segment"
    )


class ProjectAnswer(Explained):
    """What all answers about one project have."""

    timezone: str
    segment: list[str] | None = None
    """The conditions of the segment; absent where the answer is about all events."""


class RangeAnswer(ProjectAnswer):
    """What all answers about a range of days have."""

    first: str = Field(alias="from")
    last: str = Field(alias="to")


def explanation(question: ArchiveQuestion[Any], told: Told[Any]) -> dict[str, Any]:
    """The fields of `Explained`."""
    return {"definition": question.definition, "as_of": told.as_of, "from_store": told.store}


def ask(
    request: Request,
    caller: Principal,
    project: Project,
    question: ArchiveQuestion[Answer],
    segment: list[str],
    *,
    long: bool = True,
) -> tuple[dict[str, Any], Answer]:
    """What an answer about a project says of itself and of the segment, and the answer.

    `long` says whether the counters may take long, so that the caller needs a place among the few.
    """
    archived = bool(segment) or not isinstance(question, Question)
    # The function that answers from the archive is busy as well.
    few = one_of_few(request, caller, functions=2 if archived else 1) if long or archived else nullcontext()
    with few:
        told = service(request, Asking).ask(project, question, segment)
    return explanation(question, told) | ({"segment": segment} if segment else {}), told.answer
