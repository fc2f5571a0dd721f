"""Memory of one run: whether it will suffice, and what was used at most."""

import contextlib
from pathlib import Path

from cwac.config import ExperimentConfig
from cwac.models import MODELS
from cwac.models.loading import chosen_device, resolve_folder
from cwac.models.size import check_training_fits
from cwac.provenance import peak_memory_bytes

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def check_memory(config: ExperimentConfig) -> None:
    """Refuse an experiment whose model cannot be fine-tuned here, before it is loaded.

    The estimate needs the model's ``config.json`` alone. What grows with the batch is not in it,
    so that nothing is refused that would run.

    Raises
    ------
    ModelError
        One sentence with the estimate and what would fit.
    """
    check_training_fits(
        config.model.source,
        resolve_folder(config.model.source),
        chosen_device(),
        adapters=config.training.adapter != "full",
        presets={name: spec.parameters for name, spec in MODELS.items() if spec.parameters},
    )


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
