"""The update in two parts: by the safety subspace and by its spectrum, taken out and alone."""

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import of_arm
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import sentences
from cwac.figures.mechanism.forms import bars, doses_axis, draw_lines, scale_of, unit_of
from cwac.figures.panels import panels, titled, wrapped

SUBSPACE: Final = "subspace_split"
SPECTRUM: Final = "spectral_split"
_OUT, _ALONE = "Taken out, all else stays tuned", "Alone, all else stays aligned"
_NAMES: Final = {
    "inside": "inside the safety subspace",
    "outside": "outside of it",
    "random of equal energy": "random directions, equal energy",
    "random of equal rank": "random directions, equal rank",
    "harmless of equal rank": "directions of harmless requests",
    "trailing of equal rank": "least active directions",
}
"""What is split off, by the words of stored trials, in the order of the rows."""


def subspace_split(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what is back without a part of the update, and with that part alone, side by side."""
    table = of_arm(rows, arm, SUBSPACE)
    table = _by_panel(table[table["dose"].isna()])
    names = [name for name in _NAMES.values() if name in set(table["trial"])]
    names += [name for name in dict.fromkeys(table["trial"]) if name not in names]
    shown = [panel for panel in (_OUT, _ALONE) if panel in set(table["panel"])]
    figure, places = panels(
        shown or [_OUT], columns=2, panel=40 + 30 * len(names), side=0.1, letters=36
    )
    for panel, place in zip(shown, places, strict=False):
        for control in (False, True):
            drawn = table[(table["panel"] == panel) & (table["control"] == control)]
            labels = [wrapped(name, 20) for name in drawn["trial"]]
            trace = bars(drawn, labels, arm, SUBSPACE, scale=scale_of(table))
            trace.name = "for comparison" if control else style.escape(f"{arm.title}'s update")
            figure.add_trace(trace.update(showlegend=place == places[0]), *place)
    figure.update_xaxes(title=unit_of(table), rangemode="tozero")
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=[wrapped(name, 20) for name in names],
        autorange="reversed",
        showgrid=False,
    )
    return titled(figure, sentences.of(SUBSPACE, rows, arm), height=170 + 32 * len(names))


def _by_panel(table: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of a split with the panel that they stand in, named by what is split."""
    heads = table["trial"].str.partition(", ")
    alone = heads[0].str.startswith("only ")
    side = heads[0].str.removeprefix("only ").str.removesuffix(" removed")
    named = heads[2].where(heads[2] != "", side)
    return table.assign(panel=np.where(alone, _ALONE, _OUT), trial=named.map(_NAMES).fillna(named))


def first_directions(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what is back without the subspace's first directions, beside as many random ones."""
    table = of_arm(rows, arm, SUBSPACE).dropna(subset=["dose"])
    figure = go.Figure()
    named = np.where(table["control"], "as many random directions", "its first directions")
    draw_lines(figure, table.assign(trial=named), "dose", arm)
    doses_axis(figure, table, "directions taken out of every map's update (number)")
    figure.update_yaxes(title=unit_of(table), rangemode="tozero")
    return titled(figure, sentences.of_first_directions(rows, arm), height=380)


def spectral_split(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what is back without every matrix's leading directions, and with these alone."""
    table = of_arm(rows, arm, SPECTRUM).dropna(subset=["dose"])
    table = _by_panel(table)
    table["trial"] = table["trial"].replace("leading", "leading directions")
    shown = [panel for panel in (_OUT, _ALONE) if panel in set(table["panel"])]
    figure, places = panels(shown or [_OUT], columns=2, panel=300, side=0.12, letters=36)
    for panel, place in zip(shown, places, strict=False):
        before = len(figure.data)
        # Equal norm before equal number in both: a line looks the same in either panel.
        drawn = table[table["panel"] == panel].sort_values(["control", "trial"], kind="stable")
        draw_lines(figure, drawn, "dose", arm, place)
        for trace in figure.data[before:]:
            trace.showlegend = place == places[0]
    doses_axis(figure, table, "singular directions (number)")
    figure.update_xaxes(showticklabels=True)
    figure.update_yaxes(title=unit_of(table), row=1, col=1)
    return titled(figure, sentences.of(SPECTRUM, rows, arm), height=400)
