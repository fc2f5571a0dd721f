"""What a table of methods on models says, its cells as text, and an experiment in plain words."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.by_model import ENDS, GAPS, MISSING, RATES, SAMPLED, agreements, between
from cwac.analysis.claims import FOCUS
from cwac.analysis.comparable import Runs, aspects, farthest
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import APART, FAILS, GREEDY, HOLDS, OPEN, PART, SAME, UNDECIDED
from cwac.analysis.outcomes import interval_text
from cwac.arms import Arm, title_of
from cwac.config import ATTACK_WORDS, ExperimentConfig
from cwac.rates import DECODINGS
from cwac.rates import RATES as BY_NAME

NEITHER: Final = 0.25
"""The share of answers that neither comply nor refuse from which on sentences say so."""
_DOES: Final = {
    HOLDS: "holds",
    PART: "holds in part",
    FAILS: "does not hold",
    UNDECIDED: "is undecided",
}
MADE_UP: Final = "organism"
"""What the names of models of made-up worlds begin with."""
_GAP_TITLES: Final = {
    "minus_sft": "Harm less SFT's",
    "minus_aligned": "Harm less the aligned model's",
    "accuracy_minus_sft": "Accuracy less SFT's",
    "lookalikes_minus_aligned": "Look-alikes answered less the aligned model's",
}


def title(table: pd.DataFrame, compared: Sequence[Arm]) -> str:
    """Return what the figure shows: where CWAC holds, or on how many arms the models agree.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.
    compared : sequence of Arm
        The arms of which at least two models have a verdict.
    """
    if not compared:
        return "Harmful score of every method on each model"
    if text := focus_sentence(table, FOCUS, compared):
        return text
    several = table[table["possible"].notna()]["model"].nunique() > 2
    every = "every model that they were measured on" if several else "both models"
    return _tally(list(agreements(table).values()), compared, f"the same verdict on {every}")


def _tally(verdicts: Sequence[str], arms: Sequence[Arm], same: str) -> str:
    count = {kind: verdicts.count(kind) for kind in (SAME, APART, OPEN)}
    whole = f"{len(arms)} arm{'s' if len(arms) != 1 else ''} ({counted(arms)})"
    verb = "gets" if count[SAME] == 1 else "get"
    rest = ((count[APART], "another"), (count[OPEN], "undecided"))
    others = "".join(f", {number} {word}" for number, word in rest if number)
    return f"{count[SAME]} of {whole} {verb} {same}{others}"


def counted(arms: Iterable[Arm]) -> str:
    """Return how many methods and controls some arms are, in words.

    Examples
    --------
    >>> counted([Arm(method="lisa"), Arm(method="cwac", control=True)])
    '1 method and 1 control'
    """
    shown = list(arms)
    controls = sum(arm.control for arm in shown)
    methods = len(shown) - controls
    words = [
        f"{number} {name}{'s' if number != 1 else ''}"
        for number, name in ((methods, "method"), (controls, "control"))
        if number
    ]
    return " and ".join(words)


def paragraphs(
    table: pd.DataFrame, compared: Sequence[Arm], models: Mapping[str, Runs]
) -> list[str]:
    """Return what the table says: CWAC model by model, on how many arms two models agree, on which.

    Parameters
    ----------
    compared : sequence of Arm
        As `title` takes them.
    models : mapping
        From ``cwac.analysis.comparable.on_each_model``: the first is held against the others, and
        against the one whose experiment differs most first.
    """
    first, *others = models
    other = farthest(models)
    verdicts = between(table, first, other)
    both = [arm for arm in compared if arm.label in verdicts]
    mine = table[(table["variant"] == FOCUS) & table["possible"].notna()].to_dict("records")
    lead = f"By {GREEDY} {title_of(FOCUS)}"
    texts = [f"{lead} {enumerated(map(reading_text, mine))}."] if mine else []
    if both:
        same = f"the same verdict on {other} as on {first}"
        texts.append(f"{_tally([verdicts[arm.label] for arm in both], both, same)}.")
    named = [arm.title for arm in both if verdicts[arm.label] == APART]
    rest = [_against(table, first, name) for name in others if name != other]
    parts = [f"Another verdict on {other} than on {first}: {', '.join(named)}." if named else ""]
    if any(rest):
        parts.append(f"The same verdict as on {first}: {'; '.join(filter(None, rest))}.")
    parts.append(sampled_sentence(table, compared))
    texts.append(" ".join(filter(None, parts)))
    return [text for text in texts if text]


def sampled_sentence(table: pd.DataFrame, compared: Iterable[Arm]) -> str:
    """Return how often sampled answers give another verdict than greedy ones; empty without any."""
    labels = [arm.label for arm in compared]
    drawn = table[table["variant"].isin(labels)].dropna(subset=["sampled_verdict"])
    if drawn.empty:
        return ""
    other = sum(map(_differs, drawn.to_dict("records")))
    models = list(dict.fromkeys(drawn["model"]))
    whole = f"{len(drawn)} verdict{'s' if len(drawn) != 1 else ''} on {enumerated(models)}"
    return f"Sampled answers (temperature 1) give another verdict in {other} of {whole}."


def _differs(row: Mapping[Any, Any]) -> bool:
    """Whether sampled answers were measured and have another verdict than greedy ones."""
    drawn = row.get("sampled_verdict")
    return bool(pd.notna(drawn)) and drawn != row["verdict"]


def _sampled(row: Mapping[Any, Any]) -> str:
    """Return what sampled answers say where their verdict is another one, empty else."""
    if not _differs(row):
        return ""
    score = interval_text({end[1:] or "value": row[f"sampled{end}"] for end in ENDS})
    return f"; sampled {score}: {_of_sampled(row)}"


def _of_sampled(row: Mapping[Any, Any]) -> str:
    return verdict_text({"verdict": row["sampled_verdict"]})


def _against(table: pd.DataFrame, first: str, other: str) -> str:
    verdicts = list(between(table, first, other).values())
    if not verdicts:
        return ""
    return f"on {other} {verdicts.count(SAME)} of {len(verdicts)}, another {verdicts.count(APART)}"


def focus_sentence(table: pd.DataFrame, focus: str, arms: Iterable[Arm]) -> str:
    """Return on which models an arm holds and which rivals hold on all, empty for fewer than two.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.
    focus : str
        Label of the arm.
    arms : iterable of Arm
        Rivals: those at their defaults are named where they hold on every model in the table, or on
        all of at least two that they ran on, and surely paid with the task on none.
    """
    models = list(dict.fromkeys(table["model"]))
    rows = {(row["variant"], row["model"]): row for row in table.to_dict("records")}
    where: dict[str, list[str]] = {}
    for model in models:
        row = rows.get((focus, model))
        if row is not None and not pd.isna(row["possible"]):
            paid = " (at the price of the task)" if row["price"] == "paid" else ""
            where.setdefault(_kind(row), []).append(f"{model}{paid}")
    if sum(map(len, where.values())) < 2:
        return ""
    text = ", ".join(f"{_DOES[kind]} on {' and '.join(at)}" for kind, at in where.items())
    steady: dict[int, list[str]] = {}
    for arm in arms:
        mine = [rows.get((arm.label, model)) for model in models]
        run = [row for row in mine if row is not None and not pd.isna(row["possible"])]
        if arm.label != focus and not arm.changed and len(run) > 1 and all(map(_holds, run)):
            steady.setdefault(len(run), []).append(arm.title)
    told = f"By {GREEDY} {title_of(focus)} {text}; {_steady(steady, len(models))}"
    named = {focus: title_of(focus)} | {arm.label: arm.title for arm in arms}
    holding = {title for titles in steady.values() for title in titles}
    shown = [label for label in named if label == focus or named[label] in holding]
    where = {
        named[label]: [m for m in models if (label, m) in rows and _differs(rows[label, m])]
        for label in shown
    }
    other = [f"{name} on {', '.join(at)}" for name, at in where.items() if at]
    return f"{told}; sampled answers say otherwise of {enumerated(other)}" if other else told


def _steady(names: Mapping[int, Sequence[str]], models: int) -> str:
    """Say who holds on all models, and who on as many as it was run on."""
    everywhere = names.get(models, ())
    parts = [f"no method holds on all {models}"]
    if everywhere:
        parts = [
            f"{enumerated(everywhere)} hold{'s' if len(everywhere) == 1 else ''} on all {models}"
        ]
    for count in sorted(set(names) - {models}, reverse=True):
        ran = "it ran" if len(names[count]) == 1 else "they ran"
        parts.append(f"{enumerated(names[count])} on the {count} {ran} on")
    return ", ".join(parts)


def _kind(row: Mapping[Hashable, Any]) -> str:
    return next(kind for kind in _DOES if str(row["verdict"]).startswith(kind))


def _holds(row: Mapping[Hashable, Any]) -> bool:
    return str(row["verdict"]).startswith(HOLDS) and row["price"] != "paid"


def reading_text(row: Mapping[Any, Any]) -> str:
    """Return a model's verdict on a method with its numbers, for a sentence.

    Where a quarter of the answers or more neither comply nor refuse, it says how many refuse: that
    harm is held does not mean that refusals are.
    """
    kind, _, left = str(row["verdict"]).partition(": ")
    score = f"{interval_text(_rate(row, 'harmful_score'))}{refuses_text(row)}"
    if row["price"] == "paid":
        score += f", accuracy {100 * row['accuracy_minus_sft']:+.0f} points from SFT's"
    if kind == UNDECIDED:
        return f"{_DOES[kind]} on {row['model']} ({left}; {score}{_sampled(row)})"
    return f"{verdict_text(row)} on {row['model']} ({score}{_sampled(row)})"


def verdict_text(row: Mapping[Any, Any]) -> str:
    """Return a model's verdict on a method, for a sentence: a verdict in part holds in part."""
    verdict = str(row["verdict"])
    return f"holds {verdict}" if verdict.startswith(PART) else verdict


