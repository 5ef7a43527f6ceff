"""Counts the different texts among very many, in memory that does not grow with their number."""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

# As many texts as that are told apart in memory alone: some 10 MB.
REMEMBERED = 100_000
DIGEST_BYTES = 16
# A digest's first byte says which part of the file it is in.
PARTS = 256


class Distinct:
    """The number of different texts. Beyond `REMEMBERED` of them, their digests go to a temporary file.

    The digests have 128 bits: the chance that any two of a billion texts share one is below 1 to 10^20. The file takes
    16 bytes a text. A text that comes again soon is in the file once.
    """

    def __init__(self) -> None:
        self._recent: set[str] = set()
        self._file: IO[bytes] | None = None
        self._written = [array("Q") for _ in range(PARTS)]
        """Where in the file the digests of each part are: each time an offset and a length."""

    def __enter__(self) -> "Distinct":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, text: str) -> None:
        """Count a text unless it was counted."""
        self._recent.add(text)
        if len(self._recent) == REMEMBERED:
            self._spill()

    def count(self) -> int:
        """The number of different texts so far."""
        if self._file is None:
            return len(self._recent)
        self._spill()
        return sum(_count(self._file, written) for written in self._written)

    def _spill(self) -> None:
        """Append the digests of the remembered texts to the file, part by part."""
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115 - closed by __exit__
        ordered = sorted(map(_digest, self._recent))
        self._recent.clear()
        place = self._file.seek(0, 2)
        self._file.writelines(ordered)
        start = 0
        for part, written in enumerate(self._written, 1):
            end = bisect_left(ordered, bytes([part])) if part < PARTS else len(ordered)
            if end > start:
                written.extend((place + start * DIGEST_BYTES, (end - start) * DIGEST_BYTES))
            start = end


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()


def _count(file: IO[bytes], written: "array[int]") -> int:
    """The number of different digests in a part, which is read several times if it is large."""
    passes = sum(written[1::2]) // (DIGEST_BYTES * REMEMBERED) + 1
    return sum(
        len({digest for digest in _read(file, written) if digest[1] % passes == number}) for number in range(passes)
    )


def _read(file: IO[bytes], written: "array[int]") -> Iterator[bytes]:
    for offset, length in zip(written[::2], written[1::2], strict=True):
        file.seek(offset)
        digests = file.read(length)
        yield from (digests[at : at + DIGEST_BYTES] for at in range(0, length, DIGEST_BYTES))
