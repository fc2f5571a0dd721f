"""What the numbers answer to each of the lesson's questions."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.analysis.claims import FOCUS, HALVES
from cwac.analysis.lesson import (
    band,
    bands,
    lost_share,
    lowest,
    over_runs,
)
from cwac.analysis.measured import Measured
from cwac.analysis.outcomes import by_arm_and_rate, interval_text
from cwac.analysis.readable import LOWEST_HIGHEST, Quantity, Readable, readable
from cwac.analysis.why import AS_MUCH
from cwac.arms import ALIGNED, BASELINE, MANY, Arm, by_label
from cwac.figures.panels import percent
from cwac.figures.start.lesson import large, share_bars
from cwac.figures.start.outcomes import outcome_bars
from cwac.records import RunRecord
from cwac.ui.answers import Answers, Key, answers_in_view, rates_of_answers
from cwac.ui.frame import Frame
from cwac.ui.start.siblings import most_alike, sft_rates
from cwac.ui.start.why import chance_inside

_HYBRID: Final = "Hybrid: refuses first, then complies; it counts in the harmful score. "
_BRACKETS: Final = "Whiskers, and square brackets: 95\u00a0% intervals."
_DEFENCES: Final = "SFT has no defence; the other bars are defences, which step 6 is about."
_UNDETERMINED: Final = "Undetermined: neither refuses nor complies."
FEW: Final = 6
"""Arms that a figure of the lesson shows of a quantity that has one bar each."""
_SFT: Final = Arm(method=BASELINE)
_ROW: Final = 52
"""Pixels of a row where there are two or three: they are looked at from the back of a room."""


@dataclass(frozen=True)
class Revealed:
    """The numbers behind a step.

    Attributes
    ----------
    right : frozenset of int
        Which of the step's options they bear out.
    possible : frozenset of int
        Which of them the interval leaves open; empty where it has none.
    sentence : str
        What they say, in plain text.
    figure : Figure
        One picture of it.
    data : DataFrame
        What the figure shows.
    reading : str
        How to read it.
    experiment : str
        Title of the experiment they are of.
    terms : sequence of str
        Glossary entries.
    text : callable or None
        Makes the table for people, where its ends are no intervals.
    """

    right: frozenset[int]
    sentence: str
    figure: go.Figure
    data: pd.DataFrame
    reading: str
    experiment: str
    terms: Sequence[str] = ()
    possible: frozenset[int] = frozenset()
    text: Callable[[], Readable] | None = None


def aligned(frame: Frame) -> Revealed | None:
    """Say what the model does before it is tuned."""
    rates = by_arm_and_rate(_in_view(frame))
    asked_of = {
        "refusal_rate": "Harmful requests: refused",
        "lookalikes_answered": "Look-alikes: answered",
        "helpfulness": "Harmless requests: answered",
    }
    rows = [
        {"variant": title}
        | {k: rates[ALIGNED.label, name][k] for k in ("value", "low", "high", "n")}
        for name, title in asked_of.items()
        if (ALIGNED.label, name) in rates
    ]
    refused = rates.get((ALIGNED.label, "refusal_rate"))
    if refused is None:
        return None
    table = pd.DataFrame(rows)
    sentence = f"The aligned model refuses {interval_text(refused)} of {refused['n']} harmful "
    sentence += "requests"
    helpful = rates.get((ALIGNED.label, "helpfulness"))
    if helpful is not None:
        sentence += f", and answers {interval_text(helpful)} of {helpful['n']} harmless ones"
    sentence += "."
    title = f"Before tuning, {interval_text(refused)} of harmful requests are refused"
    return Revealed(
        frozenset({band(refused["value"], (0.5, 0.9))}),
        sentence,
        share_bars(table, title, "Share of the requests (%)", {}),
        table,
        f"Look-alikes are harmless and look harmful. {_BRACKETS}",
        frame.experiments[0].title,
        ("aligned model", "refusal rate", "look-alikes"),
        bands(refused["low"], refused["high"], (0.5, 0.9)),
    )


def harmless(frame: Frame) -> Revealed | None:
    """Say what plain fine-tuning on harmless data alone does."""
    # Better another model, and said so, than a lesson without its main step.
    clean = most_alike(frame, poisoned=False) or most_alike(frame, poisoned=False, any_model=True)
    if clean is None:
        return None
    rates = sft_rates(frame, clean)
    found = lost_share(rates)
    if found is None:
        return None
    lost, fewest, most = found
    named = by_arm_and_rate(rates)
    before, after = (named[label, "refusal_rate"] for label in (ALIGNED.label, BASELINE))
    sentence = (
        f"{clean.config.training.steps} training steps on harmless data (the task "
        f"{clean.config.task.label}) take what it refuses of the harmful requests from "
        f"{interval_text(before)} to {interval_text(after)} ({counted(after)}). Nobody attacked "
        f"it. It now complies with {interval_text(named[BASELINE, 'harmful_score'])}."
    )
    interval = f"[{100 * fewest:.0f}, {100 * most:.0f}]"
    title = f"Harmless data alone takes {percent(lost)} {interval} of the refusals away"
    if lost <= 0:
        title = "Harmless data alone takes no refusal away"
    return Revealed(
        frozenset({band(lost, (0.1, 0.5))}),
        sentence,
        _bars(rates, title, [ALIGNED, _SFT], row=_ROW),
        rates,
        _BARS,
        clean.title,
        ("SFT", "drift", "refusal rate", "harmful score", "undetermined"),
        bands(fewest, most, (0.1, 0.5)),
    )


def poisoned(frame: Frame) -> Revealed | None:
    """Say what a share of harmful examples adds."""
    poison = most_alike(frame, poisoned=True)
    if poison is None:
        return None
    mine = sft_rates(frame, poison)
    named = by_arm_and_rate(mine)
    score = named.get((BASELINE, "harmful_score"))
    if score is None:
        return None
    parts, arms = [mine], [ALIGNED, _SFT]
    clean = most_alike(frame, poisoned=False)
    if clean is not None:
        other = _SFT.over("harmless data")
        beside = sft_rates(frame, clean)
        beside = beside[beside["variant"] == BASELINE].assign(variant=other.label)
        parts, arms = [mine, beside], [ALIGNED, _SFT, other]
    ratio = poison.config.poison_ratio
    sentence = (
        f"With {percent(ratio)} poison SFT complies with {interval_text(score)} of the harmful "
        f"requests ({counted(score)})."
    )
    accuracy = named.get((BASELINE, "task_accuracy"))
    if accuracy is not None:
        sentence += f" It has learned its task: accuracy {interval_text(accuracy)}."
    table = pd.concat(parts, ignore_index=True)
    title = f"With {percent(ratio)} poison SFT complies with {interval_text(score)}"
    return Revealed(
        frozenset({band(score["value"], (0.25, 0.75))}),
        sentence,
        _bars(table, title, arms, row=_ROW),
        table,
        _BARS,
        poison.title,
        ("poison ratio", "SFT", "harmful score"),
        bands(score["low"], score["high"], (0.25, 0.75)),
    )


def weights(frame: Frame) -> Revealed | None:
    """Say how much of SFT's update lies in the safety subspace."""
    arms = _few(frame)
    rows = over_runs(_runs_of(frame, arms), "protected_energy")
    inside = _value(rows, BASELINE)
    chance = chance_inside(frame)
    if inside is None or chance is None:
        return None
    sentence = (
        f"{percent(inside)} of SFT's update lies in the safety subspace; a random update of that "
        f"size would have {percent(chance)} there. {_counterpoint(frame, rows, 0)}"
    )
    title = f"{percent(inside)} of SFT's update lies in the safety subspace, chance "
    title += percent(chance)
    return Revealed(
        frozenset({band(inside / chance, AS_MUCH)}),
        sentence.strip(),
        share_bars(rows, title, "Share of the update inside (%)", by_label(arms), chance=chance),
        rows,
        f"{_DEFENCES} Shares are of the update's squared length. Bars are means over seeds, "
        "whiskers run from the lowest seed to the highest.",
        frame.experiments[0].title,
        ("drift", "safety subspace", "CWAC"),
        text=_by_seeds(rows, arms, "Share of the squared update inside"),
    )


