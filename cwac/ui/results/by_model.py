"""The Results page's first tab, lower half: each method on every model, and where they agree."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.across import across_models, same_on_other_models
from cwac.analysis.by_model import (
    MISSING,
    RATES,
    apart,
    aspects,
    between,
    by_model,
    counted,
    focus_sentence,
    neither_sentence,
    reading_text,
    settings_apart,
    trained_alike,
)
from cwac.analysis.claims import FOCUS
from cwac.analysis.holding import APART, OPEN, SAME
from cwac.analysis.outcomes import interval_text
from cwac.arms import ALIGNED, BASELINE, FIRST, Arm, in_order, title_of
from cwac.artifacts import Stamp
from cwac.figures.results.by_model import by_model_figure
from cwac.rates import RATES as NAMED
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment, Listing, earlier
from cwac.ui.frame import Frame
from cwac.ui.widgets import plain, show_figure

MOST: Final = 14
"""Rows of the figure; the table has all."""
_READING: Final = (
    "A row a method, a panel a model; whiskers are 95 % intervals. The grey zone is a quarter to "
    "three quarters of what SFT lost there: a method whose whole interval lies left of it holds, "
    "right of it does not, inside it holds in part; else it is undecided. A number behind *task* "
    "is the loss of accuracy against SFT, in points, where it is surely above 10. "
    "**≠** models disagree, = agree, ? undecided."
)


def show_by_model(frame: Frame) -> None:
    """Show what every method does on each model that was trained in this way."""
    st.subheader("Does it hold on other models?", anchor=False)
    models = models_in_view(frame)
    answers = _answers(frame, models)
    key = tuple(each.key for each in answers.values())
    table = _table(key, {name: each.table for name, each in answers.items()})
    agreed = _agreements(table)
    arms = _rows(table, agreed, (r.arm for e in models.values() for r in e.records))
    if not arms:
        _nothing(frame, list(models))
        return
    compared = [arm for arm in arms if arm.label in agreed]
    _say(frame, table, compared, models)
    show_figure(
        partial(by_model_figure, table, arms[:MOST], list(models), _title(table, agreed, compared)),
        "by_model",
        data=table,
        reading=f"{_READING} {plain(_left_out(arms))}".strip(),
        terms=(*(NAMED[name].term for name in RATES), "holds", "across models"),
    )
    st.caption(plain(f"{neither_sentence(table, arms)} {_differences(models, table)}"))
    records = {name: e.records for name, e in models.items()}
    with st.expander("The same as a table: every difference, count and setting"):
        lines = _as_text(table, [ALIGNED, Arm(method=BASELINE), *arms], settings_apart(records))
        st.dataframe(lines, hide_index=True, key="by_model_numbers")


def models_in_view(frame: Frame) -> dict[str, Experiment]:
    """Return an experiment per model, comparable in kind with the one in view, that one first.

    Of several experiments of a model, the one that differs least from that in view stands for it,
    then the one with the most arms of it. Models with the same settings come first.
    """
    first = frame.experiments[0]
    kind, here = trained_alike(first.config), aspects(first.config)
    mine = {record.arm.label for record in first.records} - {BASELINE}

    def shared(other: Experiment) -> int:
        return len(mine & {record.arm.label for record in other.records})

    def distance(other: Experiment) -> tuple[int, int]:
        return _unlike(here, aspects(other.config)), -shared(other)

    others = [
        other
        for other in frame.listing.experiments
        # Each model has its own patterns, so that hashes differ: rules of one kind tell hybrids.
        if trained_alike(other.config) == kind
        and earlier(other) == earlier(first)
        and not other.config.is_measured
        and shared(other)
    ]
    models = {first.config.model.label: first}
    if not first.config.is_measured:
        for other in sorted(others, key=distance):
            models.setdefault(other.config.model.label, other)
    return models


def _answers(frame: Frame, models: Mapping[str, Experiment]) -> dict[str, Answers]:
    if len(models) < 2:
        return {}
    counts: dict[str, int] = {}
    for experiment in models.values():
        for label in {record.arm.label for record in experiment.records}:
            counts[label] = counts.get(label, 0) + 1
    answers = {}
    for name, experiment in models.items():
        records = [r for r in experiment.records if counts[r.arm.label] > 1]
        anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
        answers[name] = answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)
    return answers


@st.cache_data(max_entries=16, show_spinner=False)
def _table(key: tuple[Key, ...], _responses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    del key
    return by_model(_responses)


def _agreements(table: pd.DataFrame) -> dict[str, str]:
    said = table.dropna(subset=["agreement"]).drop_duplicates("variant")
    return dict(zip(said["variant"], said["agreement"], strict=True))


def _rows(table: pd.DataFrame, agreed: Mapping[str, str], arms: Iterable[Arm]) -> list[Arm]:
    """Return the methods from the top: where models disagree, then the undecided, then the rest."""
    judged = table[~table["variant"].isin([ALIGNED.label, BASELINE]) & table["seeds"].notna()]
    shown = set(judged["variant"])
    rows = [arm for arm in in_order(arms) if arm.label in shown]
    first = {arm.label for arm in FIRST}
    # Where there are more than are drawn, the central ones and methods at their defaults stay.
    central = sorted(rows, key=lambda arm: (arm.label not in first, bool(arm.changed)))
    order = [APART, OPEN, SAME, None]
    drawn = sorted(in_order(central[:MOST]), key=lambda arm: order.index(agreed.get(arm.label)))
    return [*drawn, *central[MOST:]]


def _nothing(frame: Frame, models: Sequence[str]) -> None:
    config = frame.experiments[0].config
    training = config.training
    way = "all weights" if isinstance(training.adapter, str) else "LoRA"
    held = "trained" if training.train_embeddings else "held"
    said = f"in the way in view ({way}, poison ratio {config.poison_ratio:g}, embedding {held})"
    missing = f"No other model was run {said}."
    if len(models) > 1:
        missing = f"No method was run on two of {', '.join(models)} {said} with SFT beside it."
    st.info(
        plain(
            f"{missing} These run the shipped comparison on three organisms, and on a chat model "
            "that others trained (the second grid's first lines say which files it needs):"
        ),
        icon="🌱",
    )
    st.code(
        "cwac sweep cached_artifacts/grids/study.toml\n"
        "cwac sweep cached_artifacts/grids/smollm2.toml",
        language=None,
    )


def _say(
    frame: Frame, table: pd.DataFrame, compared: Sequence[Arm], models: Mapping[str, Experiment]
) -> None:
    first, *others = models
    farthest = _farthest(models)
    sentence, named = _pair_sentence(table, compared, first, farthest)
    if sentence:
        st.markdown(f"##### {plain(sentence)}")
    parts = [f"Otherwise on {farthest} than on {first}: {', '.join(named)}." if named else ""]
    rest = [_pair_short(table, first, other) for other in others if other != farthest]
    parts.append(f"Held against {first}: {'; '.join(filter(None, rest))}." if any(rest) else "")
    mine = table[(table["variant"] == FOCUS) & table["possible"].notna()].to_dict("records")
    text = f"{title_of(FOCUS)} {', '.join(map(reading_text, mine))}." if mine else ""
    for paragraph in (parts, [text, _mean_sentence(frame, models)]):
        if any(paragraph):
            st.markdown(plain(" ".join(filter(None, paragraph))))


def _farthest(models: Mapping[str, Experiment]) -> str:
    """Return the model whose experiment differs most: what those like the first cannot stand for.

    Of several the one with the most arms in common, which comes first among them.
    """
    first, *others = models
    here = aspects(models[first].config)
    return max(others, key=lambda name: _unlike(here, aspects(models[name].config)))


def _unlike(here: Mapping[str, str], there: Mapping[str, str]) -> int:
    return sum(there[name] != text for name, text in here.items())


def _pair_sentence(
    table: pd.DataFrame, arms: Sequence[Arm], first: str, other: str
) -> tuple[str, list[str]]:
    """Return on how many arms two models agree, and the titles of those on which they do not."""
    verdicts = between(table, first, other)
    both = [arm for arm in arms if arm.label in verdicts]
    if not both:
        return "", []
    counts = {kind: list(verdicts.values()).count(kind) for kind in (SAME, APART, OPEN)}
    same, otherwise = counts[SAME], counts[APART]
    text = f"Of {counted(both)} {_does(same)} on {other} what {_it(same)} on {first}"
    if otherwise:
        text += f", {otherwise} {'does' if otherwise == 1 else 'do'} not"
    if counts[OPEN]:
        text += f", {counts[OPEN]} undecided"
    return f"{text}.", [arm.title for arm in both if verdicts[arm.label] == APART]


def _does(count: int) -> str:
    return "none does" if not count else "1 does" if count == 1 else f"{count} do"


def _it(count: int) -> str:
    return "it does" if count < 2 else "they do"


def _pair_short(table: pd.DataFrame, first: str, other: str) -> str:
    verdicts = list(between(table, first, other).values())
    if not verdicts:
        return ""
    text = f"on {other} {verdicts.count(SAME)} of {len(verdicts)} do the same"
    return f"{text}, {verdicts.count(APART)} do not"


def _title(table: pd.DataFrame, agreed: Mapping[str, str], compared: Sequence[Arm]) -> str:
    if not compared:
        return "Harmful score of every method on each model"
    if text := focus_sentence(table, FOCUS, compared):
        return text
    verdicts = list(agreed.values())
    several = table[table["possible"].notna()]["model"].nunique() > 2
    every = "every model that they were measured on" if several else "both models"
    same, others = verdicts.count(SAME), verdicts.count(APART)
    text = f"Of {counted(compared)} {_does(same)} the same on {every}"
    text += f", on {others} the models disagree" if others else ", on none the models disagree"
    return text if not verdicts.count(OPEN) else f"{text}, {verdicts.count(OPEN)} undecided"


def _left_out(arms: Sequence[Arm]) -> str:
    if len(arms) <= MOST:
        return ""
    return f"{MOST} of {len(arms)} are drawn; the table has all."


def _differences(models: Mapping[str, Experiment], table: pd.DataFrame) -> str:
    """Name what differs between the experiments, so that nobody takes it for the model's alone."""
    sizes = table.groupby("model")["harmful_score_n"].min()
    each = {}
    for name, experiment in models.items():
        seeds = len({record.config.seed for record in experiment.records})
        each[name] = aspects(experiment.config) | {
            "seeds": f"{seeds} seed{'s' if seeds != 1 else ''}"
        }
        if sizes[name] > 0:
            each[name]["requests"] = f"n = {sizes[name]:.0f} harmful requests"
    differing = apart(each)
    return (
        f"{f'Not the model alone differs: {differing}. ' if differing else ''}Each model has its "
        "own requests, judge's patterns and documented defaults of the methods; the table says "
        "where a method's settings differ."
    )


