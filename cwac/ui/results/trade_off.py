"""The Results page: what is read for it, its sections, and what it does not measure."""

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis import coupling
from cwac.analysis.choices import Change, changes, choices_table
from cwac.analysis.operating import (
    Operating,
    Place,
    curves_of,
    matched,
    of_methods,
    operating,
    places,
    poison_table,
)
from cwac.analysis.outcomes import outcomes_of
from cwac.analysis.reported import reported, settings
from cwac.arms import ALIGNED, title_of
from cwac.config import ExperimentConfig
from cwac.errors import CwacError, DataError
from cwac.figures.results import points as figures
from cwac.figures.results.choices import choices_figure
from cwac.figures.results.coupling import MARGINS, RATES, coupling_figure
from cwac.figures.results.strengths import strengths_figure
from cwac.records import RunRecord
from cwac.statistics import Interaction, Outcomes
from cwac.ui import asking
from cwac.ui.answers import Key, answers_in_view, answers_of
from cwac.ui.frame import Frame
from cwac.ui.hidden import show_hidden
from cwac.ui.sections import command_like, not_measured
from cwac.ui.widgets import download_table, plain, show_figure

END: Final = 0.02
"""Distance from 0 and 1 within which a rate counts as at the end of its scale."""
_ALWAYS: Final = (
    "Points between two strengths: lines join what was run, they do not predict it.",
    "Whether a strength was the method's best: each was run at the strengths shown and no others.",
    "The choice of a strength: the best is shown, chosen on the test requests themselves.",
    "Abilities apart from the one task of the experiment in view.",
    "A correction for the many comparisons on this page: its intervals are each for one number.",
)


def knobs_or_message() -> dict[str, str | None]:
    """Return each method's strength knob, none of them after saying that it is not known."""
    try:
        knobs = {entry.name: entry.strength_knob for entry in asking.catalogue().methods}
    except CwacError as problem:
        st.warning("The lab cannot be asked for the methods' strength knobs; no point is joined.")
        st.text(str(problem))
        return {}
    _answered().add(True)
    return knobs


def knobs_known() -> bool:
    """Whether the methods have been asked for already, so that nothing need wait for them."""
    return bool(_answered())


@st.cache_resource(show_spinner=False)
def _answered() -> set[bool]:
    return set()


def points_in_view(frame: Frame, knobs: Mapping[str, str | None]) -> Operating:
    """Return the operating points of the experiment in view."""
    answers = answers_in_view(frame).of_first()
    return _operating(answers.key, places(frame.records_in_view, knobs), answers.table)


# Hashed by content: a Place prints all that it holds.
@st.cache_data(max_entries=16, show_spinner=False, hash_funcs={Place: repr})
def _operating(key: Key, where: dict[str, Place], _responses: pd.DataFrame) -> Operating:
    del key
    return operating(_responses, where)


def show_points(everything: Operating) -> None:
    """Draw the operating points, the comparison at one task accuracy, and each strength curve."""
    shown = _methods_or_all(everything)
    tuned = shown.points[shown.points["variant"] != ALIGNED.label]
    if tuned.empty:
        not_measured("Harmful score and task accuracy of one arm")
        return
    _compared(shown, tuned)
    if curves_of(shown.points, shown.arms):
        st.subheader("Strength by strength", anchor=False)
        show_figure(
            strengths_figure(shown.points, shown.arms),
            "strengths",
            data=shown.points,
            reading="One curve a panel, the strength beside each point, the default large; grey: "
            "all other points of the first figure.",
            terms=("harmful score", "task accuracy", "strength knob", "interval"),
        )


