"""The figures of an experiment's hand-out, each with what it needs, or "not measured"."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cwac.analysis.drift import pooled_inside
from cwac.analysis.features import TRUSTED, feature_drift, misfits
from cwac.analysis.first import first_arms
from cwac.analysis.hidden import decoding_rows, margin_rows
from cwac.analysis.operating import (
    ACCURACY,
    Operating,
    coloured_curves,
    of_methods,
    operating,
    places,
)
from cwac.analysis.outlying import outside_sentence
from cwac.analysis.seeds import seeds_sentence
from cwac.arms import ALIGNED, MANY, Arm, default_arms
from cwac.artifacts import tried_settings
from cwac.figures.features.drift import ranked_drift
from cwac.figures.mechanism.lines import functional_by_layer, inside_by_layer
from cwac.figures.mechanism.overlap import overlap_by_layer
from cwac.figures.results.hidden import hidden_figure
from cwac.figures.results.points import operating_figure
from cwac.handout.document import Section
from cwac.handout.stored import Stored
from cwac.messages import MethodEntry


def measured_sections(
    stored: Stored,
    answers: pd.DataFrame,
    arms: Sequence[Arm],
    hidden: pd.DataFrame,
    methods: Mapping[str, MethodEntry],
) -> list[Section]:
    """Return trade-off, refusal log-odds, weight drift, subspace overlap and SAE features.

    Figures by layer show `cwac.arms.MANY` arms at most, those to look at first: more cannot be
    told apart.

    Parameters
    ----------
    answers : DataFrame
        From ``Stored.answers``.
    arms : sequence of Arm
        The aligned model and every arm; those that did nothing are marked.
    hidden : DataFrame
        From `hidden_table`.
    methods : mapping
        The catalogue's methods by name; of those that it lacks the points are not joined.
    """
    knobs = {name: entry.strength_knob for name, entry in methods.items()}
    everything = operating(answers, places(stored.records, knobs))
    tuned = [arm for arm in arms if not arm.is_aligned]
    first = default_arms(tuned, first_arms(stored.records))
    few = "" if len(tuned) <= MANY else f"Shown are {MANY} of {len(tuned)} arms."
    return [
        _trade_off(everything, tried_settings(stored.records[0].config.model.source)),
        _log_odds(hidden, everything, arms),
        *_weight_drift(stored, first, few),
        _overlap(stored, first, few),
        _features(stored, first, few),
    ]


def _missing(title: str, subject: str) -> Section:
    return Section(title, f"{subject} was not measured in these runs.")


def _trade_off(everything: Operating, tried: Mapping[str, int]) -> Section:
    title = "Harmful score against task accuracy"
    shown = of_methods(everything)
    if shown.points[shown.points["variant"] != ALIGNED.label].empty:
        return _missing(title, "Harmful score and task accuracy of one arm")
    named = coloured_curves(shown)
    return Section(
        title,
        figure=operating_figure(shown.points, shown.arms, coloured=named, tried=tried),
        reading="Best is the lower right corner; low scores are spread. A solid line runs through "
        "the strengths of one method, its default the large marker; the dotted line is the Pareto "
        "front. Variants of methods are left out. "
        f"{outside_sentence(shown.points, shown.arms, ACCURACY, named=named)} "
        f"{seeds_sentence(shown.points)}",
    )


def hidden_table(stored: Stored) -> pd.DataFrame:
    """Return refusal log-odds and other decodings' harmful scores, as of ``cwac.analysis.hidden``.

    Empty where neither was measured.
    """
    parts = [margin_rows(stored.records, stored.reference), decodings_table(stored)]
    rows = [part for part in parts if len(part)]
    return pd.concat(rows, ignore_index=True) if rows else parts[0]


def decodings_table(stored: Stored, only: Sequence[str] = ()) -> pd.DataFrame:
    """Return other decodings' harmful scores alone, as of `hidden_table`; or `only` some."""
    samples, reference = stored.table("samples"), stored.reference
    if len(samples) and reference is not None and "samples" in reference.tables:
        aligned = stored.fit_table("reference", "samples").assign(variant=ALIGNED.label, seed=0)
        samples = pd.concat([aligned, samples], ignore_index=True)
    return decoding_rows(samples, only)


def _log_odds(hidden: pd.DataFrame, everything: Operating, arms: Sequence[Arm]) -> Section:
    title = "Refusal log-odds: what greedy answers hide"
    if hidden.empty:
        return _missing(title, "Refusal log-odds")
    return Section(
        title,
        figure=hidden_figure(hidden, everything.points, arms),
        reading="Left: how far a refusal is from going, mean over harmful requests, in nats (one "
        "nat more is 2.7 times the odds); at 0 the first token is a coin's toss. Right: harmful "
        "score of greedy answers, and of others where they were measured. "
        f"{seeds_sentence(hidden)}",
    )


def _weight_drift(stored: Stored, arms: Sequence[Arm], few: str) -> list[Section]:
    title = "Weight drift"
    drift = stored.table("weight_drift", arms)
    if drift.empty:
        return [_missing(title, title)]
    sections = []
    if drift["functional_drift"].notna().any():
        reading = "How much each layer's output changes on held-out harmful requests."
        figure = functional_by_layer(drift, arms)
        sections.append(Section(title, figure=figure, reading=_read(reading, drift, few)))
    if len(pooled_inside(drift)):
        reading = "Above the grey dotted line an update goes into the safety subspace more than a "
        reading += "random one would."
        inside = "Weight drift inside the safety subspace"
        figure = inside_by_layer(drift, arms)
        sections.append(Section(inside, figure=figure, reading=_read(reading, drift, few)))
    return sections or [_missing(title, title)]


def _overlap(stored: Stored, arms: Sequence[Arm], few: str) -> Section:
    title = "Subspace overlap"
    overlap = stored.table("subspace_overlap", arms)
    if overlap.empty:
        return _missing(title, title)
    # The map that is measured in most layers; the first one where several are.
    name = str(overlap.groupby("map", sort=False)["layer"].nunique().idxmax())
    reading = (
        f"Input side of {name}: mean squared overlap of the update's leading directions with the "
        "safety subspace; 0 is orthogonal, 1 the same. Only what stands clear of both grey lines "
        "says anything: chance alone gives that much."
    )
    figure = overlap_by_layer(overlap, "input", name, arms)
    return Section(title, figure=figure, reading=_read(reading, overlap, few))


def _features(stored: Stored, arms: Sequence[Arm], few: str) -> Section:
    title = "SAE safety features"
    features = stored.table("features", arms)
    aligned = stored.fit_table("reference", "features")
    if features.empty or aligned.empty:
        return _missing(title, "The activation of SAE features")
    quality = stored.table("sae_quality", arms)
    unfit = misfits(quality) if len(quality) else quality
    text = ""
    if len(unfit):
        named = {arm.label: arm.title for arm in stored.arms}
        which = ", ".join(dict.fromkeys(named[label] for label in unfit["variant"]))
        text = (
            f"The features no longer fit {which}: in some layer they explain less than "
            f"{100 * TRUSTED:.0f} % of the variance. What is shown of these may be noise."
        )
    reading = (
        "Each line ranks an arm's safety features by how far they moved; the grey dotted line "
        "does so for random latents. What fires more strongly to begin with moves by more."
    )
    drift = feature_drift(features, aligned)
    figure = ranked_drift(drift, arms)
    return Section(title, text, figure=figure, reading=_read(reading, drift, few))


def _read(reading: str, table: pd.DataFrame, few: str) -> str:
    return " ".join(filter(None, [reading, seeds_sentence(table, means=True), few]))
