"""The regulariser's ledger: which latent carried the activation loss."""

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm
from cwac.figures.panels import percent, titled
from cwac.figures.sae_features.drift import latent_label


def ledger(table: pd.DataFrame, arm: Arm, *, count: int = 40) -> go.Figure:
    """Draw which latent carried how much of the activation loss over training (mean over seeds).

    Parameters
    ----------
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.
    count : int
        The latents with the largest mean share are drawn, the largest first.
    """
    rows = table[table["variant"] == arm.label].dropna(subset=["share"])
    share = (
        rows.groupby(["layer", "latent", "step"])["share"].mean().unstack("step").sort_index(axis=1)
    )
    carried = share.mean(axis=1).sort_values(ascending=False)
    chosen = share.loc[carried.index[:count]]
    seeds = rows["seed"].nunique()
    figure = go.Figure(
        go.Heatmap(
            x=[str(step) for step in chosen.columns],
            y=[latent_label(*pair) for pair in chosen.index],
            z=100 * chosen.to_numpy(),
            colorscale="Cividis",
            colorbar={"title": {"text": "share of the loss (%)", "side": "right"}, "thickness": 14},
            hovertemplate=(
                f"%{{y}}<br>step %{{x}}: <b>%{{z:.2f}} %</b> of the loss"
                f"<br>mean over n = {seeds} seeds<extra></extra>"
            ),
            ygap=1,
        )
    )
    figure.update_xaxes(title="optimiser step of the probe", type="category")
    figure.update_yaxes(autorange="reversed", title="latent")
    title = f"No activation loss was recorded for {arm.title}"
    if len(carried):
        first = carried.head(10).sum()
        named = latent_label(*carried.index[0])
        title = (
            f"In {arm.title} ten of {len(carried)} latents carried {percent(first)} of the "
            f"activation loss; {named} carried most ({percent(carried.iloc[0])})"
        )
    return titled(figure, title, height=140 + 15 * max(len(chosen), 4))
