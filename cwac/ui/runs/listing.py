"""The list of stored runs: one row each, as it is shown, and which of them are marked."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.rules import rule_of
from cwac.artifacts import ArtifactStore, Note, Stamp, StoredRun
from cwac.errors import ArtifactError
from cwac.rates import RATES
from cwac.records import RunRecord
from cwac.ui import reads, selection
from cwac.ui.experiments import Listing
from cwac.ui.runs.views import CHANGE, IDS, SPELLED
from cwac.ui.widgets import percent_column

# Widths in pixels: as measured, so that no heading is cut, and that what is asked first, with the
# task that it is of, fits a window of 1024.
_WIDTHS: Final = {
    "harmful_score": 103,
    "task_accuracy": 108,
    "over_refusal_rate": 94,
    "refusal_rate": 92,
}
TITLES: Final = [RATES[name].title for name in _WIDTHS]
_RATES: Final = tuple((title, f"{CHANGE}{title}") for title in TITLES)
# Refusals come late: what is not refused is mostly complied with, which stands first.
_COLUMNS: Final = (
    *("Status", "Arm", *_RATES[0], *_RATES[1], *_RATES[2]),
    *("Task", "Poison", "Model", "Seed", "Runs", "Seeds", *_RATES[3]),
    *("Tags", "Note", "Steps", "Made", "Origin", "MB", "Weights kept", "Warnings", "Judge"),
    *("Run", "Problem"),
)


_NAMES: Final = (160, 350)
"""Pixels of the column of names: as wide as the longest needs, between these."""
_ORIGINS: Final = ("own", "imported", "shipped")


def run_rows(listing: Listing, notes: Mapping[str, Note] | None = None) -> pd.DataFrame:
    """Return one row per stored run, broken ones included; None where not measured.

    The reader's own come first; those of one experiment and arm stand together, in the order of
    their seeds.
    """
    rows = [_row(run) | _noted((notes or {}).get(run.run_id)) for run in listing.runs]
    table = pd.DataFrame(rows)
    if "Experiment" in table:
        order = {e.stored_id: place for place, e in enumerate(listing.experiments)}
        keys = table.assign(
            Origin=table["Origin"].map(_ORIGINS.index), Experiment=table["Experiment"].map(order)
        )
        by = ["Origin", "Experiment", "_order", "Seed"]
        sorted_rows = keys.sort_values(by, kind="stable", na_position="first")
        table = table.loc[sorted_rows.index].reset_index(drop=True)
    hidden = (IDS, SPELLED, "Experiment", "Method")
    return table.reindex(columns=[name for name in (*_COLUMNS, *hidden) if name in table])


def rows_in_view(listing: Listing, notes: Mapping[str, Note]) -> pd.DataFrame:
    """Return :func:`run_rows`, made once per state of the store and of the notes."""
    return _rows(listing.stamp, repr(sorted(notes.items())), listing, notes)


# Not copied on each read (cache_data would pickle it): nobody changes it.
@st.cache_resource(max_entries=8, show_spinner=False)
def _rows(stamp: Stamp, noted: str, _listing: Listing, _notes: Mapping[str, Note]) -> pd.DataFrame:
    del stamp, noted
    return run_rows(_listing, _notes)


def _noted(note: Note | None) -> dict[str, Any]:
    if note is None:
        return {}
    return {"Note": note.text or None, "Tags": list(note.tags) or None}


def _row(run: StoredRun) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Status": "complete" if run.record is not None else "broken",
        "Origin": reads.origin(run.root),
        "MB": round(disk_use(run) / 1e6, 2),
        "Run": run.run_id,
        IDS: (run.run_id,),
        "Problem": run.problem,
    }
    if run.record is None:
        return row
    record, config = run.record, run.record.config
    row |= {RATES[name].title: record.value(name) for name in _WIDTHS}
    row["Judge"] = rule_of(record)[:6]
    return row | {
        "Model": _model(record),
        "Task": config.task.label,
        "Poison": None if config.is_measured else config.poison_ratio,
        "Arm": record.arm.title,
        SPELLED: record.arm.spelled,
        "Seed": config.seed,
        "Steps": None if config.is_measured else config.training.steps,
        "Weights kept": record.kept_model,
        "Made": record.provenance.created,
        "Warnings": len(record.warnings),
        "Experiment": record.experiment_id,
        "Method": record.arm.method_name,
        "_order": record.arm.sort_key,
    }


def _model(record: RunRecord) -> str:
    origin = record.provenance.weights
    label = record.config.model.label
    return label if origin is None else f"{label} ({origin.words})"


def disk_use(run: StoredRun) -> int:
    """Return a stored run's size in bytes, 0 where it has just been deleted."""
    try:
        stamp = ArtifactStore(run.root).run_stamp(run.run_id)
        return _disk_use(str(run.root), run.run_id, stamp)
    except ArtifactError:
        return 0


@st.cache_data(max_entries=1000, show_spinner=False)
def _disk_use(root: str, run_id: str, stamp: Stamp) -> int:
    del stamp
    return ArtifactStore(root).disk_use(run_id)


