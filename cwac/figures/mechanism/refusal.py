"""Overlap against refusals, one point an arm; and of every arm and layer, as a grid."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.analysis.prediction import Association
from cwac.arms import BASELINE, Arm, by_label
from cwac.figures import style
from cwac.figures.mechanism.grids import MOST, alike, cells, robust_range
from cwac.figures.panels import arm_label, extremes, order, percent, titled


def overlap_against_refusal(
    points: pd.DataFrame, chance: float, arms: Sequence[Arm], result: Association | None
) -> go.Figure:
    """Draw refusal rate against overlap with the safety subspace, one point an arm.

    Parameters
    ----------
    points : DataFrame
        `cwac.analysis.prediction.arm_points` with the refusal rate in the place of harm.
    chance : float
        The overlap of two random subspaces.
    result : Association or None
        Their rank correlation.
    """
    figure = go.Figure()
    named = by_label(arms)
    for row in points.to_dict("records"):
        arm = named[row["variant"]]
        look = style.arm_style(arm)
        bars = {
            f"error_{axis}": {
                "type": "data",
                "symmetric": False,
                "array": [scale * (row[f"{name}_high"] - row[name])],
                "arrayminus": [scale * (row[name] - row[f"{name}_low"])],
                "thickness": 1,
                "width": 3,
            }
            for axis, name, scale in (("x", "drift", 1), ("y", "harm", 100))
        }
        figure.add_trace(
            go.Scatter(
                x=[row["drift"]],
                y=[100 * row["harm"]],
                mode="markers",
                cliponaxis=False,
                name=style.escape(look.label),
                # What is compared with is seen under a point that lies on it.
                marker={
                    "color": look.colour,
                    "symbol": look.symbol,
                    "size": 18 if arm.label == BASELINE else 12,
                },
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>overlap <b>%{{x:.3f}}</b>, refusals <b>%{{y:.1f}} %"
                    f"</b><br>{row['seeds']} seeds, n = {row['n']} requests each<extra></extra>"
                ),
                **bars,
            )
        )
    if np.isfinite(chance):
        figure.add_trace(
            go.Scatter(
                x=[chance, chance],
                y=[0, 100],
                mode="lines",
                name=f"any two random subspaces: {chance:.2f}",
                line={"color": style.GREY, "dash": "dot", "width": 2},
                hoverinfo="skip",
            )
        )
    highest = float(np.nanmax([chance, *points["drift_high"], 1e-9]))
    # A marker at 0 keeps clear of the labels of the other axis.
    figure.update_xaxes(
        title="overlap of the update with the safety subspace (MSO, 0 to 1)",
        range=[-0.03 * highest, 1.06 * highest],
    )
    figure.update_yaxes(title=style.rate_axis("refusal_rate"), range=[-4, 104])
    return titled(figure, _refusal_title(points, named, result), height=430)


def _refusal_title(
    points: pd.DataFrame, named: Mapping[str, Arm], result: Association | None
) -> str:
    if points.empty:
        return "Overlap and refusals were not measured together in these runs"

    def text(row: pd.Series) -> str:
        return f"({row['drift']:.2f}) and refuses {percent(row['harm'])}"

    drift = points["drift"].to_numpy(float)
    most, least = points.iloc[int(drift.argmax())], points.iloc[int(drift.argmin())]
    title = f"{named[most['variant']].title} overlaps most {text(most)}"
    if len(points) > 1:
        title += f", {named[least['variant']].title} least {text(least)}"
    if result is not None:
        title += (
            f"; rank correlation {result.rho:+.2f} [{result.low:+.2f}, {result.high:+.2f}], "
            f"n = {result.n} arms"
        )
    return title


def overlap_grid(table: pd.DataFrame, arms: Sequence[Arm], baseline: Arm | None) -> go.Figure:
    """Draw the overlap of each arm and layer, or how it differs from a baseline's.

    Parameters
    ----------
    table : DataFrame
        ``subspace_overlap`` of one side, of the maps that are averaged over.
    baseline : Arm or None
        The arm to subtract, which has no row then.
    """
    by_layer = table.groupby(["variant", "seed", "layer"], sort=False)["mso"].mean().reset_index()
    summary = over_seeds(by_layer, ["layer"], "mso")
    present = order(arms, summary)
    grid = summary.pivot_table("mean", "variant", "layer").reindex([arm.label for arm in present])
    if baseline is not None:
        grid = (grid - grid.loc[baseline.label]).drop(index=baseline.label)
    means = grid.mean(axis=1)
    named = by_label(arms)
    grid.index = pd.Index([named[label].title for label in grid.index], dtype=object)
    numbers = grid.to_numpy(float).ravel().tolist()
    low, high = robust_range(numbers, centred=baseline is not None)
    figure = go.Figure(
        cells(
            grid,
            alike(numbers, sign=baseline is not None) if grid.shape[1] <= MOST else None,
            colorscale=style.CENTRED if baseline else style.RISING,
            zmin=low,
            zmax=high,
            colorbar={"thickness": 14},
            hovertemplate="%{y}, layer %{x}: <b>%{z:.3f}</b><extra></extra>",
        )
    )
    figure.update_xaxes(title="layer (0 = first)", dtick=1, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    title = _grid_title(means.dropna(), named, baseline)
    return titled(figure, title, height=130 + 30 * len(grid))


def _grid_title(means: pd.Series, named: Mapping[str, Arm], baseline: Arm | None) -> str:
    if means.empty:
        return "No overlap was stored for these maps and this side"
    most, least = extremes(means)
    against = "" if baseline is None else f" against {baseline.title}"
    sign = "+" if baseline is not None else ""
    return (
        f"Overlap{against}, mean over layers: {means[least]:{sign}.2f} in {named[least].title}, "
        f"{means[most]:{sign}.2f} in {named[most].title}"
    )
