"""Peak memory of one run, where the system lets a process reset its own high-water mark."""

import contextlib
from pathlib import Path

from cwac.provenance import peak_memory_bytes

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak() -> None:
    """Start counting anew (Linux; elsewhere the peak is the process's)."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5", encoding="ascii")


def peak_since_reset() -> int:
    """Return the largest resident size since the last reset, in bytes."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes()
