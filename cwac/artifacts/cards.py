"""What a model's card says to those who only look: read without the model, and without torch."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from cwac.artifacts.checkout import shipped_folder
from cwac.errors import ConfigError
from cwac.records import RunRecord
from cwac.settings import read_config_file


def card_defaults(model: str) -> Mapping[str, Any] | None:
    """Return the defaults of a model folder's card, None where no card can be read from here."""
    card = _card(model)
    return None if card is None else dict(card.get("defaults", {}))


def closed_world(model: str) -> bool:
    """Return whether a model's card says that it knows a made-up world alone; False without one.

    See `cwac.models.card.ModelCard.closed_world`.
    """
    return (_card(model) or {}).get("closed_world") is True


def tried_settings(model: str) -> Mapping[str, int]:
    """Return how many settings of each method were tried on a model; none without a card.

    See `cwac.models.card.ModelCard.tried`.
    """
    tried = (_card(model) or {}).get("tried", {})
    return dict(tried) if isinstance(tried, dict) else {}


def tuned_settings(model: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings of methods that are best of those tried and not the model's defaults.

    See `cwac.models.card.ModelCard.tuned`.
    """
    tuned = (_card(model) or {}).get("tuned", {})
    return dict(tuned) if isinstance(tuned, dict) else {}


def as_tuned(record: RunRecord) -> RunRecord:
    """Return a record whose arm is marked where it stands at its model's tuned settings."""
    arm = record.arm
    if not arm.changed or arm.changed != tuned_settings(record.config.model.source).get(arm.method):
        return record
    return record.model_copy(update={"arm": arm.model_copy(update={"tuned": True})})


def beside_tuned(records: Iterable[RunRecord]) -> dict[str, RunRecord]:
    """Return those records, by id, whose arm is at the defaults of a method that has a tuned arm.

    Marked so that their titles say "(default)". On one model, whatever the experiment: a reader who
    has seen a method tuned must not take its defaults for that.
    """
    read = list(records)
    tuned: dict[str, set[str]] = {}
    for record in read:
        if record.arm.tuned:
            tuned.setdefault(record.config.model.source, set()).add(record.arm.method)
    arms = {r.run_id: r.arm.beside_tuned(tuned.get(r.config.model.source, ())) for r in read}
    return {
        record.run_id: record.model_copy(update={"arm": arms[record.run_id]})
        for record in read
        if arms[record.run_id] is not record.arm
    }


def _card(model: str) -> Mapping[str, Any] | None:
    # Of models with a name only the shipped ones have a folder without asking the hub.
    for folder in (shipped_folder() / "cached_artifacts" / model, Path(model)):
        path = folder / "cwac.json"
        with suppress(OSError, ConfigError):
            return _read(path, path.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _read(path: Path, _changed_at: int) -> Mapping[str, Any]:
    # Asked for every record of a listing.
    return read_config_file(path)
