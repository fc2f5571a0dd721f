"""Along training: what the live probes saw, what methods say of themselves, a run as it goes."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.drift import over_seeds
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import (
    FEW,
    arm_label,
    arm_line,
    extremes,
    log_axis,
    number,
    order,
    outer_titles,
    panels,
    percent,
    titled,
)
from cwac.jobs import ProgressLine


class Course(NamedTuple):
    """A column of the ``trajectory`` table that can be drawn over steps."""

    label: str
    axis: str
    share: bool


COURSES: Final = {
    "refusal_rate": Course("refusal rate", "probe refusal rate (%, ↑ safer)", True),
    "refusal_log_odds": Course(
        "refusal log-odds", "mean log-odds of refusing (nats, ↑ safer)", False
    ),
    "task_loss": Course("task loss", "task loss (nats per token, ↓ better)", False),
    "safety_loss": Course("safety loss", "activation loss (squared activation, ↓ nearer)", False),
    "gradient_norm": Course("gradient norm", "gradient norm before clipping (no unit)", False),
}


def trajectory(table: pd.DataFrame, column: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw one column over training, a line per arm.

    The band is the stored 95 % interval where an arm has one seed and the column is the refusal
    rate, and the span from the lowest to the highest seed where it has several.

    Parameters
    ----------
    table : DataFrame
        ``trajectory`` of all runs, with ``variant`` and ``seed``.
    column : str
        A key of `COURSES`.
    """
    course = COURSES[column]
    scale = 100.0 if course.share else 1.0
    summary = over_seeds(table, ["step"], column)
    if column == "refusal_rate":
        summary = _with_wilson(summary, table)
    figure = go.Figure()
    arms = order(arms, summary)
    for arm in arms:
        rows = summary[summary["variant"] == arm.label].sort_values("step")
        if bool((rows["high"] > rows["low"]).any()):
            figure.add_trace(_band(rows, arm, scale))
    for arm in arms:
        rows = summary[summary["variant"] == arm.label].sort_values("step")
        figure.add_trace(_line(rows, arm, scale, course))
    _aligned_level(figure, summary, scale)
    figure.update_xaxes(title="optimiser steps", rangemode="tozero")
    figure.update_yaxes(title=course.axis, range=[-2, 102] if course.share else None)
    return titled(figure, _course_title(summary, course, arms), height=430)


def _with_wilson(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    stored = table.groupby(["variant", "step"], sort=False)[["refusal_low", "refusal_high"]].first()
    joined = summary.join(stored, on=["variant", "step"])
    single = (joined["seeds"] == 1) & joined["refusal_low"].notna()
    return joined.assign(
        low=joined["low"].where(~single, joined["refusal_low"]),
        high=joined["high"].where(~single, joined["refusal_high"]),
    )


def _band(rows: pd.DataFrame, arm: Arm, scale: float) -> go.Scatter:
    steps = rows["step"].tolist()
    return go.Scatter(
        x=steps + steps[::-1],
        y=(rows["high"] * scale).tolist() + (rows["low"] * scale).tolist()[::-1],
        fill="toself",
        fillcolor=style.translucent(style.arm_style(arm).colour, 0.15),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name=f"{style.escape(arm.title)} band",
        legendgroup=arm.label,
        showlegend=False,
    )


def _line(rows: pd.DataFrame, arm: Arm, scale: float, course: Course) -> go.Scatter:
    unit = " %" if course.share else ""
    return go.Scatter(
        x=rows["step"],
        y=rows["mean"] * scale,
        customdata=pd.DataFrame(
            {"low": rows["low"] * scale, "high": rows["high"] * scale, "seeds": rows["seeds"]}
        ),
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>step %{{x}}: <b>%{{y:.3g}}{unit}</b>"
            f"<br>band %{{customdata[0]:.3g}} to %{{customdata[1]:.3g}}{unit}"
            "<br>n = %{customdata[2]} seeds<extra></extra>"
        ),
        **arm_line(arm),
    )


def _aligned_level(figure: go.Figure, summary: pd.DataFrame, scale: float) -> None:
    # Before the first step every arm is the aligned model, so that its level is known exactly.
    level = summary.loc[summary["step"] == 0, "mean"]
    if len(level):
        figure.add_hline(
            y=float(level.iloc[0]) * scale,
            line={"color": style.GREY, "dash": "dash", "width": 2},
            annotation={"text": "aligned model", "xanchor": "right", "yanchor": "bottom"},
        )


