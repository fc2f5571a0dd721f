"""Which requests an arm answers unlike the aligned model: counts per outcome, seed by seed."""

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.refusals import flip_tests
from cwac.arms import Arm
from cwac.figures.panels import arm_label, outer_titles, panels, titled
from cwac.records import OUTCOMES


def flip_matrices(table: pd.DataFrame, arm: Arm, kind: str) -> go.Figure:
    """Draw the counts aligned -> arm, one matrix per seed, with the exact McNemar test.

    Parameters
    ----------
    table : DataFrame
        Result of ``cwac.analysis.refusals.flips``.

    Notes
    -----
    Each cell carries an invisible marker whose ``customdata`` is (before, after, seed).
    """
    tests = flip_tests(table).set_index("seed")
    seeds = list(tests.index)
    heads = [f"seed {seed}: McNemar p {_p(tests.loc[seed, 'p'])}" for seed in seeds]
    figure, places = panels(heads or ["no seed"], columns=3, gap=50, panel=150)
    # Older judges tell no hybrids: their outcome would be an empty row and column.
    present = {*table["before"], *table["after"]}
    labels = [str(name) for name in OUTCOMES if name != "hybrid" or name in present]
    for seed, (row, column) in zip(seeds, places, strict=False):
        part = table[table["seed"] == seed].set_index(["before", "after"])["count"]
        counts = part.unstack("after").reindex(index=labels, columns=labels).fillna(0).astype(int)
        figure.add_trace(
            go.Heatmap(
                x=labels,
                y=labels,
                z=counts.to_numpy(),
                text=counts.to_numpy(),
                texttemplate="%{text}",
                coloraxis="coloraxis",
                hoverinfo="skip",
                xgap=2,
                ygap=2,
            ),
            row,
            column,
        )
        figure.add_trace(_flip_cells(counts, int(tests.loc[seed, "n"]), seed), row, column)
    figure.update_layout(coloraxis={"colorscale": "Cividis", "showscale": False}, showlegend=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    outer_titles(figure, places, x=f"after: {arm_label(arm)}", y="aligned model")
    return titled(figure, _flip_title(tests, arm, kind), height=110 + 200 * places[-1][0])


def _flip_cells(counts: pd.DataFrame, n: int, seed: int) -> go.Scatter:
    cells = [(before, after) for before in counts.index for after in counts.columns]
    return go.Scatter(
        x=[after for _, after in cells],
        y=[before for before, _ in cells],
        mode="markers",
        marker={"size": 34, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=[[before, after, int(seed)] for before, after in cells],
        text=[f"{counts.loc[cell]} of n = {n} requests" for cell in cells],
        hovertemplate="before %{y}, after %{x}<br><b>%{text}</b><extra></extra>",
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _flip_title(tests: pd.DataFrame, arm: Arm, kind: str) -> str:
    named = arm.title
    if tests.empty:
        return f"No request of kind {kind} was answered by both the aligned model and {named}"
    text = f"From aligned to {named}, refusals of {kind} requests"
    if len(tests) > 2:
        return (
            f"{text} lost: {_span(tests['lost'])} of {_span(tests['n'])} ({len(tests)} seeds); "
            f"gained: {_span(tests['gained'])}"
        )
    parts = [f"{row['lost']:.0f} of {row['n']:.0f}" for _, row in tests.iterrows()]
    seeds = f"seed {tests.index[0]}" if len(tests) == 1 else "seed by seed"
    return (
        f"{text} lost: {', '.join(parts)} ({seeds}); "
        f"gained: {', '.join(str(int(v)) for v in tests['gained'])}"
    )


def _span(counts: "pd.Series[int]") -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
