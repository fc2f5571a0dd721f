"""Subspace overlap: against refusals, beside SFT's, and one matrix at a time."""

from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.drift import chance_inside, pair_summary
from cwac.analysis.prediction import arm_points, associate
from cwac.analysis.readable import LOWEST_HIGHEST, Quantity, by_layer, readable
from cwac.arms import Arm
from cwac.figures.mechanism import overlap as figures
from cwac.figures.mechanism.grids import CLIPPED
from cwac.figures.mechanism.overlap import eigenvalues, pair_matrices
from cwac.figures.mechanism.refusal import overlap_against_refusal, overlap_grid
from cwac.figures.panels import percent
from cwac.rates import RATES
from cwac.ui.folding import show_folded
from cwac.ui.frame import Frame
from cwac.ui.mechanism.drift import baseline_of
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import choose, plain, show_figure


def show_pairs(frame: Frame, side: str, name: str | None) -> None:
    """Draw how alike every two arms' updates are, one matrix per layer; None is over all maps."""
    pairs = frame.pairs()
    if pairs.empty:
        not_measured("The overlap between arms (it needs two runs of the experiment)")
        return
    titles = {arm.label: arm.title for arm in frame.arms}
    show_figure(
        partial(pair_matrices, pairs, frame.run_arms, side, name, frame.arms),
        "pair_matrices",
        data=pairs[pairs["side"] == side],
        text=lambda: readable(
            pair_summary(pairs, frame.run_arms, side, name),
            frame.arms,
            Quantity("mso", "MSO of the arms' updates, mean over layers and pairs of runs"),
            down={"a": "Arm"},
            across=("b", "Arm"),
            name=lambda label: titles.get(label, label),
        ),
        reading="Means over pairs of runs. The diagonal compares an arm with itself under another "
        "seed: that is as alike as the same method gets. Empty: fewer than two seeds.",
        terms=("MSO", "seed"),
        seeds=_runs_of(frame, pairs),
    )


