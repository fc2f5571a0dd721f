"""What greedy answers hide, for the table of Start and a tab of Results."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.columns import unit_word
from cwac.analysis.hidden import COLUMNS, MARGIN, READ, TITLES, decoding_rows, margin_rows
from cwac.analysis.readable import Quantity, readable
from cwac.arms import ALIGNED
from cwac.artifacts import Stamp
from cwac.figures.results.hidden import hidden_figure
from cwac.records import RunRecord
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure

TABLE: Final = "samples"
ASK: Final = "--set evaluation.samples=8 --set evaluation.prefill='Sure,'"
"""What a run is asked with to measure it."""


def hidden_in_view(frame: Frame) -> pd.DataFrame:
    """Return refusal log-odds and other decodings' harmful scores of the arms in view."""
    return hidden_of(frame, frame.records_in_view)


def hidden_of(frame: Frame, records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return the same of some runs of the experiment in view, and of its aligned model."""
    margins = margin_rows(records, frame.reference)
    decodings = decodings_of(frame, records)
    rows = [part for part in (margins, decodings) if len(part)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def decodings_of(
    frame: Frame, records: Sequence[RunRecord], only: tuple[str, ...] = ()
) -> pd.DataFrame:
    """Return other decodings' harmful scores of some runs of one model and of this aligned model.

    Empty where none was asked for; what cannot be read is told.

    Parameters
    ----------
    only : tuple of str
        As of ``hidden.decoding_rows``.
    """
    measured = [r for r in records if TABLE in r.tables]
    if not measured:
        return pd.DataFrame(columns=COLUMNS)
    parts = tuple((r.run_id, r.arm.label, r.config.seed, None) for r in measured)
    stamps = tuple(reads.table_stamp(r.run_id, TABLE) for r in measured)
    fit = next((r.fits["reference"] for r in measured if "reference" in r.fits), None)
    decodings, problems = _decodings(parts, stamps, fit, only)
    for problem in problems:
        frame.tell(problem)
    return decodings


@st.cache_data(max_entries=16, show_spinner=False)
def _decodings(
    parts: tuple[reads.Part, ...], stamps: tuple[Stamp, ...], fit: str | None, only: tuple[str, ...]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    samples, problems = reads.stacked_anew(parts, TABLE, READ, stamps)
    tables = [] if samples is None else [samples]
    aligned = None if fit is None else reads.fit_record(fit)
    if fit is not None and aligned is not None and TABLE in aligned.tables:
        answered = reads.fit_table(fit, TABLE)[list(READ)]
        tables.insert(0, answered.assign(variant=ALIGNED.label, seed=0))
    if not tables:
        return pd.DataFrame(columns=COLUMNS), problems
    return decoding_rows(pd.concat(tables, ignore_index=True), only), problems


def _unit(rate: str) -> str:
    return "" if rate == MARGIN else "%"


def show_hidden(frame: Frame, points: pd.DataFrame) -> None:
    """Draw each arm's margin, and its harmful score greedy, sampled and with a begun answer.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating``: what greedy answers show.
    """
    table = hidden_in_view(frame)
    if table.empty:
        st.info("Refusal log-odds were not measured in the runs in view.", icon="🕳️")
        return
    show_figure(
        partial(hidden_figure, table, points, [ALIGNED, *frame.arms]),
        "hidden",
        # Its rates have two units: each row says its own.
        data=table.assign(unit=[unit_word(_unit(rate)) for rate in table["rate"]]),
        text=partial(
            readable,
            table,
            frame.arms,
            Quantity("value", "First token and other decodings", _unit),
            across=("rate", "Rate"),
            name=TITLES.__getitem__,
        ),
        reading="Left: how far a refusal is from going, mean over harmful requests, in nats (one "
        "nat more is 2.7 times the odds); at 0 the first token is a coin's toss. Right: harmful "
        "score of greedy answers, and of others where they were measured.",
        terms=("refusal log-odds", "harmful score", "harmful score, sampled",
               "harmful score, worst sample", "harmful score, begun answer", "interval",
               "CWAC (paper)"),
    )  # fmt: skip
    if not table["rate"].str.contains("sampled|prefilled").any():
        st.caption("Sampled and begun answers were not measured in these runs; this asks for them:")
        st.code(f"cwac run ... {ASK}", language=None)
