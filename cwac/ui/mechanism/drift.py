"""Weight drift: every matrix beside SFT's, a spectrum, the safety subspace, the leak."""

from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.drift import parts, pooled_inside, pooled_norm
from cwac.analysis.readable import Quantity, by_layer, readable
from cwac.arms import BASELINE, Arm
from cwac.figures.mechanism import lines as figures
from cwac.figures.mechanism.grids import CLIPPED
from cwac.figures.mechanism.maps import QUANTITIES, drift_heatmaps
from cwac.figures.mechanism.outer import outside_decoder
from cwac.records import RunRecord
from cwac.ui.folding import show_folded
from cwac.ui.frame import Frame
from cwac.ui.sections import command_like, not_measured, selects
from cwac.ui.widgets import choose, show_figure


def show_layers(frame: Frame, table: pd.DataFrame) -> None:
    """Draw how far each layer moved."""
    by_layers = pooled_norm(table, ["layer"])
    show_figure(
        partial(figures.norm_by_layer, table, frame.arms),
        "norm_by_layer",
        data=by_layers,
        text=partial(
            by_layer,
            by_layers,
            frame.arms,
            Quantity("relative_norm", "Relative norm of the update"),
        ),
        reading="All maps of a layer pooled: the norm of their change over the norm of their "
        "aligned weights.",
        means=True,
        terms=("drift", "arm"),
    )


def show_matrices_and_spectrum(frame: Frame, table: pd.DataFrame, spectra: pd.DataFrame) -> None:
    """Draw both; the spectrum is that of the cell that is clicked."""
    # A click is taken in before anything is drawn: the figure above outlines the cell.
    show_matrices(frame, table)
    show_spectrum(frame, table, spectra)


def show_matrices(frame: Frame, table: pd.DataFrame) -> None:
    """Draw layers x maps per arm; a click selects the cell that `show_spectrum` draws."""
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        quantity = choose(
            "Quantity", list(QUANTITIES), "quantity", show=lambda name: QUANTITIES[name].label
        )
    with right:
        baseline = baseline_of(frame, table)
    against = "" if baseline is None else f"Each cell is held against {baseline.title}'s. "
    show_figure(
        partial(drift_heatmaps, table, quantity, frame.arms, _cell(frame), baseline),
        "drift_heatmaps",
        data=table,
        text=partial(by_layer, table, frame.arms, Quantity(quantity, QUANTITIES[quantity].label)),
        reading=f"{against}One colour scale for all: {CLIPPED}; cells that stand out have their "
        "number. Several seeds: their mean. Click a cell for its spectrum.",
        terms=("functional drift", "leakage", "effective rank", "safety subspace"),
        on_select=selects("drift_heatmaps", "layer", "map"),
    )


CHANGE, MEASURED = "difference from SFT", "as measured"


def baseline_of(frame: Frame, table: pd.DataFrame) -> Arm | None:
    """Let the reader switch between differences and numbers; return the arm to subtract."""
    present = [arm for arm in frame.arms if (table["variant"] == arm.label).any()]
    plain_sft = next((arm for arm in present if arm.label == BASELINE), None)
    if plain_sft is None or len(present) < 2:
        return None
    shown = choose("Shown", [CHANGE, MEASURED], "scale", flat=True)
    return plain_sft if shown == CHANGE else None


def _cell(frame: Frame) -> tuple[int, str] | None:
    layer, name = frame.selection.layer, frame.selection.map
    return None if layer is None or name is None else (layer, name)


def show_spectrum(frame: Frame, table: pd.DataFrame, spectra: pd.DataFrame) -> None:
    """Draw the singular values of the selected matrix's update."""
    left, right = st.columns(2)
    with left:
        layer = choose("Layer", sorted(table["layer"].unique().tolist()), "layer")
    with right:
        name = choose("Map", list(dict.fromkeys(table["map"])), "map")
    if spectra.empty:
        not_measured("The singular-value spectrum")
        return
    show_figure(
        partial(figures.singular_values, spectra, frame.arms, layer, name),
        "singular_values",
        data=spectra[(spectra["layer"] == layer) & (spectra["map"] == name)],
        text=partial(
            readable,
            spectra[(spectra["layer"] == layer) & (spectra["map"] == name)],
            frame.arms,
            Quantity("value", f"Singular values of the update, layer {layer}, {name}"),
            across=("index", "Index"),
        ),
        reading="A steep line means that the update uses few directions.",
        means=True,
        terms=("effective rank",),
    )


def show_functional(frame: Frame, table: pd.DataFrame) -> None:
    """Draw the functional drift of each layer."""
    show_figure(
        partial(figures.functional_by_layer, table, frame.arms),
        "functional_by_layer",
        data=table[["variant", "seed", "layer", "map", "yardstick", "functional_drift"]],
        text=partial(
            by_layer,
            table[table["yardstick"]],
            frame.arms,
            Quantity("functional_drift", "Functional drift"),
        ),
        reading="How much each layer's output changes on held-out harmful requests.",
        means=True,
        terms=("functional drift",),
    )


