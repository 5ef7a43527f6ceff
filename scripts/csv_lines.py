"""Writes CSV whose lines end with LF."""

import csv
from typing import Any, Protocol


class _Stream(Protocol):
    def write(self, text: str, /) -> object: ...


class _Lines:
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, line: str) -> object:
        return self._stream.write(line.removesuffix("\r\n") + "\n")


def csv_writer(stream: _Stream) -> Any:
    """A writer of the csv module.

    If that were told to end lines with LF, it would leave CR without quotes before Python 3.13, and most readers then
    end the line there.
    """
    return csv.writer(_Lines(stream), lineterminator="\r\n")
