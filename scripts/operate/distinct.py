"""Counts different texts among very many, and finds repeated ids, in memory that does not grow with their number."""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

# As many texts as that are told apart in memory alone: some 10 MB.
REMEMBERED = 100_000
DIGEST_BYTES = 16
FINGERPRINT_BYTES = 8
# A digest's first byte says which part of the file it is in.
PARTS = 256


class _Spilled:
    """Records in a temporary file, each of which begins with the digest of a text."""

    def __init__(self, record_bytes: int) -> None:
        self._record_bytes = record_bytes
        self._file = TemporaryFile()  # noqa: SIM115 - closed by close
        self._written = [array("Q") for _ in range(PARTS)]
        """Where in the file the records of each part are: each time an offset and a length."""

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def append(self, ordered: list[bytes]) -> None:
        """Append records that are sorted by their digests."""
        place = self._file.seek(0, 2)
        self._file.writelines(ordered)
        start = 0
        for part, written in enumerate(self._written, 1):
            end = bisect_left(ordered, bytes([part])) if part < PARTS else len(ordered)
            if end > start:
                written.extend((place + start * self._record_bytes, (end - start) * self._record_bytes))
            start = end

    def groups(self) -> Iterator[Iterator[bytes]]:
        """The records in groups of about `REMEMBERED`. All records of a digest are in one, in the order of `append`."""
        for written in self._written:
            # A part is read several times if it is large.
            passes = sum(written[1::2]) // (self._record_bytes * REMEMBERED) + 1
            for number in range(passes):
                yield (record for record in self._read(written) if record[1] % passes == number)

    def _read(self, written: "array[int]") -> Iterator[bytes]:
        for offset, length in zip(written[::2], written[1::2], strict=True):
            self._file.seek(offset)
            records = self._file.read(length)
            yield from (records[at : at + self._record_bytes] for at in range(0, length, self._record_bytes))


class _Spilling:
    """What holds a `_Spilled` once it has more than fits in memory, until it is closed."""

    def __init__(self) -> None:
        self._spilled: _Spilled | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._spilled is not None:
            self._spilled.close()


class Distinct(_Spilling):
    """The number of different texts. Beyond `REMEMBERED` of them, their digests go to a temporary file.

    The digests have 128 bits: the chance that any two of a billion texts share one is below 1 to 10^20. The file takes
    16 bytes a text. A text that comes again soon is in the file once.
    """

    def __init__(self) -> None:
        super().__init__()
        self._recent: set[str] = set()

    def add(self, text: str) -> None:
        """Count a text unless it was counted."""
        self._recent.add(text)
        if len(self._recent) == REMEMBERED:
            self._spill()

    def count(self) -> int:
        """The number of different texts so far."""
        if self._spilled is None:
            return len(self._recent)
        self._spill()
        return sum(len(set(group)) for group in self._spilled.groups())

    def _spill(self) -> None:
        self._spilled = self._spilled or _Spilled(DIGEST_BYTES)
        self._spilled.append(sorted(map(_digest, self._recent)))
        self._recent.clear()


class Repeats(_Spilling):
    """The repeats of ids in a file: with the content that the id has first, or with another.

    Beyond `REMEMBERED` ids, a record of 32 bytes for each row goes to a temporary file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, bytes] = {}
        self._records: list[bytes] = []
        self.same = 0
        """The number of repeats with the content of the first; complete once `late_conflicts` is exhausted."""

    def add(self, text: str, fingerprint: str, line: int) -> bool:
        """Add the id of a row and the fingerprint of its content, in hex; returns whether it is known to be a conflict.

        Once there are more ids than fit in memory, `late_conflicts` tells.
        """
        content = bytes.fromhex(fingerprint)
        if self._spilled is not None:
            self._records.append(_digest(text) + content + line.to_bytes(8, "big"))
            if len(self._records) >= REMEMBERED:
                self._spill()
            return False
        first = self._firsts.setdefault(text, content)
        if first is not content:
            self.same += first == content
            return first != content
        if len(self._firsts) == REMEMBERED:
            self._records = [_digest(text) + content + bytes(8) for text, content in self._firsts.items()]
            self._firsts.clear()
            self._spill()
        return False

    def late_conflicts(self) -> Iterator[int]:
        """The lines of the conflicts that `add` did not know, in any order. To be called once, after all rows."""
        if self._spilled is None:
            return
        self._spill()
        for group in self._spilled.groups():
            firsts: dict[bytes, bytes] = {}
            for record in group:
                digest, content = record[:DIGEST_BYTES], record[DIGEST_BYTES:-8]
                first = firsts.setdefault(digest, content)
                if first != content:
                    yield int.from_bytes(record[-8:], "big")
                elif first is not content:
                    self.same += 1

    def _spill(self) -> None:
        self._spilled = self._spilled or _Spilled(DIGEST_BYTES + FINGERPRINT_BYTES + 8)
        # Sorted by the digest alone, so that the rows of an id stay in the order of the file.
        self._spilled.append(sorted(self._records, key=lambda record: record[:DIGEST_BYTES]))
        self._records.clear()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
