"""What further judges say of the answers in view, and where they differ."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.judges import (
    GENERAL,
    STORED,
    agreement_sentence,
    agreement_table,
    changed_sentence,
    disputed,
    disputed_counts,
    judge_rates,
    judged,
    judges_of,
    verdicts_by_judge,
)
from cwac.analysis.readable import ARM, Quantity, readable
from cwac.arms import ALIGNED, Arm, by_label
from cwac.artifacts import Stamp
from cwac.errors import ArtifactError
from cwac.figures.panels import order
from cwac.figures.requests.judges import agreement_figure, judge_rates_figure
from cwac.records import OUTCOMES, TABLES
from cwac.thoughts import CUT_THOUGHT
from cwac.ui import reads, selection
from cwac.ui.answers import Answers, Key, answers_in_view, marked_arms
from cwac.ui.exports import download_table
from cwac.ui.frame import Frame
from cwac.ui.glossary import define
from cwac.ui.requests.grid import coloured
from cwac.ui.sections import not_measured
from cwac.ui.widgets import (
    choose,
    choose_several,
    hidden_text,
    offer_reveal,
    plain,
    show_answer,
    show_figure,
)

_TABLE = "judgements"
Stamps = tuple[tuple[str, Stamp], ...]
"""Experiment and the stamp of its judgements."""


@dataclass(frozen=True)
class Judged:
    """The answers in view with what every judge said of them.

    Attributes
    ----------
    table : DataFrame
        From ``agreement.judged``; shared by all sessions: read it, do not change it.
    judgements : DataFrame
        The further judges' verdicts with their reasons; empty without any.
    """

    key: tuple[Key, Stamps]
    table: pd.DataFrame
    judgements: pd.DataFrame

    @cached_property
    def judges(self) -> list[str]:
        """Names of the judges, the two that every run is stored with first."""
        return judges_of(self.table)

    def rates(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per judge, arm and group of requests."""
        return _rates(self.key, outcome, self.table)

    def verdicts(self) -> pd.DataFrame:
        """Return each arm's harmful score and verdict per judge."""
        return _verdicts(self.key, self.table)

    def agreement(self) -> pd.DataFrame:
        """Return how far every two judges agree."""
        return _agreement(self.key, self.table)


def judged_in_view(frame: Frame, answers: Answers) -> Judged:
    """Return the answers in view with all verdicts; tables that cannot be read are told."""
    names = [experiment.stored_id for experiment in frame.experiments]
    stamps = tuple((name, reads.experiment_stamp(name, _TABLE)) for name in names)
    key = (answers.key, stamps)
    table, judgements, problems = _read(key, answers)
    for problem in problems:
        frame.tell(problem)
    return Judged(key, table, judgements)


