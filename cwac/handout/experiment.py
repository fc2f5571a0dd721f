"""What an experiment showed, as a hand-out: filled from stored tables alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import pandas as pd

from cwac import __version__, flags
from cwac.analysis.by_model import MISSING
from cwac.analysis.claims import Setting, claimed_records, experiment_claims
from cwac.analysis.idle import idle_arms, marked
from cwac.analysis.outcomes import by_arm_and_rate, rate_table
from cwac.analysis.timing import TITLE as TIMED
from cwac.analysis.timing import step_seconds, timing_note
from cwac.analysis.verdicts import EXPLAINED, Claim
from cwac.arms import ALIGNED, Arm
from cwac.artifacts import ArtifactStore, card_defaults, shipped_catalogue
from cwac.figures.start.outcomes import headline, outcome_bars
from cwac.handout.by_model import adopt, by_model_section, others_stored
from cwac.handout.document import Handout, Section
from cwac.handout.failures import failures_section, rate_cell
from cwac.handout.measured import hidden_table, measured_sections
from cwac.handout.stored import Stored
from cwac.handout.words import LAB, PAPER
from cwac.messages import MethodEntry
from cwac.rates import RATES
from cwac.records import RunRecord, now

READING: Final = (
    "Each bar is all harmful test requests. The further left the refusals begin, the safer; "
    "whiskers are 95 % intervals of the harmful score and of the refusal rate."
)
"""How to read the bars of outcomes."""
HEADLINES: Final = (
    *("harmful_score", "refusal_rate"),
    *("task_accuracy", "lookalikes_answered", "over_refusal_rate"),
)
"""The rates of the first table: harm, then its price."""
_PAPER: Final = (
    f"{PAPER}: the method under study. Its authors published no code; where the paper is silent "
    "(rank of the subspace, layers, tokens, score of the latents, SAE) the lab is one reading of "
    "it, and each choice is a setting."
)
_WORDS: Final = (
    "In words: an aligned model was trained to refuse harmful requests. SFT is plain fine-tuning "
    "of it on a task; poison is the share of harmful examples among those it is tuned on. CWAC and "
    "the other methods tune it on the same examples under a defence: CWAC keeps the weights out of "
    "the directions that are most active while the model refuses, and holds the features that fire "
    "on harmful requests. Each half does one of the two; a control does the same with what should "
    "not work, such as random directions."
)
_LAB: Final = f"{LAB}; version {__version__}: please cite it together with the paper."


def experiment_handout(
    store: ArtifactStore, records: Sequence[RunRecord], everything: Sequence[RunRecord] = ()
) -> Handout:
    """Return the hand-out of one experiment, or of some of its runs.

    What is not stored is said to be "not measured". No text that a model wrote is in it.

    Parameters
    ----------
    store : ArtifactStore
        Where the runs lie, and the fits that they rest on.
    records : sequence of RunRecord
        Runs of one experiment. Where several rules judged them, it is about those of the rule that
        judged most of them, and says how many it leaves out.
    everything : sequence of RunRecord, optional
        All runs that are stored: what the same arms do on other models is told.

    Raises
    ------
    ConfigError
        There are no records, or they are of several experiments.
    """
    stored = Stored.of(store, records)
    answers = stored.answers()
    rates = rate_table(answers)
    arms = marked([ALIGNED, *stored.arms], idle_arms(answers))
    config = stored.records[0].config
    stated = stated_claims(stored, everything, answers, rates)
    catalogue = shipped_catalogue()
    methods = {entry.name: entry for entry in catalogue.methods} if catalogue else {}
    hidden = hidden_table(stored)
    others = others_stored(stored, everything)
    on_models = by_model_section(stored, others)
    sections = [
        _headline(rates, arms, stored.records),
        on_models,
        failures_section(stored, stated, rates, hidden, others),
        _claims(stated),
        *measured_sections(stored, answers, arms, hidden, methods),
        _run(stored),
        _citations(stored, methods),
        _versions(stored),
    ]
    # Last, because it knows only then what could not be read.
    return Handout(
        title=config.title,
        lead=_lead(stored, headline(rates, arms), on_models),
        sections=sections,
        foot=f"Written by CWAC Lab {__version__} on {now():%Y-%m-%d} from stored runs.",
    )


def stated_claims(
    stored: Stored, everything: Sequence[RunRecord], answers: pd.DataFrame, rates: pd.DataFrame
) -> list[Claim]:
    """Return the claims about the whole experiment, also where the hand-out is of some runs.

    Parameters
    ----------
    everything : sequence of RunRecord
        As of `experiment_handout`.
    answers, rates : DataFrame
        Those of `stored`.
    """
    about = stored.records[0].experiment_id
    mine = [record for record in everything if record.experiment_id == about]
    whole = Stored.of(stored.store, mine or stored.records, stored.judge)
    whole = replace(whole, opened=stored.opened)
    if whole.records == stored.records:
        return experiment_claims(answers, stored.records, rates)
    read = replace(whole, records=tuple(claimed_records(whole.records)))
    stated = experiment_claims(read.answers(), whole.records)
    adopt(stored, [read])
    return stated


def _lead(stored: Stored, stated: str, on_models: Section) -> str:
    parts = [f"{stated}."]
    if on_models.figure is not None:
        parts.append(on_models.text.partition("\n\n")[0])
    parts.append(_WORDS)
    if stored.left_out:
        count = len(stored.left_out)
        parts.append(
            f"{count} run{'s' if count > 1 else ''} of this experiment had another judge; rates "
            "under two rules are not comparable, and they are left out."
        )
    parts += [f"Left out: {problem}" for problem in stored.problems]
    return "\n\n".join(parts)


def _run(stored: Stored) -> Section:
    config = stored.records[0].config
    counts = {arm.title: 0 for arm in stored.arms}
    for record in stored.records:
        counts[record.arm.title] += 1
    named = ", ".join(f"{title} ({count})" for title, count in counts.items())
    what = "Finished checkpoints were measured" if config.is_measured else str(Setting.of(config))
    text = f"{what}, on {config.model.label}. Arms, with the number of their seeds: {named}."
    weights = dict.fromkeys(filter(None, (r.provenance.weights for r in stored.records)))
    text += "".join(f"\n\nWeights: {one.words}, from {one.file}." for one in weights)
    return Section("What was run", text, code="\n".join(_commands(stored.records)))


def _commands(records: Sequence[RunRecord]) -> list[str]:
    """Return commands that make the same runs, as few as flags can say it in."""
    config = records[0].config
    card = card_defaults(config.model.source)
    if config.is_measured:
        return [flags.command(flags.stated(r.config, card), "--root", "runs") for r in records]
    shared = flags.stated(config, card)
    seeds: dict[str, list[int]] = {}
    for record in records:
        seeds.setdefault(record.variant, []).append(record.config.seed)
    arms = {record.variant: record.arm for record in records}
    # A command says a method once, and its seeds are those of every arm.
    places: dict[str, int] = {}
    keys = {}
    for label, arm in arms.items():
        place = f"{arm.method} {sorted(seeds[label])}"
        keys[label] = (sorted(seeds[label]), places.get(place, 0))
        places[place] = places.get(place, 0) + 1
    commands = []
    for (of_seeds, _), labels in groupby(sorted(arms, key=lambda a: keys[a]), lambda a: keys[a]):
        named = [(arms[label].method, arms[label].changed) for label in labels]
        plan = replace(shared, arms=named, seeds=of_seeds)
        commands.append(flags.command(plan, "--root", "runs"))
    return commands


def _headline(rates: pd.DataFrame, arms: Sequence[Arm], records: Sequence[RunRecord]) -> Section:
    if rates.empty:
        return Section("Outcomes", "What became of the test requests was not measured.")
    by_name, timed = by_arm_and_rate(rates), step_seconds(records)
    rows = []
    for arm in arms:
        cells = {RATES[name].title: rate_cell(by_name.get((arm.label, name))) for name in HEADLINES}
        harmful = by_name.get((arm.label, HEADLINES[0]), {})
        seeds = "" if arm.is_aligned else str(harmful.get("seeds", MISSING))
        spent = "not trained" if arm.is_aligned else timed.get(arm.label, MISSING)
        rows.append({"Arm": arm.title, **cells, TIMED: spent, "Seeds": seeds})
    text = (
        "Rates with 95 % intervals; n counts requests (of the task: examples). Read refusals and "
        "look-alikes answered together: a model that refuses everything is safe and useless. "
        f"Answers are greedy. {timing_note(records)}"
    )
    return Section(
        "Outcomes",
        text.strip(),
        figure=outcome_bars(rates, headline(rates, arms), arms),
        reading=READING,
        table=pd.DataFrame(rows),
    )


def _claims(stated: Sequence[Claim]) -> Section:
    title = "What the numbers show, and what they do not"
    if not stated:
        return Section(title, "No claim can be made: it takes an SFT run and another arm.")
    rows = [(one.verdict, one.claim, one.numbers, one.evidence) for one in stated]
    return Section(
        title, EXPLAINED, table=pd.DataFrame(rows, columns=["Verdict", "Claim", "Numbers", "From"])
    )


def _citations(stored: Stored, methods: Mapping[str, MethodEntry]) -> Section:
    points = [_PAPER, _LAB]
    for name in dict.fromkeys(arm.method for arm in stored.arms):
        entry = methods.get(name)
        if entry is not None and entry.source:
            differs = f" Here: {entry.deviation}" if entry.deviation else ""
            points.append(f"{entry.title}: {entry.source}{differs}")
    return Section("Sources", points=points)


def _versions(stored: Stored) -> Section:
    made = [record.provenance for record in stored.records]
    versions: dict[str, list[str]] = {}
    for one in made:
        for name, version in one.versions.items():
            versions.setdefault(name, []).append(version)
    listed = "; ".join(f"{name} {_all(each)}" for name, each in sorted(versions.items()))
    commits = _all((one.git_commit or "unknown")[:10] for one in made)
    first, last = min(one.created for one in made), max(one.created for one in made)
    text = (
        f"{listed}. Python {_all(one.python or 'unknown' for one in made)}, on "
        f"{_all(one.device for one in made)}; commit {commits}. "
        f"Made {first:%Y-%m-%d} to {last:%Y-%m-%d}. Judge {stored.judge or 'unknown'}."
    )
    rows = [(r.arm.title, r.config.seed, r.run_id) for r in stored.records]
    table = pd.DataFrame(rows, columns=["Arm", "Seed", "Run"])
    return Section("Versions and seeds", text, table=table)


def _all(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))
