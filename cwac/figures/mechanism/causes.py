"""Where restoring brings refusals back, beside where the weights moved: the two can disagree."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.causes import LITTLE, losses, of_much, strongest
from cwac.analysis.interventions import pooled, refused, scope
from cwac.analysis.seeds import ends_text, seeds_words
from cwac.arms import BASELINE, Arm
from cwac.figures import style
from cwac.figures.mechanism.grids import MOST, cells, robust_range, whole
from cwac.figures.panels import arm_label, number, order, outer_titles, panels, percent, titled

RANDOM: Final = "a random set of equal norm"
_SHARE: Final = "share of the lost log-odds that is back (%)"
_MOVED: Final = "‖ΔW‖ / ‖W₀‖ (no unit)"
_MUTED: Final = "#C9CFD6"


def effect_and_drift(effects: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what restoring each part of one arm returns, and how far each part moved.

    Parameters
    ----------
    effects, drift : DataFrame
        `cwac.analysis.causes.restored` and `drift_by_part`.
    """
    mine = effects[effects["variant"] == arm.label]
    parts = list(dict.fromkeys(mine["part"]))
    back = _over_seeds(mine, "returned").reindex(parts)
    chance = _over_seeds(mine[["seed", "part", "control"]], "control").reindex(parts)
    moved = _over_seeds(_moved(drift, mine, arm), "relative_norm").reindex(parts)
    task = {f"accuracy_{name}": name for name in ("low", "high", "n")}
    left = mine.drop(columns=list(task.values())).rename(columns=task)
    kept = _over_seeds(left, "accuracy", "examples").reindex(parts)
    columns = {
        "Returned by restoring it": (back, 100, " %", _SHARE),
        "Task that is left": (kept, 100, " %", "task accuracy (%)"),
        "How far it moved": (moved, 1, "", _MOVED),
    }
    if kept["y"].isna().all():
        del columns["Task that is left"]
    figure, places = panels(
        list(columns),
        columns=len(columns), panel=60 + 24 * len(parts), side=0.07, shared_xaxes=False,
    )  # fmt: skip
    colour = style.arm_style(arm).colour
    for place, (drawn, scale, unit, title) in zip(places, columns.values(), strict=True):
        figure.add_trace(_bars(drawn, colour, scale, unit, arm), *place)
        figure.add_trace(_not_measured(drawn), *place)
        figure.update_xaxes(title=title, row=place[0], col=place[1], rangemode="tozero")
    figure.update_xaxes(rangemode="normal", row=places[0][0], col=places[0][1])
    figure.add_trace(_controls(chance), *places[0])
    figure.update_yaxes(
        autorange="reversed", categoryorder="array", categoryarray=parts, showgrid=False
    )
    return titled(
        figure,
        cause_title(effects, arm),
        height=150 + (26 if len(parts) <= 16 else 20) * len(parts),
    )


def _over_seeds(table: pd.DataFrame, value: str, unit: str = "requests") -> pd.DataFrame:
    """Return a column as `pooled` has it, a row a part; what was not measured is left out."""
    known = table.dropna(subset=[value])
    return pooled(known.assign(y=known[value]), ["part"], unit=unit).set_index("part")


def _moved(drift: pd.DataFrame, effects: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return an arm's drift under the seeds whose parts were restored, and of these parts."""
    mine = effects[effects["variant"] == arm.label]
    here = drift["seed"].isin(mine["seed"]) & drift["part"].isin(mine["part"])
    return drift[(drift["variant"] == arm.label) & here]


def _bars(drawn: pd.DataFrame, colour: str, scale: float, unit: str, arm: Arm) -> go.Bar:
    return go.Bar(
        y=list(drawn.index),
        x=scale * drawn["y"],
        orientation="h",
        marker={"color": colour},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (scale * (drawn["high"] - drawn["y"])).tolist(),
            "arrayminus": (scale * (drawn["y"] - drawn["low"])).tolist(),
            "thickness": 1,
            "width": 3,
        },
        customdata=drawn[["over"]],
        showlegend=False,
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>%{{y}}: <b>%{{x:.3g}}{unit}</b>"
            "<br>%{customdata[0]}<extra></extra>"
        ),
    )


def _not_measured(drawn: pd.DataFrame) -> go.Scatter:
    """Say so where a part has no number: an empty row reads as 0."""
    missing = list(drawn.index[drawn["y"].isna()])
    return go.Scatter(
        x=[0] * len(missing),
        y=missing,
        mode="text",
        text=["not measured"] * len(missing),
        textposition="middle right",
        textfont={"size": 11},
        hoverinfo="skip",
        showlegend=False,
    )


