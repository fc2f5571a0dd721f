"""The paper's orderings of methods against the lab's: ranks and Kendall's tau, drawn."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.enumeration import enumerated
from cwac.analysis.orderings import FEWEST, Ours
from cwac.analysis.reported import QUANTITIES
from cwac.arms import title_of
from cwac.figures import style
from cwac.figures.panels import titled
from cwac.rates import RATES


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
        textfont={"color": style.CELL_TEXT},
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=[[1 - at, colour] for at, colour in reversed(style.RISING)],
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "Rank, ↓\u00a0better"}, "thickness": 12, "dtick": 1},
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    # Beneath: above, slanted names run into the title of a narrow figure.
    figure.update_xaxes(showgrid=False, tickangle=-30)
    return titled(figure, _rank_title(ranks, quantity), height=190 + 24 * len(settings))


def _rank_title(ranks: pd.DataFrame, quantity: str) -> str:
    """Say which method most settings of the paper rank first, and how ours ranks it."""
    term = QUANTITIES[quantity].lower()
    best = f"{'lowest' if RATES[quantity].direction == 'lower' else 'highest'} {term}"
    is_ours = ranks["setting"] == ranks["setting"].iloc[0]
    # The best of one is no result.
    theirs = ranks[~is_ours & (ranks["of"] > 1)]
    if theirs.empty:
        return f"No setting of the paper has the {term} of two methods that we have"
    firsts = theirs["method"][theirs["rank"] == 1].value_counts(sort=False)
    method = str(firsts.idxmax())
    (own,) = ranks[is_ours & (ranks["method"] == method)].to_dict("records")
    return (
        f"Of the methods we have, {style.escape(title_of(method))} has the {best} in "
        f"{firsts.max()} of the paper's {theirs['setting'].nunique()} settings; in ours it ranks "
        f"{own['rank']:.0f} of {own['of']:.0f}"
    )


def _cell(
    wide: Mapping[tuple[str, str], Mapping[Hashable, Any]], setting: str, method: str
) -> tuple[float | None, str]:
    row = wide.get((setting, method))
    if row is None:
        return None, ""
    n = "single run, n not given per cell" if pd.isna(row["n"]) else f"n = {row['n']:.0f} requests"
    text = f"{style.escape(setting)}<br>{style.escape(title_of(method))}: {row['value']:.1f} %"
    return float(row["rank"]), f"{text}<br>rank {row['rank']:.0f} of {row['of']:.0f}<br>{n}"


def agreement_figure(table: pd.DataFrame, lab: Ours, quantity: str) -> go.Figure:
    """Draw Kendall's tau of each setting with ours; filled where the poison ratio is ours."""
    known = table.dropna(subset=["tau"])
    same = known["poison_ratio"] == lab.poison_ratio
    figure = style.blank_figure("Kendall's tau with our ordering (-1 to 1), →\u00a0more alike", "")
    for alike, name in ((True, "same poison ratio as ours"), (False, "other poison ratio")):
        part = known[same == alike]
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
            customdata=part.assign(names=part["names"].map(style.escape))[
                ["low", "high", "methods", "names"]
            ],
            hovertemplate="%{y}<br>tau <b>%{x:.2f}</b> [%{customdata[0]:.2f}, "
            "%{customdata[1]:.2f}]<br>n = %{customdata[2]} methods: %{customdata[3]}"
            "<extra></extra>",
        )
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dot"})
    figure.update_xaxes(range=[-1.08, 1.08])
    figure.update_yaxes(
        title="The paper's setting",
        categoryorder="array",
        categoryarray=list(known["setting"])[::-1],
    )
    return titled(figure, _title(known, quantity), height=130 + 24 * len(known))


def _title(known: pd.DataFrame, quantity: str) -> str:
    """Say of which of the paper's tables our order is that of, and of which it is not."""
    term = QUANTITIES[quantity].lower()
    if known.empty:
        return f"No setting shares {FEWEST} methods with ours"
    # A setting begins with its table: "T3 Llama-2-7B, SST-2, poison 0.1".
    tables = known.assign(table=known["setting"].str.split().str[0])
    above = (tables["low"] > 0).groupby(tables["table"]).any()
    kinds = {one: above[above == one].index.tolist() for one in (False, True)}
    said = (("is not the paper's in", kinds[False]), ("goes with it in", kinds[True]))
    parts = [
        f"{words} {enumerated(names)} ({_related(tables[tables['table'].isin(names)])})"
        for words, names in said
        if names
    ]
    return f"By {term} our order of methods {'; it '.join(parts)}"


def _related(rows: pd.DataFrame) -> str:
    """Say how some settings' orders go with ours: tau, and how many intervals leave out 0."""
    alike, opposed = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    low, high, mean = (rows["tau"].agg(how) for how in ("min", "max", "mean"))
    tau = f"{low:+.2f} to {high:+.2f}, mean {mean:+.2f}, in {len(rows)} settings"
    tau = tau if len(rows) > 1 else f"{low:+.2f} in 1 setting"
    parts = [f"above 0 by its interval in {alike}" if alike else ""]
    parts.append(f"below 0 in {opposed}" if opposed else "")
    said = " and ".join(filter(None, parts)) or "every interval holds 0"
    return f"Kendall's tau {tau}; {said}"
