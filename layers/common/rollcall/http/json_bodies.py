"""The JSON bodies of routes that take one object. A route reads its body after it knows the caller, and as strictly as
events are read.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from rollcall.core.characters import shown
from rollcall.http.problems import Refused, in_a_sentence
from rollcall.intake.bodies import GZIP, UnreadableBody, expand, parse_document
from rollcall.intake.codings import unread_coding

MAX_BYTES = 16 * 1024

Scope = Literal["ingest", "read", "admin", "import"]

_M = TypeVar("_M", bound=BaseModel)


class Body(BaseModel):
    """The fields of a body. Other fields and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def body_bytes(request: Request) -> bytes:
    """The body as it was sent; raises `Refused` for one in a coding that no route reads."""
    body = await request.body()
    if coding := unread_coding(", ".join(request.headers.getlist("content-encoding")), body):
        raise _not_read(coding, "plain or gzip", "gzip, identity")
    return body


def expanded(body: bytes) -> bytes:
    """A body, expanded if it is gzip, as `expand` does; raises `Refused` too, for one in a coding within the gzip."""
    content = expand(body)
    if body.startswith(GZIP) and (coding := "gzip" if content.startswith(GZIP) else unread_coding("", content)):
        raise _not_read(f"{coding} within gzip", "plain or gzip", "gzip, identity")
    return content


async def _plain_body(body: Annotated[bytes, Depends(body_bytes)]) -> bytes:
    if body.startswith(GZIP):
        raise _not_read("gzip", "plain", "identity")
    return body


def _not_read(coding: str, taken: str, codings: str) -> Refused:
    message = f"the body is in the encoding {shown(coding)}; it has to be {taken}"
    return Refused(415, "invalid_encoding", message, parameter="Content-Encoding", codings=codings)


def json_body(model: type[_M]) -> Callable[[bytes], Coroutine[Any, Any, _M]]:
    """A dependency that reads the body as a model; raises `Refused` with the field and the reason."""

    async def read(body: Annotated[bytes, Depends(_plain_body)]) -> _M:
        if len(body) > MAX_BYTES:
            raise Refused(413, "too_large", f"the body has {len(body)} bytes, {MAX_BYTES} are allowed")
        try:
            return model.model_validate(parse_document(body))
        except UnreadableBody as error:
            raise Refused(400, "invalid_json", str(error)) from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            field = shown(str(first["loc"][0])) if first["loc"] else "body"
            raise Refused(422, "invalid_field", f"{field}: {in_a_sentence(first['msg'])}", parameter=field) from None

    return read


def described(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI description of a body."""
    content = {"application/json": {"schema": model.model_json_schema(), "example": example}}
    return {"requestBody": {"required": True, "content": content}}
