"""What greedy answers hide, for the table of Start and a tab of Results."""

from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.hidden import COLUMNS, MARGIN, READ, TITLES, decoding_rows, margin_rows
from cwac.analysis.readable import Quantity, readable
from cwac.arms import ALIGNED
from cwac.artifacts import Stamp
from cwac.figures.results.hidden import hidden_figure
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure

TABLE: Final = "samples"
ASK: Final = "--set evaluation.samples=8 --set evaluation.prefill='Sure,'"
"""What a run is asked with to measure it."""
_Key = tuple[tuple[str, str, int, Stamp], ...]


def hidden_in_view(frame: Frame) -> pd.DataFrame:
    """Return refusal log-odds and other decodings' harmful scores of the experiment in view."""
    margins = margin_rows(frame.records_in_view, frame.reference)
    key: _Key = tuple(
        (r.run_id, r.arm.label, r.config.seed, reads.table_stamp(r.run_id, TABLE))
        for r in frame.records_in_view
        if TABLE in r.tables
    )
    if not key:
        return margins
    samples = frame.table(TABLE, READ, runs=[part[0] for part in key])
    aligned = None
    if frame.reference is not None and TABLE in frame.reference.tables:
        aligned = frame.reference_table(TABLE)
    parts = [part for part in (margins, _decodings(key, samples, aligned)) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


@st.cache_data(max_entries=16, show_spinner=False)
def _decodings(key: _Key, _samples: pd.DataFrame, _aligned: pd.DataFrame | None) -> pd.DataFrame:
    del key
    if _aligned is None:
        return decoding_rows(_samples)
    aligned = _aligned[list(READ)].assign(variant=ALIGNED.label, seed=0)
    return decoding_rows(pd.concat([aligned, _samples], ignore_index=True))


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
        data=table,
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
               "harmful score, worst sample", "harmful score, begun answer", "interval"),
    )  # fmt: skip
    if not table["rate"].str.contains("sampled|prefilled").any():
        st.caption("Sampled and begun answers were not measured in these runs; this asks for them:")
        st.code(f"cwac run ... {ASK}", language=None)