def shown_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as they are shown: rates in per cent, times to the minute, short numbers."""
    # To a tenth of a per cent: further digits only make the columns wider.
    short: dict[str, Any] = {}
    short |= {t: (100 * table[t].astype(float)).round(1) for t in TITLES if t in table}
    if "Made" in table:
        short["Made"] = pd.to_datetime(table["Made"], utc=True).dt.tz_localize(None)
    for title in TITLES:
        if f"{CHANGE}{title}" in table:
            short[f"{CHANGE}{title}"] = table[f"{CHANGE}{title}"].astype(float).round(1)
    return table.assign(**short)


def _worth_showing(table: pd.DataFrame, name: str) -> bool:
    """Whether a column tells anything: in most stores no run is broken and none has notes."""
    if name == "Status":
        return bool((table[name] != "complete").any())
    if name == "Model":
        return table[name].nunique() > 1
    if name == "Runs":
        # The seeds are listed: mostly there is a run of each.
        return bool((table[name].dropna() != table["Seeds"].dropna().str.count(",") + 1).any())
    return name not in {"Problem", "Warnings", "Weights kept", "Note", "Tags"} or any(
        table[name].dropna()
    )


def _visible(table: pd.DataFrame) -> list[str]:
    return [name for name in _COLUMNS if name in table and _worth_showing(table, name)]


def text_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the list as it is shown, as text for a paper: its visible columns, with units.

    What was not measured is empty.
    """
    shown = shown_rows(table)[_visible(table)].copy()
    for title in TITLES:
        if title in shown:
            shown[title] = [_unit(value, ".1f", "\u00a0%") for value in shown[title]]
        if f"{CHANGE}{title}" in shown:
            points = [_unit(value, "+.1f") for value in shown.pop(f"{CHANGE}{title}")]
            place = list(shown).index(title) + 1
            shown.insert(place, f"{title}, difference (points)", points)
    if "Made" in shown:
        shown["Made"] = shown["Made"].dt.strftime("%Y-%m-%d %H:%M")
    if "Tags" in shown:
        shown["Tags"] = [", ".join(t) if isinstance(t, list) else "" for t in shown["Tags"]]
    return shown


def _unit(value: Any, form: str, unit: str = "") -> str:
    return "" if pd.isna(value) else f"{value:{form}}{unit}"


def name_width(table: pd.DataFrame) -> int:
    """Return the pixels that the longest name of an arm needs, at most those that there are."""
    least, most = _NAMES
    names = [name for name in table.get("Arm", ()) if isinstance(name, str)]
    longest = max(map(len, names), default=0)
    return round(min(max(least, 24 + 6.6 * longest), most))


def _look(names: int) -> dict[str, Any]:
    config = st.column_config
    rates = {
        RATES[name].title: percent_column(help="empty: not measured", width=width)
        for name, width in _WIDTHS.items()
    }
    changes = {
        f"{CHANGE}{RATES[name].title}": config.NumberColumn(
            f"{CHANGE}points", format="%+.1f", width=78,
            help=f"{RATES[name].title}: percentage points above the baseline's.",
        )
        for name in _WIDTHS
    }  # fmt: skip
    return (
        rates
        | changes
        | {
            "Runs": config.NumberColumn(width=50),
            "Seeds": config.TextColumn(width=70),
            "Tags": config.ListColumn(width=110),
            "Note": config.TextColumn(width=160),
            # Not pinned: that would pale its names.
            "Arm": config.TextColumn(width=names),
            "Task": config.TextColumn(width=78),
            "Model": config.TextColumn(width=95),
            "Poison": config.NumberColumn(width=58),
            "Seed": config.NumberColumn(width=48),
            "Steps": config.NumberColumn(width=54),
            "Origin": config.TextColumn(width=75),
            "MB": config.NumberColumn(width=60, format="%.2f"),
            "Made": config.DatetimeColumn("Made (UTC)", format="YYYY-MM-DD HH:mm", width=132),
            "Problem": config.TextColumn(width="large"),
        }
    )


def show_list(table: pd.DataFrame) -> list[str]:
    """Show the runs; return the ids of those that the reader marked."""
    ids: list[tuple[str, ...]] = table[IDS].tolist()
    # To the table marks are places: another list, as after a deletion, is another table.
    key = f"runs_table_{hashlib.sha256(repr(ids).encode()).hexdigest()[:12]}"
    marked = set(selection.current().marked)

    def take() -> None:
        places = st.session_state[key].selection.rows
        runs = tuple(run for place in places if place < len(ids) for run in ids[place])
        selection.select(marked=runs)

    state: Any = st.dataframe(
        shown_rows(table),
        hide_index=True,
        key=key,
        on_select=take,
        selection_mode="multi-row",
        selection_default={
            "selection": {"rows": [at for at, runs in enumerate(ids) if marked >= set(runs)]}
        },
        placeholder="",
        height=430,
        column_order=_visible(table),
        column_config=_look(name_width(table)),
    )
    return [run for place in state.selection.rows if place < len(ids) for run in ids[place]]
