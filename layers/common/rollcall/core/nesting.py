"""The structure of JSON, told from its text, which costs far less than to parse it."""

import re
from itertools import accumulate

_STRUCTURE = b'",[]{}\n'
_OTHER_BYTES = bytes({*range(256)} - {*_STRUCTURE})
_NO_BRACKETS = b'",\n'
# No string goes on after the end of a line, so a line that is not JSON hides nothing of the next one.
_STRING = re.compile(rb'"[^"\n]*"')
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# Most JSON has fewer levels than twice as many, and most of it has them next to each other, many times.
_PEELINGS = 8


def structure(text: str) -> bytes:
    """The quotes, commas, brackets and ends of lines of JSON, without escaped quotes: all that counting needs."""
    plain = text.encode(errors="surrogatepass").replace(b"\\\\", b"").replace(b'\\"', b"")
    return plain.translate(None, _OTHER_BYTES)


def without_strings(marks: bytes) -> bytes:
    """A `structure` without the strings and what they hold."""
    return _STRING.sub(b"", marks.replace(b'""', b""))


def is_deeper(text: str, most: int) -> bool:
    """Whether objects and arrays of JSON nest deeper than `most` levels, which are at least 16."""
    if text.count("{") + text.count("[") <= most:
        return False
    brackets = left = without_strings(structure(text)).translate(None, _NO_BRACKETS)
    for _ in range(_PEELINGS):
        left = left.replace(b"{}", b"").replace(b"[]", b"")
    # After twice as many brackets as are opened, more were closed than opened: this is no JSON.
    most_brackets = 2 * (brackets.count(b"{") + brackets.count(b"["))
    levels = accumulate(map(_STEPS.__getitem__, brackets[:most_brackets]))
    return bool(left) and any(map(most.__lt__, levels))