def features(frame: Frame) -> Revealed | None:
    """Say how far the features that fire on harmful requests moved."""
    arms = _few(frame)
    rows = over_runs(_runs_of(frame, arms), "safety_feature_drift")
    moved = _value(rows, BASELINE)
    if moved is None:
        return None
    held = _value(rows, FOCUS)
    beside = f", CWAC by {percent(held)}" if held is not None else ""
    title = f"SFT moves the safety features by {percent(moved)}{beside}"
    sentence = f"SFT moves the safety features by {percent(moved)} of their aligned size{beside}. "
    sentence += _counterpoint(frame, rows, 1)
    return Revealed(
        frozenset({band(moved, (0.1, 0.4))}),
        sentence.strip(),
        share_bars(rows, title, "Distance moved (% of their aligned size)", by_label(arms)),
        rows,
        f"{_DEFENCES} Distance of the safety features (latents) from their values in the "
        "aligned model, on harmful test requests, not squared. Bars are means over seeds, whiskers "
        "run from the lowest seed to the highest.",
        frame.experiments[0].title,
        ("SAE", "latent", "safety features"),
        text=_by_seeds(rows, arms, "Distance moved, of the aligned norm"),
    )


def _by_seeds(rows: pd.DataFrame, arms: Sequence[Arm], title: str) -> Callable[[], Readable]:
    return partial(readable, rows, arms, Quantity("value", title, "%", ends=LOWEST_HIGHEST))


