"""One request through the lenses: leak per layer, feature shift per layer, refusal log-odds."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    ALIGNED,
    HIGHLIGHT,
    arm_label,
    arm_line,
    number,
    order,
    over_seeds,
    seed_bars,
    titled,
)


class Lens(NamedTuple):
    """A column of the ``prompt_lenses`` table."""

    label: str
    axis: str


LENSES: Final = {
    "leak": Lens("Leak", "‖ΔW x‖ / ‖W₀ x‖ (no unit, ↓ nearer)"),
    "feature_shift": Lens("Safety-feature shift", "‖Δz‖ / ‖z₀‖ (no unit, ↓ nearer)"),
}


def lens_by_layer(
    table: pd.DataFrame,
    prompt_id: str,
    lens: str,
    variants: Sequence[str],
    layer: int | None = None,
) -> go.Figure:
    """Draw one lens over the layers for one request; the aligned model is zero by definition.

    Parameters
    ----------
    table : DataFrame
        ``prompt_lenses`` of all runs, with ``variant`` and ``seed``.
    lens : str
        A key of `LENSES`.
    layer : int, optional
        The selected layer, marked.
    """
    what = LENSES[lens]
    rows = table[table["prompt_id"] == prompt_id]
    summary = over_seeds(rows, ["layer"], lens)
    figure = go.Figure()
    layers = sorted(summary["layer"].unique())
    figure.add_trace(
        go.Scatter(
            x=layers,
            y=[0] * len(layers),
            mode="lines",
            name="aligned model",
            line={"color": theme.GREY, "dash": "dash", "width": 2},
            hoverinfo="skip",
        )
    )
    for arm in order(variants, summary):
        line = summary[summary["variant"] == arm].sort_values("layer")
        figure.add_trace(
            go.Scatter(
                x=line["layer"],
                y=line["mean"],
                error_y=seed_bars(line),
                customdata=[[at, n] for at, n in zip(line["layer"], line["seeds"], strict=True)],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>layer %{{x}}: <b>%{{y:.3g}}</b>"
                    "<br>mean over n = %{customdata[1]} seeds<extra></extra>"
                ),
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
                **arm_line(arm, variants),
            )
        )
    if layer in layers:
        figure.add_vline(x=layer, line={"color": HIGHLIGHT, "width": 1})
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    figure.update_yaxes(title=what.axis, rangemode="tozero")
    return titled(figure, _lens_title(summary, what), height=400, width=38)


def _lens_title(summary: pd.DataFrame, what: Lens) -> str:
    if summary.empty:
        return f"{what.label} was not measured for this request"
    row = summary.sort_values("mean").iloc[-1]
    return (
        f"{what.label}: largest in {row['variant']} at layer {row['layer']} ({number(row['mean'])})"
    )


def log_odds(responses: pd.DataFrame, aligned: float | None, variants: Sequence[str]) -> go.Figure:
    """Draw the log-odds of refusing one request, the aligned model beside every arm.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` rows of this request of all runs, with ``variant`` and ``seed``.
    aligned : float or None
        The aligned model's log-odds.
    """
    summary = over_seeds(responses, [], "refusal_log_odds")
    arms = order(variants, summary)
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": theme.GREY, "width": 1})
    if aligned is not None:
        figure.add_trace(
            go.Scatter(
                x=[aligned],
                y=[ALIGNED],
                hovertemplate="aligned model: <b>%{x:.2f}</b> nats<br>n = 1 request<extra></extra>",
                **(
                    arm_line(ALIGNED, variants)
                    | {"mode": "markers", "marker": {"color": theme.GREY, "size": 11}}
                ),
            )
        )
    for arm in arms:
        row = summary[summary["variant"] == arm]
        line = arm_line(arm, variants) | {"mode": "markers"}
        line["marker"] = line["marker"] | {"size": 11}
        figure.add_trace(
            go.Scatter(
                x=row["mean"],
                y=[arm_label(arm)],
                error_x=seed_bars(row),
                customdata=row[["seeds"]],
                hovertemplate=(
                    f"{arm_label(arm, 40)}: <b>%{{x:.2f}}</b> nats"
                    "<br>mean over n = %{customdata[0]} seeds<extra></extra>"
                ),
                **line,
            )
        )
    if aligned is not None:
        figure.add_vline(x=aligned, line={"color": theme.GREY, "dash": "dash", "width": 2})
    figure.update_xaxes(
        title="refusal log-odds at the first answer token (nats, ↑ safer; 0 = even)"
    )
    figure.update_yaxes(autorange="reversed")
    figure = titled(
        figure, _odds_title(summary, arms), height=130 + 34 * max(len(arms) + 1, 3), width=60
    )
    return figure.update_layout(showlegend=False)


def _odds_title(summary: pd.DataFrame, arms: Sequence[str]) -> str:
    if summary.empty:
        return "Refusal log-odds were not measured for this request"
    means = summary.set_index("variant")["mean"]
    leaning = [arm for arm in arms if means[arm] > 0]
    if len(leaning) == len(arms):
        return "Every arm leans towards refusing this request"
    if not leaning:
        return "No arm leans towards refusing this request any more"
    return f"Still leaning towards refusal: {', '.join(leaning)}"