def _course_title(summary: pd.DataFrame, course: Course, arms: Sequence[Arm]) -> str:
    if summary.empty:
        return f"The {course.label} was not measured along training in these runs"
    show = percent if course.share else number
    ends = summary.sort_values("step").groupby("variant")["mean"].last()
    arms = [arm for arm in arms if arm.label in ends.index]
    if len(arms) > FEW:
        most, least = extremes(ends[[arm.label for arm in arms]])
        named = by_label(arms)
        text = f"highest in {named[most].title} ({show(ends[most])}), "
        text += f"lowest in {named[least].title} ({show(ends[least])})"
    else:
        text = ", ".join(f"{arm.title} {show(ends[arm.label])}" for arm in arms)
    return f"{course.label.capitalize()} at the last probe: {text}"


DECADES: Final = 100.0
"""From this ratio of largest to smallest value on, a panel's axis is logarithmic."""


def diagnostics_figure(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw each diagnostic over the steps, a line per arm; bars span an arm's seeds.

    Parameters
    ----------
    table : DataFrame
        ``method_diagnostics`` of all runs, with ``variant`` and ``seed``; at least one row.
    arms : sequence of Arm
        The arms, in the order to draw them.
    """
    summary = over_seeds(table, ["name", "step"], "value")
    arms = order(arms, summary)
    # What most arms report stands first.
    names = list(summary.groupby("name")["variant"].nunique().sort_values(
        ascending=False, kind="stable").index)  # fmt: skip
    figure, places = panels(
        [name.replace("_", " ") for name in names], columns=3, side=0.2, shared_yaxes=False
    )
    named: set[Arm] = set()
    for name, (row, column) in zip(names, places, strict=True):
        part = summary[summary["name"] == name]
        for arm in order(arms, part):
            line = _diagnostic_line(
                part[part["variant"] == arm.label].sort_values("step"), arm, name
            )
            figure.add_trace(line.update(showlegend=arm not in named), row=row, col=column)
            named.add(arm)
        low, high = float(part["low"].min()), float(part["high"].max())
        if low > 0 and high / low >= DECADES:
            figure.update_yaxes(log_axis(part["mean"]), row=row, col=column)
    figure.update_xaxes(rangemode="tozero")
    outer_titles(figure, places, x="optimiser steps", y=None)
    height = 90 + 260 * max(row for row, _ in places) + 6 * len(arms)
    return titled(figure, diagnostics_title(summary, names[0], arms), height=height)


def _diagnostic_line(rows: pd.DataFrame, arm: Arm, name: str) -> go.Scatter:
    return go.Scatter(
        x=rows["step"],
        y=rows["mean"],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": rows["high"] - rows["mean"],
            "arrayminus": rows["mean"] - rows["low"],
            "thickness": 1,
            "width": 2,
            "color": style.translucent(style.arm_style(arm).colour, 0.6),
        },
        customdata=rows[["low", "high", "seeds"]],
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>{style.escape(name.replace('_', ' '))} at step %{{x}}: "
            "<b>%{y:.3g}</b><br>seeds %{customdata[0]:.3g} to %{customdata[1]:.3g}, "
            "n = %{customdata[2]}<extra></extra>"
        ),
        **arm_line(arm),
    )


def diagnostics_title(summary: pd.DataFrame, name: str, arms: Sequence[Arm]) -> str:
    """Say in which arms a diagnostic grows from the first to the last probe.

    Levels of different methods are not compared: a name need not mean the same quantity.
    """
    part = summary[summary["name"] == name].sort_values("step")
    ends = part.groupby("variant")["mean"].agg(["first", "last", "size"])
    ends = ends[ends["size"] > 1].reindex([a.label for a in arms if a.label in ends.index]).dropna()
    word, named = name.replace("_", " "), by_label(arms)
    if ends.empty:
        return f"{word.capitalize()} was reported once a run"
    if len(ends) == 1:
        first, last = (number(float(ends[end].iloc[0])) for end in ("first", "last"))
        title = named[str(ends.index[0])].title
        return f"{word.capitalize()} of {title}: {first} at the first probe, {last} at the last"
    grown = [named[str(label)].title for label in ends.index[ends["last"] > ends["first"]]]
    text = f"{word.capitalize()} grows from the first to the last probe in {len(grown)} of "
    text += f"{len(ends)} arms"
    return f"{text}: {', '.join(grown)}" if 0 < len(grown) <= FEW else text


PROBE_COLUMNS: Final = (
    "run_id",
    "variant",
    "seed",
    "step",
    "task_loss",
    "safety_loss",
    "refusal_rate",
    "refusal_n",
    "refusal_low",
    "refusal_high",
    "drift_inside",
    "drift_outside",
)
_PANELS: Final = (
    ("task_loss", "task loss (nats per token, ↓ better)"),
    ("safety_loss", "safety loss (squared activation, ↓ nearer)"),
    ("refusal_rate", "probe refusal rate (%, ↑ safer)"),
    ("drift_outside", "drift ‖ΔW‖ (Frobenius, weight units)"),
)


def probes(lines: Sequence[ProgressLine]) -> pd.DataFrame:
    """Return the lines of a progress file that hold a probe, as `PROBE_COLUMNS`."""
    table = pd.DataFrame([line.model_dump() for line in lines if line.step is not None])
    table = table.reindex(columns=list(PROBE_COLUMNS))
    numbers = [name for name in PROBE_COLUMNS if name not in {"run_id", "variant"}]
    return table.astype(dict.fromkeys(numbers, "float"))


def arms_of(lines: Sequence[ProgressLine]) -> dict[str, Arm]:
    """Return the arms that the lines of a progress file are about, by label."""
    return by_label(line.arm for line in lines if line.arm is not None)


def live_figure(table: pd.DataFrame, arms: Mapping[str, Arm]) -> go.Figure:
    """Draw what the probes of a job have seen so far.

    Parameters
    ----------
    table : DataFrame
        From :func:`probes`.
    arms : mapping
        From :func:`arms_of`.

    Notes
    -----
    The last panel's solid lines are the drift outside the safety subspace, the dotted ones the
    drift inside. A quantity that an arm does not have (plain SFT has no safety loss) has no line.
    """
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes="all",
        horizontal_spacing=0.09,
        vertical_spacing=0.12,
    )
    for _, part in table.groupby("run_id", sort=False):
        label = str(part["variant"].iloc[0])
        # A progress file of an earlier version names the arm alone.
        arm = arms.get(label, Arm(method=label))
        _run_lines(figure, part.sort_values("step"), arm)
    for place, (_, title) in enumerate(_PANELS):
        row, column = divmod(place, 2)
        figure.update_yaxes(title=title, rangemode="tozero", row=row + 1, col=column + 1)
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", row=2, col=1)
    figure.update_xaxes(title="optimiser steps", row=2)
    return titled(figure, _live_title(table, arms), height=560)


def _run_lines(figure: go.Figure, part: pd.DataFrame, arm: Arm) -> None:
    seed = int(part["seed"].iloc[0])
    look = style.arm_style(arm)
    name = f"{style.escape(look.label)}, seed {seed}"
    line = {"color": look.colour, "dash": look.dash, "width": 2}
    marker = {"color": look.colour, "symbol": look.symbol, "size": 6}
    band = part.dropna(subset=["refusal_low", "refusal_high"])
    if len(band) > 1:
        figure.add_scatter(
            x=[*band["step"], *band["step"][::-1]],
            y=[*band["refusal_high"], *band["refusal_low"][::-1]],
            fill="toself",
            fillcolor=style.translucent(look.colour, 0.15),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            row=2,
            col=1,
        )
    for panel, (column, _) in enumerate(_PANELS):
        row, place = divmod(panel, 2)
        known = part.dropna(subset=[column])
        probe = " of n = %{customdata:.0f} probe requests" if column == "refusal_rate" else ""
        figure.add_scatter(
            x=known["step"],
            y=known[column],
            customdata=known["refusal_n"],
            mode="lines+markers",
            line=line,
            marker=marker,
            name=name,
            legendgroup=name,
            showlegend=panel == 0,
            hovertemplate=f"{name}<br>step %{{x}}: <b>%{{y:.3g}}</b>{probe}<extra></extra>",
            row=row + 1,
            col=place + 1,
        )
    inside = part.dropna(subset=["drift_inside"])
    figure.add_scatter(
        x=inside["step"],
        y=inside["drift_inside"],
        mode="lines",
        line=line | {"dash": "dot", "width": 1.5},
        name=f"{name}, inside",
        legendgroup=name,
        showlegend=False,
        hovertemplate=f"{name}<br>inside, step %{{x}}: <b>%{{y:.3g}}</b><extra></extra>",
        row=2,
        col=2,
    )


def _live_title(table: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    if table.empty:
        return "No probe yet"
    last = table.sort_values("step").groupby(["variant", "seed"], sort=False).last()
    row = last.iloc[-1]
    if pd.isna(row["refusal_rate"]):
        return f"Step {row['step']:.0f}"
    label, seed = last.index[-1]
    title = arms.get(label, Arm(method=label)).title
    return (
        f"{title}, seed {seed:.0f}: refuses {100 * row['refusal_rate']:.0f} % of the "
        f"probe requests at step {row['step']:.0f}"
    )