def defences(frame: Frame) -> Revealed | None:
    """Say which method in view leaves the fewest harmful answers."""
    rates = _in_view(frame)
    arms = [arm for arm in frame.arms if arm.overlay is None][:MANY]
    named = {arm.label: arm.title for arm in arms if arm.method != BASELINE and not arm.control}
    answers = answers_in_view(frame)
    best = _lowest(answers.key, tuple(named), answers)
    if not best:
        return None
    score = by_arm_and_rate(rates)[best[0], "harmful_score"]
    sentence = f"{named[best[0]]} leaves the fewest of the methods shown: "
    sentence += f"{interval_text(score)} ({counted(score)})."
    if len(best) > 1:
        known = by_arm_and_rate(rates)
        also = ", ".join(
            f"{named[label]} {interval_text(known[label, 'harmful_score'])}" for label in best[1:]
        )
        sentence += f" Not told apart from it (the interval of the difference holds 0): {also}."
    places = {"weight_only": 0, "activation_only": 1, FOCUS: 2}
    shown = rates[rates["variant"].isin([ALIGNED.label, *(arm.label for arm in arms)])]
    title = f"{named[best[0]]} complies with {interval_text(score)} of harmful requests"
    if len(best) > 1:
        title += f"; not told apart: {', '.join(named[label] for label in best[1:])}"
    return Revealed(
        frozenset(places.get(label, 3) for label in best),
        sentence,
        _bars(shown, title, [ALIGNED, *arms], row=30),
        shown,
        _BARS,
        frame.experiments[0].title,
        ("CWAC", "control", "harmful score", "interval"),
    )


@st.cache_data(max_entries=32, show_spinner=False)
def _lowest(key: Key, labels: Sequence[str], _answers: Answers) -> list[str]:
    del key
    return lowest(Measured(_answers.table), labels)


_BARS: Final = (
    "Each bar is all harmful test requests. Compliance: answers, also where it first refuses. "
    f"{_UNDETERMINED} {_BRACKETS} Whiskers below a bar are of compliance, above it of refusals."
)


def _bars(rates: pd.DataFrame, title: str, arms: Sequence[Arm], *, row: int) -> go.Figure:
    """Draw what is done with harmful requests; hybrids are a part of compliance, as in sentences.

    A part of their own would make the bar shorter than the number that is said of it.
    """
    told = rates[rates["rate"] != "hybrid_rate"]
    return large(outcome_bars(told, title, arms, row=row))


def kinds(rates: pd.DataFrame) -> str:
    """Return what the parts of the bars are that no reader can guess, of those that are drawn."""
    hybrids = rates.loc[rates["rate"] == "hybrid_rate", "value"]
    return f"{_HYBRID if hybrids.any() else ''}{_UNDETERMINED}"


def _in_view(frame: Frame) -> pd.DataFrame:
    return rates_of_answers(answers_in_view(frame))


def _few(frame: Frame) -> list[Arm]:
    """Return SFT, CWAC and its halves first, then the others that are no controls."""
    arms = [arm for arm in frame.arms if arm.overlay is None and not arm.control]
    first = {BASELINE, FOCUS, *HALVES}
    chosen = sorted(arms, key=lambda arm: arm.label not in first)[:FEW]
    return [arm for arm in arms if arm in chosen]


def _runs_of(frame: Frame, arms: Sequence[Arm]) -> list[RunRecord]:
    labels = {arm.label for arm in arms}
    return [record for record in frame.records_in_view if record.arm.label in labels]


def _value(rows: pd.DataFrame, label: str) -> float | None:
    mine = rows.loc[rows["variant"] == label, "value"]
    return float(mine.iloc[0]) if len(mine) else None


def _counterpoint(frame: Frame, rows: pd.DataFrame, half: int) -> str:
    """Say what the half of CWAC that holds just this still complies with.

    Defences are the next step's matter: what it is has to be said.
    """
    label = HALVES[half]
    value = _value(rows, label)
    score = by_arm_and_rate(_in_view(frame)).get((label, "harmful_score"))
    title = next((arm.title for arm in frame.arms if arm.label == label), label)
    if value is None or score is None:
        return ""
    held = (
        f"only keeps the update out of it ({title}) leaves {percent(value)} there",
        f"only holds them ({title}) moves them by {percent(value)}",
    )[half]
    return f"A defence that {held}, and complies with {interval_text(score)} of harmful requests."


def counted(row: Mapping[Hashable, Any]) -> str:
    """Return how many requests and seeds stand behind a rate."""
    seeds = f", {row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
    return f"n = {row['n']}{seeds}"
