"""How a table is checked: its columns, the rows that it has once, the words that it may hold."""

from collections.abc import Callable, Sequence
from typing import Final, get_args

import numpy as np
import pandas as pd

from cwac.config import Framing
from cwac.errors import ArtifactError
from cwac.intake import shown
from cwac.records.run import OUTCOMES
from cwac.records.tables import OUTER_MAPS, TABLES

KEYS: Final[dict[str, tuple[str, ...]]] = {
    "responses": ("prompt_id",),
    "samples": ("prompt_id", "way", "sample"),
    "outer_drift": ("part",),
    "relearning": ("step",),
    "trajectory": ("step",),
    "probe_answers": ("step", "prompt_id"),
    "method_diagnostics": ("step", "name"),
    "weight_drift": ("layer", "map"),
    "singular_values": ("layer", "map", "index"),
    "subspace_overlap": ("layer", "map", "side"),
    "principal_angles": ("layer", "map", "side", "index"),
    "features": ("layer", "latent"),
    "token_activations": ("prompt_id", "layer", "latent"),
    "sae_quality": ("layer",),
    "feature_ledger": ("step", "layer", "latent"),
    "prompt_lenses": ("prompt_id", "layer"),
    "dissection": (
        *("run_id", "intervention", "grain", "part", "map", "variant", "dose", "draw", "measure"),
    ),
    "dissection_requests": (*("run_id", "intervention", "grain", "part", "variant", "prompt_id"),),
    "dissection_answers": (
        *("run_id", "intervention", "grain", "part", "variant", "dose", "prompt_id"),
    ),
    "eigenvalues": ("layer", "map", "index"),
    "subspace_quality": ("layer", "map"),
    "latents": ("layer", "latent"),
    "latent_cards": ("layer", "latent"),
    "latent_examples": ("layer", "latent", "quantile"),
    "attack_examples": ("prompt_id",),
}
"""The columns by which a table has one row each."""
WORDS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("responses", "outcome"): OUTCOMES,
    ("responses", "general_outcome"): OUTCOMES,
    ("responses", "kind"): ("harmful", "harmless", "lookalike", "task"),
    ("samples", "outcome"): OUTCOMES,
    ("samples", "way"): ("sampled", "prefilled", *get_args(Framing)),
    ("probe_answers", "outcome"): OUTCOMES,
    ("token_activations", "kind"): ("harmful", "harmless", "lookalike"),
    ("outer_drift", "part"): OUTER_MAPS,
    ("subspace_overlap", "side"): ("input", "output"),
    ("principal_angles", "side"): ("input", "output"),
    ("pair_overlap", "side"): ("input", "output"),
    ("judgements", "outcome"): OUTCOMES,
    ("dissection", "grain"): ("layer", "map", "set"),
    ("dissection_requests", "grain"): ("layer",),
    ("dissection_requests", "outcome"): OUTCOMES,
    ("dissection_answers", "grain"): ("layer",),
    ("dissection_answers", "outcome"): OUTCOMES,
}
"""Columns that hold no other words than these."""
_TABLE: Final = "which table"
"""No schema's column: of which of several tables a row is."""


def check_table(
    name: str, table: pd.DataFrame, lengths: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return `table` in its schema's column order, or say how it differs.

    Parameters
    ----------
    lengths : sequence of int, optional
        As of :func:`check_columns`.

    Raises
    ------
    ArtifactError
        The table is unknown, a column is missing or too many, or :func:`check_columns` objects.
    """
    schema = _schema(name)
    if list(schema) != list(table.columns) and sorted(schema) != sorted(map(str, table.columns)):
        missing = sorted(set(schema) - set(table.columns))
        extra = sorted(set(map(str, table.columns)) - set(schema))
        raise ArtifactError(
            f"table {name!r}: missing columns {shown(missing)}, unknown columns {shown(extra)}."
        )
    return check_columns(name, table[list(schema)], lengths)


def check_columns(
    name: str, table: pd.DataFrame, lengths: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return a table of some of the schema's columns, or say what is wrong in them.

    Parameters
    ----------
    lengths : sequence of int, optional
        Where several runs' tables stand one under the other, how long each is: a row has to be
        the only one of its kind in its own.

    Raises
    ------
    ArtifactError
        A column is of the wrong kind, has gaps where none are allowed, holds an infinite or a
        fractional number or another word than it may, or a row stands twice.
    """
    schema = _schema(name)
    columns = list(table.columns)
    for column in columns:
        if problem := _problem(name, column, schema[column], table[column]):
            raise ArtifactError(f"table {name!r}: column {column!r} {problem}.")
    key = list(KEYS.get(name, ()))
    if key and set(key) <= set(columns) and not _is_key(table[key], lengths or ()):
        raise ArtifactError(f"table {name!r}: some rows stand twice ({', '.join(key)}).")
    return table


def _is_key(rows: pd.DataFrame, lengths: Sequence[int]) -> bool:
    """Whether every row stands once; of one column this takes a tenth of the time."""
    if len(lengths) > 1:
        rows = rows.assign(**{_TABLE: np.repeat(np.arange(len(lengths)), lengths)})
    if len(rows.columns) == 1:
        return rows.iloc[:, 0].is_unique
    return not rows.duplicated().any()


def _schema(name: str) -> dict[str, str]:
    if name not in TABLES:
        raise ArtifactError(f"unknown table {shown(name)}; known: {', '.join(TABLES)}.")
    return TABLES[name]


def _problem(name: str, column: str, kind: str, values: pd.Series) -> str | None:
    """Return what is wrong in a column, None where nothing is."""
    missing, words = values.isna(), WORDS.get((name, column))
    if missing.any():
        if not kind.endswith("?"):
            return "has missing values"
        # Text alone is text with its gaps too: a page checks hundreds of tables.
        if words or not isinstance(values.dtype, pd.StringDtype):
            values = values[~missing]
    if not len(values):
        return None
    is_right, of_numbers = _KINDS[kind[0]]
    if not is_right(values):
        return f"holds {values.dtype} values"
    if of_numbers:
        return _problem_of_numbers(values.to_numpy(dtype=float), whole=kind[0] == "i")
    if words and not set(values.unique()) <= set(words):
        return f"holds other words than {', '.join(words)}"
    return None


def _problem_of_numbers(numbers: np.ndarray, *, whole: bool) -> str | None:
    if not np.isfinite(numbers).all():
        return "holds infinite values"
    return "holds fractions" if whole and (np.mod(numbers, 1) != 0).any() else None


def _is_text(values: pd.Series) -> bool:
    return bool(pd.api.types.is_string_dtype(values)) and not isinstance(
        values.dtype, pd.CategoricalDtype
    )


def _is_number(values: pd.Series) -> bool:
    kinds = pd.api.types
    return bool(kinds.is_numeric_dtype(values)) and not (
        kinds.is_bool_dtype(values) or kinds.is_complex_dtype(values)
    )


def _is_truth(values: pd.Series) -> bool:
    return bool(pd.api.types.is_bool_dtype(values.infer_objects()))


_KINDS: Final[dict[str, tuple[Callable[[pd.Series], bool], bool]]] = {
    "s": (_is_text, False),
    "i": (_is_number, True),
    "f": (_is_number, True),
    "b": (_is_truth, False),
}
