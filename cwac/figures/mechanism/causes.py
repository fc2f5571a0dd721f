"""Where restoring brings refusals back, beside where the weights moved: the two can disagree."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.causes import strongest
from cwac.analysis.drift import over_seeds
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import arm_label, arm_line, order, panels, percent, seed_bars, titled


def effect_and_drift(effects: pd.DataFrame, drift: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw what restoring each part returns, and how far each part moved, on one axis of parts.

    Parameters
    ----------
    effects, drift : DataFrame
        `cwac.analysis.causes.restored` and `drift_by_part`.
    """
    figure, (left, right) = panels(
        ["Refusal log-odds that restoring it returns", "How far it moved"],
        columns=2, panel=320, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    parts = list(dict.fromkeys(effects["part"]))
    back = over_seeds(effects, ["part"], "returned")
    chance = over_seeds(effects, ["part"], "control")
    moved = over_seeds(drift[drift["part"].isin(parts)], ["part"], "relative_norm")
    for arm in order(arms, back):
        one = len(effects.loc[effects["variant"] == arm.label, "seed"].unique()) == 1
        bars = _intervals(effects, arm, parts) if one else None
        figure.add_trace(_line(back, arm, parts, scale=100, unit=" %", bars=bars), *left)
        figure.add_trace(_controls(chance, arm, parts), *left)
        figure.add_trace(_line(moved, arm, parts, legend=False), *right)
    figure.update_xaxes(categoryorder="array", categoryarray=parts, title="part of the model")
    figure.update_yaxes(title="share of what was lost (%, ↑ nearer)", row=left[0], col=left[1])
    figure.update_yaxes(
        title="‖ΔW‖ / ‖W₀‖ (no unit, ↓ nearer)", rangemode="tozero", row=right[0], col=right[1]
    )
    return titled(figure, cause_title(effects, arms), height=430)


def cause_title(effects: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Return the answer in one sentence: the part that returns most, and its control."""
    row = strongest(effects)
    if row is None:
        return "No part was restored in these runs"
    arm = by_label(arms)[str(row["variant"])].title
    seed = "" if len(effects["seed"].unique()) == 1 else f", seed {row['seed']}"
    end = f"a random set of equal norm {percent(row['control'])}"
    interval = f"[{percent(row['low'])}, {percent(row['high'])}]"
    text = (
        f"{arm}'s refusals are lost in {row['part']}{seed}: restoring it alone returns "
        f"{percent(row['returned'])} {interval} of the lost log-odds"
    )
    if row["returned"] <= row["control"]:
        text = f"In {arm} no part returns more than a random set of equal norm; {row['part']} "
        return text + f"returns {percent(row['returned'])} {interval}, {end}"
    if not pd.isna(row["refusal"]):
        text += f" and {row['refusal']:.0f} of {row['sample']:.0f} sampled requests are refused"
    return f"{text}; {end}"


def _line(
    summary: pd.DataFrame,
    arm: Arm,
    parts: Sequence[str],
    *,
    scale: float = 1,
    unit: str = "",
    bars: dict[str, object] | None = None,
    legend: bool = True,
) -> go.Scatter:
    rows = summary[summary["variant"] == arm.label].set_index("part")
    rows = rows.reindex([part for part in parts if part in rows.index])
    drawn = rows.assign(**{name: scale * rows[name] for name in ("mean", "low", "high")})
    return go.Scatter(
        x=list(rows.index),
        y=drawn["mean"],
        error_y=bars or seed_bars(drawn),
        customdata=drawn[["seeds"]],
        showlegend=legend,
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>%{{x}}: <b>%{{y:.3g}}{unit}</b>"
            "<br>mean over n = %{customdata[0]} seeds<extra></extra>"
        ),
        **arm_line(arm),
    )


def _intervals(effects: pd.DataFrame, arm: Arm, parts: Sequence[str]) -> dict[str, object]:
    """Return the bootstrap's intervals over requests, in per cent, of an arm with one seed."""
    rows = effects[effects["variant"] == arm.label].set_index("part").reindex(list(parts))
    rows = rows.dropna(subset=["returned"])
    return {
        "type": "data",
        "symmetric": False,
        "array": (100 * (rows["high"] - rows["returned"])).tolist(),
        "arrayminus": (100 * (rows["returned"] - rows["low"])).tolist(),
        "thickness": 1,
        "width": 3,
    }


def _controls(summary: pd.DataFrame, arm: Arm, parts: Sequence[str]) -> go.Scatter:
    rows = summary[summary["variant"] == arm.label].set_index("part")
    rows = rows.reindex([part for part in parts if part in rows.index])
    look = style.arm_style(arm)
    return go.Scatter(
        x=list(rows.index),
        y=100 * rows["mean"],
        mode="markers",
        marker={"symbol": f"{look.symbol}-open", "color": style.GREY, "size": 9},
        name=f"{style.escape(look.label)}: random set of equal norm · control",
        legendgroup=arm.label,
        hovertemplate="a random set of the same update norm: <b>%{y:.3g} %</b><extra></extra>",
    )
