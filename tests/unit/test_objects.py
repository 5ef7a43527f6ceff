"""Objects are read to their end although connections break."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.exceptions import IncompleteRead, ProtocolError, SSLError
from urllib3.exceptions import ReadTimeoutError as SocketTimeout

from rollcall.stack.objects import RESUMES, Gone, is_there, read_object

CONTENT = bytes(range(200))


class Connection(io.BytesIO):
    """What urllib3 hands on. After its bytes it breaks, unless it was closed in good order."""

    def __init__(self, content: bytes, error: Callable[[], Exception] | None) -> None:
        super().__init__(content)
        self._error = error

    def read(self, amount: int | None = None, /) -> bytes:
        found = super().read(amount)
        if not found and amount and self._error:
            raise self._error()
        return found


# How urllib3 says that a connection broke; None where the bytes just end.
BREAKS: dict[str, Callable[[], Exception] | None] = {
    "reset": lambda: ProtocolError("Connection broken"),
    "short": lambda: IncompleteRead(1, 2),
    "timeout": lambda: SocketTimeout(cast(Any, None), "https://s3", "Read timed out."),
    "tls": lambda: SSLError("bad record"),
    "end": None,
}


@dataclass
class BreakingS3:
    """An object, and how many bytes each answer brings before it breaks; later answers are whole."""

    content: bytes
    breaks: list[int]
    how: Callable[[], Exception] | None = BREAKS["reset"]
    etag: str = '"1"'
    asked: list[dict[str, Any]] = field(default_factory=list)

    def get_object(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if request.get("IfMatch", self.etag) != self.etag:
            raise ClientError({"Error": {"Code": "PreconditionFailed", "Message": ""}}, "GetObject")
        first, last = 0, len(self.content) - 1
        if "Range" in request:
            first, last = map(int, request["Range"].removeprefix("bytes=").split("-"))
            assert first <= last < len(self.content)
        part = self.content[first : last + 1]
        broken = bool(self.breaks)
        stream = Connection(part[: self.breaks.pop(0)], self.how) if broken else Connection(part, None)
        return {"Body": StreamingBody(stream, len(part)), "ETag": self.etag, "ContentLength": len(part)}


def read(s3: BreakingS3, **wanted: Any) -> bytes:
    pauses: list[float] = []
    reading = read_object(cast(Any, s3), "uploads", "key", sleep=pauses.append, **{"chunk_bytes": 7, **wanted})
    return b"".join(reading.chunks)


@pytest.mark.parametrize("how", BREAKS.values(), ids=BREAKS)
def test_a_reading_goes_on_where_it_broke_in_the_same_version(how: Callable[[], Exception] | None) -> None:
    s3 = BreakingS3(CONTENT, [14, 70], how)
    assert read(s3) == CONTENT
    assert [request.get("Range") for request in s3.asked] == [None, "bytes=14-199", "bytes=84-199"]
    assert [request.get("IfMatch") for request in s3.asked] == [None, '"1"', '"1"']


@settings(max_examples=100, deadline=None)
@given(
    st.binary(min_size=1, max_size=60),
    st.lists(st.integers(1, 60), max_size=12),
    st.integers(1, 20),
    st.sampled_from(sorted(BREAKS)),
)
def test_the_bytes_are_the_same_wherever_the_connection_breaks(
    content: bytes, breaks: list[int], chunk_bytes: int, how: str
) -> None:
    assert read(BreakingS3(content, breaks, BREAKS[how]), chunk_bytes=chunk_bytes) == content


def test_a_part_of_an_object_is_read_to_its_own_end() -> None:
    s3 = BreakingS3(CONTENT, [30])
    assert read(s3, start=100, end=180, etag='"1"') == CONTENT[100:180]
    assert [request["Range"] for request in s3.asked] == ["bytes=100-179", "bytes=130-179"]


def test_an_object_of_nothing_is_read() -> None:
    assert read(BreakingS3(b"", [])) == b""


@pytest.mark.parametrize(
    ("how", "error"),
    [("reset", ResponseStreamingError), ("timeout", ReadTimeoutError), ("tls", SSLError), ("end", IncompleteReadError)],
)
def test_a_reading_that_comes_no_further_fails_with_the_last_error(how: str, error: type[Exception]) -> None:
    s3 = BreakingS3(CONTENT, [10, *[0] * 50], BREAKS[how])
    with pytest.raises(error):
        read(s3)
    assert len(s3.asked) == 1 + RESUMES


def test_each_byte_that_comes_gives_a_reading_its_tries_back() -> None:
    s3 = BreakingS3(CONTENT, [*[0] * (RESUMES - 1), 1] * 4)
    assert read(s3) == CONTENT


def test_a_version_that_was_replaced_while_it_was_read_is_not_mixed_with_the_new_one() -> None:
    s3 = BreakingS3(CONTENT, [50])

    def chunks() -> Iterator[bytes]:
        reading = read_object(cast(Any, s3), "uploads", "key", chunk_bytes=10, sleep=lambda _: None)
        for chunk in reading.chunks:
            s3.etag = '"2"'
            yield chunk

    found: list[bytes] = []
    with pytest.raises(Gone):
        found.extend(chunks())
    assert s3.asked[-1]["IfMatch"] == '"1"'


def test_a_refusal_is_no_broken_connection() -> None:
    class Refusing(BreakingS3):
        def get_object(self, **request: Any) -> dict[str, Any]:
            self.asked.append(request)
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": ""}}, "GetObject")

    s3 = Refusing(CONTENT, [])
    with pytest.raises(ClientError, match="AccessDenied"):
        read(s3)
    assert len(s3.asked) == 1


def test_an_object_that_is_forbidden_is_not_taken_for_one_that_is_gone() -> None:
    s3 = Mock()
    assert is_there(s3, "uploads", "key")
    s3.head_object.side_effect = ClientError({"Error": {"Code": "404"}}, "HeadObject")
    assert not is_there(s3, "uploads", "key")
    s3.head_object.side_effect = ClientError({"Error": {"Code": "403"}}, "HeadObject")
    with pytest.raises(ClientError, match="403"):
        is_there(s3, "uploads", "key")
