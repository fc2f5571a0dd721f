"""Where and with what a run was made, and how much memory it took."""

import contextlib
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

import torch

import cwac
from cwac.records import Provenance, WeightsOrigin, now

PACKAGES: Final = (
    "cwac-lab",
    "torch",
    "transformers",
    "accelerate",
    "sae-lens",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "peft",
    "streamlit",
)
"""Packages whose version can change a number or a picture."""
_RESET: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")


def collect(
    durations: Mapping[str, float] | None = None,
    *,
    device: torch.device | str = "cpu",
    weights: WeightsOrigin | None = None,
) -> Provenance:
    """Return versions, commit, machine and peak memory, as they are now.

    Parameters
    ----------
    durations : mapping of str to float, optional
        Seconds per phase.
    device : torch.device or str
        Where the model was trained.
    weights : WeightsOrigin, optional
        What its weights were dequantised from.
    """
    commit, dirty = _git_state(Path(cwac.__file__).resolve().parent)
    return Provenance(
        created=now(),
        versions=package_versions(),
        git_commit=commit,
        git_dirty=dirty,
        device=_device_name(torch.device(device)),
        threads=torch.get_num_threads(),
        platform=platform.platform(),
        python=platform.python_version(),
        durations={name: round(seconds, 4) for name, seconds in (durations or {}).items()},
        peak_memory_bytes=peak_memory_bytes(),
        weights=weights,
    )


def package_versions() -> dict[str, str]:
    """Return the installed version of each package in `PACKAGES`; absent ones are left out."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts kibibytes, macOS bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak() -> None:
    """Let :func:`peak_since_reset` count anew (Linux; elsewhere the peak is the process's)."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5", encoding="ascii")


def peak_since_reset() -> int:
    """Return the largest resident size since the last reset, in bytes."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return peak_memory_bytes()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _git_state(folder: Path) -> tuple[str | None, bool | None]:
    # An installed package lies in no checkout of its own; a checkout of something else around
    # it (a user's project with a virtual environment inside) must not be taken for ours.
    if not (folder.parent / ".git").exists():
        return None, None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit or None, None if changes is None else bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