def _mean_sentence(frame: Frame, models: Mapping[str, Experiment]) -> str:
    """Return the mean of CWAC over the models that share all settings, with its interval."""
    first = frame.experiments[0]
    groups = _on_other_models(frame.listing.stamp, frame.listing)
    ids: frozenset[str] = next((g for g in groups if first.records[0].run_id in g), frozenset())
    alike = {
        name: [r for r in e.records if r.run_id in ids and r.arm.label == FOCUS]
        for name, e in models.items()
    }
    answers = {
        name: answers_of(frame, records, {r.run_id: r.arm for r in records})
        for name, records in alike.items()
        if records and not models[name].rejudged
    }
    if len(answers) < 2:
        return ""
    key = tuple(each.key for each in answers.values())
    mean = _mean(key, {name: each.table for name, each in answers.items()})
    rows = mean[mean["variant"] == FOCUS].to_dict("records")
    if not rows:
        return ""
    return (
        f"{title_of(FOCUS)}'s mean over the {len(answers)} models with equal settings: "
        f"{interval_text(rows[0])}, over models, seeds and requests."
    )


@st.cache_data(max_entries=4, show_spinner=False)
def _on_other_models(stamp: Stamp, _listing: Listing) -> list[frozenset[str]]:
    """Return the ids of the runs that differ in the model, the method and the seed alone."""
    del stamp
    stored = [run.record for run in _listing.runs if run.record is not None]
    return [frozenset(r.run_id for r in each) for each in same_on_other_models(stored).values()]


