"""Characters that no id and no name may hold, and how a message shows text that holds them.

The rule names ranges of characters. Python's own (`str.isprintable`) depends on the version of Unicode that it has, and
so would differ between a laptop and a function.
"""

import re

SHOWN_CHARACTERS = 128

# Control characters (C0, DEL, C1), separators of lines and paragraphs, halves of surrogate pairs, and characters that
# show nothing and change no character beside them: the soft hyphen, the zero width space, the word joiner and what
# follows it, the byte order mark, annotations, and the marks that turn the direction of text. Joiners are none of
# these (U+200C, U+200D): writing systems and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def holds_hidden(text: str) -> bool:
    """Whether text holds a character that no id and no name may hold."""
    # Of ASCII, every Python takes the same characters for printable.
    return not (text.isascii() and text.isprintable()) and _HIDDEN.search(text) is not None


def shown(text: str) -> str:
    """Text that a caller sent, as a message shows it: whole up to `SHOWN_CHARACTERS` characters, else with its length.

    A character that no id may hold is shown as its escape in Python.
    """
    start = _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text[:SHOWN_CHARACTERS])
    return start if len(text) <= SHOWN_CHARACTERS else f"{start}… ({len(text)} characters)"


def readable(text: str) -> str:
    """An id that was refused, to find it again by: with `?` for what `shown` escapes.

    Whole where it may be an id, else its first characters. The message then says how many it has.
    """
    return _HIDDEN.sub("?", text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS // 2])
