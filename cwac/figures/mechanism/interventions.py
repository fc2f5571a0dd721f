"""One figure per stored intervention: what was done coloured, its control grey, a stating title."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import of_arm, refused
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import sentences
from cwac.figures.panels import panels, titled, wrapped
from cwac.registry import Registry

SHARE: Final = "share of the lost log-odds that is back (%)"
NATS: Final = "refusal log-odds (nats)"
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
    """Draw what is back after each part that joins; the parts are named along the axis."""
    figure = lines_by_dose(rows, arm, "greedy_path", "parts restored (number)")
    table = of_arm(rows, arm, "greedy_path")
    mine = table[~table["control"]].sort_values("dose")
    names = [
        f"{dose:.0f}<br>{style.escape(part)}"
        for dose, part in zip(mine["dose"], mine["part"], strict=True)
    ]
    figure.update_xaxes(tickvals=list(mine["dose"]), ticktext=names)
    return figure


def path(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw log-odds and task accuracy along the straight line through both models."""
    figure, (left, right) = panels(
        ["Refusals", "Task"], columns=2, panel=300, side=0.2, shared_yaxes=False
    )
    odds = of_arm(rows, arm, "path")
    whole = odds[odds["part"] == "whole update"]
    _lines(figure, whole, "dose", arm, left)
    accuracy = of_arm(rows, arm, "path", "task_accuracy")
    before = len(figure.data)
    accuracy = accuracy[accuracy["part"] == "whole update"].assign(is_share=True)
    _lines(figure, accuracy, "dose", arm, right)
    for trace in figure.data[before:]:
        trace.showlegend = False
    figure.update_xaxes(title="a in W₀ + a ΔW (0 aligned, 1 tuned)", dtick=0.5)
    figure.update_yaxes(title=_unit(whole), row=left[0], col=left[1])
    figure.update_yaxes(title="task accuracy (%)", range=[-4, 104], row=right[0], col=right[1])
    return titled(figure, sentences.of("path", rows, arm), height=400)


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
        groups = table.groupby(["layer", "trial", "control"], sort=False)
        pooled = groups.agg(
            y=("y", "mean"), low=("y", "min"), high=("y", "max"), n=("n", "min"),
            seeds=("seeds", "min"), part=("part", "first"), refusal=("refusal", "mean"),
            sample=("sample", "mean"), dose=("dose", "mean"),
        ).reset_index().assign(is_share=True)  # fmt: skip
        before = len(figure.data)
        _lines(figure, pooled, "layer", arm, place, grey=_grey("decomposition"))
        for trace in figure.data[before:] if measure == "first_order_error" else ():
            trace.showlegend = False
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    figure.update_yaxes(title="size relative to it (%)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="error of the change (%)", rangemode="tozero", row=1, col=2)
    return titled(figure, sentences.of("decomposition", rows, arm), height=400)


def prefill(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw refusals by the number of tokens given, and the divergence along aligned's answer."""
    figure, (left, right) = panels(
        ["Answers that refuse", "Divergence along the aligned answer"],
        columns=2, panel=300, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    counts = of_arm(rows, arm, "prefill", "outcomes")
    share = sentences.refusing_share(counts)
    _lines(figure, share, "dose", arm, left)
    along = of_arm(rows, arm, "prefill", "kl_from_aligned")
    before = len(figure.data)
    _lines(figure, along, "dose", arm, right)
    for trace in figure.data[before:]:
        trace.showlegend = False
    doses = sorted(counts["dose"].unique())
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
                    customdata=line[["part", "dose"]],
                    hovertemplate="%{customdata[0]}, held at %{customdata[1]:.3g}: "
                    "<b>%{y:+.3f}</b> nats<extra></extra>",
                ),
                *place,
            )  # fmt: skip
    figure.update_xaxes(title="latents, from least to most", showticklabels=False, showgrid=False)
    figure.update_yaxes(title="refusal log-odds move by (nats)", row=1, col=1)
    return titled(figure, _clamps_title(table, trials[0], arm), height=420)


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
                f"<br>n = {row['n']} requests, {row['seeds']} seeds"
                + (f"<br>{answers}" if answers else "")
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
             "Grey is the control: random input directions, scaled to the same norm.",
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
