"""The memory that work takes.

The work is done in a process of its own, forked from one that has done none. The peak of that process tells the memory,
at no cost: under tracemalloc, most work takes several times as long.
"""

import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from scripts.bench.memory import peak_mb

Result = TypeVar("Result")

STATEMENT = Path("/proc/self/statm")
PROCESSES = multiprocessing.get_context("forkserver")
# The module whose work is measured, so that not each process has to import it.
PROCESSES.set_forkserver_preload(["tests.unit.test_bounds"])


def measured(work: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    """Do some work, which is a function of a module: what it returns, and the megabytes that it took."""
    with ProcessPoolExecutor(1, PROCESSES, max_tasks_per_child=1) as pool:
        return pool.submit(_measured, work, *arguments).result()


def _measured(work: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    before = resident_mb()
    return work(*arguments), peak_mb() - before


def resident_mb() -> float:
    """The memory of this process; elsewhere than on Linux, the most that it had."""
    if not STATEMENT.exists():
        return peak_mb()
    return int(STATEMENT.read_text().split()[1]) * resource.getpagesize() / 1024**2