@st.cache_data(max_entries=16, show_spinner=False)
def _mean(key: tuple[Key, ...], _responses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    del key
    return across_models(_responses, RATES[:1], contrasts=False)


def _as_text(table: pd.DataFrame, arms: Sequence[Arm], settings: Mapping[str, str]) -> pd.DataFrame:
    rows = table.to_dict("records")
    return pd.DataFrame([
        _line(row, arm, settings.get(arm.label, ""))
        for arm in arms
        for row in rows
        if row["variant"] == arm.label
    ])  # fmt: skip


def _line(row: Mapping[Any, Any], arm: Arm, settings: str) -> dict[str, str]:
    line = {
        "Method": arm.title,
        "Models": "" if pd.isna(row["agreement"]) else row["agreement"],
        "On": row["model"],
        "Verdict": row["verdict"],
    }
    for name in RATES:
        line[NAMED[name].title] = MISSING
        if not pd.isna(row[name]):
            line[NAMED[name].title] = f"{_interval(row, name)}, n = {row[f'{name}_n']:.0f}"
    for name, title in (
        ("minus_sft", "Harm less SFT's"),
        ("minus_aligned", "Harm less the aligned model's"),
        ("accuracy_minus_sft", "Accuracy less SFT's"),
    ):
        line[title] = "" if pd.isna(row[name]) else _interval(row, name, "+")
    share = row["share_lost"]
    line["Of SFT's loss"] = "" if pd.isna(share) else f"{100 * share:.0f} %"
    line["Seeds"] = "" if arm.is_aligned or pd.isna(row["seeds"]) else f"{row['seeds']:.0f}"
    line["Settings that differ"] = settings
    return line


def _interval(row: Mapping[Any, Any], name: str, sign: str = "") -> str:
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    unit = " points" if sign else " %"
    return f"{value:{sign}.1f}{unit} [{low:{sign}.1f}, {high:{sign}.1f}]"
