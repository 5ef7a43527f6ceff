"""A request as the dialects take it."""

from fastapi import Request

from rollcall.http.services import service
from rollcall.intake.dialects.dialect import Sent
from rollcall.intake.intake import Intake


def sent_of(request: Request, body: bytes = b"") -> Sent:
    """The request with an expanded body, received now."""
    return Sent(
        method=request.method,
        route=request.scope["route"].path,
        path=request.scope["path"],
        headers=dict(request.headers),
        query=request.url.query,
        body=body,
        received=service(request, Intake).now(),
    )
