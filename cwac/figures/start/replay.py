"""Training replayed: refusals, drift and features at every probe, with a slider and a play button.

The browser plays it: the frames are in the figure, and an exported file plays without a server.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.analysis.seeds import seeds_text
from cwac.arms import Arm
from cwac.figures.panels import arm_label, arm_line, order, outer_titles, panels, titled
from cwac.figures.style import GREY, OUTCOME_COLOURS, escape

MOST: Final = 6
"""Arms that can be told apart while they move."""
_CONTROLS: Final = 92
"""Pixels above the panels for the slider and the buttons."""
_ROW: Final = 26
"""Pixels of an arm's answer."""
_LONGEST: Final = 110
"""Characters of an answer that are drawn: a probe's are a line at most."""
_PACE: Final = 450
"""Milliseconds a probe is shown."""


class Panel(NamedTuple):
    """A column of the ``trajectory`` table and how it is drawn; shares are in per cent."""

    column: str
    heading: str
    axis: str
    share: bool


PANELS: Final = (
    Panel("refusal_rate", "Refusals", "probe requests (%, ↑ safer)", share=True),
    Panel(
        "safety_loss_normalised",
        "Activation loss",
        "squared distance (% of squared norm)",
        share=True,
    ),
    Panel("drift_inside", "Drift inside the subspace", "‖ΔW‖ (Frobenius)", share=False),
    Panel("drift_outside", "Drift outside of it", "‖ΔW‖ (Frobenius)", share=False),
)


def replay_figure(
    table: pd.DataFrame,
    arms: Sequence[Arm],
    answers: pd.DataFrame | None = None,
    at: int | None = None,
) -> go.Figure:
    """Draw four courses of training that a slider and a play button unfold.

    Parameters
    ----------
    table : DataFrame
        ``trajectory`` of some runs, with ``variant`` and ``seed``; at least one row.
    arms : sequence of Arm
        At most `MOST` can be told apart.
    answers : DataFrame, optional
        One request's ``probe_answers``, a row per arm and step, with ``variant`` and ``shown``,
        what is written beside the outcome's mark: a line below the panels for each arm.
    at : int, optional
        The step that it opens at; the first where it is none that was probed.

    Notes
    -----
    Lines are means over seeds. Both drifts have one scale: they can be compared.
    """
    summaries = {p.column: over_seeds(table, ["step"], p.column) for p in PANELS}
    steps = sorted(table["step"].unique().tolist())
    opened = at if at is not None and at in steps else steps[0]
    figure, places = panels([p.heading for p in PANELS], columns=2, side=0.2, shared_yaxes=False)
    figure.update_annotations(font_size=14)
    drawn: list[tuple[pd.DataFrame, float]] = []
    for panel, (row, column) in zip(PANELS, places, strict=True):
        summary, scale = summaries[panel.column], 100.0 if panel.share else 1.0
        for arm in order(arms, summary):
            rows = summary[summary["variant"] == arm.label].sort_values("step")
            line = go.Scatter(
                **_points(rows[rows["step"] <= opened], scale),
                **arm_line(arm),
                showlegend=panel.column == PANELS[0].column,
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>step %{{x}}: <b>%{{y:.3g}}</b> "
                    "(seeds %{customdata[0]:.3g} to %{customdata[1]:.3g})<extra></extra>"
                ),
            )
            figure.add_trace(line, row=row, col=column)
            drawn.append((rows, scale))
    lines = pd.DataFrame() if answers is None else answers
    speaking = order(arms, lines) if len(lines) else []
    figure.frames = [
        go.Frame(
            name=str(step),
            data=[go.Scatter(**_points(rows[rows["step"] <= step], s)) for rows, s in drawn]
            + [go.Scatter(**_answers(lines, speaking, step)) for _ in speaking[:1]],
            traces=list(range(len(drawn) + bool(speaking))),
        )
        for step in steps
    ]
    _fix_axes(figure, summaries, places, steps)
    outer_titles(figure, places, x="optimiser steps", y=None)
    titled(figure, _title(table, summaries["refusal_rate"], arms), height=620)
    if speaking:
        _write_below(figure, lines, speaking, opened)
    return _with_controls(figure, steps, opened)


def _answers(answers: pd.DataFrame, arms: Sequence[Arm], step: int) -> dict[str, Any]:
    """Return what every arm answers at the last of its probes up to a step, a line each."""
    last = answers[answers["step"] <= step].sort_values("step").groupby("variant").last()
    rows = last.reindex([arm.label for arm in arms])
    texts = rows["shown"].fillna("").str.slice(0, _LONGEST)
    colours = rows["outcome"].map(OUTCOME_COLOURS).fillna(GREY)
    return {
        "x": [0] * len(arms),
        "y": list(range(len(arms))),
        "text": [f"  {escape(' '.join(text.split()))}" for text in texts],
        "marker": {"color": colours.tolist(), "symbol": "square", "size": 13},
    }


