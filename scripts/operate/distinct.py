"""Counts different texts among very many, and finds repeated ids, in memory that does not grow with their number."""

import hashlib
from array import array
from collections.abc import Hashable, Iterator
from itertools import chain
from struct import Struct
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

# As many texts as that are told apart in memory alone: some 10 MB.
REMEMBERED = 100_000
DIGEST_BYTES = 16
# A digest's first byte says which part of the file it is in.
PARTS = 256

_DIGEST = Struct(f"{DIGEST_BYTES}s")
# The digest of an id, the hash of a row's content, and the line of the row.
_ROW = Struct(f">{DIGEST_BYTES}sqQ")


class _Spilled:
    """Records of one form in a temporary file, each of which begins with the digest of a text."""

    def __init__(self, form: Struct) -> None:
        self._form = form
        self._file = TemporaryFile()  # noqa: SIM115 - closed by close
        self._written = [array("Q") for _ in range(PARTS)]
        """Where in the file the records of each part are: each time an offset and a length."""
        self._waiting = [bytearray() for _ in range(PARTS)]
        self._count = 0

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def append(self, digest: bytes, *more: int) -> None:
        """Append a record. Up to `REMEMBERED` of them wait in memory."""
        self._waiting[digest[0]] += self._form.pack(digest, *more)
        self._count += 1
        if self._count >= REMEMBERED:
            self._write()

    def _write(self) -> None:
        place = self._file.seek(0, 2)
        for written, waiting in zip(self._written, self._waiting, strict=True):
            if waiting:
                self._file.write(waiting)
                written.extend((place, len(waiting)))
                place += len(waiting)
                waiting.clear()
        self._count = 0

    def groups(self) -> Iterator[Iterator[tuple[Any, ...]]]:
        """The records in groups of about `REMEMBERED`. All records of a digest are in one, in the order of `append`."""
        self._write()
        for written in self._written:
            # A part is read several times if it is large.
            passes = sum(written[1::2]) // (self._form.size * REMEMBERED) + 1
            for number in range(passes):
                records = chain.from_iterable(map(self._form.iter_unpack, self._read(written)))
                yield records if passes == 1 else (each for each in records if each[0][1] % passes == number)

    def _read(self, written: "array[int]") -> Iterator[bytes]:
        for offset, length in zip(written[::2], written[1::2], strict=True):
            self._file.seek(offset)
            yield self._file.read(length)


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
        self._spilled = self._spilled or _Spilled(_DIGEST)
        for text in self._recent:
            self._spilled.append(_digest(text))
        self._recent.clear()


class Repeats(_Spilling):
    """The repeats of ids in a file: with the content that the id has first, or with another.

    Beyond `REMEMBERED` ids, a record of 32 bytes for each row goes to a temporary file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, int] = {}
        self.same = 0
        """The number of repeats with the content of the first; complete once `late_conflicts` is exhausted."""

    def add(self, text: str, content: Hashable, line: int) -> bool:
        """Add the id of a row and its content, of which only Python's hash is kept; returns whether it is known to be a
        conflict.

        Once there are more ids than fit in memory, `late_conflicts` tells.
        """
        found = hash(content)
        if self._spilled is not None:
            self._spilled.append(_digest(text), found, line)
            return False
        first = self._firsts.get(text)
        if first is not None:
            self.same += first == found
            return first != found
        self._firsts[text] = found
        if len(self._firsts) == REMEMBERED:
            self._spilled = _Spilled(_ROW)
            for each, first in self._firsts.items():
                self._spilled.append(_digest(each), first, 0)
            self._firsts.clear()
        return False

    def late_conflicts(self) -> Iterator[int]:
        """The lines of the conflicts that `add` did not know, in any order. To be called once, after all rows."""
        if self._spilled is None:
            return
        for group in self._spilled.groups():
            firsts: dict[bytes, int] = {}
            for digest, found, line in group:
                first = firsts.get(digest)
                if first is None:
                    firsts[digest] = found
                elif first == found:
                    self.same += 1
                else:
                    yield line


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
