"""The codings of request bodies (RFC 9110) that no route reads, told by Content-Encoding and by the bytes."""

import zlib

# What bodies in these codings begin with, and no body that a route reads: https://www.rfc-editor.org/rfc/rfc8878, the
# header of compress(1), and of what people send besides.
_FIRST_BYTES = {
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},
    b"\x1f\x9d": "compress",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
}
_STARTS = tuple(_FIRST_BYTES)
_ZLIB = tuple(bytes([16 * bits + 8]) for bits in range(8))
TRIED_BYTES = 1024
MOST_RAW_BYTES = 8 * 1024 * 1024


def unread_coding(named: str, body: bytes) -> str | None:
    """The coding for which no route reads a body, or None. `named` is what all lines of Content-Encoding say.

    API Gateway expands what is named `gzip` or `deflate`, and may leave the header. So a body that is plain is read
    whichever of the two the header names.
    """
    codings = [coding for part in named.split(",") if (coding := _plain_name(part)) not in ("", "identity")]
    for coding in codings:
        if coding not in ("gzip", "deflate"):
            return coding
    if len(codings) > 1:
        return ", ".join(codings)
    if body.startswith(_STARTS):
        return next(coding for start, coding in _FIRST_BYTES.items() if body.startswith(start))
    if _begins_as_zlib(body) or (codings == ["deflate"] and _is_raw_deflate(body)):
        return "deflate"
    return None


def _plain_name(part: str) -> str:
    """A coding in lower case. The RFC has `x-gzip` and `x-compress` for other names of two of them."""
    return part.strip(" \t").lower().removeprefix("x-")


def _begins_as_zlib(body: bytes) -> bool:
    # The method is 8, the window has at most 2^15 bytes, and the first two bytes are a multiple of 31 (RFC 1950).
    if not body.startswith(_ZLIB) or int.from_bytes(body[:2]) % 31:
        return False
    try:
        zlib.decompressobj().decompress(body[:TRIED_BYTES], TRIED_BYTES)
    except zlib.error:
        return False
    return True


def _is_raw_deflate(body: bytes) -> bool:
    """Whether all of a body is deflate without the header of zlib, as some clients send it."""
    expander = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        expander.decompress(body, MOST_RAW_BYTES)
    except zlib.error:
        return False
    return bool(expander.unconsumed_tail) or (expander.eof and not expander.unused_data)
