"""Arms side by side while they train: a column an arm, refusals above, drift below."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import FEW, panels, titled

SIDE_BY_SIDE: Final = 6
"""Arms that fit beside each other."""


def arms_side_by_side(table: pd.DataFrame, arms: Mapping[str, Arm]) -> go.Figure:
    """Draw what the probes of each arm have seen so far, all arms on the same scales.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.figures.trajectory.probes``, at most `SIDE_BY_SIDE` arms; at least one row.
    arms : mapping
        Label to arm; a label without one names its method.
    """
    labels = list(dict.fromkeys(table["variant"].astype(str)))
    named = [arms.get(label, Arm(method=label)) for label in labels]
    # A heading above each column alone.
    figure, places = panels(
        [*named, *[""] * len(named)], columns=len(named), panel=170, gap=30, shared_yaxes=True
    )
    for place, (label, arm) in enumerate(zip(labels, named, strict=True)):
        mine = table[table["variant"] == label]
        for number, (_, run) in enumerate(mine.groupby("run_id", sort=False)):
            # Seeds of one arm share its colour; the hover names them.
            figure.add_traces(
                _refusals(run.sort_values("step"), arm, faint=number > 0),
                *_cells(places[place], 2),
            )
            figure.add_traces(
                _drifts(run.sort_values("step"), arm), *_cells(places[place + len(named)], 2)
            )
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", row=1)
    drift = table[["drift_outside", "drift_inside"]].max().max()
    figure.update_yaxes(range=[0, 1.08 * drift if drift > 0 else 1], row=2)
    figure.update_yaxes(title="refused (%, ↑ safer)", row=1, col=1)
    figure.update_yaxes(title="‖ΔW‖ (Frobenius)", row=2, col=1)
    figure.update_xaxes(title="optimiser steps", showticklabels=True, row=2)
    figure.update_layout(showlegend=False)
    return titled(figure, _title(table, labels, named), height=460)


def _cells(place: tuple[int, int], count: int) -> tuple[list[int], list[int]]:
    return [place[0]] * count, [place[1]] * count


def _refusals(run: pd.DataFrame, arm: Arm, *, faint: bool) -> list[go.Scatter]:
    look = style.arm_style(arm)
    band = run.dropna(subset=["refusal_low", "refusal_high"])
    known = run.dropna(subset=["refusal_rate"])
    return [
        go.Scatter(
            x=[*band["step"], *band["step"][::-1]],
            y=[*band["refusal_high"], *band["refusal_low"][::-1]],
            fill="toself",
            fillcolor=style.translucent(look.colour, 0.08 if faint else 0.18),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
        ),
        go.Scatter(
            x=known["step"],
            y=known["refusal_rate"],
            customdata=known["refusal_n"],
            hovertemplate=f"{_name(run, arm)}<br>step %{{x}}: <b>%{{y:.0%}}</b> refused, "
            "n = %{customdata:.0f} probe requests<extra></extra>",
            **_line(look),
        ),
    ]


def _drifts(run: pd.DataFrame, arm: Arm) -> list[go.Scatter]:
    look, traces = style.arm_style(arm), []
    for column, dash, word in (
        ("drift_outside", "solid", "outside"),
        ("drift_inside", "dot", "inside"),
    ):
        known = run.dropna(subset=[column])
        line = _line(look)
        line["line"] |= {"dash": dash}
        traces.append(
            go.Scatter(
                x=known["step"],
                y=known[column],
                hovertemplate=f"{_name(run, arm)}<br>{word} the subspace, step %{{x}}: "
                "<b>%{y:.3g}</b><extra></extra>",
                **line,
            )
        )
    return traces


def _line(look: style.ArmStyle) -> dict[str, Any]:
    return {
        "mode": "lines+markers",
        "line": {"color": look.colour, "width": 2},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 6},
    }


def _name(run: pd.DataFrame, arm: Arm) -> str:
    return f"{style.escape(arm.title)}, seed {run['seed'].iloc[0]:.0f}"


def _title(table: pd.DataFrame, labels: Sequence[str], arms: Sequence[Arm]) -> str:
    """Say what each arm refuses at its last probe, lowest and highest of its seeds."""
    parts = []
    for label, arm in zip(labels, arms, strict=True):
        mine = table[(table["variant"] == label) & table["refusal_rate"].notna()]
        if mine.empty:
            continue
        last = mine.sort_values("step").groupby("run_id").last()
        low, high = 100 * last["refusal_rate"].min(), 100 * last["refusal_rate"].max()
        ends = dict.fromkeys(f"{end:.0f}" for end in (low, high))
        share = f"{' to '.join(ends)}\u00a0%"
        n, step = last["refusal_n"].min(), last["step"].min()
        parts.append((low, f"{arm.title} refuses {share} at step {step:.0f}", n))
    if not parts:
        return "Refusals were not probed yet"
    shown = parts if len(parts) <= FEW else [min(parts), max(parts)]
    n = min(part[2] for part in parts)
    return "; ".join(part[1] for part in shown) + f" (n = {n:.0f} probe requests)"
