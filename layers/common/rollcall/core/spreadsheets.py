"""Text in CSV files that people open in spreadsheets.

A spreadsheet takes a cell for a formula by its first characters, whether or not the file has it in quotes. A single
quote before them makes it a text.
"""

import unicodedata
from decimal import Decimal

_MARK = "'"
# After them, a spreadsheet may still find a formula: it drops them, or another program does before it.
_QUOTES = frozenset("\"'")
# The last one is the minus sign of typography. Full-width, small and raised forms are known by their normal form.
_BEGINNINGS = frozenset("=+-@\u2212")
_TABS_AND_LINE_ENDS = frozenset("\t\r\n")


def escape_formula(value: object) -> object:
    """A value for a cell of CSV: a number or None as it is, and anything else as a text that starts no formula."""
    if value is None or isinstance(value, int | float | Decimal):
        return value
    text = str(value)
    return _MARK + text if _starts_formula(text) else text


def unescape_formula(text: str) -> str:
    """The text of a cell that `escape_formula` made. Different texts are never escaped alike."""
    return text[1:] if text.startswith(_MARK) and _starts_formula(text[1:]) else text


def _starts_formula(text: str) -> bool:
    """Also true for a text that `escape_formula` has put its mark before, which makes the escape reversible."""
    for character in text:
        if character in _TABS_AND_LINE_ENDS:
            return True
        plain = unicodedata.normalize("NFKC", character)[0]
        ignored = character.isspace() or plain in _QUOTES or unicodedata.category(character) in ("Cc", "Cf")
        if not ignored:
            return plain in _BEGINNINGS
    return False