def _write_below(figure: go.Figure, answers: pd.DataFrame, arms: Sequence[Arm], step: int) -> None:
    """Add the answers under the panels, which keep their height."""
    room = 60 + _ROW * len(arms)
    full = figure.layout.height + room
    inner = full - figure.layout.margin.t - figure.layout.margin.b
    share = room / inner
    for axis in figure.select_yaxes():
        axis.domain = (share + (1 - share) * np.array(axis.domain)).tolist()
    for note in figure.layout.annotations:
        note.y = share + (1 - share) * note.y
    figure.add_trace(
        go.Scatter(
            **_answers(answers, arms, step),
            mode="markers+text",
            textposition="middle right",
            cliponaxis=False,
            hoverinfo="skip",
            showlegend=False,
            xaxis="x9",
            yaxis="y9",
        )
    )
    figure.update_layout(
        height=full,
        xaxis9={"anchor": "y9", "range": [-0.01, 1], "visible": False, "fixedrange": True},
        yaxis9={
            "anchor": "x9",
            "domain": [0, _ROW * len(arms) / inner],
            "range": [len(arms) - 0.5, -0.5],
            "tickvals": list(range(len(arms))),
            "ticktext": [arm_label(arm, 40) for arm in arms],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
            "automargin": True,
        },
    )


def _points(rows: pd.DataFrame, scale: float) -> dict[str, Any]:
    # Lists: what a frame holds is sent once more for each of its traces.
    return {
        "x": rows["step"].tolist(),
        "y": (scale * rows["mean"]).tolist(),
        "customdata": (scale * rows[["low", "high"]]).to_numpy().tolist(),
    }


def _fix_axes(
    figure: go.Figure,
    summaries: dict[str, pd.DataFrame],
    places: Sequence[tuple[int, int]],
    steps: Sequence[int],
) -> None:
    """Give every panel a range that stays while the lines grow; both drifts have the same."""
    figure.update_xaxes(range=[-0.02 * steps[-1], 1.04 * max(steps[-1], 1)])
    tops = {name: summary["high"].max() for name, summary in summaries.items()}
    drift = max((tops[n] for n in ("drift_inside", "drift_outside") if pd.notna(tops[n])),
                default=1.0)  # fmt: skip
    for panel, (row, column) in zip(PANELS, places, strict=True):
        if panel.column == "refusal_rate":
            top = 102.0
        elif panel.share:
            top = 105 * tops[panel.column] if pd.notna(tops[panel.column]) else 1.0
        else:
            top = 1.05 * drift
        bounds = [-0.03 * top, max(top, 1e-9)]
        figure.update_yaxes(range=bounds, title=panel.axis, row=row, col=column)


def _with_controls(figure: go.Figure, steps: Sequence[int], opened: int) -> go.Figure:
    """Add the slider and the buttons, between the title and the panels."""
    one: dict[str, Any] = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": False},
        "transition": {"duration": 0},
    }
    play: dict[str, Any] = {
        "mode": "immediate",
        # On from a pause; from the beginning where nothing was played, or all was.
        "fromcurrent": True,
        "frame": {"duration": _PACE, "redraw": False},
        "transition": {"duration": 0},
    }
    look: dict[str, Any] = {"bgcolor": "rgba(138,148,160,0.25)", "bordercolor": GREY}
    figure.update_layout(
        height=figure.layout.height + _CONTROLS,
        margin_t=figure.layout.margin.t + _CONTROLS,
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
                "pad": {"b": 56, "r": 8},
                **look,
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, play]},
                    {"label": "❚❚", "method": "animate", "args": [[None], one]},
                    {"label": "To the end", "method": "animate", "args": [[str(steps[-1])], one]},
                ],
            }
        ],
        sliders=[
            {
                "active": steps.index(opened),
                "x": 0.34,
                "len": 0.66,
                "y": 1,
                "yanchor": "bottom",
                "pad": {"b": 44, "t": 0},
                "currentvalue": {"prefix": "step ", "xanchor": "right"},
                **look,
                "steps": [
                    {"label": str(step), "method": "animate", "args": [[str(step)], one]}
                    for step in steps
                ],
            }
        ],
    )
    return figure


def _title(table: pd.DataFrame, refusals: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Say what SFT and CWAC refuse at their last probe, and when refusals were lost."""
    named = order(arms, refusals)
    if not named:
        return "Refusals were not probed along these runs"
    by_arm = dict(tuple(refusals.groupby("variant", sort=False)))
    parts = [_course(by_arm[arm.label], arm, table) for arm in _told(named)]
    count = table["refusal_n"].dropna()
    n = f" (n = {int(count.min())} probe requests)" if len(count) else ""
    return f"{'; '.join(parts)}{n}"


def _told(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms that the title speaks of: SFT and CWAC, or else the first two."""
    first = [arm for arm in arms if arm.label in {"sft", "cwac"}]
    return first if len(first) == 2 else list(arms[:2])


def _course(rows: pd.DataFrame, arm: Arm, table: pd.DataFrame) -> str:
    rows = rows.sort_values("step")
    start, end = float(rows["mean"].iloc[0]), rows.iloc[-1]
    below = rows.loc[rows["mean"] < start / 2, "step"]
    low, high = _spread(end, arm, table)
    share: dict[Hashable, Any] = {
        "value": end["mean"],
        "low": low,
        "high": high,
        "seeds": end["seeds"],
    }
    text = f"refuses {seeds_text(share)} at step {int(end['step'])}"
    if len(below):
        text = f"has lost half of its refusals by step {int(below.iloc[0])} and {text}"
    return f"{arm.title} {text}"


def _spread(end: "pd.Series[Any]", arm: Arm, table: pd.DataFrame) -> tuple[float, float]:
    """Return Wilson's interval of one seed, the lowest and highest of several."""
    if end["seeds"] == 1:
        mine = table[(table["variant"] == arm.label) & (table["step"] == end["step"])]
        low, high = mine["refusal_low"].iloc[0], mine["refusal_high"].iloc[0]
        if pd.notna(low) and pd.notna(high):
            return float(low), float(high)
    return float(end["low"]), float(end["high"])
