"""The list of runs as the reader wants it: filtered, a row a method, held against a baseline."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.ui import selection
from cwac.ui.once import once
from cwac.ui.widgets import choose, plain

IDS: Final = "_ids"
"""The column that holds the runs of a row; never shown."""
SPELLED: Final = "_spelled"
"""The column that names an arm in links: with its settings as they are set; never shown."""
CHANGE: Final = "\u0394 "
"""What the titles of difference columns begin with."""
NONE: Final = "none"
METHODS, RUNS = "a row a method", "every run"
_ROWS: Final = {METHODS: "one row per method", RUNS: "every run"}
FILTERS: Final = {
    "task": "Task",
    "poison": "Poison",
    "model": "Model",
    "origin": "Origin",
    "tag": "Tags",
    "method": "Method",
}
"""Name in the link and column of each filter, in the order of their chips."""
_MANY: Final = 9
"""Values of a filter above which they are a list and no chips."""


def values_of(row: Mapping[Any, Any], column: str) -> list[str]:
    """Return what a row holds in a filter's column, as the chips name it."""
    value = row.get(column)
    if isinstance(value, list):
        return [str(each) for each in value]
    if value is None or pd.isna(value):
        return []
    return [f"{value:g}" if isinstance(value, float) else str(value)]


def options(table: pd.DataFrame, column: str) -> list[str]:
    """Return the different values of a filter's column: numbers from the least, else as listed."""
    if column not in table:
        return []
    if pd.api.types.is_float_dtype(table[column]):
        table = table.sort_values(column)
    rows = ({column: value} for value in table[column])
    return list(dict.fromkeys(value for row in rows for value in values_of(row, column)))


def filtered(table: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    """Return the rows that every filter lets through; values of one filter are alternatives.

    Parameters
    ----------
    filters : sequence of str
        Such as ``task=instruct``; what names no filter is left out.
    """
    wanted: dict[str, set[str]] = {}
    for text in filters:
        name, _, value = text.partition("=")
        if name in FILTERS:
            wanted.setdefault(FILTERS[name], set()).add(value)
    kept = pd.Series(data=True, index=table.index)
    for column, values in wanted.items():
        if column in table:
            held = [bool(values & set(values_of({column: v}, column))) for v in table[column]]
            kept &= pd.Series(held, table.index, dtype=bool)
    return table[kept].reset_index(drop=True)


def grouped(table: pd.DataFrame, rates: Sequence[str]) -> pd.DataFrame:
    """Return a row per experiment and arm: rates as means over its runs, disk use summed.

    Broken runs, which belong to none, keep a row each.
    """
    if "Experiment" not in table:
        return table
    keys = ["Experiment", "Arm"]
    rows = []
    for _, part in table.dropna(subset=["Experiment"]).groupby(keys, sort=False):
        row = part.iloc[0].to_dict() | {name: part[name].mean() for name in rates}
        seeds = sorted({int(seed) for seed in part["Seed"]})
        row |= {
            "Runs": len(part),
            "Seeds": ", ".join(map(str, seeds)),
            "MB": part["MB"].sum(),
            "Made": part["Made"].max(),
            IDS: tuple(run for ids in part[IDS] for run in ids),
        }
        for column in ("Tags", "Note"):
            if column in part:
                row[column] = _joined(part[column])
        rows.append(row)
    broken = table[table["Experiment"].isna()]
    together = pd.concat([pd.DataFrame(rows), broken], ignore_index=True)
    columns = [name for name in table.columns if name not in {"Seed", "Run"}]
    return together[[*columns, "Runs", "Seeds"]] if rows else broken


def _joined(values: "pd.Series[Any]") -> Any:
    tags = [tag for value in values if isinstance(value, list) for tag in value]
    texts = [value for value in values if isinstance(value, str)]
    return list(dict.fromkeys(tags)) or "; ".join(texts) or None


def against(table: pd.DataFrame, rates: Sequence[str], baseline: str | None) -> pd.DataFrame:
    """Return the rows with a column of differences from a row beside each rate, in points.

    Parameters
    ----------
    baseline : str or None
        A key of `keys_of`; None, or one that is not listed, adds nothing.
    """
    keys = keys_of(table)
    if baseline not in keys:
        return table
    base = table.iloc[list(keys).index(baseline)]
    columns = {f"{CHANGE}{name}": 100 * (table[name] - base[name]) for name in rates}
    return table.assign(**columns)


def keys_of(table: pd.DataFrame) -> dict[str, str]:
    """Return a name for the link, and one for people, of each row that has rates."""
    keys = {}
    for row in table.to_dict("records"):
        if not isinstance(row.get("Arm"), str):
            continue
        where = [str(row["Task"]), *values_of(row, "Poison"), str(row["Model"])]
        seed = f", seed {row['Seed']:.0f}" if "Seed" in row else ""
        key = row["Run"] if "Run" in row else f"{row['Experiment']}/{row[SPELLED]}"
        keys[str(key)] = f"{row['Arm']}{seed} · {' · '.join(where)}"
    return keys


def show_filters(table: pd.DataFrame) -> list[str]:
    """Draw the chips; return what is filtered for, which the link keeps."""
    chosen = [text for text in selection.current().filters if text.partition("=")[0] in FILTERS]
    offered = {name: options(table, column) for name, column in FILTERS.items()}
    offered = {name: values for name, values in offered.items() if len(values) > 1}
    if not offered:
        return chosen
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, values in offered.items():
            _show_filter(name, values, chosen)
    return chosen


def _show_filter(name: str, values: list[str], chosen: Sequence[str]) -> None:
    key = f"_filter_{name}"
    mine = [text.partition("=")[2] for text in chosen if text.startswith(f"{name}=")]
    st.session_state[key] = [value for value in mine if value in values]

    def take() -> None:
        others = [text for text in selection.current().filters if not text.startswith(f"{name}=")]
        new = [f"{name}={value}" for value in st.session_state[key]]
        selection.select(filters=(*others, *new))

    title = FILTERS[name]
    if len(values) > _MANY:
        st.multiselect(
            title, values, key=key, on_change=take, placeholder=f"every {name}", width=300
        )
    else:
        st.pills(
            title, values, key=key, on_change=take, selection_mode="multi", format_func=plain,
        )  # fmt: skip


def show_view(table: pd.DataFrame, rates: Sequence[str]) -> pd.DataFrame:
    """Let the reader choose rows and baseline; return the list so."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = choose("Rows", list(_ROWS), "rows", show=_ROWS.__getitem__, flat=True)
        rows = once(grouped, table, rates) if kind == METHODS else table
        names = keys_of(rows)
        baseline = choose(
            "Baseline", [NONE, *names], "baseline", show=lambda key: names.get(key, key),
            help="Every other row's rates are held against this one's, in percentage points.",
        )  # fmt: skip
    return against(rows, rates, baseline)
