"""A method's own choices: what becomes of its rates when one setting leaves its default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.arms import Arm
from cwac.config import MEASURED
from cwac.figures import style
from cwac.figures.outcomes import outcomes_of
from cwac.figures.panels import number, percent, titled
from cwac.figures.rates import rate_axis
from cwac.rates import RATES
from cwac.records import RunRecord
from cwac.statistics import Outcomes, compare, hierarchical_bootstrap, rate

SHOWN: Final = ("harmful_score", "over_refusal_rate", "task_accuracy")
SEVERAL: Final = "several at once"
DEFAULT: Final = "default"
ALPHA: Final = 0.05
"""A change counts where Holm's p over all changes of the method is below this."""


@dataclass(frozen=True)
class Change:
    """What sets an arm apart from its method's default arm.

    Attributes
    ----------
    arm : Arm
    setting : str
        The one setting that differs, `SEVERAL` where more do, `DEFAULT` for the default arm.
    value : str
        The setting's value, or every name with its value.
    """

    arm: Arm
    setting: str
    value: str


def changes(
    records: Sequence[RunRecord], knobs: Mapping[str, str | None]
) -> dict[str, dict[str, Change]]:
    """Return, per method, the arms that its stored runs vary, the default arm first.

    Arms that differ in the strength knob alone are left out: they are the method's curve.
    Methods without any other variant are left out.

    Parameters
    ----------
    knobs : mapping
        Method to the name of its strength knob.
    """
    by_method: dict[str, dict[str, Change]] = {}
    for record in records:
        arm, settings = record.arm, record.config.settings
        names = sorted(arm.changed)
        if names == [knobs.get(arm.method)] or arm.method == MEASURED:
            continue
        if not names:
            change = Change(arm, DEFAULT, "")
        elif len(names) == 1:
            change = Change(arm, names[0], _value(settings[names[0]]))
        else:
            values = ", ".join(f"{name} = {_value(settings[name])}" for name in names)
            change = Change(arm, SEVERAL, values)
        by_method.setdefault(arm.method, {})[arm.label] = change
    return {
        method: dict(sorted(arms.items(), key=lambda item: item[1].setting != DEFAULT))
        for method, arms in by_method.items()
        if any(change.setting != DEFAULT for change in arms.values())
    }


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return number(value) if isinstance(value, float) else str(value)


def choices_table(responses: pd.DataFrame, arms: Mapping[str, Change]) -> pd.DataFrame:
    """Return the three rates of every arm, and how far its harmful score is from the default's.

    Parameters
    ----------
    responses : DataFrame
        With ``variant`` and ``seed``.
    arms : mapping
        One method's, from `changes`.

    Returns
    -------
    DataFrame
        ``variant, setting, changed_to, seeds``; of each rate in `SHOWN` the value with ``_low``,
        ``_high``, ``_n`` and ``_by_seed``, the single seeds' rates; ``gap, gap_low, gap_high, p``,
        the harmful score minus the default's, with Holm's p. Rates are fractions. The settings
        that move the harmful score most stand first, after the default.
    """
    own = responses[responses["variant"].isin(arms)]
    rows: dict[str, dict[str, Any]] = {
        name: {"variant": name, "setting": change.setting, "changed_to": change.value}
        for name, change in arms.items()
    }
    for what in SHOWN:
        outcomes = outcomes_of(own, what)
        draws = hierarchical_bootstrap(outcomes)
        for name, arm in outcomes.items():
            found = rate(arm, draws=draws[name])
            rows[name] |= {
                what: found.value,
                f"{what}_low": found.low,
                f"{what}_high": found.high,
                f"{what}_n": found.n,
                f"{what}_by_seed": [float(value) for value in arm.values.mean(axis=1)],
                "seeds": found.seeds,
            }
        if what == SHOWN[0]:
            _gaps(rows, outcomes, arms)
    table = pd.DataFrame(list(rows.values())).reindex(columns=_COLUMNS)
    table = table[table[SHOWN[0]].notna()]
    moved = table["gap"].abs().fillna(0).groupby(table["setting"]).transform("max")
    first = table["setting"] == DEFAULT
    order = pd.DataFrame({"first": ~first, "moved": -moved, "own": -table["gap"].abs().fillna(0)})
    order["setting"] = table["setting"]
    return table.loc[order.sort_values(["first", "moved", "setting", "own"]).index].reset_index(
        drop=True
    )


