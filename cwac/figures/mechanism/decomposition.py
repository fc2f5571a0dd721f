"""The decomposition of a change: the term that the theory drops, and what the change is made of."""

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import of_arm
from cwac.arms import Arm
from cwac.figures.mechanism import sentences
from cwac.figures.mechanism.forms import draw_lines, grey_of
from cwac.figures.panels import panels, titled
from cwac.records import OUTER_MAPS

NAME: Final = "decomposition"
_TERMS: Final = {
    "share_carried": "carried: W₀ Δh",
    "share_written": "written: ΔW h₀",
    "share_bilinear": "bilinear: ΔW Δh",
}


def dropped_term(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw, per layer, how large the term is that the first-order form drops of what it keeps."""
    figure = go.Figure()
    draw_lines(figure, _of_measure(rows, arm, "bilinear_of_kept"), "layer", arm,
               grey=grey_of(NAME))  # fmt: skip
    figure.update_xaxes(title="layer (0 = first)", **_layer_ticks(_rows_of(rows, arm)))
    figure.update_yaxes(title="dropped term, of what is kept (%)", rangemode="tozero")
    return titled(figure, sentences.of(NAME, rows, arm), height=400)


def terms_of_change(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw, per layer, the share of each term, the change's size and the nonlinearity's error."""
    mine = _rows_of(rows, arm)
    columns = {
        "Share of each term": ("share of the change (%)", tuple(_TERMS)),
        "Size of the change": ("share of the aligned output (%)", ("relative_change",)),
        "Missed behind the nonlinearity": ("error of the change (%)", ("first_order_error",)),
    }
    if "relative_change" not in set(mine["measure"]):
        # Rows of before it was measured.
        del columns["Size of the change"]
    figure, places = panels(
        list(columns), columns=3, panel=280, gap=110, side=0.24, shared_yaxes=False
    )
    for (unit, measures), place in zip(columns.values(), places, strict=True):
        tables = [_of_measure(rows, arm, measure) for measure in measures]
        before = len(figure.data)
        draw_lines(figure, pd.concat(tables), "layer", arm, place, grey=grey_of(NAME))
        # Harmful and harmless requests stand in the legend once.
        for trace in figure.data[before:] if place not in (places[0], places[-1]) else ():
            trace.showlegend = False
        figure.update_yaxes(title=unit, rangemode="tozero", row=place[0], col=place[1])
    figure.update_xaxes(title="layer (0 = first)", showticklabels=True, **_layer_ticks(mine))
    return titled(figure, sentences.of_terms(rows, arm), height=400)


def _rows_of(rows: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    return rows[(rows["variant"] == arm.label) & (rows["intervention"] == NAME)]


def _layer_ticks(rows: pd.DataFrame) -> dict[str, list[object]]:
    """Return the marks of an axis of layers with the embedding before and the output behind."""
    outer = rows["map"].isin(OUTER_MAPS)
    layers = sorted(rows.loc[~outer, "layer"].dropna().astype(int).unique())
    ticks = {layer: str(layer) for layer in layers[:: 5 if len(layers) > 15 else 1]}
    short = {"embedding": "embed.", "output": "output"}
    for layer, name in rows.loc[outer, ["layer", "map"]].drop_duplicates().itertuples(index=False):
        ticks[int(layer)] = short[name]
    return {"tickvals": list(ticks), "ticktext": list(ticks.values())}


def _of_measure(rows: pd.DataFrame, arm: Arm, measure: str) -> pd.DataFrame:
    """Return a measure over the layers; of a term's share what it is of harmful requests alone."""
    table = of_arm(rows, arm, NAME, measure)
    outer = table["map"].isin(OUTER_MAPS)
    # One map each, with an interval of its own.
    layers = pd.concat([_over_maps(table[~outer]), table[outer].assign(is_share=True)])
    if measure not in _TERMS:
        return layers
    # Those of harmless requests would be three lines more: the table beneath has them.
    return layers[~layers["control"].astype(bool)].assign(trial=_TERMS[measure])


def _over_maps(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a layer: the mean over its maps, from the lowest to the highest map."""
    groups = table.groupby(["layer", "trial", "control"], sort=False)
    layers = groups.agg(
        y=("y", "mean"), low=("y", "min"), high=("y", "max"), maps=("map", "nunique"),
        seeds=("seeds", "max"), n=("n", "min"),
    ).reset_index()  # fmt: skip
    over = [
        f"mean of {row['maps']} maps, from the lowest to the highest; "
        f"n = {row['n']} requests, {row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        for row in layers.to_dict("records")
    ]
    parts = [f"layer {layer:.0f}" for layer in layers["layer"]]
    unknown = dict.fromkeys(("dose", "refusal", "sample"), np.nan)
    return layers.assign(part=parts, over=over, is_share=True, **unknown)
