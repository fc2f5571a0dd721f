"""What safety costs: harm against accuracy, strengths, what greedy answers hide."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.by_model import SAMPLED
from cwac.analysis.claims import FOCUS
from cwac.analysis.operating import (
    ACCURACY,
    COSTS,
    HARMFUL,
    LOOKALIKES,
    RATES,
    Operating,
    Place,
    against,
    coloured_curves,
    curves_of,
    floor,
    matched,
    of_methods,
    operating,
    places,
    telling_cost,
)
from cwac.analysis.operating_words import cost_sentence, variants_sentence
from cwac.analysis.outlying import outside_sentence
from cwac.analysis.readable import Quantity, Readable, readable
from cwac.analysis.rivals import untried_defences
from cwac.arms import ALIGNED
from cwac.artifacts import tried_settings
from cwac.figures.results.matched import matched_figure
from cwac.figures.results.points import MOST, operating_figure
from cwac.figures.results.strengths import strengths_figure
from cwac.rates import RATES as WORDS
from cwac.ui import selection
from cwac.ui.answers import Answers, Key, answers_in_view
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.hidden import decodings_of, show_hidden
from cwac.ui.results.knobs import knobs_or_message, method_title
from cwac.ui.sections import not_measured
from cwac.ui.widgets import choose, plain, show_figure

_ALWAYS: Final = (
    "Points between two strengths: lines join what was run, they do not predict it.",
    "Whether a strength was the method's best: each was run at the strengths shown and no others.",
    "The choice of a strength: the best is shown, chosen on the test requests themselves.",
    "Abilities apart from the one task of the experiment in view.",
    "A correction for the many comparisons on this page: its intervals are each for one number.",
)


_OPENS: Final = (
    f"Opens with {WORDS[LOOKALIKES].term} where task accuracy does not tell the methods named "
    "first apart: where their intervals all overlap."
)


def points_in_view(frame: Frame, knobs: Mapping[str, str | None]) -> Operating:
    """Return the operating points of the experiment in view."""
    answers = answers_in_view(frame).of_first()
    return _operating(answers.key, places(frame.records_in_view, knobs), answers)


# Hashed by content: a Place prints all that it holds. Not copied on each read: it holds the draws
# of every interval, and nobody changes it.
@st.cache_resource(max_entries=2, show_spinner=False, hash_funcs={Place: repr})
def _operating(key: Key, where: dict[str, Place], _answers: Answers) -> Operating:
    del key
    return operating(_answers.table, where)


def show_cost(frame: Frame) -> None:
    """Show the tab: harmful score against task accuracy, and methods at one accuracy."""
    knobs = knobs_or_message(r.config.method for r in frame.records_in_view)
    everything = points_in_view(frame, knobs)
    tuned = everything.points[everything.points["variant"] != ALIGNED.label]
    if tuned.empty:
        not_measured("Harmful score and task accuracy of one arm")
        return
    sampled = decodings_of(frame, frame.records_in_view, (SAMPLED,))
    _compared(everything, tried_settings(frame.experiments[0].config.model.source), sampled)
    with fold("What is not measured here", "folded_unmeasured"):
        show_limits(frame, everything, knobs)


# A fragment: what is chosen here redraws these two figures and nothing else of the page.
@st.fragment
def _compared(everything: Operating, tried: Mapping[str, int], sampled: pd.DataFrame) -> None:
    # The answer stands first; what it is about is chosen below it.
    lead = st.container()
    chosen = _methods_or_all(everything)
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        cost = _cost(chosen)
    shown = against(chosen, cost)
    points = shown.points
    sentence = cost_sentence(points, shown.arms, cost, tried, sampled)
    if sentence:
        lead.markdown(f"##### {plain(sentence)}")
    with right:
        target = _target(points, cost) / 100
    # As wide as the page: beside the others the last of its names are cut.
    coloured = _coloured(shown, cost)
    joined = any(curve.label in coloured for curve in curves_of(points, shown.arms))
    line = "A solid line runs through one method's strengths, its default the large marker. "
    tried_too = (tried, shown.lost)
    show_figure(
        partial(operating_figure, points, shown.arms, target, coloured, cost, *tried_too),
        "trade_off",
        data=points,
        text=_text(points, shown),
        reading="Best is the lower right corner; low scores are spread. Grey: all other methods, "
        f"named at the pointer. {line if joined else ''}Bars: 95 % intervals; dotted: the Pareto "
        "front; dashed: what is compared at below. "
        f"{plain(outside_sentence(points, shown.arms, cost, shown.lost, coloured))} "
        f"{plain(_variants(points, everything, cost))} {plain(_uncounted(shown, tried))}".rstrip(),
        terms=(
            "harmful score",
            "stays low",
            WORDS[cost].term,
            "strength knob",
            "Pareto front",
            "interval",
            "CWAC (paper)",
        ),
    )
    table = matched(shown, target, cost)
    if table["value"].notna().any():
        show_figure(
            partial(matched_figure, table, shown.arms, target, cost),
            "matched",
            data=table,
            text=partial(
                readable,
                table,
                shown.arms.values(),
                Quantity("value", f"{WORDS[HARMFUL].title} at {100 * target:.0f} %", "%"),
                down={"curve": "Arm", "how": "How"},
            ),
            reading="Greedy answers. Filled: the best single point that was run at or above the "
            "target, or whose interval holds it. Hollow, dashed: interpolated between two "
            "strengths that were run on either side; no run has this value.",
            terms=("harmful score", "interval"),
        )
    missed = table[table["how"] == "not reached"]
    if len(missed):
        named = "; ".join(
            f"{shown.arms[r['curve']].title} ({r['detail']})" for _, r in missed.iterrows()
        )
        st.caption(
            f"Not comparable at {100 * target:.0f} %, because no strength that was run comes to "
            f"it: {plain(named)}"
        )


def _text(points: pd.DataFrame, shown: Operating) -> Callable[[], Readable]:
    """Return what makes the table of operating points that is read."""
    rates = (Quantity.with_ends(short, WORDS[name].title) for name, short in RATES.items())
    return partial(readable, points, shown.arms.values(), *rates)


def _methods_or_all(everything: Operating) -> Operating:
    """Leave the methods' variants out unless the reader wants them: they have their own tab."""
    defaults_only = of_methods(everything)
    count = len(everything.points) - len(defaults_only.points)
    if not count:
        return everything
    st.session_state["trade_off_variants"] = selection.current().all_settings
    text = f"Also the {count} variants of methods"
    wanted = st.toggle(
        text,
        key="trade_off_variants",
        on_change=lambda: selection.select(all_settings=st.session_state["trade_off_variants"]),
        help="Other settings than a method's defaults and than those that were best of what was "
        "tried for it; the tab 'Ablations' has them setting by setting.",
    )
    return everything if wanted else defaults_only


