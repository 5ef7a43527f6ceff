"""Sets of users, as bits of a number that all sets of a project share.

To unite, to cut and to count sets of users is what most questions do. Sets of ids do it id by id. Here each user of a
project has a number, and a set is an integer with the bits of its users, so that it is done in one operation each.
"""

import threading
from collections.abc import Collection, Iterable, Iterator, Set
from functools import reduce
from itertools import count
from operator import or_


class Numbering:
    """The numbers of users, from 0 on in the order in which they are met. Any number of threads may share it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many users have numbers."""
        return len(self.names)

    def users(self, names: Collection[str]) -> "Users":
        """The set of some users, who get numbers if they have none."""
        numbers = self.numbers
        with self._lock:
            found = list(map(numbers.get, names))
            if None in found:
                # One of them may be named twice.
                new = dict.fromkeys(name for name, number in zip(names, found, strict=True) if number is None)
                numbers.update(zip(new, count(len(self.names))))
                self.names += new
                found = list(map(numbers.get, names))
            marks = bytearray(len(self.names))
        for number in found:
            marks[number] = 1  # type: ignore[index]
        # A byte for each user, 0 or 1, becomes a bit: those of every eighth user move at once.
        return Users(self, reduce(or_, (int.from_bytes(marks[bit::8], "little") << bit for bit in range(8))))


class Users(Set[str]):
    """A set of users. With another set of the same numbering it is united, cut and compared at once."""

    __slots__ = ("_bits", "_numbering")

    def __init__(self, numbering: Numbering, bits: int) -> None:
        self._numbering = numbering
        self._bits = bits

    @property
    def size(self) -> int:
        """The bytes that it takes, without those of the numbering."""
        return self._bits.bit_length() // 8 + 1

    @classmethod
    def of_bytes(cls, numbering: Numbering, bits: bytes) -> "Users":
        """The set of which `to_bytes` gave the bits."""
        return cls(numbering, int.from_bytes(bits, "little"))

    def to_bytes(self) -> bytes:
        """A bit for each user of the numbering, the least for the first."""
        return self._bits.to_bytes(self.size, "little")

    def __len__(self) -> int:
        """How many users there are."""
        return self._bits.bit_count()

    def __contains__(self, user: object) -> bool:
        """Whether a user is among them."""
        number = self._numbering.numbers.get(user)  # type: ignore[call-overload]
        return number is not None and bool(self._bits >> number & 1)

    def __iter__(self) -> Iterator[str]:
        """The users, in the order of their numbers."""
        digits = f"{self._bits:b}"[::-1]
        number = digits.find("1")
        while number >= 0:
            yield self._numbering.names[number]
            number = digits.find("1", number + 1)

    def __or__(self, other: Set[str]) -> "Users":  # type: ignore[override]
        """The users of either."""
        return Users(self._numbering, self._bits | self._of(other))

    def __and__(self, other: Set[str]) -> "Users":
        """The users of both."""
        return Users(self._numbering, self._bits & self._of(other))

    def __sub__(self, other: Set[str]) -> "Users":
        """The users who are not of the other."""
        return Users(self._numbering, self._bits & ~self._of(other))

    def __eq__(self, other: object) -> bool:
        """Whether they are the same users."""
        return isinstance(other, Set) and self._bits == self._of(other)

    __hash__ = None  # type: ignore[assignment]
    __ror__ = __or__
    __rand__ = __and__

    def _of(self, other: Set[str]) -> int:
        if isinstance(other, Users) and other._numbering is self._numbering:
            return other._bits
        return self._numbering.users(other)._bits

    @classmethod
    def _from_iterable(cls, names: Iterable[str]) -> "Users":  # type: ignore[override]
        return Numbering().users(list(names))


def union(sets: Iterable[Set[str]]) -> Set[str]:
    """The users of any of some sets."""
    return reduce(or_, sets, frozenset())
