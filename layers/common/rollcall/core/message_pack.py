"""A strict MessagePack reader: without names that are not text, and more values than it is told."""

from typing import Any

import msgpack

from rollcall.core.events import InvalidEvent
from rollcall.core.strict_json import MAX_DEPTH, TooManyValues, unrepeated

# By the first byte of a value, as https://github.com/msgpack/msgpack/blob/master/spec.md has them: the bytes of values
# of one size.
_SIZES = dict.fromkeys((*range(128), *range(192, 196), *range(224, 256)), 1)
_SIZES |= {0xA0 + length: 1 + length for length in range(32)}
_SIZES |= {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_SIZES |= {0xD4 + power: 2 + 2**power for power in range(5)}
# The bytes that tell the length of text, bytes and extensions, and the bytes that an extension has besides.
_LENGTHS = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_LENGTHS |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
# Whether it is an object, and the bytes that tell how many fields or elements it has; none if the first byte does.
_CONTAINERS = {0x80 + count: (True, 0) for count in range(16)} | {0x90 + count: (False, 0) for count in range(16)}
_CONTAINERS |= {0xDC: (False, 2), 0xDD: (False, 4), 0xDE: (True, 2), 0xDF: (True, 4)}


class BadMessagePack(ValueError):
    """The bytes are not one document of MessagePack; the text says why."""


def unpack(packed: bytes, most: int, unicode_errors: str = "strict") -> Any:
    """Read MessagePack; raises `BadMessagePack`, and `TooManyValues` for more than `most` values before it makes any.

    An object that names a field twice, or by something that is not text, is read as an `InvalidEvent`.
    """
    _check_values(packed, most)
    try:
        return msgpack.unpackb(
            packed, strict_map_key=False, unicode_errors=unicode_errors, object_pairs_hook=_unrepeated
        )
    except (msgpack.UnpackException, TypeError, ValueError, RecursionError) as error:
        raise BadMessagePack(str(error)) from None


def _unrepeated(pairs: list[tuple[Any, Any]]) -> object:
    for name, _ in pairs:
        if type(name) is str:
            continue
        if isinstance(name, list | dict):
            raise TypeError("an object or an array names a field")
        # Python hashes numbers without a secret, so that a dict of numbers made to collide takes minutes to fill.
        return InvalidEvent("invalid_field_name", "the name of a field has to be a string")
    return unrepeated(pairs)


def _check_values(packed: bytes, most: int) -> None:
    """Count the values that objects and arrays say they have, whether or not so many follow."""
    position, waiting, values, end = 0, 1, 0, len(packed)
    # What is still to come of each object and array around the one that is read.
    around: list[int] = []
    while position < end:
        while not waiting:
            if not around:
                return
            waiting = around.pop()
        first = packed[position]
        waiting -= 1
        if first in _SIZES:
            position += _SIZES[first]
        elif first in _LENGTHS:
            digits, more = _LENGTHS[first]
            position += 1 + digits
            position += int.from_bytes(packed[position - digits : position]) + more
        else:
            is_map, digits = _CONTAINERS[first]
            position += 1 + digits
            count = int.from_bytes(packed[position - digits : position]) if digits else first & 0xF
            if is_map and count > end - position:
                raise BadMessagePack("an object ends early")
            values += count or 1
            if values > most:
                raise TooManyValues(most)
            around.append(waiting)
            if len(around) > MAX_DEPTH:
                raise BadMessagePack(f"it nests deeper than {MAX_DEPTH} levels")
            waiting = 2 * count if is_map else count
