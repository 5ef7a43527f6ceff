"""Characters that no program may take for text to show, and how a message shows text that may hold them.

The rule names ranges of characters. Python's own (`str.isprintable`) depends on the version of Unicode that it has, and
so would differ between a laptop and a function.
"""

import re

SHOWN_CHARACTERS = 128

# Control characters (C0, DEL, C1), the separators of lines and paragraphs, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def shown(text: str) -> str:
    """Text that a caller sent, as a message shows it: whole up to `SHOWN_CHARACTERS` characters, else with its length.

    A control character, a separator of lines and half of a surrogate pair are shown as their escapes in Python.
    """
    start = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text[:SHOWN_CHARACTERS])
    return start if len(text) <= SHOWN_CHARACTERS else f"{start}… ({len(text)} characters)"


def readable(text: str) -> str:
    """An id that was refused, to find it again by: as `shown`, but with `?` for what it would escape, and only `…`."""
    start = _CONTROL.sub("?", text[:SHOWN_CHARACTERS])
    return start if len(text) <= SHOWN_CHARACTERS else f"{start}…"
