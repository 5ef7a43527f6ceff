import gzip
import zlib

import msgpack
import pytest

from rollcall.intake.codings import unread_coding

PLAIN = b'[{"event_id": "e1", "event_type": "t"}]'
PACKED = msgpack.packb([{"event_id": "e1", "event_type": "t"}])
ZSTD_FRAME = bytes.fromhex("28b52ffd0458390000") + PLAIN
ZSTD_SKIPPABLE = b"\x5a\x2a\x4d\x18" + bytes(4) + ZSTD_FRAME


def deflated(window_bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=window_bits)
    return compressor.compress(PLAIN) + compressor.flush()


@pytest.mark.parametrize("body", [PLAIN, PACKED, b"", b"x", b"HTTP", b"hello", b"8", b"PKZ", b"garbage"])
@pytest.mark.parametrize(
    "named", ["", "identity", "gzip", "GZip", "x-gzip", "X-GZIP", " gzip ", "identity, gzip", "deflate", ","]
)
def test_a_plain_body_is_read_where_a_gateway_may_have_expanded_it(named: str, body: bytes) -> None:
    assert unread_coding(named, body) is None


@pytest.mark.parametrize("named", ["", "gzip", "x-gzip", "identity"])
def test_gzip_is_read_whether_or_not_it_is_named(named: str) -> None:
    assert unread_coding(named, gzip.compress(PLAIN)) is None


@pytest.mark.parametrize(
    ("named", "coding"),
    [
        ("zstd", "zstd"),
        ("BR", "br"),
        ("compress", "compress"),
        ("x-compress", "compress"),
        ("gzip, br", "br"),
        ("br,gzip", "br"),
        ("gzip, gzip", "gzip, gzip"),
        ("aws-chunked", "aws-chunked"),
        ("*", "*"),
    ],
)
@pytest.mark.parametrize("body", [PLAIN, b"", b"\x8b\x00"])
def test_a_coding_that_is_named_and_not_known_is_told(named: str, coding: str, body: bytes) -> None:
    assert unread_coding(named, body) == coding


@pytest.mark.parametrize("named", ["", "identity", "gzip"])
@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (ZSTD_FRAME, "zstd"),
        (ZSTD_SKIPPABLE, "zstd"),
        *((deflated(bits), "deflate") for bits in range(9, 16)),
        (zlib.compress(PLAIN * 1_000, 9), "deflate"),
        (zlib.compress(PLAIN)[:10], "deflate"),
        (b"\x1f\x9d\x90", "compress"),
        (b"BZh91AY", "bzip2"),
    ],
)
def test_a_coding_that_the_bytes_tell_is_told_whatever_is_named(named: str, body: bytes, coding: str) -> None:
    assert unread_coding(named, body) == coding


@pytest.mark.parametrize("bits", [-15, 15])
def test_deflate_is_told_with_the_header_of_zlib_and_without(bits: int) -> None:
    assert unread_coding("deflate", deflated(bits)) == "deflate"
