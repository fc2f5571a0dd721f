"""What each arm does with harmful requests, drawn, and its rates as a table of text."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.claims import FOCUS, HALVES
from cwac.analysis.hidden import MARGIN, TITLES
from cwac.analysis.outcomes import aside, by_arm_and_rate, interval_text
from cwac.arms import ALIGNED, BASELINE, Arm, by_label, in_order
from cwac.figures.panels import order, titled
from cwac.figures.style import (
    OUTCOME_COLOURS,
    OUTCOME_PATTERNS,
    RIM,
    arm_style,
    axis_title,
    escape,
)
from cwac.rates import tabled_rates
from cwac.records import Outcome

_PARTS: Final[Mapping[str, Outcome]] = {
    "harmful_score": "compliance",
    "hybrid_rate": "hybrid",
    "undetermined_rate": "undetermined",
    "refusal_rate": "refusal",
}
"""The parts of a bar and the outcome that each shows; hybrids are a part of the harmful score."""
_DARK: Final = "#10181F"
HELPFUL_ENOUGH: Final = 0.8
"""Share of harmless requests answered, below which a headline says so."""
_FIRST: Final = (
    "harmful_score",
    "task_accuracy",
    "lookalikes_answered",
    "over_refusal_rate",
    "helpfulness",
)
"""What safety and what it costs stand first in the page's table."""
_DRAWN: Final = frozenset({"refusal_rate", "undetermined_rate", "hybrid_rate"})
"""What the figure above the page's table shows already."""


def outcome_bars(
    rates: pd.DataFrame, title: str, arms: Sequence[Arm], *, row: int = 30
) -> go.Figure:
    """Draw what each arm does with harmful requests: compliance, hybrid, undetermined, refusal.

    Parameters
    ----------
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.
    title : str
        What the figure shows, in one sentence.
    arms : sequence of Arm
        The arms in view and the aligned model.
    row : int
        Pixels of an arm.

    Notes
    -----
    The bars add up to 100 %. The lower whisker is the interval of the harmful score, at the end
    of its bar, which hybrids end where they were told; the upper one that of the refusal rate, at
    the start of its bar. Hybrids have no bar where there are none.
    """
    arms = order(in_order(arms), rates)[::-1]
    table = rates.set_index(["variant", "rate"])
    figure = go.Figure()
    hybrids = rates[rates["rate"] == "hybrid_rate"].set_index("variant")["value"]
    for name, outcome in _PARTS.items():
        measured = [arm for arm in arms if (arm.label, name) in table.index]
        if outcome == "hybrid" and not hybrids.any():
            continue
        rows = table.loc[[(arm.label, name) for arm in measured]]
        labels = pd.Series([arm.label for arm in measured], dtype=object)
        inside = labels.map(hybrids).fillna(0.0) if outcome == "compliance" else 0.0
        lengths = rows["value"].to_numpy(dtype=float) - np.asarray(inside, dtype=float)
        shown = "compliance and hybrids" if outcome == "compliance" and hybrids.any() else outcome
        figure.add_bar(
            orientation="h",
            name=outcome,
            y=[arms.index(arm) for arm in measured],
            x=lengths,
            width=0.62,
            marker={
                "color": OUTCOME_COLOURS[outcome],
                "pattern": {
                    "shape": OUTCOME_PATTERNS[outcome],
                    "fillmode": "overlay",
                    "fgcolor": _DARK,
                    "fgopacity": 0.28,
                    "size": 7,
                    "solidity": 0.2,
                },
            },
            text=[f"{100 * value:.0f} %" if value >= 0.06 else "" for value in lengths],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": _DARK},
            customdata=[
                [escape(_name(arm)), low, high, n, _seeds(arm, seeds), value]
                for arm, (value, low, high, n, seeds) in zip(
                    measured,
                    rows[["value", "low", "high", "n", "seeds"]].itertuples(index=False),
                    strict=True,
                )
            ],
            hovertemplate=(
                f"%{{customdata[0]}}<br>{shown}: <b>%{{customdata[5]:.1%}}</b> "
                "[%{customdata[1]:.1%}, %{customdata[2]:.1%}]<br>"
                "n = %{customdata[3]} harmful test requests, %{customdata[4]}<extra></extra>"
            ),
        )
    _whiskers(figure, table, arms, "harmful_score", from_right=False)
    _whiskers(figure, table, arms, "refusal_rate", from_right=True)
    _arm_marks(figure, arms)
    figure.update_layout(barmode="stack", bargap=0.2)
    figure.update_xaxes(
        title=axis_title("Share of harmful test requests", "%") + "; compliance ← safer",
        range=[-0.015, 1.02],
        tickformat=".0%",
        tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1],
    )
    figure.update_yaxes(
        tickvals=list(range(len(arms))),
        ticktext=[escape(_name(arm)) for arm in arms],
        range=[-0.6, len(arms) - 0.4],
        showgrid=False,
    )
    titled(figure, title, height=150 + row * len(arms))
    # Plotly lists stacked bars from the last: read from the left, as the bars are.
    figure.update_layout(legend_traceorder="normal")
    return figure


def _name(arm: Arm) -> str:
    """Return an arm's title; a control is no defence that failed, and says so."""
    return f"control: {arm.title}" if arm.control else arm.title


def _seeds(arm: Arm, seeds: int) -> str:
    if arm.is_aligned:
        return "aligned model"
    return f"{seeds} seed{'s' if seeds != 1 else ''}"