def _runs_of(frame: Frame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return arm and seed of every run in view that the pairs are of."""
    compared = {*pairs["run_a"], *pairs["run_b"]}
    rows = [
        (frame.run_arms[record.run_id].label, record.config.seed)
        for record in frame.records
        if record.run_id in compared
    ]
    return pd.DataFrame(rows, columns=["variant", "seed"])


def show_eigenvalues(spectrum: pd.DataFrame, layer: int, name: str) -> None:
    """Draw the spectrum that the safety subspace was cut from.

    Parameters
    ----------
    spectrum : DataFrame
        ``eigenvalues`` of the subspace's fit.
    """
    if spectrum.empty:
        not_measured("The spectrum of the safety second moment")
        return
    show_figure(
        partial(eigenvalues, spectrum, layer, name),
        "eigenvalues",
        data=spectrum[spectrum["map"] == name],
        text=partial(
            readable,
            spectrum[(spectrum["map"] == name) & (spectrum["layer"] == layer)],
            (),
            Quantity("eigenvalue", f"Eigenvalue, layer {layer}, {name}"),
            down={"index": "Direction", "kept": "In the safety subspace"},
        ),
        reading="Filled points are the safety subspace; a constrained update may use the other "
        "directions alone. Grey: the same map in other layers.",
        terms=("safety subspace", "aligned model"),
    )


EVERY_MAP = "all maps"


def show_overlap(frame: Frame) -> None:
    """Show the tab: whether updates point into the safety subspace, and whether that matters."""
    table = frame.table("subspace_overlap")
    spectrum = frame.fit_table("subspace", "eigenvalues")
    if table.empty and spectrum.empty:
        not_measured("Subspace overlap")
        return
    both = pd.concat([table[["layer", "map"]], spectrum[["layer", "map"]]])
    maps = list(dict.fromkeys(both["map"]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = choose("Map", [EVERY_MAP, *maps], "map")
        side = choose(
            "Side", figures.SIDES, "side", flat=True,
            help="Input side: the directions of a map's input that the update reads. Output side: "
            "the directions of its output that the update writes.",
        )  # fmt: skip
        baseline = baseline_of(frame, table)
    rows = table[table["side"] == side]
    rows = rows if chosen == EVERY_MAP else rows[rows["map"] == chosen]
    show_against_refusal(frame, rows)
    show_grid(frame, rows, baseline)
    name = maps[0] if chosen == EVERY_MAP else chosen
    layers = sorted(both["layer"].unique().tolist())
    show_folded(
        f"One matrix: {plain(name)}, layer by layer, angles, spectrum",
        "folded_matrix",
        lambda: show_matrix(frame, table, spectrum, name, side, layers),
    )
    paired = None if chosen == EVERY_MAP else chosen
    show_folded("Do the arms move alike?", "folded_pairs", lambda: show_pairs(frame, side, paired))


def show_against_refusal(frame: Frame, rows: pd.DataFrame) -> None:
    """Draw refusals against overlap, one point an arm."""
    overlap = rows.groupby("run_id")["mso"].mean()
    # A verdict of another rule stands in another table than the record.
    records = [r for r in frame.records_in_view if r.run_id not in frame.rejudged]
    points = arm_points(
        records, "subspace_overlap.mso", lambda r: overlap.get(r.run_id), "refusal_rate"
    )
    if points.empty:
        not_measured("Overlap together with refusals")
        return
    show_figure(
        partial(
            overlap_against_refusal,
            points,
            float(rows["haar_baseline"].mean()),
            frame.arms,
            associate(points),
        ),
        "overlap_against_refusal",
        data=points.rename(columns=lambda c: c.replace("harm", "refusal").replace("drift", "mso")),
        text=partial(
            readable,
            points,
            frame.arms,
            Quantity.with_ends("drift", "MSO", "", LOWEST_HIGHEST),
            Quantity.with_ends("harm", RATES["refusal_rate"].title, "%", LOWEST_HIGHEST),
        ),
        reading="One point an arm in view, its bars the lowest and highest seed. Were overlap the "
        "harm, arms to the right would refuse less. The interval resamples methods. "
        f"{_two_chances(frame)}",
        terms=("MSO", "safety subspace", "refusal rate", "rank correlation", "interval"),
    )


def _two_chances(frame: Frame) -> str:
    """Say why chance is another number here than where the whole update is counted."""
    columns = ("yardstick", "delta_norm", "inside_energy", "random_energy")
    drift = frame.table("weight_drift", columns)
    inside = None if drift.empty else chance_inside(drift)
    if inside is None:
        return ""
    return (
        "Chance is that of the few leading directions of an update, every map alike; of the whole "
        f"update, maps weighed by how far SFT moved them, it is {percent(inside)} (Weight drift)."
    )


def show_grid(frame: Frame, rows: pd.DataFrame, baseline: Arm | None) -> None:
    """Draw the overlap of every arm and layer."""
    if rows.empty:
        return
    show_figure(
        partial(overlap_grid, rows, frame.arms, baseline),
        "overlap_grid",
        data=rows,
        text=partial(by_layer, rows, frame.arms, Quantity("mso", "MSO with the safety subspace")),
        reading=f"Means over the maps chosen above and over seeds; {CLIPPED}.",
        terms=("MSO", "safety subspace"),
    )


def show_matrix(
    frame: Frame, table: pd.DataFrame, spectrum: pd.DataFrame, name: str, side: str,
    layers: list[int],
) -> None:  # fmt: skip
    """Draw one map layer by layer with its chance levels, its angles in one layer, its spectrum."""
    layer = choose("Layer", layers, "layer")
    show_figure(
        partial(figures.overlap_by_layer, table, side, name, frame.arms),
        "overlap_by_layer",
        data=table[(table["side"] == side) & (table["map"] == name)],
        text=partial(
            by_layer,
            table[(table["side"] == side) & (table["map"] == name)],
            frame.arms,
            Quantity("mso", f"MSO with the safety subspace, {name}"),
        ),
        reading="0 is orthogonal, 1 the same. Only what stands clear of both grey lines says "
        "anything: chance alone gives that much. Click a point for its angles.",
        means=True,
        terms=("MSO", "safety subspace", "control"),
        on_select=selects("overlap_by_layer", "layer"),
    )
    angles = frame.table("principal_angles")
    cell = (layer, name, side)
    show_figure(
        partial(figures.principal_angles, angles, table, cell, frame.arms),
        "principal_angles",
        data=figures.cell_of(angles, cell),
        text=partial(
            readable,
            figures.cell_of(angles, cell),
            frame.arms,
            Quantity("degrees", f"Principal angles, layer {layer}, {name}", "°"),
            across=("index", "Angle"),
            name="angle {}".format,
        ),
        reading="A line below the dotted one comes nearer to the safety subspace than to a random "
        "one of equal rank. The dashed line is the chance level of MSO, as one angle.",
        terms=("principal angle", "MSO"),
    )
    show_eigenvalues(spectrum, layer, name)