def show_outer(frame: Frame, table: pd.DataFrame) -> None:
    """Draw how far embedding and output layer moved, which no constraint on the maps reaches."""
    outer = frame.table("outer_drift")
    if outer.empty:
        not_measured("Embedding and output layer")
        return
    drift = parts(table, outer)
    show_figure(
        partial(outside_decoder, drift, frame.arms),
        "outer_drift",
        data=drift,
        text=partial(
            readable,
            drift,
            frame.arms,
            Quantity("relative_norm", "Relative norm of the update"),
            across=("part", "Part"),
        ),
        reading="A constraint on the decoder's maps reaches neither. Two settings of a run hold "
        "them for every arm alike: `training.train_embeddings` (the embedding) and "
        "`training.output_layer`.",
        means=True,
        terms=("embedding", "arm"),
    )


PROJECTION = "projection"
"""The setting that says whether the gradient or the update is projected."""


def leak_arms(frame: Frame) -> tuple[list[Arm], list[Arm]]:
    """Return the arms that project the gradient, and those that project the update.

    Only arms with a partner stand in either list: the same method with the same other settings.
    """
    by_setting: dict[tuple[str, str], dict[str, Arm]] = {}
    for record in frame.records:
        form = record.config.settings.get(PROJECTION)
        if form is not None:
            arm = frame.run_arms[record.run_id]
            by_setting.setdefault(_but_projection(record), {})[str(form)] = arm
    pairs = [forms for forms in by_setting.values() if "gradient" in forms and len(forms) > 1]
    literal = [forms["gradient"] for forms in pairs]
    return literal, [arm for forms in pairs for arm in forms.values() if arm not in literal]


def _but_projection(record: RunRecord) -> tuple[str, str]:
    others = {k: v for k, v in record.config.settings.items() if k != PROJECTION}
    return f"{record.experiment_id} {record.config.method}", str(sorted(others.items()))


def show_leak_gauge(frame: Frame, drift: pd.DataFrame) -> None:
    """Draw the gauge, or say what to start where one of the two forms is not stored."""
    literal, exact = leak_arms(frame)
    if not literal:
        st.info(
            "The gauge compares an arm whose gradient is projected with one whose update is. "
            "Both must be stored in this experiment.",
            icon="🕳️",
        )
        named = (r.config.method for r in frame.records if PROJECTION in r.config.settings)
        method = next(named, "cwac")
        command = command_like(frame, method, {PROJECTION: "gradient"})
        st.code(command, language=None, wrap_lines=True)
        return
    unconstrained = [arm for arm in frame.arms if arm.method == BASELINE]
    arms = [arm for arm in frame.arms if arm in {*literal, *exact, *unconstrained}]
    trajectory = frame.table("trajectory")
    labels = [arm.label for arm in arms]
    mine = drift[drift["variant"].isin(labels)]
    show_figure(
        partial(figures.leak_gauge, trajectory[trajectory["variant"].isin(labels)], mine, arms),
        "leak_gauge",
        data=pooled_inside(mine),
        text=partial(
            readable,
            pooled_inside(mine),
            arms,
            Quantity("inside_energy", "Squared update inside", "%"),
            Quantity("random_energy", "A random update's", "%"),
        ),
        reading="Adam rescales a gradient element by element: taken out of the gradient, the "
        "safety subspace is in the update again; taken out of the update itself, it stays out.",
        means=True,
        terms=("safety subspace", "CWAC"),
    )


def show_drift(frame: Frame) -> None:
    """Show the tab: how far the weights moved, where, and inside which subspace."""
    table = frame.table("weight_drift")
    if table.empty:
        not_measured("Weight drift")
        return

    show_layers(frame, table)
    st.subheader("Inside and outside the safety subspace", anchor=False)
    show_figure(
        partial(figures.inside_by_layer, table, frame.arms),
        "inside_by_layer",
        data=pooled_inside(table, ["layer"]),
        text=partial(
            by_layer,
            pooled_inside(table, ["layer"]),
            frame.arms,
            Quantity("inside_energy", "Squared update inside the safety subspace", "%"),
        ),
        reading="Above the grey dotted line an update goes into the safety subspace more than a "
        "random one of its size would.",
        means=True,
        terms=("safety subspace", "control"),
    )
    now = frame.selection
    show_folded(
        "Every matrix by layer and map, and the spectrum of one update",
        "folded_matrices",
        lambda: show_matrices_and_spectrum(frame, table, frame.table("singular_values")),
        expanded=any(one is not None for one in (_cell(frame), now.quantity, now.scale)),
    )
    show_folded(
        "Functional drift, layer by layer",
        "folded_functional",
        lambda: show_functional(frame, table),
    )
    show_folded(
        "Embedding and output layer, outside the decoder's layers",
        "folded_outer",
        lambda: show_outer(frame, table),
    )
    show_folded(
        "The leak: a projected gradient is not a projected update",
        "folded_leak",
        lambda: show_leak_gauge(frame, table),
    )