def _controls(chance: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        y=list(chance.index),
        x=100 * chance["y"],
        mode="markers",
        marker={"symbol": "diamond-open", "color": style.GREY, "size": 10, "line": {"width": 2}},
        name=f"control: {RANDOM} restored",
        customdata=chance[["over"]],
        hovertemplate=f"{RANDOM}: <b>%{{x:.3g}} %</b><br>%{{customdata[0]}}<extra></extra>",
    )


def cause_title(effects: pd.DataFrame, arm: Arm) -> str:
    """Return the answer: the part that returns most and its control, the seeds and intervals."""
    row = strongest(effects, arm)
    if row is None:
        return f"{arm.title}: no part was restored, or no refusals were lost"
    text = f"{_cause(row, arm)}. {scope(effects[effects['variant'] == arm.label])}"
    return f"{loss}. {text}" if (loss := _loss(effects, arm)) else text


def _loss(effects: pd.DataFrame, arm: Arm) -> str:
    """Say how much an arm lost; empty where it is not stored."""
    table = losses(effects)
    lost: dict[Any, Any] = table.loc[arm.label].to_dict()
    if pd.isna(lost["lost"]):
        return ""
    text = f"{arm.title} lost {'little: ' if lost['little'] else ''}{lost['lost']:.1f} nats of "
    text += f"refusal log-odds ({lost['before']:+.1f} to {lost['after']:+.1f})"
    if lost["little"]:
        text += f", where SFT lost {table['lost'][BASELINE]:.1f}"
    if pd.isna(lost["kept"]) or not lost["asked"]:
        return text
    return f"{text}; {lost['kept']:.0f} of {lost['asked']:.0f} sampled answers refuse"


def _cause(row: "pd.Series[Any]", arm: Arm) -> str:
    ends = ends_text(percent(row["low"]), percent(row["high"]), row["seeds"])
    returns = f"returns {percent(row['returned'])} {ends} of the lost log-odds"
    control = f"{RANDOM} {percent(row['control'])}"
    if row["returned"] <= row["control"]:
        return (
            f"In {arm.title} no part returns more than {RANDOM}; {row['part']} {returns}, {control}"
        )
    answers = refused(dict(row))
    enough = row["returned"] >= 0.5 or (answers and row["refusal"] >= 0.5 * row["sample"])
    most = "" if enough else "No single part returns half: "
    text = f"{most}restoring {row['part']} alone in {arm.title} {returns}"
    text = f"{text[:1].upper()}{text[1:]}{f', and then {answers}' if answers else ''}; {control}"
    if pd.isna(row["accuracy"]):
        return text
    # Undoing fine-tuning where it happened returns refusals too: that the task stays is the test.
    kept = "stays at" if row["accuracy"] >= 0.5 else "falls to"
    return f"{text}. The task accuracy {kept} {percent(row['accuracy'])}"


