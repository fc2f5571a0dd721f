"""One request through the lenses: leak per layer, feature shift per layer, refusal log-odds."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures import style
from cwac.figures.panels import (
    HIGHLIGHT,
    arm_label,
    arm_line,
    number,
    order,
    panels,
    seed_bars,
    titled,
)


class Lens(NamedTuple):
    """A column of the ``prompt_lenses`` table."""

    label: str
    axis: str


LENSES: Final = {
    "leak": Lens("leak", "‖ΔW x‖ / ‖W₀ x‖ (no unit, ↓ nearer)"),
    "feature_shift": Lens("safety-feature shift", "‖Δz‖ / ‖z₀‖ (no unit, ↓ nearer)"),
}


def lenses_by_layer(
    table: pd.DataFrame, prompt_id: str, arms: Sequence[Arm], layer: int | None = None
) -> go.Figure:
    """Draw the lenses over the layers for one request, a panel each under one legend.

    The aligned model is zero by definition.

    Parameters
    ----------
    table : DataFrame
        ``prompt_lenses`` of all runs, with ``variant`` and ``seed``.
    layer : int, optional
        The selected layer, marked.
    """
    rows = table[table["prompt_id"] == prompt_id]
    figure, places = panels(
        [lens.label for lens in LENSES.values()], columns=2, panel=300, side=0.3, shared_yaxes=False
    )
    parts = []
    for number_of, ((name, lens), (row, column)) in enumerate(
        zip(LENSES.items(), places, strict=True)
    ):
        summary = over_seeds(rows, ["layer"], name)
        parts.append(_largest(summary, lens, arms))
        layers = sorted(summary["layer"].unique())
        traces = [_aligned_line(layers)]
        traces += [_lens_line(summary, arm) for arm in order(arms, summary)]
        for trace in traces:
            trace.showlegend = number_of == 0
            figure.add_trace(trace, row, column)
        if layer in layers:
            figure.add_vline(x=layer, line={"color": HIGHLIGHT, "width": 1}, row=row, col=column)
        figure.update_yaxes(title=lens.axis, rangemode="tozero", row=row, col=column)
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    title = "; ".join(parts)
    return titled(figure, title[:1].upper() + title[1:], height=420)


def _aligned_line(layers: Sequence[int]) -> go.Scatter:
    return go.Scatter(
        x=list(layers),
        y=[0] * len(layers),
        mode="lines",
        name="aligned model",
        legendgroup=ALIGNED.label,
        line={"color": style.GREY, "dash": "dash", "width": 2},
        hoverinfo="skip",
    )


def _lens_line(summary: pd.DataFrame, arm: Arm) -> go.Scatter:
    line = summary[summary["variant"] == arm.label].sort_values("layer")
    return go.Scatter(
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
        **arm_line(arm),
    )


def _largest(summary: pd.DataFrame, lens: Lens, arms: Sequence[Arm]) -> str:
    if summary.empty:
        return f"{lens.label} was not measured for this request"
    row = summary.sort_values("mean").iloc[-1]
    title = by_label(arms)[row["variant"]].title
    return f"{lens.label} is largest in {title} at layer {row['layer']} ({number(row['mean'])})"


def log_odds(responses: pd.DataFrame, aligned: float | None, arms: Sequence[Arm]) -> go.Figure:
    """Draw the log-odds of refusing one request, the aligned model beside every arm.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` rows of this request of all runs, with ``variant`` and ``seed``.
    aligned : float or None
        The aligned model's log-odds.
    """
    summary = over_seeds(responses, [], "refusal_log_odds")
    arms = order(arms, summary)
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": style.GREY, "width": 1})
    if aligned is not None:
        figure.add_trace(
            go.Scatter(
                x=[aligned],
                y=[arm_label(ALIGNED)],
                hovertemplate="aligned model: <b>%{x:.2f}</b> nats<br>n = 1 request<extra></extra>",
                **(
                    arm_line(ALIGNED)
                    | {"mode": "markers", "marker": {"color": style.GREY, "size": 11}}
                ),
            )
        )
    for arm in arms:
        row = summary[summary["variant"] == arm.label]
        line = arm_line(arm) | {"mode": "markers"}
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
        figure.add_vline(x=aligned, line={"color": style.GREY, "dash": "dash", "width": 2})
    figure.update_xaxes(
        title="refusal log-odds at the first answer token (nats, → safer; 0 = even)"
    )
    figure.update_yaxes(autorange="reversed")
    figure = titled(
        figure, _odds_title(summary, arms), height=130 + 34 * max(len(arms) + 1, 3), width=60
    )
    return figure.update_layout(showlegend=False)


def _odds_title(summary: pd.DataFrame, arms: Sequence[Arm]) -> str:
    if summary.empty:
        return "Refusal log-odds were not measured for this request"
    means = summary.set_index("variant")["mean"]
    leaning = [arm for arm in arms if means[arm.label] > 0]
    if len(leaning) == len(arms):
        return "Every arm leans towards refusing this request"
    if not leaning:
        return "No arm leans towards refusing this request any more"
    return f"Still leaning towards refusal: {', '.join(arm.title for arm in leaning)}"