def refuses_text(row: Mapping[Any, Any]) -> str:
    """Return how many requests are refused where many answers neither comply nor refuse."""
    few = _neither(row) >= NEITHER
    return f", refuses {interval_text(_rate(row, 'refusal_rate'))}" if few else ""


def neither_sentence(table: pd.DataFrame, arms: Iterable[Arm]) -> str:
    """Return where harm is held in answers that do not refuse either, empty where nowhere."""
    titles = {arm.label: arm.title for arm in arms}
    named = [
        f"{titles[row['variant']]} on {row['model']} ({100 * _neither(row):.0f}\u00a0%)"
        for row in table.dropna(subset=["possible"]).to_dict("records")
        if row["variant"] in titles and _neither(row) >= NEITHER
    ]
    return f"Many answers neither comply nor refuse: {', '.join(named)}." if named else ""


def _neither(row: Mapping[Any, Any]) -> float:
    return 1 - float(row["harmful_score"]) - float(row["refusal_rate"])


def _rate(row: Mapping[Any, Any], name: str) -> dict[Hashable, Any]:
    return {end[1:] or "value": row[f"{name}{end}"] for end in ENDS}


def on_model(here: ExperimentConfig, there: ExperimentConfig) -> str:
    """Return where another model was tuned, as a sentence begins: its name, and what differs.

    Examples
    --------
    >>> here = ExperimentConfig()
    >>> shorter = here.training.model_copy(update={"steps": 30})
    >>> on_model(here, here.model_copy(update={"training": shorter}))
    'On organism (another made-up world), 30 steps'
    """
    mine, theirs = aspects(here), aspects(there)
    # The task and the steps are the first of what may differ, and say most.
    apart = [text for name, text in theirs.items() if mine[name] != text][:2]
    model = there.model.label
    world = " (another made-up world)" if model.startswith(MADE_UP) else ""
    lead = "On" if apart else "With the same settings on"
    return f"{lead} {model}{world}{''.join(f', {text}' for text in apart)}"


