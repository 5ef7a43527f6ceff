"""The header Prefer (RFC 7240): what a client would like, and a server may leave undone."""

import re

# Each part of a header begins with what no other one does, so that a header is read once, from its start to its end.
# A quote that is never closed takes the rest.
_PARTS = re.compile(
    r"""(?P<blank>[ \t]+)
    |(?P<token>[!#$%&'*+.^_`|~0-9A-Za-z-]+)
    |"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"
    |(?P<mark>[,;=])
    |(?P<broken>".*|.)""",
    re.VERBOSE | re.DOTALL,
)


def preferences(header: str) -> dict[str, str]:
    """The preferences of a header's lines, joined by commas: their values, by their names in lower case.

    A preference without a value has an empty one, as the RFC has it. Of several with one name the first counts. What is
    no preference is passed over, and so are the parameters of preferences.
    """
    found: dict[str, str] = {}
    # The preference that is read, and its parameters: each as kinds and texts of its parts.
    members: list[list[tuple[str, str]]] = [[]]
    for part in _PARTS.finditer(f"{header},"):
        kind = part.lastgroup or "broken"
        text = part[kind]
        if text == "," and kind == "mark":
            name, value = _pair(members[0]) or ("", "")
            if name and all(not member or _pair(member) for member in members[1:]):
                found.setdefault(name.lower(), value)
            members = [[]]
        elif text == ";" and kind == "mark":
            members.append([])
        elif kind != "blank":
            members[-1].append((kind, text))
    return found


def _pair(parts: list[tuple[str, str]]) -> tuple[str, str] | None:
    """A name and its value, empty if there is none. Blanks, which may stand around the equals sign, are gone."""
    match parts:
        case [("token", name)] | [("token", name), ("mark", "=")]:
            return name, ""
        case [("token", name), ("mark", "="), ("token", value)]:
            return name, value
        case [("token", name), ("mark", "="), ("quoted", value)]:
            return name, re.sub(r"\\(.)", r"\1", value)
    return None
