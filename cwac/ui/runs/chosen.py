"""The marked runs: their numbers side by side, their settings, notes and archives."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.columns import Units
from cwac.analysis.typeset import Write, latex, markdown
from cwac.artifacts import Note, StoredRun, pack, redact, unpack
from cwac.errors import ArtifactError
from cwac.records import RunRecord
from cwac.ui import reads, selection
from cwac.ui.experiments import Listing
from cwac.ui.exports import arm_titles, to_csv, to_text
from cwac.ui.folding import fold
from cwac.ui.navigation import PAGES
from cwac.ui.readonly import check_writable, show_read_only
from cwac.ui.runs.deleting import show_deletion
from cwac.ui.runs.listing import text_rows
from cwac.ui.runs.notes import show_note
from cwac.ui.widgets import metric_text, plain

SHOWN: Final = 6
"""Runs that are shown one by one; all of the marked are compared."""


def export_rows(listing: Listing) -> tuple[pd.DataFrame, Units]:
    """Return one row per complete run with every number it holds, and the units of its columns."""
    rows = []
    units: dict[str, str] = {}
    for run in listing.runs:
        if run.record is None:
            continue
        record, config = run.record, run.record.config
        row: dict[str, Any] = {
            "run_id": record.run_id,
            "experiment_id": record.experiment_id,
            "model": config.model.source,
            "task": config.task.source,
            "poison_ratio": None if config.is_measured else config.poison_ratio,
            "method": config.method,
            "variant": record.variant,
            "seed": config.seed,
            "steps": None if config.is_measured else config.training.steps,
        }
        for name, metric in record.metrics.items():
            row[name] = metric.value
            held = [name]
            if metric.count is not None:
                row |= {f"{name}_n": metric.count, f"{name}_low": metric.low}
                row |= {f"{name}_high": metric.high}
                held += [f"{name}_low", f"{name}_high"]
            units |= dict.fromkeys(held, metric.unit)
        rows.append(row)
    return pd.DataFrame(rows), units


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted names with their values as text.

    Examples
    --------
    >>> flat({"training": {"steps": 3}, "seed": 0})
    {'training.steps': '3', 'seed': '0'}
    """
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= flat(value, f"{prefix}{name}.")
        else:
            texts[f"{prefix}{name}"] = "default" if value is None else str(value)
    return texts


def differences(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the settings in which runs differ, one row each, one column per run."""
    settings = {r.run_id: flat(r.config.model_dump(mode="json")) for r in records}
    settings = {r.run_id: settings[r.run_id] | flat(dict(r.protocol), "protocol.") for r in records}
    names = sorted({name for values in settings.values() for name in values})
    rows = [
        {"Setting": name}
        | {run: values.get(name, "does not have it") for run, values in settings.items()}
        for name in names
        if len({values.get(name) for values in settings.values()}) > 1
    ]
    return pd.DataFrame(rows, columns=["Setting", *settings])


def numbers(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return every number of some runs with its interval, one row each, one column per run."""
    names = dict.fromkeys(name for record in records for name in record.metrics)
    rows = [
        {"Number": next(r.metrics[name].title for r in records if name in r.metrics)}
        | {r.run_id: metric_text(r.metrics.get(name), interval=True) for r in records}
        for name in names
    ]
    return pd.DataFrame(rows, columns=["Number", *(record.run_id for record in records)])


def show_chosen(listing: Listing, chosen: Sequence[str], notes: Mapping[str, Note]) -> None:
    """Show what the marked runs are, how they differ, and what can be done with them."""
    by_id = {run.run_id: run for run in listing.runs}
    marked = [by_id[name] for name in chosen if name in by_id]
    if not marked:
        return
    records = [run.record for run in marked if run.record is not None]
    st.subheader(f"{len(marked)} run{'s' if len(marked) > 1 else ''} marked", anchor=False)
    show_in_charts(listing, records)
    show_deletion(marked)
    if len(records) > 1:
        with fold("Their numbers side by side", "folded_numbers", expanded=True):
            st.dataframe(numbers(records), hide_index=True, key="runs_numbers")
        with fold("Settings that differ", "folded_settings", expanded=True):
            table = differences(records)
            if table.empty:
                st.caption("None: these runs have the same settings and protocol.")
            else:
                st.dataframe(table, hide_index=True, key="runs_difference")
    for run in marked[:SHOWN]:
        _show_run(run, notes, expanded=len(marked) == 1)
    if len(marked) > SHOWN:
        st.caption(f"{len(marked) - SHOWN} further ones are compared above and not shown one by "
                   "one.")  # fmt: skip


def show_in_charts(listing: Listing, records: Sequence[RunRecord]) -> None:
    """Link to the figures of the marked runs' experiments and arms."""
    if not records:
        return
    ids = {record.run_id for record in records}
    views = [e for e in listing.experiments if ids & {r.run_id for r in e.records}]
    # A run that was judged by two rules stands in two: the fullest comes first.
    first = dict.fromkeys(e.stored_id for e in views)
    views = [next(e for e in views if e.stored_id == name) for name in first]
    if not views:
        return
    query = selection.as_link(
        experiment=views[0].experiment_id,
        overlay=tuple(e.experiment_id for e in views[1:]),
        arms=tuple(dict.fromkeys(record.arm.label for record in records)),
        tab=None,
    )
    spec = PAGES["results"]
    st.page_link(
        spec.path, label="Open the marked ones in the charts", icon=spec.icon, query_params=query
    )


def _show_run(run: StoredRun, notes: Mapping[str, Note], *, expanded: bool) -> None:
    with fold(plain(run.run_id), f"marked_{run.run_id}", expanded=expanded):
        show_note(run.run_id, notes)
        if run.record is None:
            st.error(plain(run.problem or "It cannot be read."))
        else:
            _show_record(run.record)
            _actions(run)


def _show_record(record: RunRecord) -> None:
    for warning in record.warnings:
        st.warning(plain(warning))
    if record.summary:
        st.info("A summary: its numbers and the outcome of each request, nothing else.", icon="🗜️")
    left, right = st.columns(2)
    changed = flat(record.config.model_dump(mode="json"))
    left.dataframe(
        pd.DataFrame({"Setting": changed.keys(), "Value": changed.values()}),
        hide_index=True,
        height=260,
        key=f"settings_{record.run_id}",
    )
    numbers = {m.title: metric_text(m, interval=True) for m in record.metrics.values()}
    right.dataframe(
        pd.DataFrame({"Number": numbers.keys(), "Value": numbers.values()}),
        hide_index=True,
        height=260,
        key=f"numbers_{record.run_id}",
    )
    made = record.provenance
    commit = (made.git_commit or "unknown")[:10] + (" with local changes" if made.git_dirty else "")
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in made.durations.items())
    if made.weights is not None:
        weights = f"Weights: {made.weights.words}, from {made.weights.file}"
        st.caption(plain(f"{weights} (SHA-256 {made.weights.sha256})."))
    st.caption(
        plain(f"Made {made.created:%Y-%m-%d %H:%M} UTC on {made.device}; commit {commit}; {spent}.")
    )