# A fragment: moving the slider redraws these two figures and nothing else of the page.
@st.fragment
def _compared(shown: Operating, tuned: pd.DataFrame) -> None:
    points = shown.points
    target = _target(tuned) / 100
    show_figure(
        figures.operating_figure(points, shown.arms, target),
        "trade_off",
        data=points,
        reading="Best is the lower right corner. A line runs through the strengths of one method, "
        "its default the large marker; the dotted line is the Pareto front, the dashed one the "
        "accuracy compared at below.",
        terms=("harmful score", "task accuracy", "strength knob", "Pareto front", "interval"),
    )
    st.subheader("At the same task accuracy or more", anchor=False)
    table = matched(shown, target)
    if table["value"].notna().any():
        show_figure(
            figures.matched_figure(table, shown.arms, target),
            "matched",
            data=table,
            reading="Filled: interpolated between two strengths that were run on either side. "
            "Open: the best single point at or above the target, or whose interval holds it.",
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


def _methods_or_all(everything: Operating) -> Operating:
    """Leave the methods' variants out unless the reader wants them: they have a view below."""
    defaults_only = of_methods(everything)
    count = len(everything.points) - len(defaults_only.points)
    if not count:
        return everything
    text = f"Also the {count} variants of methods (their own view stands below)"
    wanted = st.toggle(text, key="trade_off_variants", value=False, persist_state="session")
    return everything if wanted else defaults_only


def _target(tuned: pd.DataFrame) -> float:
    sft = tuned.loc[tuned["variant"] == "sft", "accuracy_low"]
    start = int(100 * float(sft.iloc[0] if len(sft) else tuned["accuracy"].median()) + 1e-9)
    return float(
        st.slider(
            "Compare at a task accuracy of (%)",
            0,
            100,
            start,
            key="trade_off_target",
            persist_state="session",
            help="Starts at the lower end of the interval of plain SFT's accuracy: what lies above "
            "it is no measurable loss. Single operating points at different accuracies are not "
            "comparable.",
        )
    )


def show_poison(frame: Frame) -> None:
    """Draw harmful score against poison ratio over the experiments that are alike otherwise."""
    st.subheader("Over the share of poison", anchor=False)
    records = _at_several_ratios(frame)
    if not records:
        not_measured("Any arm at a second poison ratio, with everything else alike,")
        return
    arms = {record.run_id: record.arm for record in records}
    anew = {
        run_id: (e.stored_id, e.judge)
        for e in frame.listing.experiments
        for run_id in e.rejudged
        if e.judge == frame.experiments[0].judge
    }
    answers = answers_of(frame, records, arms, anew)
    ratios = {record.run_id: record.config.poison_ratio for record in records}
    table = _poison(answers.key, ratios, answers.table)
    if table.empty:
        not_measured("Any arm at a second poison ratio, with everything else alike,")
        return
    show_figure(
        figures.poison_figure(table, [record.arm for record in records]),
        "poison",
        data=table,
        reading="Flat and low is robust. Only arms stored at two ratios or more, everything else "
        "alike; the number of training examples does not change with the ratio.",
        terms=("poison ratio", "harmful score", "interval"),
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _poison(key: Key, ratios: Mapping[str, float], _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    arms = _responses[_responses["variant"] != ALIGNED.label]
    return poison_table(arms.assign(poison_ratio=arms["run_id"].map(ratios)))


def _at_several_ratios(frame: Frame) -> list[RunRecord]:
    def blank(config: ExperimentConfig) -> ExperimentConfig:
        return config.model_copy(
            update={"poison_ratio": 0.0, "method": "", "settings": {}, "seed": 0}
        )

    setting = blank(frame.experiments[0].config)
    # Runs under another judging rule are no points of the same curve.
    judge = frame.experiments[0].judge
    alike = [
        e for e in frame.listing.experiments if e.judge == judge and blank(e.config) == setting
    ]
    records = [record for experiment in alike for record in experiment.records]
    ratios: dict[str, set[float]] = {}
    for record in records:
        ratios.setdefault(record.arm.label, set()).add(record.config.poison_ratio)
    # Reading answers takes longest here: not those of arms at one ratio.
    return [record for record in records if len(ratios[record.arm.label]) > 1]


def show_coupling(frame: Frame) -> None:
    """Test whether the weight and the activation half reinforce each other."""
    st.subheader("Do CWAC's two halves reinforce each other?", anchor=False)
    margins = coupling.margins_of(frame.records_in_view)
    result = coupling.margin_coupling(margins)
    if result is not None:
        sentence = coupling.margin_sentence(result)
        table = coupling.margin_table(margins)
        show_figure(
            coupling_figure(table, sentence.split(":")[0], MARGINS),
            "coupling_margin",
            data=table,
            reading="Parallel lines mean no interaction: the grey star marks where both halves "
            "would then end. Above it they reinforce, below it they overlap. This scale has no "
            "ends, so that no arm can be lost or safe beyond it.",
            terms=("interaction", "refusal log-odds", "interval", "CWAC"),
        )
        st.markdown(plain(sentence))
        st.caption(
            plain(f"n = {int(table['n'].min())} harmful requests under {_seeds(result.seeds)} that "
                  "all four share; Student's interval over seeds, the requests taken as given.")
        )  # fmt: skip
    _show_coupled_rates(frame)
    _show_reported()


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _show_coupled_rates(frame: Frame) -> None:
    """Test the same on harmful scores, whose logits say little near 0 and 100 %."""
    answers = answers_in_view(frame)
    in_table = answers.table["variant"].isin(coupling.FOUR)
    arms = outcomes_of(answers.table[in_table], "harmful_score")
    missing = [name for name in coupling.FOUR if name not in arms]
    if missing:
        not_measured(f"The 2 x 2 table (needs {', '.join(map(title_of, missing))} besides)")
        return
    try:
        interaction, table = _coupled(answers.key, arms)
    except DataError as problem:
        st.info(plain(str(problem)), icon="🕳️")
        return
    sentence = coupling.coupling_sentence(interaction)
    show_figure(
        coupling_figure(table, f"On harmful scores: {_decapitalised(sentence)}", RATES),
        "coupling",
        data=table,
        reading="The same four arms by what they answer. Parallel on the logit scale means no "
        "interaction: the grey star marks where both halves would then end. Below it they "
        "reinforce, above it they overlap.",
        terms=("interaction", "harmful score", "interval", "CWAC"),
    )
    st.markdown(plain(sentence))
    ends = [name for name in coupling.FOUR if not END < arms[name].rate < 1 - END]
    st.caption(plain(_coupling_note(ends, interaction.n, interaction.seeds)))


def _decapitalised(sentence: str) -> str:
    head = sentence.split(":", maxsplit=1)[0]
    return head[:1].lower() + head[1:]


@st.cache_data(max_entries=16, show_spinner=False)
def _coupled(key: Key, _arms: Mapping[str, Outcomes]) -> tuple[Interaction, pd.DataFrame]:
    del key
    return coupling.coupling(_arms), coupling.coupling_table(_arms)


def _coupling_note(ends: Sequence[str], n: int, seeds: int) -> str:
    note = f"n = {n} requests under {_seeds(seeds)} that all four share."
    if seeds == 1:
        note += " One seed says nothing about training noise: the interval is too narrow."
    if ends:
        note += (
            f" {', '.join(map(title_of, ends))}: within {100 * END:.0f} points of 0 or 100 %, "
            "where an effect of one half alone cannot show and the logit hangs on few requests; a "
            "milder attack may give another interaction."
        )
    return note


def _show_reported() -> None:
    table = coupling.reported_couplings(settings(reported(), "harmful_score"))
    lines = [
        f"{row['setting'].split(',')[0].removeprefix('T5 ')} {row['logit']:+.2f} nats "
        f"({row['points']:+.1f} points)"
        for _, row in table.iterrows()
    ]
    st.caption(
        "The same sum over the paper's own table 5, means of its three tasks, single runs without "
        f"intervals: {plain('; '.join(lines))}. All above 0: there the halves overlap."
    )
    download_table(table, "reported_coupling")


def show_limits(frame: Frame, shown: Operating, knobs: Mapping[str, str | None]) -> None:
    """Say plainly what is not measured in the runs in view."""
    st.subheader("What is not measured here", anchor=False)
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
            f"Methods without a run in this experiment: {', '.join(map(title_of, absent))}."
        )
    if single:
        lines.append(
            f"Methods at one strength alone, no curve: {', '.join(map(title_of, single))}."
        )
    few = [shown.arms[label].title for label in tuned.loc[tuned["seeds"] < 2, "variant"]]
    if few:
        named = ", ".join(few) if len(few) <= 6 else f"{len(few)} arms"
        lines.append(f"Noise between trainings, with one seed only: {named}.")
    config = frame.experiments[0].config
    lines.append(f"Any task but {config.task.label}, any model but {config.model.label}.")
    st.markdown("\n".join(f"- {plain(line)}" for line in (*lines, *_ALWAYS)))


FIRST: Final = "cwac"
_GRID: Final = """# choices.toml; cwac list methods --json names every setting
seeds = [0, 1, 2]
methods = [
    "cwac",
    {method = "cwac", settings = {subspace = "random"}},
    {method = "cwac", settings = {tail_energy = 0.1}},
]"""


def show_choices(frame: Frame, knobs: Mapping[str, str | None]) -> None:
    """Draw the variants of a method against its default arm."""
    st.subheader("What makes a method work?", anchor=False)
    by_method = changes(frame.records_in_view, knobs)
    if not by_method:
        command = command_like(frame, FIRST, {"subspace": "random"})
        not_measured("Any method with a setting other than its default", command=command)
        st.caption("Many at once, with `cwac sweep choices.toml`:")
        st.code(_GRID, language="toml")
        return
    methods = sorted(by_method, key=lambda name: (name != FIRST, name))
    titles = {name: next(iter(by_method[name].values())).arm.method_name for name in methods}
    method = methods[0]
    if len(methods) > 1:
        method = st.selectbox(
            "Method",
            methods,
            format_func=lambda name: f"{titles[name]} ({len(by_method[name])} arms)",
            key="choices_method",
            persist_state="session",
        )
    answers = answers_in_view(frame).of_first()
    table = _table(answers.key, by_method[method], answers.table)
    if table.empty:
        not_measured(f"The harmful score of the variants of {titles[method]}")
        return
    show_figure(
        choices_figure(table, by_method[method]),
        "choices",
        data=table,
        reading="A row per arm, one setting away from the default (dashed, with its band). Filled: "
        "the harmful score differs from the default's beyond noise (Holm over the rows; with "
        "one seed the noise of requests alone); grey: a control; ticks beneath: the single seeds. "
        "The method's strengths stand above.",
        terms=("harmful score", "over-refusal", "task accuracy", "interval", "seed"),
    )


# Hashed by content: a Change prints all that it holds.
@st.cache_data(max_entries=16, show_spinner=False, hash_funcs={Change: repr})
def _table(key: Key, arms: dict[str, Change], _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return choices_table(_responses, arms)


def show_cost(frame: Frame) -> None:
    """Show the tab: harmful score against task accuracy, and what greedy answers hide."""
    # Drawn in this order, filled in another: nothing waits for what takes longer than itself.
    top, hidden, rest, limits = (st.container() for _ in range(4))
    first = not knobs_known()
    if first:
        with rest:
            show_coupling(frame)
    with top:
        st.subheader("Harmful score against task accuracy", anchor=False)
        knobs = knobs_or_message()
        shown = points_in_view(frame, knobs)
        show_points(shown)
    with hidden:
        show_hidden(frame, shown.points)
    if not first:
        with rest:
            show_coupling(frame)
    with limits:
        show_limits(frame, shown, knobs)


def show_what_matters(frame: Frame) -> None:
    """Show the tab: what makes a method work."""
    show_choices(frame, knobs_or_message())