_COLUMNS: Final = [
    *("variant", "setting", "changed_to", "seeds"),
    *(f"{what}{end}" for what in SHOWN for end in ("", "_low", "_high", "_n", "_by_seed")),
    *("gap", "gap_low", "gap_high", "p"),
]


def _gaps(
    rows: Mapping[str, dict[str, Any]],
    outcomes: Mapping[str, Outcomes],
    arms: Mapping[str, Change],
) -> None:
    default = next((n for n, c in arms.items() if c.setting == DEFAULT and n in outcomes), None)
    if default is None:
        return
    others = [name for name in outcomes if name != default]
    for name, found in zip(
        others, compare(outcomes, [(name, default) for name in others]), strict=True
    ):
        gap = found.difference
        rows[name] |= {
            "gap": gap.value,
            "gap_low": gap.low,
            "gap_high": gap.high,
            "p": found.p_holm,
        }


def choices_figure(table: pd.DataFrame, arms: Mapping[str, Change]) -> go.Figure:
    """Draw a row per arm: harmful score, over-refusal and task accuracy with their intervals.

    Parameters
    ----------
    table : DataFrame
        From `choices_table`.
    arms : mapping
        One method's, from `changes`.
    """
    heights, ticks = _rows(table)
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, column_widths=[0.5, 0.25, 0.25], horizontal_spacing=0.03
    )
    counts = table["p"] < ALPHA
    controls = {label: change.arm.control for label, change in arms.items()}
    for column, what in enumerate(SHOWN, start=1):
        for (_, filled), part in table.groupby(
            [table["variant"].map(controls), counts], sort=False
        ):
            if part[what].notna().any():
                points = _points(part, what, heights, arms, filled=bool(filled))
                figure.add_trace(points, row=1, col=column)
        figure.add_trace(_seed_dots(table, what, heights), row=1, col=column)
        # After the points: plotly draws no line in a panel that is still empty.
        _default_line(figure, table, what, column)
        figure.update_xaxes(title=rate_axis(what, "<br>"), row=1, col=column)
    figure.update_xaxes(range=[-4, 104], row=1, col=1)
    figure.update_yaxes(
        tickvals=list(ticks), ticktext=list(ticks.values()), range=[max(ticks) + 0.7, -0.7],
        showgrid=False, zeroline=False,
    )  # fmt: skip
    figure.update_layout(showlegend=False)
    return titled(figure, choices_title(table, arms), height=90 + 21 * (int(max(ticks)) + 1))


def _rows(table: pd.DataFrame) -> tuple[dict[str, int], dict[int, str]]:
    """Return where each arm stands from the top, and the words at each place."""
    heights, ticks, last, at = {}, {}, DEFAULT, 0
    for row in table.to_dict("records"):
        setting = str(row["setting"])
        if setting != last:
            ticks[at], last, at = (
                f"<b>{style.escape(setting.replace('_', ' '))}</b>",
                setting,
                at + 1,
            )
        heights[str(row["variant"])] = at
        ticks[at] = "default" if setting == DEFAULT else style.escape(row["changed_to"])
        at += 1
    return heights, ticks


def _default_line(figure: go.Figure, table: pd.DataFrame, what: str, column: int) -> None:
    default = table[(table["setting"] == DEFAULT) & table[what].notna()]
    if default.empty:
        return
    value, low, high = (
        100 * float(default[f"{what}{end}"].iloc[0]) for end in ("", "_low", "_high")
    )
    line = {"color": style.GREY, "dash": "dash", "width": 1}
    figure.add_vline(x=value, line=line, row=1, col=column)
    figure.add_vrect(
        x0=low, x1=high, fillcolor=style.GREY, opacity=0.15, line_width=0, row=1, col=column
    )


