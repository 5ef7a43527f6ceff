"""Tells text in UTF-16 and UTF-32, as spreadsheets and shells write it. No door reads it."""

from collections.abc import Iterable

TRIED_BYTES = 1024
_CODECS = {
    "utf-32-le": "UTF-32LE",
    "utf-32-be": "UTF-32BE",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
}


def wide_encoding(head: bytes, words: Iterable[str] = ()) -> str | None:
    """The encoding in which bytes begin with ASCII or hold one of the words; None if it is neither of these."""
    words = tuple(words)
    for codec, called in _CODECS.items():
        text = head[:TRIED_BYTES].decode(codec, "replace").removeprefix("\ufeff")
        start = text[:16]
        begins = len(start) > 1 and start.isascii() and "\0" not in start
        if begins or any(word in text for word in words):
            return called
    return None
