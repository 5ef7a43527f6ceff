"""What memory a process takes."""

import resource
from pathlib import Path


def peak_mb() -> float:
    """The peak resident set of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        # In Linux's getrusage a process has at least the peak of the one that started it.
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) / 1024
    # macOS counts bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
