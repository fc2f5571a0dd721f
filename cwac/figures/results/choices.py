"""A method's own choices, drawn: a row per setting that leaves its default."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.choices import ALPHA, DEFAULT, SEVERAL, SHOWN, Change
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import percent, titled, wrapped
from cwac.figures.style import rate_axis
from cwac.rates import RATES


def choices_figure(table: pd.DataFrame, arms: Mapping[str, Change]) -> go.Figure:
    """Draw a row per arm: harmful score, what it costs and task accuracy, with their intervals.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.choices.choices_table``.
    arms : mapping
        One method's, from ``cwac.analysis.choices.changes``.
    """
    heights, ticks = _rows(table)
    figure = make_subplots(
        rows=1,
        cols=len(SHOWN),
        shared_yaxes=True,
        column_widths=[1.5, *[1] * (len(SHOWN) - 1)],
        horizontal_spacing=0.03,
    )
    looks = [table["control"], table["learned"], table["p"] < ALPHA]
    for column, rate in enumerate(SHOWN, start=1):
        for look, part in table.groupby(looks, sort=False):
            if part[rate].notna().any():
                _, learned, counts = map(bool, look)
                default = len(part) == 1 and bool((part["setting"] == DEFAULT).any())
                symbol = "circle" if counts or default else "circle-open"
                points = _points(part, rate, heights, arms, symbol if learned else "x-thin-open")
                figure.add_trace(points, row=1, col=column)
        figure.add_trace(_seed_dots(table, rate, heights), row=1, col=column)
        # After the points: plotly draws no line in a panel that is still empty.
        _default_line(figure, table, rate, column)
        # Narrow words: in a narrow window the titles of neighbours lay over each other.
        name, unit = rate_axis(rate, "<br>", across=True).split("<br>")
        title = f"{wrapped(name, 12)}<br>{unit.strip()}"
        figure.update_xaxes(title=title, tickangle=0, nticks=4, row=1, col=column)
    figure.update_xaxes(range=[-4, 104], row=1, col=1)
    figure.update_yaxes(
        tickvals=list(ticks), ticktext=list(ticks.values()), range=[max(ticks) + 0.7, -0.7],
        showgrid=False, zeroline=False,
    )  # fmt: skip
    figure.update_layout(showlegend=False)
    row = 34 if any("<br>" in text for text in ticks.values()) else 21
    return titled(figure, choices_title(table, arms), height=120 + row * (int(max(ticks)) + 1))


def _rows(table: pd.DataFrame) -> tuple[dict[str, int], dict[int, str]]:
    """Return where each arm stands from the top, and the words at each place."""
    heights, ticks, last, at = {}, {}, DEFAULT, 0
    for row in table.to_dict("records"):
        setting = str(row["setting"])
        heading = f"control: {setting}" if row["control"] else setting
        if heading != last:
            ticks[at], last, at = (
                f"<b>{style.escape(heading.replace('_', ' '))}</b>",
                heading,
                at + 1,
            )
        heights[str(row["variant"])] = at
        name = str(row["changed_to"]) + ("" if row["learned"] else ", task not learned")
        ticks[at] = "default" if setting == DEFAULT else wrapped(name, 36)
        at += 1
    return heights, ticks


def _default_line(figure: go.Figure, table: pd.DataFrame, rate: str, column: int) -> None:
    default = table[(table["setting"] == DEFAULT) & table[rate].notna()]
    if default.empty:
        return
    value, low, high = (
        100 * float(default[f"{rate}{end}"].iloc[0]) for end in ("", "_low", "_high")
    )
    line = {"color": style.GREY, "dash": "dash", "width": 1}
    figure.add_vline(x=value, line=line, row=1, col=column)
    figure.add_vrect(
        x0=low, x1=high, fillcolor=style.GREY, opacity=0.15, line_width=0, row=1, col=column
    )


def _points(
    part: pd.DataFrame,
    rate: str,
    heights: Mapping[str, int],
    arms: Mapping[str, Change],
    symbol: str,
) -> go.Scatter:
    arm = arms[str(part["variant"].iloc[0])].arm
    colour = style.GREY if arm.control else style.arm_style(arm).colour
    value = 100 * part[rate]
    return go.Scatter(
        x=value,
        y=[heights[name] for name in part["variant"]],
        mode="markers",
        marker={
            "color": colour,
            "symbol": symbol,
            "size": 10,
            "line": {"width": 2, "color": colour},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": 100 * part[f"{rate}_high"] - value,
            "arrayminus": value - 100 * part[f"{rate}_low"],
            "thickness": 2,
            "width": 4,
            "color": colour,
        },
        customdata=[
            [_hover(row, rate, arms[row["variant"]].arm)] for row in part.to_dict("records")
        ],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _seed_dots(table: pd.DataFrame, rate: str, heights: Mapping[str, int]) -> go.Scatter:
    rows = [
        (100 * value, heights[row["variant"]])
        for row in table.to_dict("records")
        if isinstance(row[f"{rate}_by_seed"], list) and len(row[f"{rate}_by_seed"]) > 1
        for value in row[f"{rate}_by_seed"]
    ]
    return go.Scatter(
        x=[x for x, _ in rows],
        y=[y + 0.28 for _, y in rows],
        mode="markers",
        marker={"color": style.GREY, "symbol": "line-ns-open", "size": 6},
        hovertemplate="one seed: %{x:.1f} %<extra></extra>",
    )


def _hover(row: Mapping[Any, Any], rate: str, arm: Arm) -> str:
    interval = f"[{percent(row[f'{rate}_low'], 1)}, {percent(row[f'{rate}_high'], 1)}]"
    lines = [
        style.escape(arm.title),
        f"{RATES[rate].term} <b>{percent(row[rate], 1)}</b> {interval}",
        f"n = {row[f'{rate}_n']:.0f}, {row['seeds']:.0f} seeds",
    ]
    if rate == SHOWN[0] and pd.notna(row["gap"]):
        lines.append(
            f"{100 * row['gap']:+.1f} points from the default [{100 * row['gap_low']:+.1f}, "
            f"{100 * row['gap_high']:+.1f}], p = {row['p']:.3f} (Holm)"
        )
    return "<br>".join(lines)


def choices_title(table: pd.DataFrame, arms: Mapping[str, Change]) -> str:
    """Say how many changes move the harmful score, and which moves it most.

    What did not learn the task is named and not counted, and controls are counted apart.
    """
    name = next(iter(arms.values())).arm.method_name
    others = table[table["setting"] != DEFAULT]
    if not (table["setting"] == DEFAULT).any():
        return f"{name} under {len(others)} changes; its default arm is not stored to compare with"
    base = float(table.loc[table["setting"] == DEFAULT, SHOWN[0]].iloc[0])
    learned = others["learned"].astype(bool)
    counted = others[learned & ~others["control"].astype(bool)]
    controls = others[learned & others["control"].astype(bool)]
    parts = []
    if len(counted) or not len(controls):
        parts.append(_moved(counted, "change", f"{name}'s harmful score", base))
    if len(controls):
        whose = "it" if parts else f"{name}'s harmful score"
        parts.append(_moved(controls, "control", whose, base))
    # One seed is compared request by request: what another training would give is not in its p.
    single = int((others[learned & (others["p"] < ALPHA)]["seeds"] == 1).sum())
    if single:
        parts.append(f"{single} of these rest{'s' if single == 1 else ''} on one training each")
    without = [_named(row) for row in others[~learned].to_dict("records")]
    if without:
        count = len(without)
        parts.append(
            f"not counted, as the task was not learned: {count} more ({'; '.join(without)})"
        )
    return "; ".join(parts)


def _moved(rows: pd.DataFrame, what: str, whose: str, base: float) -> str:
    """Say how many of some rows move the harmful score beyond noise, each way."""
    if rows.empty:
        return f"No {what} learned the task"
    whole = f"{len(rows)} {what}{'s' if len(rows) != 1 else ''}"
    parts = []
    clear = rows[rows["p"] < ALPHA]
    for moved, verb in ((clear[clear["gap"] > 0], "raise"), (clear[clear["gap"] < 0], "lower")):
        if moved.empty:
            continue
        row = max(moved.to_dict("records"), key=lambda one: abs(float(one["gap"])))
        s = "s" if len(moved) == 1 else ""
        parts.append(
            f"{len(moved)} of {whole} {verb}{s} {whose} beyond noise, most {_named(row)} "
            f"(to {percent(row[SHOWN[0]])} from {percent(base)})"
        )
    return " and ".join(parts) or f"None of {whole} moves {whose} beyond noise"


def _named(row: Mapping[Any, Any]) -> str:
    if row["setting"] == SEVERAL:
        return str(row["changed_to"])
    return f"{row['setting']} = {row['changed_to']}"