def _actions(run: StoredRun) -> None:
    left, right = st.columns([1, 3], vertical_alignment="center")
    reveal = right.toggle(
        "Archive with answers to harmful requests", key=f"reveal_{run.run_id}", value=False
    )
    left.download_button(
        "Archive (ZIP)",
        lambda: packed(run.run_id, reveal=reveal),
        file_name=f"{run.run_id}.zip",
        mime="application/zip",
        key=f"zip_{run.run_id}",
        on_click="ignore",
        width="stretch",
        help="One file that opens in another lab: upload it on this page there.",
    )


def packed(run_id: str, *, reveal: bool) -> bytes:
    """Return a run as one archive, answers to harmful requests replaced unless `reveal`."""
    return pack(reads.store(), run_id, answers=None if reveal else redact)


def show_upload() -> None:
    """Let the reader add the runs of an archive."""
    if show_read_only():
        return
    # Said for as long as the archive stands in the box: a message that is taken away when it is
    # read is lost where another rerun cuts this one short.
    added = st.session_state.get("runs_added")
    if added and st.session_state.get("runs_upload") is not None:
        st.success(plain(f"Added {', '.join(added)}."))
    st.file_uploader(
        "Add runs from an archive (ZIP)", type="zip", key="runs_upload", on_change=_take_upload
    )


def _take_upload() -> None:
    upload = st.session_state.get("runs_upload")
    st.session_state.pop("runs_added", None)
    if upload is None:
        return
    try:
        check_writable()
        st.session_state["runs_added"] = unpack(reads.store(), upload)
    except (ArtifactError, OSError) as problem:
        st.session_state["runs_problem"] = str(problem)


def show_exports(listing: Listing, shown: pd.DataFrame | None) -> None:
    """Offer every number of every run as CSV, and the list as it is shown as text.

    Parameters
    ----------
    shown : DataFrame or None
        The rows of the list as filtered and grouped; None where no run passes the filters.
    """
    with st.container(horizontal=True):
        named = arm_titles()
        _offer("All numbers (CSV)", "runs.csv", "text/csv", partial(_as_csv, listing, named))
        if shown is not None:
            for name, file, mime, write in _TEXTS:
                _offer(f"List above ({name})", file, mime, partial(_as_text, shown, write))


_TEXTS: Final = (
    ("Markdown", "runs.md", "text/markdown", markdown),
    ("LaTeX", "runs.tex", "application/x-tex", latex),
)


def _as_csv(listing: Listing, named: Mapping[str, str]) -> str:
    rows, units = export_rows(listing)
    return to_csv(rows, named, units)


def _as_text(shown: pd.DataFrame, write: Write) -> str:
    return to_text(text_rows(shown), write)


def _offer(label: str, file: str, mime: str, make: Callable[[], str]) -> None:
    st.download_button(
        label, make, file_name=file, mime=mime, key=file.replace(".", "_"), on_click="ignore"
    )
