"""How far judges agree on the same answers: counts, raw share and Cohen's kappa."""

from collections.abc import Mapping
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.figures import style
from cwac.figures.panels import panels, titled
from cwac.rates import REQUESTS
from cwac.statistics import agreements

STORED: Final = "stored"
"""The judge that a run was measured with."""
GENERAL: Final = "general"
PREFIX: Final = "judge:"
"""What the columns of outcomes begin with; a judge's name follows."""
COLUMNS: Final = ("group", "first", "second", "same", "n", "raw", "low", "high", "kappa")
_ABOUT: Final = (
    "run_id",
    "variant",
    "seed",
    "prompt_id",
    "kind",
    "unseen_category",
    "novel_template",
)
_GROUPS: Final = ("harmful requests", "look-alikes", "harmless requests")


def judged(responses: pd.DataFrame, judgements: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return stored answers with one column ``judge:NAME`` of outcomes per judge.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` with ``run_id``, and ``variant`` and ``seed`` where they are known; task
        answers are left out.
    judgements : DataFrame, optional
        The experiment's table of further verdicts; an outcome is missing where a judge did not
        judge an answer.
    """
    rows = responses[responses["kind"] != "task"]
    table = rows[[column for column in _ABOUT if column in rows]].copy()
    table[PREFIX + STORED] = rows["outcome"]
    table[PREFIX + GENERAL] = rows["general_outcome"]
    if judgements is None or judgements.empty:
        return table
    wide = judgements.pivot_table(
        index=["run_id", "prompt_id", "kind"], columns="judge", values="outcome", aggfunc="last"
    )
    wide.columns = [f"{PREFIX}{name}" for name in wide.columns]
    # The general rule's verdicts stand with every run; judged again they are the same.
    new = [name for name in wide.columns if name not in table.columns]
    return table.merge(
        wide[new].reset_index(), on=["run_id", "prompt_id", "kind"], how="left", sort=False
    )


def judges_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the judges that a table of :func:`judged` has a column of."""
    names = (str(name) for name in table.columns)
    return [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]


def agreement_table(table: pd.DataFrame) -> pd.DataFrame:
    """Compare every two judges on the answers that both judged, per kind of request.

    Parameters
    ----------
    table : DataFrame
        From :func:`judged`.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`; ``raw``, ``low``, ``high`` are fractions (Wilson interval, answers
        taken as independent); ``kappa`` is missing where chance alone gives full agreement.
    """
    names = [PREFIX + name for name in judges_of(table)]
    rows = []
    for group in _GROUPS:
        mine = table[REQUESTS[group].among(table)]
        for number, one in enumerate(names):
            for other in names[number + 1 :]:
                both = mine.dropna(subset=[one, other])
                titles: Mapping[str, list[str]] = {
                    one.removeprefix(PREFIX): both[one].tolist(),
                    other.removeprefix(PREFIX): both[other].tolist(),
                }
                (found,) = agreements(titles)
                if found.n:
                    rows.append((group, *(getattr(found, name) for name in COLUMNS[1:])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def agreement_figure(table: pd.DataFrame) -> go.Figure:
    """Draw every pair of judges: raw agreement; the hover adds interval, kappa and counts.

    Parameters
    ----------
    table : DataFrame
        From :func:`agreement_table`.
    """
    groups = list(dict.fromkeys(table["group"]))
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    figure, places = panels(groups or ["no answers"], columns=3, gap=60)
    for group, (row, column) in zip(groups, places, strict=False):
        mine = table[table["group"] == group]
        raw, text, hover = _square(mine, names)
        figure.add_trace(
            go.Heatmap(
                x=[style.escape(name) for name in names],
                y=[style.escape(name) for name in names],
                z=raw,
                text=text,
                texttemplate="%{text}",
                hovertext=hover,
                hovertemplate="%{y} and %{x}: %{hovertext}<extra></extra>",
                coloraxis="coloraxis",
                xgap=2,
                ygap=2,
            ),
            row=row,
            col=column,
        )
    figure.update_layout(
        coloraxis={
            "cmin": 0,
            "cmax": 100,
            "colorscale": "Cividis",
            "colorbar": {"title": {"text": "same verdict (%)", "side": "right"}, "thickness": 14},
        }
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return titled(figure, _title(table), height=190 + 46 * max(len(names), 2))


def _square(
    table: pd.DataFrame, names: list[str]
) -> tuple[list[list[float | None]], list[list[str]], list[list[str]]]:
    raw: list[list[float | None]] = [[None] * len(names) for _ in names]
    text = [[""] * len(names) for _ in names]
    hover = [[""] * len(names) for _ in names]
    for pair in table.astype(object).to_dict("records"):
        kappa = "κ undefined" if pd.isna(pair["kappa"]) else f"κ {pair['kappa']:.2f}"
        share, low, high = (100 * float(pair[name]) for name in ("raw", "low", "high"))
        i, j = names.index(pair["first"]), names.index(pair["second"])
        for one, other in ((i, j), (j, i)):
            raw[one][other] = share
            # More than a number would shrink until nobody could read it.
            text[one][other] = f"{share:.0f}"
            hover[one][other] = (
                f"<b>{share:.1f} %</b> [{low:.1f}, {high:.1f}], {kappa}"
                f"<br>{pair['same']} of {pair['n']} answers"
            )
    return raw, text, hover


def _title(table: pd.DataFrame) -> str:
    harmful = table[table["group"] == "harmful requests"]
    if harmful.empty:
        return "No answers were judged twice"
    least = harmful.sort_values("raw").iloc[0]
    kappa = "κ is undefined" if pd.isna(least["kappa"]) else f"κ {least['kappa']:.2f}"
    return (
        f"On harmful requests {least['first']} and {least['second']} agree least: "
        f"{100 * least['raw']:.0f} % of {least['n']:.0f} answers ({kappa})"
    )
