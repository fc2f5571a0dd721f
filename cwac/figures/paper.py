"""The paper's orderings of methods against the lab's: ranks, Kendall's tau, their figures."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.arms import title_of
from cwac.figures import style
from cwac.figures.outcomes import outcomes_of
from cwac.figures.panels import titled
from cwac.figures.reported import QUANTITIES
from cwac.rates import RATES
from cwac.statistics import hierarchical_bootstrap, rate

FEWEST: Final = 3
"""Methods below which there is no ordering to speak of."""


@dataclass(frozen=True)
class Ours:
    """The lab's own results for one quantity.

    Attributes
    ----------
    label : str
        Task and poison ratio.
    rates : DataFrame
        Index ``method``; ``value, low, high`` (fractions), ``n``, ``seeds``.
    draws : dict of str to ndarray
        Resampled rates of each method, shared draws of seeds and prompts.
    """

    label: str
    poison_ratio: float
    rates: pd.DataFrame
    draws: Mapping[str, np.ndarray]


def ours(
    responses: pd.DataFrame, quantity: str, methods: Sequence[str], label: str, poison: float
) -> Ours:
    """Return the rates of the methods at their default settings.

    Parameters
    ----------
    responses : DataFrame
        Of the runs, with ``variant`` and ``seed``.
    methods : sequence of str
        Those that the paper has too.
    """
    found = outcomes_of(responses[responses["variant"].isin(methods)], quantity)
    arms = {name: found[name] for name in methods if name in found}
    draws = hierarchical_bootstrap(arms)
    rows = {}
    for name, outcomes in arms.items():
        own = rate(outcomes, draws=draws[name])
        rows[name] = [own.value, own.low, own.high, own.n, own.seeds]
    rates = pd.DataFrame.from_dict(
        rows, orient="index", columns=["value", "low", "high", "n", "seeds"]
    )
    return Ours(label, poison, rates.rename_axis("method"), draws)


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of `first` with each row of `second`, NaN where one is all ties.

    Parameters
    ----------
    first : ndarray
        ``(methods,)``.
    second : ndarray
        ``(methods,)`` or ``(draws, methods)``.

    Examples
    --------
    >>> float(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(3))
    0.333
    """
    one, two = np.triu_indices(len(first), k=1)
    here = np.sign(first[one] - first[two])
    there = np.sign(second[..., one] - second[..., two])
    scale = np.sqrt((here != 0).sum() * (there != 0).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((here * there).sum(-1) / scale)


def agreement(settings: pd.DataFrame, own: Ours) -> pd.DataFrame:
    """Return Kendall's tau between our ordering and each of the paper's settings.

    Returns
    -------
    DataFrame
        ``setting, poison_ratio, methods`` (how many both have), ``names, tau, low, high``. The
        interval comes from our seeds and prompts alone: the paper reports single numbers. With
        fewer than three common methods tau is missing.
    """
    rows: list[list[Any]] = []
    for setting, line in settings.iterrows():
        common = [name for name in own.rates.index if pd.notna(line[name])]
        named = ", ".join(map(title_of, common))
        row: list[Any] = [setting, line["poison_ratio"], len(common), named]
        if len(common) < FEWEST:
            rows.append([*row, np.nan, np.nan, np.nan])
            continue
        theirs = line[common].to_numpy(dtype=float)
        tau = float(kendall(theirs, own.rates.loc[common, "value"].to_numpy(dtype=float)))
        drawn = kendall(theirs, np.stack([own.draws[name] for name in common], axis=1))
        drawn = drawn[np.isfinite(drawn)]
        ends = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else [np.nan, np.nan]
        rows.append([*row, tau, float(ends[0]), float(ends[1])])
    columns = ["setting", "poison_ratio", "methods", "names", "tau", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def rank_table(settings: pd.DataFrame, own: Ours, quantity: str) -> pd.DataFrame:
    """Return ranks in long form, 1 the best, ours first; among the methods that we have.

    Returns
    -------
    DataFrame
        ``setting, method, value`` (per cent), ``rank``, ``of``, ``n``.
    """
    names = list(own.rates.index)
    mine = pd.DataFrame([100 * own.rates["value"]], index=[f"ours: {own.label}"])
    values = pd.concat([mine, settings[names].astype(float)])
    ranks = values.rank(
        axis="columns", ascending=RATES[quantity].direction == "lower", method="min"
    )
    long = values.rename_axis("setting").reset_index().melt("setting", var_name="method")
    long["rank"] = ranks.melt()["value"]
    long["of"] = long["setting"].map(values.notna().sum(axis="columns"))
    counts = own.rates["n"].to_dict()
    long["n"] = [
        counts[method] if setting == mine.index[0] else None
        for setting, method in zip(long["setting"], long["method"], strict=True)
    ]
    return long.dropna(subset=["value"]).reset_index(drop=True)


def rank_figure(ranks: pd.DataFrame, quantity: str) -> go.Figure:
    """Draw the ranks as a table of shaded cells, settings down, methods across."""
    settings = list(dict.fromkeys(ranks["setting"]))
    methods = list(dict.fromkeys(ranks["method"]))
    wide = {(row["setting"], row["method"]): row for row in ranks.to_dict("records")}
    figure = style.blank_figure("Method", "Setting, ours first")
    cells = [[_cell(wide, setting, method) for method in methods] for setting in settings]
    figure.add_heatmap(
        x=[style.escape(title_of(method)) for method in methods],
        y=settings,
        z=[[cell[0] for cell in row] for row in cells],
        text=[["" if cell[0] is None else f"{cell[0]:.0f}" for cell in row] for row in cells],
        customdata=[[cell[1] for cell in row] for row in cells],
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=[[0, "#0072B2"], [0.5, "#8FBBD9"], [1, "#F0E0C0"]],
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "Rank, ↓\u00a0better"}, "thickness": 12, "dtick": 1},
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    # Beneath: above, slanted names run into the title of a narrow figure.
    figure.update_xaxes(showgrid=False, tickangle=-30)
    what = QUANTITIES[quantity].lower()
    better = "lowest" if RATES[quantity].direction == "lower" else "highest"
    title = f"Rank by {what} among the methods we have, 1 the {better}"
    return titled(figure, title, height=190 + 24 * len(settings))


def _cell(
    wide: Mapping[tuple[str, str], Mapping[Hashable, Any]], setting: str, method: str
) -> tuple[float | None, str]:
    row = wide.get((setting, method))
    if row is None:
        return None, ""
    n = "single run, n not given per cell" if pd.isna(row["n"]) else f"n = {row['n']:.0f} prompts"
    text = f"{style.escape(setting)}<br>{style.escape(title_of(method))}: {row['value']:.1f} %"
    return float(row["rank"]), f"{text}<br>rank {row['rank']:.0f} of {row['of']:.0f}<br>{n}"


def agreement_figure(table: pd.DataFrame, own: Ours, quantity: str) -> go.Figure:
    """Draw Kendall's tau of each setting with ours; filled where the poison ratio is ours."""
    told = table.dropna(subset=["tau"])
    same = told["poison_ratio"] == own.poison_ratio
    figure = style.blank_figure("Kendall's tau with our ordering (-1 to 1), ↑\u00a0more alike", "")
    for alike, name in ((True, "same poison ratio as ours"), (False, "other poison ratio")):
        part = told[same == alike]
        if part.empty:
            continue
        figure.add_scatter(
            x=part["tau"],
            y=part["setting"],
            mode="markers",
            name=name,
            marker={
                "color": "#0072B2" if alike else style.GREY,
                "size": 10,
                "symbol": "circle" if alike else "circle-open",
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["tau"],
                "arrayminus": part["tau"] - part["low"],
                "thickness": 1.5,
                "width": 4,
            },
            customdata=part[["low", "high", "methods", "names"]],
            hovertemplate="%{y}<br>tau <b>%{x:.2f}</b> [%{customdata[0]:.2f}, "
            "%{customdata[1]:.2f}]<br>n = %{customdata[2]} methods: %{customdata[3]}"
            "<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dot"})
    figure.update_xaxes(range=[-1.08, 1.08])
    figure.update_yaxes(
        title="The paper's setting",
        categoryorder="array",
        categoryarray=list(told["setting"])[::-1],
    )
    return titled(figure, _title(told, quantity), height=130 + 24 * len(told))


def _title(told: pd.DataFrame, quantity: str) -> str:
    what = QUANTITIES[quantity].lower()
    if told.empty:
        return f"No setting shares {FEWEST} methods with ours"
    above = int((told["low"] > 0).sum())
    return (
        f"Order by {what}: in {above} of {len(told)} of the paper's settings the interval of tau "
        "lies above zero"
    )