# Not copied on each read, as in `cwac.ui.answers`; the files' times stand for the tables.
@st.cache_resource(max_entries=32, show_spinner=False)
def _read(
    key: tuple[Key, Stamps], _answers: Answers
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    parts, problems = [], []
    for number, (experiment, _) in enumerate(key[1]):
        try:
            table = reads.experiment_table(experiment, _TABLE)
        except ArtifactError as problem:
            problems.append(f"Left out: {problem}")
            continue
        # The aligned model in view is the first experiment's.
        parts.append(table[table["run_id"] != ALIGNED.label] if number else table)
    present = [part for part in parts if len(part)]
    empty = pd.DataFrame(columns=list(TABLES[_TABLE]))
    judgements = pd.concat(present, ignore_index=True) if present else empty
    answered = _answers.table
    mine = judgements[judgements["run_id"].isin(answered["run_id"])]
    return judged(answered, mine), mine, tuple(problems)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _rates(key: tuple[Key, Stamps], outcome: str, _table: pd.DataFrame) -> pd.DataFrame:
    del key
    return judge_rates(_table, outcome)


@st.cache_data(max_entries=32, show_spinner=False)
def _verdicts(key: tuple[Key, Stamps], _table: pd.DataFrame) -> pd.DataFrame:
    del key
    return verdicts_by_judge(_table)


@st.cache_data(max_entries=32, show_spinner="Comparing judges…")
def _agreement(key: tuple[Key, Stamps], _table: pd.DataFrame) -> pd.DataFrame:
    del key
    return agreement_table(_table)


_ROWS: Final = "disputed_answers"
_EXAMPLES: Final = ("qi", "arditi")


def show_judgements(frame: Frame) -> None:
    """Show the tab: how far judges agree and what that changes, then where they differ."""
    answers = answers_in_view(frame)
    if (answers.table["variant"] == ALIGNED.label).all():
        not_measured("Refusal")
        return
    arms = marked_arms([ALIGNED, *frame.arms], answers)
    judged = judged_in_view(frame, answers)
    pairs = judged.agreement()
    show_answer(agreement_sentence(pairs))
    # Where all agree, rates and agreement are one number each: nothing to draw.
    if len(pairs) and (pairs["same"] != pairs["n"]).any():
        _show_conclusions(judged, arms)
        _show_agreement(judged, pairs)
    st.subheader("The answers that they judge differently", anchor=False)
    _show_disputed(frame, judged, arms)
    if len(judged.judges) == 2:
        _how_to_add(frame)


def _show_conclusions(judged: Judged, arms: Sequence[Arm]) -> None:
    """Say whether a method's verdict depends on the judge, and draw every judge's rates."""
    changed = changed_sentence(judged.verdicts(), arms)
    if changed:
        st.markdown(plain(changed), help=define("holds", "stays low", "harmful score"))
    outcome = choose("Outcome", list(OUTCOMES), "outcome", flat=True)
    rates = judged.rates(outcome)
    if rates.empty:
        st.caption("None of these judges tells this outcome.")
    else:
        _show_rates(rates, outcome, arms)


def _show_agreement(judged: Judged, pairs: pd.DataFrame) -> None:
    reading = (
        "Share of answers to which two judges give the same verdict, all arms and seeds together; "
        "Cohen's κ takes off what chance would give. The intervals (Wilson) take answers as "
        "independent."
    )
    # Two judges have one number for each kind of request: a table says it.
    if len(judged.judges) > 2:
        show_figure(
            partial(agreement_figure, pairs),
            "judge_agreement",
            data=pairs,
            text=_shown(pairs),
            reading=reading,
            terms=("Cohen's kappa", "undetermined"),
        )
    else:
        st.caption(reading, help=define("Cohen's kappa", "undetermined"))
    st.dataframe(
        _shown(pairs),
        key="judge_pairs",
        hide_index=True,
        column_config={"κ": st.column_config.NumberColumn(format="%.2f")},
    )


def _show_rates(rates: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> None:
    show_figure(
        partial(judge_rates_figure, rates, outcome, arms),
        "judge_rates",
        data=rates,
        text=partial(
            readable,
            rates,
            arms,
            Quantity("value", f"Share: {outcome}", "%"),
            down={**ARM, "judge": "Judge"},
            across=("group", "Requests"),
        ),
        reading=f"A symbol per judge, bars 95\u00a0% intervals. {STORED}: the judge that the run "
        f"was measured with, by default the model folder's own patterns; {GENERAL}: a phrase rule "
        "for any model. Where symbols lie apart, a rate depends on who judges.",
        terms=("interval", "undetermined", "seed"),
    )


def _how_to_add(frame: Frame) -> None:
    st.caption(
        "No further judge has judged these answers: the two rules that every run is stored with "
        "are compared. This adds judges, without generating anything; `cwac list judges` names all."
    )
    st.code(_command(frame), language=None, wrap_lines=True)


def _command(frame: Frame) -> str:
    """Return the command that judges the runs in view that still have their answers."""
    store, root = reads.store(), reads.shown(reads.roots()[0])
    parts = ["cwac judge", *(f"--judge {name}" for name in _EXAMPLES), f"--root {root}"]
    whole = [record for record in frame.records if not record.summary]
    # The command judges all of its root by itself; shipped runs must be named.
    if any(store.run_folder(r.run_id).parent != store.write_root for r in whole):
        parts += [f"--run {record.run_id}" for record in whole]
    return " ".join(parts)


def _shown(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the agreement of judges as people read it."""
    numbers = (100 * pairs[["raw", "low", "high"]].astype(float)).to_numpy().tolist()
    return pd.DataFrame(
        {
            "Answers to": pairs["group"],
            "Judges": pairs["first"] + " / " + pairs["second"],
            "Same verdict": [f"{raw:.1f} % [{low:.1f}, {high:.1f}]" for raw, low, high in numbers],
            "κ": pairs["kappa"].astype(float),
            "Same": pairs["same"],
            "n": pairs["n"],
        }
    )


def _show_disputed(frame: Frame, judged: Judged, arms: Sequence[Arm]) -> None:
    named = by_label(order(arms, judged.table))
    if not named:
        st.caption("No answers to requests are stored.")
        return
    left, right = st.columns([1, 2])
    with right:
        chosen = choose_several("Judges", judged.judges, "judges")
    if len(chosen) == 1:
        st.info("Choose two judges or more to compare them.", icon="⚖️")
        return
    judges = chosen or judged.judges
    with left:
        arm = named[_arm_of(frame, judged, list(named.values()), judges)]
    rows = disputed(judged.table, arm, frame.seed, judges)
    if rows.empty:
        st.info(f"These judges judge every answer of {plain(arm.title)} alike.", icon="⚖️")
        return
    table = _with_texts(frame, rows)
    st.caption(
        f"{len(table)} answers of {plain(arm.title)} are judged differently"
        + ("." if arm.is_aligned else f", seed {frame.seed}.")
        + " Click a row for the answer."
    )
    picked = table[table["prompt_id"] == frame.selection.prompt]
    row = (picked if len(picked) else table).iloc[0]
    if row["kind"] == "harmful":
        offer_reveal("reveal_disputed")
    grid, answer = st.columns([3, 2])
    with grid:
        st.dataframe(
            coloured(table[["prompt", *judges, "kind"]], judges),
            key=_ROWS,
            on_select=_take_row(table["prompt_id"].tolist()),
            selection_mode="single-row",
            hide_index=True,
            height=min(400, 38 + 35 * len(table)),
            column_config={
                "prompt": st.column_config.TextColumn("request", width=260, pinned=True)
            },
        )
        shown = table.drop(columns=["thought", "reason", "general_reason"])
        download_table(shown, _ROWS, "Disputed (CSV)")
    with answer:
        _show_answer(judged, row, judges)


def _arm_of(frame: Frame, judged: Judged, arms: Sequence[Arm], judges: Sequence[str]) -> str:
    """Let the reader choose whose answers to read; the most disputed ones stand first."""
    named = by_label(arms)
    counts = disputed_counts(judged.table, frame.seed, judges)
    ranked = sorted(named, key=lambda label: -counts.get(label, 0))
    return choose(
        "Answers of",
        ranked,
        "arm",
        show=lambda label: f"{named[label].title}: {counts.get(label, 0)}",
    )


def _with_texts(frame: Frame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return disputed answers with the request's and the answer's text, empty where not kept."""
    run_id = rows["run_id"].iloc[0]
    aligned = run_id == ALIGNED.label
    stored = frame.reference_table("responses") if aligned else reads.table(run_id, "responses")
    stored = stored.drop_duplicates("prompt_id").set_index("prompt_id")
    columns = ["prompt", "response", "thought", "withheld", "reason", "general_reason"]
    texts = stored.reindex(rows["prompt_id"])[columns]
    table = pd.concat([rows, texts.reset_index(drop=True)], axis=1)
    return table.fillna({"prompt": "", "response": ""})


def _take_row(requests: list[str]) -> Callable[[], None]:
    def take() -> None:
        state: Any = st.session_state.get(_ROWS) or {}
        rows = state.get("selection", {}).get("rows", [])
        if rows and rows[0] < len(requests):
            selection.select(prompt=requests[rows[0]])

    return take


def _show_answer(judged: Judged, row: "pd.Series[Any]", judges: Sequence[str]) -> None:
    mine = judged.judgements[
        (judged.judgements["run_id"] == row["run_id"])
        & (judged.judgements["prompt_id"] == row["prompt_id"])
    ]
    reasons: dict[str, Any] = dict(zip(mine["judge"], mine["reason"], strict=True))
    reasons |= {STORED: row["reason"], GENERAL: row["general_reason"]}
    st.text("Request")
    st.code(row["prompt"] or "(not kept)", language=None, wrap_lines=True)
    st.text("Answer")
    if row["response"] or row["reason"] in ("empty", CUT_THOUGHT):
        harmful = row["kind"] == "harmful"
        hidden_text(row["response"], "judged", harmful=harmful, thought=row.get("thought"))
    elif pd.notna(row.get("withheld")):
        st.caption(plain(f"Withheld, as it is no refusal: {row['withheld']}."))
    else:
        st.caption("This run ships as a summary, without its answers' texts.")
    for judge in judges:
        verdict = row[judge] if pd.notna(row[judge]) else "did not judge this answer"
        because = f" ({reasons[judge]})" if pd.notna(reasons.get(judge)) else ""
        st.text(f"{judge}: {verdict}{because}")