def _whiskers(
    figure: go.Figure, table: pd.DataFrame, arms: Sequence[Arm], name: str, *, from_right: bool
) -> None:
    measured = [arm for arm in arms if (arm.label, name) in table.index]
    rows = table.loc[[(arm.label, name) for arm in measured]]
    ends = 1 - rows["value"] if from_right else rows["value"]
    wider, narrower = rows["high"] - rows["value"], rows["value"] - rows["low"]
    # At the edges of the bar: its number stands in the middle.
    shift = 0.29 if from_right else -0.29
    # In the colour of the page's text, on a rim in the page's own: told from bars and from both
    # pages.
    for meta, thickness, width in ((RIM, 4.5, 6), (None, 1.6, 5)):
        figure.add_scatter(
            meta=meta,
            x=ends,
            y=[arms.index(arm) + shift for arm in measured],
            mode="markers",
            marker={"opacity": 0},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": narrower if from_right else wider,
                "arrayminus": wider if from_right else narrower,
                "thickness": thickness,
                "width": width,
            },
            hoverinfo="skip",
            showlegend=False,
        )


def _arm_marks(figure: go.Figure, arms: Sequence[Arm]) -> None:
    styles = [arm_style(arm) for arm in arms]
    figure.add_scatter(
        x=[-0.008] * len(arms),
        y=list(range(len(arms))),
        mode="markers",
        marker={
            "color": [look.colour for look in styles],
            "symbol": [look.symbol for look in styles],
            "size": 11,
            "line": {"width": 1.5, "color": [look.colour for look in styles]},
        },
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )


def headline(rates: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Return the figure's title: how often SFT and CWAC comply, and the method that does least.

    That method is none of CWAC's own arms, no control by its settings, and did something. Where SFT
    or CWAC was not measured, it is who complies most and who least. An arm that answers few
    harmless requests is said to.

    Parameters
    ----------
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.
    arms : sequence of Arm
        What the variants are, those that did nothing marked.
    """
    rows, named = by_arm_and_rate(rates), by_label(arms)
    scores = {
        label: row["value"]
        for (label, rate), row in rows.items()
        if rate == "harmful_score" and label in named and label != ALIGNED.label
    }
    if not scores:
        return "What became of harmful requests was not measured"
    defences = (a for a in named.values() if a.label in scores and not (a.control or a.idle))
    least = [arm.label for arm in sorted(defences, key=lambda arm: scores[arm.label])]
    if {BASELINE, FOCUS} <= scores.keys():
        rivals = [label for label in least if _is_rival(named[label])]
        stated = [BASELINE, FOCUS, *rivals[:1]]
    else:
        most = max(scores, key=scores.__getitem__)
        stated = [most, *(label for label in least[:1] if label != most)]
    (first, share, silent), *rest = (_stated(rows, named[label]) for label in stated)
    text = f"{first} complies with {share} of harmful requests{silent}"
    for (title, share, silent), lead in zip(
        rest, (", ", "; least of the other methods shown, "), strict=False
    ):
        text += f"{lead}{title} with {share}{silent}"
    return text


def _is_rival(arm: Arm) -> bool:
    return arm.overlay is None and arm.method not in {BASELINE, FOCUS, *HALVES}


def _stated(
    rows: Mapping[tuple[str, str], Mapping[Hashable, Any]], arm: Arm
) -> tuple[str, str, str]:
    """Return an arm's title, its harmful score, and that it is silent where it is."""
    share = interval_text(rows[arm.label, "harmful_score"])
    helpful = rows.get((arm.label, "helpfulness"))
    if helpful is None or helpful["value"] >= HELPFUL_ENOUGH:
        return arm.title, share, ""
    # Silence is not safety: the headline must not praise a model that refuses everything.
    answered = f"{100 * helpful['value']:.0f}\u00a0%"
    return arm.title, share, f", which answers only {answered} of harmless requests"


def overview_table(
    rates: pd.DataFrame, arms: Sequence[Arm], hidden: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one row per arm with its rates as text, ``97.0 % [95, 98]``.

    Numbers that were not measured read "not measured"; the last columns say how many requests and
    seeds there are.

    Parameters
    ----------
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.
    hidden : DataFrame, optional
        From ``cwac.analysis.hidden``: what stands behind the rates of greedy answers. A number
        that no arm measured has no column.
    """
    beside = {} if hidden is None else by_arm_and_rate(hidden)
    behind = [name for name in TITLES if any(rate == name for _, rate in beside)]
    by_name = by_arm_and_rate(rates)
    columns = tabled_rates(first=_FIRST)
    rows = []
    for arm in in_order(arms):
        if not (rates["variant"] == arm.label).any():
            continue
        cells = {
            drawn: {
                one.title: _cell(by_name.get((arm.label, one.name)))
                for one in columns
                if (one.name in _DRAWN) == drawn
            }
            for drawn in (False, True)
        }
        harmful = by_name.get((arm.label, "harmful_score"), {})
        row: dict[str, object] = {"Arm": _name(arm), **cells[False]}
        row |= {TITLES[name]: _beside(name, beside.get((arm.label, name))) for name in behind}
        row |= {"n": harmful.get("n")}
        row["Seeds"] = "" if arm.is_aligned else str(harmful.get("seeds", ""))
        # What the figure above shows already stands last, where a narrow window cuts.
        rows.append(row | cells[True])
    return pd.DataFrame(rows)


def _beside(name: str, row: Mapping[Hashable, Any] | None) -> str:
    if row is None or name != MARGIN:
        return _cell(row)
    text = f"{row['value']:+.2f}"
    known = pd.notna(row["low"])
    return f"{text} [{row['low']:+.2f}, {row['high']:+.2f}]" if known else text


def _cell(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return "not measured"
    # A cell breaks nowhere, and in LaTeX a space is plain ASCII.
    return f"{interval_text(row, 1, 0)}{aside(row)}".replace("\u00a0", " ")
