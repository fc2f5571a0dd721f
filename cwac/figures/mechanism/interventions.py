"""One figure per stored intervention: what was done coloured, its control grey, a stating title."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import by_seed, of_arm, pooled, refused, refusing_share, scope
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import sentences
from cwac.figures.panels import panels, percent, titled, wrapped
from cwac.records import WHOLE_UPDATE
from cwac.registry import Registry

SHARE: Final = "share of the lost log-odds that is back (%)"
NATS: Final = "refusal log-odds (nats)"
ACCURACY: Final = "task_accuracy"
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "star", "cross")
_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class View:
    """How one intervention is shown.

    Attributes
    ----------
    name, title, question : str
        As of the intervention in ``cwac.interventions``, which needs torch.
    control : str
        What is grey, in a sentence.
    draw : callable
        Takes the readings and the arm; returns the figure.
    grey : str
        The name of what is grey in the legend: a control gives what chance alone gives; what may
        well work is there for comparison.
    """

    name: str
    title: str
    question: str
    control: str
    draw: Callable[[pd.DataFrame, Arm], go.Figure]
    grey: str = "control"


def bars_by_name(rows: pd.DataFrame, arm: Arm, name: str) -> go.Figure:
    """Draw a bar per part and trial; the form of what has no natural order."""
    table = of_arm(rows, arm, name)
    several = table["part"].nunique() > 1
    labels = [
        wrapped(f"{part}: {trial}" if several else trial, 46)
        + (f" ({dose:g})" if np.isfinite(dose) else "")
        for part, trial, dose in zip(table["part"], table["trial"], table["dose"], strict=True)
    ]
    figure = go.Figure()
    for control in (False, True):
        chosen = table["control"].to_numpy() == control
        drawn = table[chosen]
        scale = _scale(table)
        figure.add_trace(
            go.Bar(
                x=scale * drawn["y"],
                y=[label for label, here in zip(labels, chosen, strict=True) if here],
                orientation="h",
                name=_grey(name) if control else "done",
                marker={"color": style.GREY if control else style.arm_style(arm).colour},
                error_x=_whiskers(drawn, scale),
                customdata=_hover(drawn),
                hovertemplate="%{customdata[0]}<extra></extra>",
            )
        )
    figure.update_xaxes(title=_unit(table))
    figure.update_yaxes(
        categoryorder="array", categoryarray=labels, autorange="reversed", showgrid=False
    )
    return titled(figure, sentences.of(name, rows, arm), height=140 + 27 * len(labels))


def lines_by_layer(rows: pd.DataFrame, arm: Arm, name: str) -> go.Figure:
    """Draw a line per trial over the layers."""
    table = of_arm(rows, arm, name).dropna(subset=["layer"])
    figure = go.Figure()
    _lines(figure, table, "layer", arm, grey=_grey(name))
    figure.update_xaxes(title="layer (0 = first)", dtick=1 if table["layer"].nunique() < 16 else 5)
    figure.update_yaxes(title=_unit(table))
    return titled(figure, sentences.of(name, rows, arm), height=430)


def lines_by_dose(rows: pd.DataFrame, arm: Arm, name: str, axis: str) -> go.Figure:
    """Draw a line per trial over the dose, on a logarithmic axis where it doubles and doubles."""
    table = of_arm(rows, arm, name).dropna(subset=["dose"])
    figure = go.Figure()
    _lines(figure, table, "dose", arm, grey=_grey(name))
    doses = sorted(table["dose"].unique())
    many = len(doses) > 2 and min(doses) > 0 and max(doses) / min(doses) > 16
    figure.update_xaxes(title=axis, tickvals=doses, type="log" if many else "linear")
    figure.update_yaxes(title=_unit(table))
    return titled(figure, sentences.of(name, rows, arm), height=430)


def _lines(
    figure: go.Figure,
    table: pd.DataFrame,
    along: str,
    arm: Arm,
    place: Sequence[int] = (),
    *,
    grey: str = "control",
) -> None:
    scale = _scale(table)
    colours = [style.arm_style(arm).colour, *(h for h in style.HUES)]
    done = dict.fromkeys(table.loc[~table["control"], "trial"])
    controls = dict.fromkeys(table.loc[table["control"], "trial"])
    for number, trial in enumerate([*done, *controls]):
        is_control = trial in controls
        line = table[table["trial"] == trial].sort_values(along)
        place_in_kind = number - len(done) if is_control else number
        colour = style.GREY if is_control else colours[place_in_kind % len(colours)]
        figure.add_trace(
            go.Scatter(
                x=line[along],
                y=scale * line["y"],
                error_y=_whiskers(line, scale),
                mode="lines+markers",
                name=style.escape(f"{grey}: {trial}" if is_control else trial),
                line={
                    "color": colour,
                    "width": 2,
                    "dash": _DASHES[(place_in_kind + 2 * is_control) % len(_DASHES)],
                },
                marker={
                    "color": colour,
                    "size": 8,
                    "symbol": _SYMBOLS[place_in_kind % len(_SYMBOLS)]
                    + ("-open" if is_control else ""),
                },
                customdata=_hover(line),
                hovertemplate="%{customdata[0]}<extra></extra>",
            ),
            *place,
        )


def greedy(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what is back after each part that joins, a line a seed: each has an order of its own."""
    steps = by_seed(rows, arm, "greedy_path").sort_values("seed", kind="stable")
    if steps["seed"].nunique() > 1:
        steps["trial"] = steps["trial"] + ", seed " + steps["seed"].astype(str)
    keys = ["part", "trial", "dose", "control", "is_share"]
    figure = go.Figure()
    _lines(figure, pooled(steps, keys), "dose", arm)
    joined: dict[float, list[str]] = {}
    for dose, part in steps.loc[~steps["control"], ["dose", "part"]].itertuples(index=False):
        joined.setdefault(dose, [f"{dose:.0f}"]).append(style.escape(part))
    doses = sorted(joined)
    # Seeds that add the same part name it once.
    texts = ["<br>".join(dict.fromkeys(joined[dose])) for dose in doses]
    figure.update_xaxes(title="parts restored (number)", tickvals=doses, ticktext=texts)
    figure.update_yaxes(title=_unit(steps))
    return titled(figure, sentences.of("greedy_path", rows, arm), height=430)


