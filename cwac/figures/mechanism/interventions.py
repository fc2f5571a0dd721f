"""One figure per stored intervention, with a title that states what it says."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import (
    ACCURACY,
    by_seed,
    of_arm,
    pooled,
    refusing_share,
    scope,
    whiskers,
)
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import sentences
from cwac.figures.mechanism.decomposition import dropped_term, terms_of_change
from cwac.figures.mechanism.forms import (
    bars_by_name,
    draw_lines,
    lines_by_layer,
    scale_of,
    unit_of,
)
from cwac.figures.mechanism.splits import first_directions, spectral_split, subspace_split
from cwac.figures.panels import panels, percent, titled
from cwac.intervention_words import INTERVENTION_WORDS
from cwac.records import WHOLE_UPDATE


def greedy(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what is back after each part that joins, a line a seed: each has an order of its own."""
    steps = by_seed(rows, arm, "greedy_path").sort_values("seed", kind="stable")
    if steps["seed"].nunique() > 1:
        steps["trial"] = steps["trial"] + ", seed " + steps["seed"].astype(str)
    keys = ["part", "trial", "dose", "control", "is_share"]
    figure = go.Figure()
    draw_lines(figure, pooled(steps, keys), "dose", arm)
    joined: dict[float, list[str]] = {}
    for dose, part in steps.loc[~steps["control"], ["dose", "part"]].itertuples(index=False):
        joined.setdefault(dose, [f"{dose:.0f}"]).append(style.escape(part))
    doses = sorted(joined)
    # Seeds that add the same part name it once.
    texts = ["<br>".join(dict.fromkeys(joined[dose])) for dose in doses]
    figure.update_xaxes(title="parts restored (number)", tickvals=doses, ticktext=texts)
    figure.update_yaxes(title=unit_of(steps))
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
    told = "; ".join(_between(odds, accuracy, name) for name in named.values())
    return titled(figure, f"Half way from {arm.title} {told}", height=330)


def _between(odds: pd.DataFrame, accuracy: pd.DataFrame, name: str) -> str:
    """Say what is back half way along a line and at its end, and the least of the task."""
    points = odds[odds["trial"] == f"to {name}"].set_index("dose")["y"]
    is_share = scale_of(odds) == 100
    middle, end = (
        percent(value) if is_share else f"{value:.1f} nats"
        for value in (points.get(dose, np.nan) for dose in (0.5, 1.0))
    )
    of = "of the lost log-odds is back" if is_share else "of refusal log-odds"
    least = percent(accuracy.loc[accuracy["trial"] == f"to {name}", "y"].min())
    return f"to {name}: {middle} {of}, at its end {end} (task accuracy nowhere below {least})"


def _walked(odds: pd.DataFrame, accuracy: pd.DataFrame, arm: Arm, axis: str) -> go.Figure:
    """Draw both readings along lines between weights, side by side."""
    figure, (left, right) = panels(
        ["Refusals", "Task"], columns=2, panel=300, side=0.2, shared_yaxes=False
    )
    draw_lines(figure, odds, "dose", arm, left)
    before = len(figure.data)
    draw_lines(figure, accuracy.assign(is_share=True), "dose", arm, right)
    for trace in figure.data[before:]:
        trace.showlegend = False
    figure.update_xaxes(title=axis)
    figure.update_yaxes(title=unit_of(odds), row=left[0], col=left[1])
    figure.update_yaxes(title="task accuracy (%)", range=[-4, 104], row=right[0], col=right[1])
    return figure


_MEANS: Final = "difference of means, "


