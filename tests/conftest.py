from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.ministack import MiniStack, free_port


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    """A local AWS of this test process, with nothing in it but what its tests put there."""
    folder: Path = tmp_path_factory.mktemp("ministack")
    with MiniStack(free_port(), folder / "log") as stack:
        yield stack
