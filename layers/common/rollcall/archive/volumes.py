"""Volumes: the rows of many days' small files once more, in few objects, for who reads thousands of days.

A volume is a copy: its table of contents says of which version of which days' files its rows are. A reader takes from
it the days whose files still have these versions, and reads all other days from their own files. So no answer depends
on a volume: one that is missing, half written, out of date or there twice costs requests, and nothing else.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rollcall.archive.bucket import VolumeObjects


class Volume(NamedTuple):
    """A volume and its table of contents."""

    objects: VolumeObjects
    versions: Mapping[str, str]
    """The ETag of the day's file that the volume has the rows of, by day."""


def read_volume(objects: VolumeObjects, contents: Path) -> Volume:
    """A volume whose table of contents is in a file."""
    return Volume(objects, json.loads(contents.read_bytes()))


def days_in(volumes: Sequence[Volume], versions: Mapping[str, str]) -> list[list[str]]:
    """For each volume, the days to take from it, where these are the versions of the days' files now.

    No day is taken from two volumes: a day that is in several is the first one's.
    """
    left = dict(versions)
    taken = []
    for volume in volumes:
        days = [day for day, version in volume.versions.items() if left.get(day) == version]
        for day in days:
            del left[day]
        taken.append(days)
    return taken
