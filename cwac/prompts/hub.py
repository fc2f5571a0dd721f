"""Data sets of the Hugging Face hub, or folders of the same form; no code of theirs is run."""

import os
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.errors import DataError, first_line
from cwac.prompts.rows import as_table

MOST_ROWS: Final = 500_000
"""More rows than these do not fit a fine-tune of minutes; a slice of the split does."""
PATIENCE: Final = 5.0
"""Seconds that the hub has to answer; its library would try again for half a minute."""


def read_hub(place: str, split: str | None) -> pd.DataFrame:
    """Read one split of a data set as a table of text.

    Labels that the data set names are given by name.

    Parameters
    ----------
    place : str
        ``owner/name[/configuration]``, or a folder of CSV, JSON or Parquet files.
    split : str or None
        ``train`` where None; slices as ``train[:1000]`` work.

    Raises
    ------
    DataError
        It cannot be reached, is gated, or has no such configuration or split.
    """
    import datasets  # noqa: PLC0415 - 1.5 s, and only the hub needs it
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    path, name = _path_and_configuration(place)
    if not Path(path).is_dir() and not _is_offline():
        _ask_once(path)
    datasets.disable_progress_bars()
    try:
        # The library itself refuses data sets that bring code.
        rows: Any = datasets.load_dataset(path, name, split=split or "train")
    except (DatasetsError, OSError, ValueError, KeyError, RuntimeError) as problem:
        raise DataError(f"the data set {place!r} cannot be read: {_reason(problem)}") from None
    if len(rows) > MOST_ROWS:
        raise DataError(
            f"the data set {place!r} has {len(rows)} rows, more than {MOST_ROWS}; name a slice "
            f"of the split, as in {split or 'train'}[:10000]."
        )
    return as_table(place, [_named(row, rows.features) for row in rows])


def _ask_once(name: str) -> None:
    """Ask the hub for a data set.

    Raises
    ------
    DataError
        It does not answer, or says that there is no such data set.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - needed for hub names only
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        HfApi().dataset_info(name, timeout=PATIENCE)
    except HfHubHTTPError as problem:
        raise DataError(f"the data set {name!r} cannot be had: {_reason(problem)}") from None
    except Exception as problem:
        # The library's own client decides which of its errors this is.
        raise DataError(
            f"the hub cannot be reached for the data set {name!r} ({type(problem).__name__}); "
            "name a file instead, or set HF_HUB_OFFLINE=1 to use what the cache holds."
        ) from None


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _path_and_configuration(place: str) -> tuple[str, str | None]:
    folder = Path(place).expanduser()
    if folder.is_dir():
        return str(folder.resolve()), None
    owner, name, *configuration = place.split("/")
    return f"{owner}/{name}", configuration[0] if configuration else None


def _named(row: dict[str, Any], features: Any) -> dict[str, Any]:
    """Return a row with the names of its labels; -1 is the hub's sign for a missing label."""
    named = dict(row)
    for column, feature in features.items():
        names = getattr(feature, "names", None)
        value = named[column]
        if names and isinstance(value, int) and 0 <= value < len(names):
            named[column] = names[value]
    return named


def _reason(problem: Exception) -> str:
    return f"{first_line(problem)}{' (HF_HUB_OFFLINE is set)' if _is_offline() else ''}."
