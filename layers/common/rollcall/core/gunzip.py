"""Expands gzip piece by piece, in time that does not grow faster than the bytes, however many members they have."""

import re
import zlib
from collections.abc import Iterable, Iterator

# The first bytes of a member to be expanded, and the most at once. Those behind the end of a member are copied.
FIRST_STEP_BYTES = 64
LONGEST_STEP_BYTES = 64 * 1024

_PADDING = re.compile(rb"\0*")


def gunzip(chunks: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    """Expand gzip, member after member, padded with zeros or not; yields pieces of up to `piece_bytes`.

    Raises `zlib.error` where the bytes are damaged, and `EOFError` where they end early. What it yields before does not
    depend on how the bytes are cut into chunks.
    """
    member = None
    step = FIRST_STEP_BYTES
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            if member is None or member.eof:
                padding = _PADDING.match(chunk, position)
                position = padding.end() if padding else position
                if position == len(chunk):
                    break
                member, step = zlib.decompressobj(wbits=31), FIRST_STEP_BYTES
            waiting = chunk[position : position + step]
            position += len(waiting)
            step = min(2 * step, LONGEST_STEP_BYTES)
            while waiting:
                before = member.copy()
                try:
                    piece = member.decompress(waiting, piece_bytes)
                except zlib.error:
                    yield from _before_damage(before, waiting, piece_bytes)
                    raise
                yield piece
                waiting = member.unconsumed_tail
            if member.eof:
                position -= len(member.unused_data)
    if member is None or not member.eof:
        raise EOFError("the gzip stream is cut short")


def _before_damage(member: "zlib._Decompress", waiting: bytes, piece_bytes: int) -> Iterator[bytes]:
    """Expand bytes as far as they are sound. At once, zlib says that they are damaged and gives none of them."""
    for place in range(len(waiting)):
        byte = waiting[place : place + 1]
        while byte:
            try:
                piece = member.decompress(byte, piece_bytes)
            except zlib.error:
                return
            yield piece
            byte = member.unconsumed_tail
