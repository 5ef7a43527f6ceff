"""The memory of a process."""

import resource
from pathlib import Path


def peak_mb() -> float:
    """The peak resident set of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, getrusage counts the peak of the parent process too, up to the start of this one.
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) / 1024
    # On macOS, ru_maxrss is in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
