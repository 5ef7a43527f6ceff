"""The query parameter `segment`. A question with a segment is answered from the archive."""

from typing import Annotated

from fastapi import Depends, Query, Request

from rollcall.http.problems import Refused
from rollcall.http.ranges import refuse
from rollcall.http.services import service
from rollcall.questions.asking import Asking
from rollcall.questions.segment import MAX_CONDITIONS, BadSegment, parse_segment

# The statuses that only a question with a segment is answered with.
STATUSES = (409, 503, 504)


async def segment(
    request: Request,
    segment: Annotated[
        list[str] | None,
        Query(
            description="Ask of these events alone, as if there were no others: `event_type:VALUE` or "
            f"`properties.NAME:VALUE`. Up to {MAX_CONDITIONS} times, all to hold on the same event. Answered from the "
            "archive, with `as_of`; 409 where the stack has none.",
            examples=[["event_type:purchase"], ["properties.country:UA"]],
            json_schema_extra={"maxItems": MAX_CONDITIONS},
        ),
    ] = None,
) -> list[str]:
    """The conditions of the segment. Without conditions the question is about all events. Raises `Refused`."""
    conditions = segment or []
    if len(conditions) > MAX_CONDITIONS:
        raise refuse("segment", f"comes {len(conditions)} times, {MAX_CONDITIONS} are allowed")
    try:
        for condition in conditions:
            parse_segment(condition)
    except BadSegment as error:
        raise refuse("segment", str(error)) from None
    if conditions:
        need_archive(request, "segments", parameter="segment")
    return conditions


def need_archive(request: Request, what: str, parameter: str | None = None) -> None:
    """Raise `Refused` where the stack keeps no archive, from which something is answered."""
    if not service(request, Asking).knows_segments:
        message = f"{what} are answered from the archive, and this stack keeps none: its parameter Archive is false"
        raise Refused(409, "no_archive", message, parameter=parameter)


Segment = Annotated[list[str], Depends(segment)]