def path(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw log-odds and task accuracy along the straight line through both models."""
    odds, accuracy = (
        table[table["part"] == WHOLE_UPDATE]
        for table in (of_arm(rows, arm, "path"), of_arm(rows, arm, "path", ACCURACY))
    )
    figure = _walked(odds, accuracy, arm, "a in W₀ + a ΔW (0 aligned, 1 tuned)")
    figure.update_xaxes(dtick=0.5)
    return titled(figure, sentences.of("path", rows, arm), height=400)


def between_arms(rows: pd.DataFrame, arm: Arm, named: Mapping[str, str]) -> go.Figure:
    """Draw log-odds and task accuracy along the straight lines from an arm to others.

    Parameters
    ----------
    named : mapping of str to str
        The other arm of each line that is drawn, by the ``part`` of its rows.
    """
    odds, accuracy = (
        table[table["part"].isin(list(named))].assign(
            trial=lambda lines: "to " + lines["part"].map(named), part=f"from {arm.title}"
        )
        for table in (of_arm(rows, arm, "path"), of_arm(rows, arm, "path", ACCURACY))
    )
    figure = _walked(odds, accuracy, arm, f"share of the way (0 {arm.title}, 1 the other arm)")
    figure.update_xaxes(dtick=0.25)
    told = [_between(odds, accuracy, name) for name in named.values()]
    return titled(figure, f"From {arm.title} {'; '.join(told)}", height=330)


def _between(odds: pd.DataFrame, accuracy: pd.DataFrame, name: str) -> str:
    """Say what is back half way along a line and at its end, and the least of the task."""
    points = odds[odds["trial"] == f"to {name}"].set_index("dose")["y"]
    is_share = _scale(odds) == 100
    middle, end = (
        percent(value) if is_share else f"{value:.1f} nats"
        for value in (points.get(dose, np.nan) for dose in (0.5, 1.0))
    )
    of = "of the lost log-odds back" if is_share else "of refusal log-odds"
    least = percent(accuracy.loc[accuracy["trial"] == f"to {name}", "y"].min())
    return f"half way to {name}: {middle} {of}, there {end} (task accuracy at least {least})"


def _walked(odds: pd.DataFrame, accuracy: pd.DataFrame, arm: Arm, axis: str) -> go.Figure:
    """Draw both readings along lines between weights, side by side."""
    figure, (left, right) = panels(
        ["Refusals", "Task"], columns=2, panel=300, side=0.2, shared_yaxes=False
    )
    _lines(figure, odds, "dose", arm, left)
    before = len(figure.data)
    _lines(figure, accuracy.assign(is_share=True), "dose", arm, right)
    for trace in figure.data[before:]:
        trace.showlegend = False
    figure.update_xaxes(title=axis)
    figure.update_yaxes(title=_unit(odds), row=left[0], col=left[1])
    figure.update_yaxes(title="task accuracy (%)", range=[-4, 104], row=right[0], col=right[1])
    return figure


def read_out(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw, layer by layer, whether harm can be read, and how far its direction turned."""
    figure, (left, right) = panels(
        ["Harmful told from look-alikes", "Aligned's against tuned's direction"],
        columns=2, panel=300, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    area = of_arm(rows, arm, "read_out", "auroc")
    # Two readings of one thing: the probe's lines would lie on those of the means.
    shown = area[area["control"] | area["trial"].str.startswith("difference of means")]
    short = shown["trial"].str.removeprefix("difference of means, ")
    _lines(figure, shown.assign(trial=short), "layer", arm, left)
    cosine = of_arm(rows, arm, "read_out", "cosine")
    _lines(figure, cosine.assign(trial="cosine of both directions"), "layer", arm, right)
    figure.update_xaxes(title="layer (0 = first)", dtick=1 if area["layer"].nunique() < 16 else 5)
    figure.update_yaxes(title="AUROC (0.5 = chance)", row=left[0], col=left[1])
    figure.update_yaxes(title="cosine (1 = the same)", range=[0, 1.04], row=1, col=right[1])
    return titled(figure, sentences.of("read_out", rows, arm), height=400)


def decomposition(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what the first-order form drops, per layer: before and behind the nonlinearity."""
    headings = ["Bilinear term, of what is kept", "Missed behind the nonlinearity"]
    figure, places = panels(headings, columns=2, panel=300, side=0.2, shared_yaxes=False)
    for measure, place in zip(("bilinear_of_kept", "first_order_error"), places, strict=True):
        table = of_arm(rows, arm, "decomposition", measure)
        layers = _over_maps(table)
        before = len(figure.data)
        _lines(figure, layers, "layer", arm, place, grey=_grey("decomposition"))
        for trace in figure.data[before:] if measure == "first_order_error" else ():
            trace.showlegend = False
    deep = rows.loc[rows["intervention"] == "decomposition", "layer"].nunique() > 15
    figure.update_xaxes(title="layer (0 = first)", dtick=5 if deep else 1)
    figure.update_yaxes(title="size relative to it (%)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="error of the change (%)", rangemode="tozero", row=1, col=2)
    return titled(figure, sentences.of("decomposition", rows, arm), height=400)


def _over_maps(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a layer: the mean over its maps, from the lowest to the highest map."""
    groups = table.groupby(["layer", "trial", "control"], sort=False)
    layers = groups.agg(
        y=("y", "mean"), low=("y", "min"), high=("y", "max"), maps=("map", "nunique"),
        seeds=("seeds", "max"), n=("n", "min"),
    ).reset_index()  # fmt: skip
    over = [
        f"mean of {row['maps']} maps, from the lowest to the highest; "
        f"n = {row['n']} requests, {row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        for row in layers.to_dict("records")
    ]
    parts = [f"layer {layer:.0f}" for layer in layers["layer"]]
    unknown = dict.fromkeys(("dose", "refusal", "sample"), np.nan)
    return layers.assign(part=parts, over=over, is_share=True, **unknown)


def prefill(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw refusals by the number of tokens given, and the divergence along aligned's answer."""
    figure, (left, right) = panels(
        ["Answers that refuse", "Divergence along the aligned answer"],
        columns=2, panel=300, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    share = refusing_share(rows, arm)
    _lines(figure, share, "dose", arm, left)
    along = of_arm(rows, arm, "prefill", "kl_from_aligned")
    before = len(figure.data)
    _lines(figure, along, "dose", arm, right)
    for trace in figure.data[before:]:
        trace.showlegend = False
    doses = sorted(share["dose"].unique())
    figure.update_xaxes(title="tokens given (number)", tickvals=doses, row=1, col=1)
    figure.update_xaxes(title="token of the answer (0 = first)", dtick=1, row=1, col=right[1])
    figure.update_yaxes(title="refusals (%)", range=[-4, 104], row=1, col=1)
    figure.update_yaxes(title="KL(aligned ‖ tuned) (nats)", rangemode="tozero", row=1, col=2)
    return titled(figure, sentences.of("prefill", rows, arm), height=400)


def clamps(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw by how much each protected latent alone moves refusing, from least to most."""
    table = of_arm(rows, arm, "clamp_latents", "log_odds_moved")
    trials = list(dict.fromkeys(table["trial"])) or ["clamped"]
    figure, places = panels([t.capitalize() for t in trials], columns=2, panel=280, side=0.12)
    for trial, place in zip(trials, places, strict=True):
        for control in (True, False):
            chosen = (table["trial"] == trial) & (table["control"] == control)
            line = table[chosen].sort_values("y", ignore_index=True)
            spread = np.linspace(0, 1, len(line)) if len(line) > 1 else np.array([0.5])
            colour = style.GREY if control else style.arm_style(arm).colour
            figure.add_trace(
                go.Scatter(
                    x=spread[: len(line)],
                    y=line["y"],
                    mode="markers",
                    name="control: random active latents" if control else "protected latents",
                    marker={"color": colour, "symbol": "diamond-open" if control else "circle",
                            "size": 7},
                    showlegend=place == places[0],
                    customdata=line.assign(part=line["part"].map(style.escape))[
                        ["part", "dose", "low", "high", "over"]
                    ],
                    hovertemplate="%{customdata[0]}, held at %{customdata[1]:.3g}: "
                    "<b>%{y:+.3f}</b> [%{customdata[2]:+.3f}, %{customdata[3]:+.3f}] nats"
                    "<br>%{customdata[4]}<extra></extra>",
                ),
                *place,
            )  # fmt: skip
    figure.update_xaxes(title="latents, from least to most", showticklabels=False, showgrid=False)
    figure.update_yaxes(title="refusal log-odds move by (nats)", row=1, col=1)
    seeds = scope(by_seed(rows, arm, "clamp_latents", "log_odds_moved"), ranges="latents")
    title = _clamps_title(table, trials[0], arm)
    return titled(figure, f"{title}. {seeds}" if seeds else title, height=420)


def _clamps_title(table: pd.DataFrame, trial: str, arm: Arm) -> str:
    mine = table[(table["trial"] == trial) & ~table["control"]]
    control = table[(table["trial"] == trial) & table["control"]]["y"]
    if mine.empty:
        return f"{arm.title}: no latent was clamped"
    most = mine.iloc[int(mine["y"].abs().to_numpy().argmax())]
    text = (
        f"{arm.title}: of {len(mine)} protected latents, each held {trial}, {most['part']} moves "
        f"the refusal log-odds most, by {most['y']:+.2f} nats; half move them by less than "
        f"{mine['y'].abs().median():.3f}"
    )
    if control.empty:
        return text
    return f"{text}. {len(control)} random latents: {control.min():+.2f} to {control.max():+.2f}"


def _grey(name: str) -> str:
    return VIEWS[name].grey if name in VIEWS else View.grey


def _scale(table: pd.DataFrame) -> float:
    return 100 if len(table) and bool(table["is_share"].all()) else 1


def _unit(table: pd.DataFrame) -> str:
    return SHARE if _scale(table) == 100 else NATS


def _whiskers(rows: pd.DataFrame, scale: float) -> dict[str, Any]:
    low, high = (rows[name].astype(float).fillna(rows["y"]) for name in ("low", "high"))
    return {
        "type": "data",
        "symmetric": False,
        "array": (scale * (high - rows["y"])).tolist(),
        "arrayminus": (scale * (rows["y"] - low)).tolist(),
        "thickness": 1,
        "width": 3,
    }


def _hover(rows: pd.DataFrame) -> list[list[str]]:
    scale, unit = _scale(rows), " %" if _scale(rows) == 100 else ""
    lines = []
    for row in rows.to_dict("records"):
        where = style.escape(f"{row['part']}: {row['trial']}")
        dose = f" ({row['dose']:g})" if np.isfinite(row["dose"]) else ""
        interval = (
            f" [{scale * row['low']:.3g}, {scale * row['high']:.3g}]"
            if np.isfinite(row["low"])
            else ""
        )
        answers = refused(row)
        lines.append(
            [
                f"{where}{dose}<br><b>{scale * row['y']:.3g}{unit}</b>{interval}"
                f"<br>{row['over']}" + (f"<br>{answers}" if answers else "")
            ]
        )
    return lines


def _named(draw: Callable[..., go.Figure], name: str, *more: str) -> Callable[..., go.Figure]:
    return lambda rows, arm: draw(rows, arm, name, *more)


_COMPARED: Final = "for comparison"
VIEWS: Final = Registry(
    "figure of an intervention",
    [
        View("transplant", "Transplant", "What is sufficient for the loss of refusals?",
             "Grey is the control: random rows of all matrices with the same update norm.",
             _named(bars_by_name, "transplant")),
        View("greedy_path", "Greedy path", "How local is the damage?",
             "Grey is the control: the same number of parts in a random order.", greedy),
        View("path", "Path", "Is the aligned model in a basin or on a slope?",
             "Grey is the control: a random direction of equal norm in every parameter.", path),
        View("subspace_split", "Subspace split", "Do the protected directions carry the harm?",
             "Grey, for comparison: random directions of equal rank or energy, which are chance; "
             "the directions of harmless requests and the trailing ones, which are not.",
             _named(bars_by_name, "subspace_split"), _COMPARED),
        View("spectral_split", "Spectral split", "How many directions unlearn refusing?",
             "Grey is the control: random directions of equal norm (until version 3 scaled up to "
             "it), and as many.",
             _named(lines_by_dose, "spectral_split", "singular directions (number)")),
        View("patch_features", "Patched features", "Do the safety features mediate it?",
             "Grey, for comparison: as many random active latents, which are chance; the whole "
             "stream, the most that latents can return.",
             _named(bars_by_name, "patch_features"), _COMPARED),
        View("clamp_latents", "Clamped latents", "Which single latents move refusing?",
             "Grey is the control: random active latents of the layer, held at the protected "
             "ones' mean level.", clamps),
        View("patch_residual", "Patched stream", "Where along the stream is it decided?",
             "Grey, for comparison: the aligned stream of another harmful request, which may do "
             "as much, and of a harmless one.",
             _named(lines_by_layer, "patch_residual"), _COMPARED),
        View("refusal_direction", "Refusal direction", "Is one direction enough?",
             "Grey is the control: a random direction of equal norm.",
             _named(lines_by_layer, "refusal_direction")),
        View("prefill", "Prefill", "How deep is the alignment?",
             "Grey is the control: first tokens of a compliant answer, to a harmless request.",
             prefill),
        View("read_out", "Read-out", "Can harm still be read out?",
             "Grey is the control: shuffled labels.", read_out),
        View("decomposition", "Decomposition", "Is the theory's first-order premise true?",
             "Grey, for comparison: harmless requests.", decomposition, _COMPARED),
    ],
)  # fmt: skip
"""In the order of the selector. ``ends`` and ``restore`` stand in the tab's first figure."""


def draw(name: str, rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Return the figure of an intervention; one that joins later is drawn as bars."""
    return VIEWS[name].draw(rows, arm) if name in VIEWS else bars_by_name(rows, arm, name)