def read_out(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw, layer by layer, whether harm can be read, and how far its direction turned."""
    figure, (left, right) = panels(
        ["Harmful told from look-alikes", "Aligned's against tuned's direction"],
        columns=2, panel=300, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    area = of_arm(rows, arm, "read_out", "auroc")
    # Two readings of one thing: the probe's lines would lie on those of the means.
    means = area["trial"].str.startswith(_MEANS)
    # Of dissections of earlier versions the probe's labels alone were shuffled.
    has_own = bool((means & area["control"]).any())
    shown = area[means if has_own else means | area["control"]]
    short = shown["trial"].str.removeprefix(_MEANS)
    draw_lines(figure, shown.assign(trial=short), "layer", arm, left)
    cosine = of_arm(rows, arm, "read_out", "cosine")
    named = np.where(cosine["control"], "cosine, shuffled labels", "cosine of both directions")
    draw_lines(figure, cosine.assign(trial=named), "layer", arm, right)
    figure.update_xaxes(title="layer (0 = first)", dtick=1 if area["layer"].nunique() < 16 else 5)
    figure.update_yaxes(title="AUROC (0.5 = chance)", row=left[0], col=left[1])
    lowest = float(np.nanmin([0.0, *cosine["y"], *cosine["low"]]))
    figure.update_yaxes(
        title="cosine (1 = the same)", range=[lowest - 0.04, 1.04], row=1, col=right[1]
    )
    return titled(figure, sentences.of("read_out", rows, arm), height=400)


def patched_features(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw what patching the prompt returns, all SAEs' layers first, then each, then the reverse.

    The first answer token is read behind the prompt: patched at its last token alone, or while the
    model answers too, its log-odds say the same.
    """
    table = of_arm(rows, arm, "patch_features")
    table = table[table["trial"].str.endswith(", prompt")]
    one, reverse = table["part"].str.startswith("layer "), table["trial"].str.startswith("tuned's ")
    table = table.assign(place=one + 2 * reverse).sort_values(["place", "layer"], kind="stable")
    table["trial"] = table["trial"].str.removesuffix(", prompt")
    return bars_by_name(rows, arm, "patch_features", table)


def prefill(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw refusals by the number of tokens given, and the divergence along aligned's answer."""
    figure, (left, right) = panels(
        ["Answers that refuse", "Divergence along the aligned answer"],
        columns=2, panel=300, side=0.2, shared_yaxes=False,
    )  # fmt: skip
    share = refusing_share(rows, arm)
    draw_lines(figure, share, "dose", arm, left)
    along = of_arm(rows, arm, "prefill", "kl_from_aligned")
    draw_lines(figure, along, "dose", arm, right)
    doses = sorted(share["dose"].unique())
    figure.update_xaxes(title="tokens given (number)", tickvals=doses, row=1, col=1)
    figure.update_xaxes(title="token of the answer (0 = first)", dtick=1, row=1, col=right[1])
    figure.update_yaxes(title="refusals (%)", range=[-4, 104], row=1, col=1)
    figure.update_yaxes(title="KL(aligned ‖ tuned) (nats)", rangemode="tozero", row=1, col=2)
    return titled(figure, sentences.of("prefill", rows, arm), height=400)


def clamps(rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Draw by how much each safety feature alone moves refusing, from least to most."""
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
                    name="control: random latents" if control else "safety features",
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
        f"{arm.title}: of {len(mine)} safety features, each held {trial}, {most['part']} moves "
        f"the refusal log-odds most, by {most['y']:+.2f} nats; half move them by less than "
        f"{mine['y'].abs().median():.3f}"
    )
    if control.empty:
        return text
    return f"{text}. {len(control)} random latents: {control.min():+.2f} to {control.max():+.2f}"


VIEWS: Final[Mapping[str, Callable[[pd.DataFrame, Arm], go.Figure]]] = {
    "transplant": partial(bars_by_name, name="transplant"),
    "greedy_path": greedy,
    "path": path,
    "subspace_split": subspace_split,
    "spectral_split": spectral_split,
    "patch_features": patched_features,
    "clamp_latents": clamps,
    "patch_residual": partial(lines_by_layer, name="patch_residual"),
    "refusal_direction": partial(lines_by_layer, name="refusal_direction"),
    "prefill": prefill,
    "read_out": read_out,
    "decomposition": dropped_term,
}
"""``ends`` and ``restore`` stand in the first figure of the tab Causes."""


class Details(NamedTuple):
    """A second figure of an intervention, which is drawn when it is asked for."""

    heading: str
    draw: Callable[[pd.DataFrame, Arm], go.Figure]
    reading: str


DETAILS: Final[Mapping[str, Details]] = {
    "subspace_split": Details(
        "How many of its directions does it take?",
        first_directions,
        "The directions of the safety subspace, the most active first, are taken out of the update "
        "of every map; grey: as many random ones.",
    ),
    "decomposition": Details(
        "What the change is made of, how large it is, and what the nonlinearity adds",
        terms_of_change,
        "Carried: what arrives changed; written: what the map itself writes anew; bilinear: the "
        "product of both, the dropped term. The embedding reads the same tokens in both models, so "
        "that all of its change is written; where it stands still it has no mark. The output "
        "layer's change is that of the logits, each less their mean over the vocabulary, on which "
        "no probability depends. Grey: harmless requests. Whiskers run over the maps of a layer.",
    ),
}


_OTHER_RANGES: Final = frozenset({"clamp_latents", "prefill", "read_out", "decomposition"})


def draw(name: str, rows: pd.DataFrame, arm: Arm) -> go.Figure:
    """Return the figure of an intervention; one that joins later is drawn as bars."""
    return VIEWS[name](rows, arm) if name in VIEWS else bars_by_name(rows, arm, name)


def whiskers_of(name: str, rows: pd.DataFrame, arm: Arm) -> str:
    """Return what whiskers and brackets of an intervention's figure are; empty where it has none.

    The title of the others says what their ranges are over: layers, maps or latents.
    """
    return "" if name in _OTHER_RANGES else whiskers(by_seed(rows, arm, name))


def reading(name: str) -> str:
    """Return what is grey in its figure and what words in it mean; nothing of one that joins."""
    if name not in INTERVENTION_WORDS:
        return ""
    words = INTERVENTION_WORDS[name]
    # A control gives what chance alone gives.
    grey = "Grey is the control" if words.is_chance else "Grey, for comparison"
    return f"{grey}: {words.control}. {words.meanings}".strip()
