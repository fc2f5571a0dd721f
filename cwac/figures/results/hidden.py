"""What greedy answers hide, drawn: the refusal margin beside harmful scores of other decodings."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.claims import FOCUS
from cwac.analysis.hidden import MARGIN, TITLES
from cwac.arms import ALIGNED, BASELINE, Arm, by_label, in_order
from cwac.figures import style
from cwac.figures.panels import arm_rows, percent, titled
from cwac.figures.style import axis_title, rate_axis
from cwac.rates import RATES

_GREEDY: Final = "harmful_score"
ROWS: Final = 30
"""Arms up to which variants are drawn too; the table has them all."""
_SYMBOLS: Final = {
    _GREEDY: "circle",
    "sampled_harmful_score": "diamond",
    "sampled_harmful_worst": "triangle-right",
    "prefilled_harmful_score": "square-open",
    "two_requests_harmful_score": "x",
    "many_turns_harmful_score": "cross",
    "identity_harmful_score": "star",
}
"""Shapes and not colours: an arm keeps its own."""
_SAID: Final = {
    _GREEDY: "greedy",
    "sampled_harmful_score": "sampled",
    "prefilled_harmful_score": "where its answer is begun for it",
}
"""The decodings that the title names."""


def hidden_figure(hidden: pd.DataFrame, points: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw a row per arm: refusal log-odds, and harmful scores under every decoding measured.

    Parameters
    ----------
    hidden : DataFrame
        From ``cwac.analysis.hidden``.
    points : DataFrame
        From ``cwac.analysis.operating``, for the greedy score.
    arms : sequence of Arm
        The arms in view and the aligned model.
    """
    greedy = points.rename(
        columns={"harmful": "value", "harmful_low": "low", "harmful_high": "high", "harmful_n": "n"}
    ).assign(rate=_GREEDY)
    columns = ["variant", "rate", "value", "low", "high", "n", "seeds"]
    table = pd.concat([greedy[columns], hidden[columns]], ignore_index=True)
    table = table[table["variant"].isin([arm.label for arm in arms])]
    present = set(hidden["variant"])
    shown = [arm for arm in in_order(arms) if arm.label in present]
    if len(shown) > ROWS:
        # More than fit on a screen or two: methods at their defaults and at their tuned settings.
        central = [arm for arm in shown if not arm.changed or arm.tuned]
        shown = central[:ROWS] or shown[:ROWS]
    shown = shown[::-1]
    places = {arm.label: height for height, arm in enumerate(shown)}
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    named = by_label(shown)
    for rate in (MARGIN, *_SYMBOLS):
        part = table[(table["rate"] == rate) & table["variant"].isin(places)]
        if len(part):
            figure.add_trace(_points(part, rate, places, named), row=1, col=1 + (rate != MARGIN))
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dash", "width": 1}, row=1, col=1)
    figure.update_xaxes(title=f"{axis_title('Refusal log-odds', 'nats')} → safer", row=1, col=1)
    figure.update_xaxes(title=rate_axis(_GREEDY, across=True), range=[-4, 104], row=1, col=2)
    figure.update_yaxes(**arm_rows(shown))
    return titled(figure, _title(table, named), height=190 + 26 * len(shown))


def _points(
    part: pd.DataFrame, rate: str, places: Mapping[str, int], arms: Mapping[str, Arm]
) -> go.Scatter:
    margin = rate == MARGIN
    factor, unit = (1, "nats") if margin else (100, "%")
    title = "refusal log-odds" if margin else TITLES.get(rate, RATES[_GREEDY].title + ", greedy")
    value, low, high = (factor * part[name] for name in ("value", "low", "high"))
    return go.Scatter(
        x=value,
        y=[places[name] for name in part["variant"]],
        mode="markers",
        name=title,
        showlegend=not margin,
        marker={
            "symbol": _SYMBOLS.get(rate, "circle"),
            "size": 10,
            "color": [style.arm_style(arms[name]).colour for name in part["variant"]],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (high - value).fillna(0),
            "arrayminus": (value - low).fillna(0),
            "thickness": 1,
            "width": 3,
            "color": style.GREY,
        },
        customdata=[[_hover(row, title, factor, unit, arms)] for row in part.to_dict("records")],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def _hover(
    row: Mapping[Any, Any], title: str, factor: float, unit: str, arms: Mapping[str, Arm]
) -> str:
    interval = ""
    if pd.notna(row["low"]):
        interval = f" [{factor * row['low']:.2f}, {factor * row['high']:.2f}]"
    seeds = "" if row["variant"] == ALIGNED.label else f", {row['seeds']:.0f} seeds"
    return (
        f"{style.escape(arms[row['variant']].title)}<br>{title.lower()} "
        f"<b>{factor * row['value']:.2f} {unit}</b>{interval}<br>n = {row['n']:.0f} requests{seeds}"
    )


def _aligned_too(named: Mapping[tuple[str, str], float], focus: str, rate: str) -> str:
    """Return the aligned model's rate where an arm's is no lower than it would be anyway."""
    aligned = named.get((ALIGNED.label, rate))
    if focus == ALIGNED.label or aligned is None or aligned < 0.5:
        return ""
    return f" (aligned model {percent(aligned)})"


def _title(table: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    """Say what margin CWAC keeps (else the safest arm), and its harmful score by decoding."""
    named = {(row["variant"], row["rate"]): row["value"] for row in table.to_dict("records")}
    margins = {label: named[label, MARGIN] for label in arms if (label, MARGIN) in named}
    tuned = [label for label in margins if not arms[label].is_aligned]
    if not tuned:
        return "Refusal log-odds, and harmful scores under other decodings"
    focus = FOCUS if FOCUS in tuned else max(tuned, key=margins.__getitem__)
    beside = ", ".join(
        f"{arms[label].title} {margins[label]:+.2f}"
        for label in (ALIGNED.label, BASELINE)
        if label in margins and label != focus
    )
    text = f"{arms[focus].title} has refusal log-odds of {margins[focus]:+.2f} nats"
    text += f" ({beside})" if beside else ""
    harm = [
        f"{percent(named[focus, rate])} {words}{_aligned_too(named, focus, rate)}"
        for rate, words in _SAID.items()
        if (focus, rate) in named
    ]
    return f"{text}; its harmful score is {', '.join(harm)}" if harm else text