def _variants(points: pd.DataFrame, everything: Operating, cost: str) -> str:
    whole = against(everything, cost)
    return variants_sentence(points, whole.points, whole.arms, cost)


def _uncounted(shown: Operating, tried: Mapping[str, int]) -> str:
    """Name what is drawn and not counted in the title; empty where all is."""
    arms = [shown.arms[label] for label in shown.points["variant"]]
    named = dict.fromkeys(arm.method_name for arm in untried_defences(FOCUS, arms, tried))
    return f"Not counted, as no setting was tried: {', '.join(named)}." if named else ""


def _cost(everything: Operating) -> str:
    """Let the reader choose what harm is held against, among what was measured."""
    tuned = everything.points[everything.points["variant"] != ALIGNED.label]
    known = [name for name in COSTS if tuned[RATES[name]].notna().any()]
    # What opens is the first of a list: a cost at which the named methods do not lie on each other.
    known.sort(key=lambda name: name != telling_cost(everything))
    return choose("Cost", known, "cost", show=lambda name: WORDS[name].title, help=_OPENS)


def _coloured(shown: Operating, cost: str) -> list[str]:
    curves = [label for label in dict.fromkeys(shown.points["curve"]) if label != ALIGNED.label]
    chosen = [label for label in selection.current().arms if label in curves]
    st.session_state["trade_off_arms"] = (chosen or coloured_curves(shown, cost))[:MOST]
    st.multiselect(
        f"In colour and named, at most {MOST}",
        curves,
        format_func=lambda label: shown.arms[label].title,
        key="trade_off_arms",
        max_selections=MOST,
        on_change=lambda: selection.select(arms=tuple(st.session_state["trade_off_arms"])),
        placeholder="the methods to look at first",
    )
    return list(st.session_state["trade_off_arms"])