def drift_sentence(effects: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> str:
    """Return whether the part that moved most is the one whose restoring returns most."""
    moved = _over_seeds(_moved(drift, effects, arm), "relative_norm")["y"]
    row = strongest(effects, arm)
    if moved.empty or row is None:
        return ""
    most = str(moved.idxmax())
    norm = number(moved[most])
    if most == row["part"]:
        return f"It is also the part that moved most ({norm} of its norm)."
    mine = effects[(effects["variant"] == arm.label) & (effects["part"] == most)]
    return (
        f"Drift points elsewhere: {most} moved most ({norm} of its norm), "
        f"and restoring it returns {percent(mine['returned'].mean())}; {RANDOM} "
        f"{percent(mine['control'].mean())}."
    )


def effect_grid(table: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw effect and drift of every map on the same grid of layers.

    Parameters
    ----------
    table : DataFrame
        `cwac.analysis.interventions.by_place`.
    """
    known = table.dropna(subset=["relative_norm"])
    maps = list(dict.fromkeys(known["map"]))
    layers = sorted(known["layer"].unique())
    panel = 40 + 24 * len(maps)
    headings = ["Returned (%)", "Moved (‖ΔW‖ / ‖W₀‖)"]
    figure, places = panels(headings, columns=2, panel=panel, side=0.2)
    text = 2 * len(layers) <= MOST
    for column, place, scale, written in (
        ("returned", places[0], 100, whole),
        ("relative_norm", places[1], 1, "{:.2g}".format),
    ):
        grid = scale * known.pivot_table(column, "map", "layer").reindex(index=maps, columns=layers)
        low, high = robust_range(grid.to_numpy(dtype=float).ravel().tolist())
        figure.add_trace(
            cells(
                grid,
                written if text else None,
                colorscale=style.RISING,
                zmin=low,
                zmax=high,
                showscale=False,
                hovertemplate="layer %{x}, %{y}: <b>%{z:.3g}</b><extra></extra>",
            ),
            *place,
        )
    figure.update_xaxes(showgrid=False, type="category")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    outer_titles(figure, places, x="layer (0 = first)", y=None)
    return titled(figure, _grid_title(known, arm), height=90 + panel)


def _grid_title(table: pd.DataFrame, arm: Arm) -> str:
    if table.empty:
        return f"{arm.title} was not taken apart map by map"
    most = int(table["seeds"].max())
    seeds = "one seed" if most == 1 else f"means over {most} seeds"
    above = (table["returned"] - table["control"]).fillna(-np.inf)
    cause = table.iloc[int(above.to_numpy().argmax())]
    moved = table.iloc[int(table["relative_norm"].to_numpy().argmax())]
    text = (
        f"Of {arm.title}'s single maps, layer {cause['layer']} {cause['map']} exceeds its control "
        f"most: it returns {percent(cause['returned'])}, {RANDOM} {percent(cause['control'])}; "
    )
    if cause.name == moved.name:
        return f"{text}it also moved most ({seeds})"
    return (
        f"{text}layer {moved['layer']} {moved['map']} moved most and returns "
        f"{percent(moved['returned'])} ({seeds})"
    )


def arms_by_part(effects: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw, arm by arm, the share that restoring each part returns."""
    parts = list(dict.fromkeys(effects["part"]))
    drawn = order(arms, effects)
    means = 100 * effects.pivot_table("returned", "variant", "part").reindex(
        index=[arm.label for arm in drawn], columns=parts
    )
    much = [arm in of_much(effects, drawn) for arm in drawn]
    low, high = robust_range(means[much].to_numpy(dtype=float).ravel().tolist())
    means.index = pd.Index([arm.title for arm in drawn])
    text = whole if len(parts) <= MOST else None
    coloured: dict[str, Any] = {
        "colorscale": style.RISING,
        "zmin": low,
        "zmax": high,
        "colorbar": {"title": {"text": "returned (%)", "side": "right"}, "thickness": 14},
    }
    muted: dict[str, Any] = {"colorscale": [[0, _MUTED], [1, _MUTED]], "showscale": False}
    figure = go.Figure()
    for is_much, look in ((True, coloured), (False, muted)):
        here = [each == is_much for each in much]
        if any(here):
            # Over all rows: a grid of some of them would stretch its cells over the gaps.
            rows = means.where(pd.Series(here, index=means.index), axis=0)
            hover = "%{y}, %{x}: <b>%{z:.3g} %</b><extra></extra>"
            figure.add_trace(cells(rows, text, hoverongaps=False, hovertemplate=hover, **look))
    if not all(much):
        figure.add_trace(_keyed(f"lost less than {percent(LITTLE)} of what SFT lost", _MUTED))
    figure.add_traces(_empty_cells(means))
    beside = [_row_of(effects, arm) for arm in drawn]
    figure.update_yaxes(
        autorange="reversed", showgrid=False, tickvals=list(range(len(drawn))), ticktext=beside
    )
    figure.update_xaxes(showgrid=False)
    return titled(
        figure,
        _arms_title(effects, drawn),
        height=130 + 38 * len(drawn) + (0 if len(parts) <= 12 else 70),
    )


def _keyed(name: str, colour: str) -> go.Scatter:
    """Return a legend's entry for cells of a colour: a heat map has none of its own."""
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 14, "color": colour},
        name=name,
        showlegend=True,
    )


def _empty_cells(means: pd.DataFrame) -> list[go.Scatter]:
    """Return a dash in each cell without a number, and what it means; nothing where none lacks."""
    lacking = zip(*means.isna().to_numpy().nonzero(), strict=True)
    missing = [(means.index[row], means.columns[column]) for row, column in lacking]
    if not missing:
        return []
    return [
        go.Scatter(
            x=[style.escape(part) for _, part in missing],
            y=[style.escape(title) for title, _ in missing],
            mode="text",
            text=["\u2013"] * len(missing),
            hovertemplate="%{y}, %{x}: not measured<extra></extra>",
            name="\u2013 not measured",
            showlegend=True,
        )
    ]


def _row_of(effects: pd.DataFrame, arm: Arm) -> str:
    lost: dict[Any, Any] = losses(effects).loc[arm.label].to_dict()
    if pd.isna(lost["lost"]):
        return arm_label(arm, 30)
    text = f"{arm_label(arm, 30)}<br>lost {lost['lost']:.1f} nats"
    if pd.isna(lost["kept"]) or not lost["asked"]:
        return text
    return f"{text}, refuses {lost['kept']:.0f} of {lost['asked']:.0f}"


def _arms_title(effects: pd.DataFrame, arms: Sequence[Arm]) -> str:
    much = of_much(effects, arms)
    places = {arm.title: strongest(effects, arm) for arm in much}
    named = {title: row["part"] for title, row in places.items() if row is not None}
    parts_of = ", ".join(f"{part} in {title}" for title, part in named.items())
    return f"Restored alone, these return most beyond {RANDOM}: {parts_of} ({seeds_words(effects)})"