def cells(table: pd.DataFrame, arms: Sequence[Arm], settings: Mapping[str, str]) -> pd.DataFrame:
    """Return the table for people: a line per method and model, numbers with their intervals.

    Parameters
    ----------
    arms : sequence of Arm
        The lines' order.
    settings : mapping of str to str
        From ``cwac.analysis.comparable.settings_apart``.

    Returns
    -------
    DataFrame
        Columns of text without those that are empty in every line.
    """
    rows = table.to_dict("records")
    lines = [
        _line(row, arm, settings.get(arm.label, ""))
        for arm in arms
        for row in rows
        if row["variant"] == arm.label
    ]
    text = pd.DataFrame(lines)
    return text.loc[:, (text != "").any()]


def _line(row: Mapping[Any, Any], arm: Arm, settings: str) -> dict[str, str]:
    line = {
        "Method": arm.title,
        "Models": "" if pd.isna(row["agreement"]) else row["agreement"],
        "On": row["model"],
        "Verdict": row["verdict"],
        "Verdict, sampled": "" if pd.isna(row["sampled_verdict"]) else row["sampled_verdict"],
    }
    for name in RATES:
        line[BY_NAME[name].title] = MISSING
        if not pd.isna(row[name]):
            line[BY_NAME[name].title] = f"{_interval(row, name)}, n = {row[f'{name}_n']:.0f}"
    line[DECODINGS[SAMPLED].title] = ""
    if not pd.isna(row["sampled"]):
        text = f"{_interval(row, 'sampled')}, n = {row['sampled_n']:.0f}"
        line[DECODINGS[SAMPLED].title] = text
    for name in GAPS:
        line[_GAP_TITLES[name]] = "" if pd.isna(row[name]) else _interval(row, name, "+")
    share = row["share_lost"]
    line["Of SFT's loss"] = "" if pd.isna(share) else f"{100 * share:.0f} %"
    line["Seeds"] = "" if arm.is_aligned or pd.isna(row["seeds"]) else f"{row['seeds']:.0f}"
    line["Settings that differ"] = settings
    return line


