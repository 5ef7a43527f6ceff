"""Counts different texts among very many, and finds repeated ids, in memory that does not grow with their number."""

from array import array
from collections.abc import Hashable, Iterator, Sequence
from itertools import compress
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

# As many texts as that are told apart in memory alone: some 30 MB.
REMEMBERED = 200_000
# The hash of a text says which part of the file it is in.
PARTS = 256

# Python hashes the bytes of a text, in which each character takes one, or each two, or each four: "ab" has the hash of
# U+6261. With this behind them, no two texts have the same bytes.
_END = "\0"


class _Spilled:
    """Records of whole numbers in a temporary file. The first two of each record are hashes of a text.

    These are Python's, which are keyed, so nobody can make up texts that share both.
    """

    def __init__(self, numbers: int) -> None:
        self._numbers = numbers
        """The numbers of a record."""
        self._file = TemporaryFile()  # noqa: SIM115 - closed by close
        self._written = [array("Q") for _ in range(PARTS)]
        """Where in the file the records of each part are: each time an offset and a length."""
        self._waiting = [array("q") for _ in range(PARTS)]
        self._count = 0

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def append(self, text: str, *more: int) -> None:
        """Append a record. Up to `REMEMBERED` of them wait in memory."""
        found = hash(text)
        self._waiting[found % PARTS].extend((found, hash(text + _END), *more))
        self._count += 1
        if self._count >= REMEMBERED:
            self._write()

    def _write(self) -> None:
        place = self._file.seek(0, 2)
        for written, waiting in zip(self._written, self._waiting, strict=True):
            if waiting:
                length = self._file.write(waiting)
                written.extend((place, length))
                place += length
                del waiting[:]
        self._count = 0

    def groups(self) -> Iterator[list[Sequence[int]]]:
        """The columns of the records, in groups of about `REMEMBERED`.

        All records of a text are in one group, in the order of `append`.
        """
        self._write()
        for written in self._written:
            records = array("q", b"".join(self._read(written)))
            columns: list[Sequence[int]] = [records[number :: self._numbers] for number in range(self._numbers)]
            # A part is several groups if it is large.
            groups = len(columns[1]) // REMEMBERED + 1
            for number in range(groups):
                if groups > 1:
                    chosen = [second % groups == number for second in columns[1]]
                    yield [array("q", compress(column, chosen)) for column in columns]
                else:
                    yield columns

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
    """The number of different texts. Beyond `REMEMBERED` of them, their hashes go to a temporary file.

    There are 128 bits of them: the chance that any two of a billion texts share all is below 1 to 10^20. The file takes
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
        return sum(len(set(zip(*columns, strict=True))) for columns in self._spilled.groups())

    def _spill(self) -> None:
        self._spilled = self._spilled or _Spilled(2)
        for text in self._recent:
            self._spilled.append(text)
        self._recent.clear()


class Repeats(_Spilling):
    """The repeats of ids in a file: with the content that the id has first, or with another.

    Beyond `REMEMBERED` ids, a record of 32 bytes for each row with another id goes to a temporary file.
    """

    def __init__(self) -> None:
        super().__init__()
        self._firsts: dict[str, int] = {}
        self.same = 0
        """The number of repeats with the content of the first; complete once `late_conflicts` is exhausted."""

    def add(self, text: str, content: Hashable, line: int) -> bool:
        """Add the id of a row and its content, of which only the hash is kept; returns whether it is known to be a
        conflict.

        Of an id beyond the first `REMEMBERED`, `late_conflicts` tells.
        """
        found = hash(content)
        first = self._firsts.get(text)
        if first is not None:
            self.same += first == found
            return first != found
        if len(self._firsts) < REMEMBERED:
            self._firsts[text] = found
        else:
            self._spilled = self._spilled or _Spilled(4)
            self._spilled.append(text, found, line)
        return False

    def late_conflicts(self) -> Iterator[int]:
        """The lines of the conflicts that `add` did not know, in any order. To be called once, after all rows."""
        if self._spilled is None:
            return
        for columns in self._spilled.groups():
            if len(set(columns[0])) == len(columns[0]):
                continue
            firsts: dict[tuple[int, int], int] = {}
            for one, other, found, line in zip(*columns, strict=True):
                first = firsts.get((one, other))
                if first is None:
                    firsts[one, other] = found
                elif first == found:
                    self.same += 1
                else:
                    yield line