def _target(points: pd.DataFrame, cost: str) -> float:
    tuned = points[points["variant"] != ALIGNED.label]
    least = floor(points, cost)
    start = round(100 * float(tuned[RATES[cost]].median() if least is None else least))
    whose = "plain SFT" if cost == ACCURACY else "the aligned model"
    linked = selection.current().target
    st.session_state["trade_off_target"] = start if linked is None else min(linked, 100)
    return float(
        st.slider(
            f"Compare at {WORDS[cost].term} of (%)",
            0,
            100,
            key="trade_off_target",
            on_change=lambda: selection.select(target=st.session_state["trade_off_target"]),
            help=f"Starts at the lower end of {whose}'s interval. "
            "Single operating points at different costs are not comparable.",
        )
    )


def show_limits(frame: Frame, shown: Operating, knobs: Mapping[str, str | None]) -> None:
    """Say plainly what is not measured in the runs in view."""
    tuned = shown.points[shown.points["variant"] != ALIGNED.label]
    counts = tuned.dropna(subset=["strength"]).groupby("method")["strength"].nunique()
    absent = [name for name in knobs if name not in set(tuned["method"])]
    single = [
        name
        for name in dict.fromkeys(tuned["method"])
        if knobs.get(name) and counts.get(name, 0) < 2
    ]
    lines = []
    if absent:
        lines.append(
            f"Methods without a run in this experiment: {', '.join(map(method_title, absent))}."
        )
    if single:
        lines.append(
            f"Methods at one strength alone, no curve: {', '.join(map(method_title, single))}."
        )
    few = [shown.arms[label].title for label in tuned.loc[tuned["seeds"] < 2, "variant"]]
    if few:
        named = ", ".join(few) if len(few) <= 6 else f"{len(few)} arms"
        lines.append(f"Noise between trainings, with one seed only: {named}.")
    config = frame.experiments[0].config
    lines.append(f"Any task but {config.task.label}, any model but {config.model.label}.")
    st.markdown("\n".join(f"- {plain(line)}" for line in (*lines, *_ALWAYS)))


def show_strengths(frame: Frame) -> None:
    """Show each method's strengths, a panel per curve."""
    # Without any variant the lab need not be asked which setting is a strength.
    varied = any(record.arm.changed for record in frame.records_in_view)
    methods = (record.config.method for record in frame.records_in_view)
    everything = points_in_view(frame, knobs_or_message(methods) if varied else {})
    shown = of_methods(everything)
    if not curves_of(shown.points, shown.arms):
        shown = everything
    if not curves_of(shown.points, shown.arms):
        not_measured(
            "Any method at a second strength",
            command="cwac sweep cached_artifacts/grids/study_strengths.toml",
        )
        return
    show_figure(
        partial(strengths_figure, shown.points, shown.arms),
        "strengths",
        data=shown.points,
        text=_text(shown.points, shown),
        reading="One curve a panel, the strength beside each point, the default large; grey: all "
        "other points of the experiment.",
        terms=("harmful score", "task accuracy", "strength knob", "interval"),
    )


def show_beyond_greedy(frame: Frame) -> None:
    """Show the tab: what greedy answers hide."""
    # Harm and accuracy of an arm do not depend on its curve: no method need be asked for.
    show_hidden(frame, points_in_view(frame, {}).points)