def _points(
    part: pd.DataFrame,
    what: str,
    heights: Mapping[str, int],
    arms: Mapping[str, Change],
    *,
    filled: bool,
) -> go.Scatter:
    arm = arms[str(part["variant"].iloc[0])].arm
    colour = style.GREY if arm.control else style.arm_style(arm).colour
    default = bool((part["setting"] == DEFAULT).any())
    value = 100 * part[what]
    return go.Scatter(
        x=value,
        y=[heights[name] for name in part["variant"]],
        mode="markers",
        marker={
            "color": colour,
            "symbol": "circle" if filled or (default and len(part) == 1) else "circle-open",
            "size": 10,
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": 100 * part[f"{what}_high"] - value,
            "arrayminus": value - 100 * part[f"{what}_low"],
            "thickness": 2,
            "width": 4,
            "color": colour,
        },
        customdata=[
            [_hover(row, what, arms[row["variant"]].arm)] for row in part.to_dict("records")
        ],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _seed_dots(table: pd.DataFrame, what: str, heights: Mapping[str, int]) -> go.Scatter:
    rows = [
        (100 * value, heights[row["variant"]])
        for row in table.to_dict("records")
        if isinstance(row[f"{what}_by_seed"], list) and len(row[f"{what}_by_seed"]) > 1
        for value in row[f"{what}_by_seed"]
    ]
    return go.Scatter(
        x=[x for x, _ in rows],
        y=[y + 0.28 for _, y in rows],
        mode="markers",
        marker={"color": style.GREY, "symbol": "line-ns-open", "size": 6},
        hovertemplate="one seed: %{x:.1f} %<extra></extra>",
    )


def _hover(row: Mapping[Any, Any], what: str, arm: Arm) -> str:
    interval = f"[{percent(row[f'{what}_low'], 1)}, {percent(row[f'{what}_high'], 1)}]"
    lines = [
        style.escape(arm.title),
        f"{RATES[what].term} <b>{percent(row[what], 1)}</b> {interval}",
        f"n = {row[f'{what}_n']:.0f}, {row['seeds']:.0f} seeds",
    ]
    if what == SHOWN[0] and pd.notna(row["gap"]):
        lines.append(
            f"{100 * row['gap']:+.1f} points from the default [{100 * row['gap_low']:+.1f}, "
            f"{100 * row['gap_high']:+.1f}], p = {row['p']:.3f} (Holm)"
        )
    return "<br>".join(lines)


def choices_title(table: pd.DataFrame, arms: Mapping[str, Change]) -> str:
    """Say how many changes move the harmful score, and which moves it most."""
    name = next(iter(arms.values())).arm.method_name
    others = table[table["setting"] != DEFAULT]
    if not (table["setting"] == DEFAULT).any():
        return f"{name} under {len(others)} changes; its default arm is not stored to compare with"
    base = float(table.loc[table["setting"] == DEFAULT, SHOWN[0]].iloc[0])
    clear = others[others["p"] < ALPHA]
    worse = clear[clear["gap"] > 0].sort_values("gap", ascending=False)
    better = clear[clear["gap"] < 0].sort_values("gap")
    parts = []
    for rows, verb in ((worse, "raise"), (better, "lower")):
        if len(rows):
            row = rows.iloc[0]
            what = row["changed_to"] if row["setting"] == SEVERAL else (
                f"{row['setting']} = {row['changed_to']}")  # fmt: skip
            parts.append(
                f"{len(rows)} of {len(others)} changes {verb} {name}'s harmful score beyond noise, "
                f"most {what} (to {percent(row[SHOWN[0]])} from {percent(base)})"
            )
    if not parts:
        return f"None of {len(others)} changes moves {name}'s harmful score beyond noise"
    # One seed is compared request by request: what another training would give is not in its p.
    single = int((clear["seeds"] == 1).sum())
    if single:
        parts.append(f"{single} of these rest on one training each")
    return "; ".join(parts)
