"""One complete run in words and numbers: its record, and what a metric's value needs."""

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from cwac.arms import Arm
from cwac.config import ExperimentConfig, Settings
from cwac.intake import is_text

SCHEMA_VERSION: Final = 1

Direction = Literal["higher", "lower", "neither"]
Outcome = Literal["refusal", "compliance", "hybrid", "undetermined"]
"""``hybrid``: declines and takes up the request all the same; tables of older runs have none."""
OUTCOMES: Final[tuple[Outcome, ...]] = ("refusal", "hybrid", "compliance", "undetermined")


def _finite(value: Any) -> Any:
    # Nothing is measured by what is no number; JSON has no other word for it either.
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Measured = Annotated[float | None, BeforeValidator(_finite)]


class MetricValue(Settings):
    """One measured number with what is needed to read it.

    ``value is None`` means *not measured*; it is never stored as 0.
    """

    value: _Measured
    title: str
    unit: str = "fraction"
    direction: Direction = "neither"
    """Which way is better."""
    count: int | None = None
    """Observations behind the value."""
    low: _Measured = None
    high: _Measured = None
    """95 % interval (Wilson for rates)."""


class WeightsOrigin(Settings):
    """The file that a model's weights were dequantised from."""

    file: str
    """Its name, without its folder."""
    sha256: str
    quantisation: str
    """The type of most of its weights, as GGUF names it: ``Q4_1``; ``F16`` is not quantised."""

    @property
    def words(self) -> str:
        """What a reader is told beside the model's name."""
        plain = self.quantisation in {"F64", "F32", "F16", "BF16"}
        return f"GGUF, {self.quantisation}" if plain else f"dequantised {self.quantisation}"


class Provenance(Settings):
    """Where and with what a run was made."""

    created: datetime
    versions: dict[str, str]
    git_commit: str | None = None
    git_dirty: bool | None = None
    device: str = "cpu"
    threads: int | None = None
    platform: str = ""
    python: str = ""
    durations: dict[str, float] = Field(default_factory=dict)
    """Seconds per phase: set-up, training, measurement."""
    peak_memory_bytes: int | None = None
    weights: WeightsOrigin | None = None
    """What the aligned model's weights were dequantised from; None where they were not."""


def is_name(name: str) -> bool:
    """Whether a text can name a file or folder of a store: nothing hidden, nothing elsewhere."""
    plain = bool(name) and not name.startswith(".") and len(name.encode(errors="replace")) <= 200
    return plain and not set("/\\\0") & set(name) and is_text(name)


def _named(name: str) -> str:
    if not is_name(name):
        raise ValueError(f"{name[:60]!r} is not the name of a file")
    return name


Name = Annotated[str, AfterValidator(_named)]


class RunRecord(Settings):
    """One complete run: enough to draw every view without the code that made it."""

    schema_version: int = SCHEMA_VERSION
    run_id: Name
    experiment_id: Name
    variant: str
    """The arm's label, as tables and links name it."""
    config: ExperimentConfig
    arm: Arm
    """What the run is an arm of; where an older record lacks it, reading it fills it in."""
    provenance: Provenance
    protocol: dict[str, str]
    """Hashes of prompt set, template, judge, and the length cap: what a rate depends on."""
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    tables: tuple[Name, ...] = ()
    fits: dict[str, Name] = Field(default_factory=dict)
    """Folder names under ``fits/``: ``subspace``, ``features``, ``reference``, ``attack``."""
    warnings: tuple[str, ...] = ()
    kept_model: bool = False
    """Whether ``model/`` holds the tuned weights."""
    summary: bool = False
    """Whether metrics and the outcome of each request are all that is kept (``cwac slim``)."""
    status: Literal["complete"] = "complete"
    checksums: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of each of the run's other files, by its name below the folder; none in records of
    version 0.2 and earlier: not recorded."""

    def value(self, metric: str) -> float | None:
        """Return a metric's value, None where it was not measured."""
        measured = self.metrics.get(metric)
        return None if measured is None else measured.value


def now() -> datetime:
    """Return the current time, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