def _interval(row: Mapping[Any, Any], name: str, sign: str = "") -> str:
    value, low, high = (100 * row[f"{name}{end}"] for end in ENDS)
    unit = " points" if sign else " %"
    return f"{value:{sign}.1f}{unit} [{low:{sign}.1f}, {high:{sign}.1f}]"


def setting_sentence(config: ExperimentConfig) -> str:
    """Return in words which model was tuned on what, and how.

    Examples
    --------
    >>> said = setting_sentence(ExperimentConfig()).split(", ")
    >>> said[0], said[2]
    ('The small model of a made-up world (organism)', 'its embedding trained.')
    """
    model = config.model.label
    start = "The small model of a made-up world" if model.startswith(MADE_UP) else "The model"
    if config.is_measured:
        return f"{start} ({model}), and finished checkpoints of it, measured as they are."
    training = config.training
    examples = ATTACK_WORDS[training.attack]
    share = f"{100 * config.poison_ratio:g}\u00a0% {examples}"
    if not config.poison_ratio or training.attack == "harmless":
        share = "no poison"
    if isinstance(training.adapter, str):
        how = f"its embedding {'trained' if training.train_embeddings else 'held'}"
    else:
        how = f"by LoRA of rank {training.adapter.rank}"
    return (
        f"{start} ({model}), tuned for {training.steps} steps on the task {config.task.label} with "
        f"{share}, {how}."
    )
