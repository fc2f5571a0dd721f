"""Runs under one judging rule: which may stand in one table, and verdicts that replace others.

A judge's hash stands in each run's protocol. When a rule is mended, runs of one experiment come to
have two; they are never pooled. Where ``cwac judge`` has judged a run's kept answers by the other
rule, these verdicts take the place of the stored ones and the run may join.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from cwac.records import RunRecord


@dataclass(frozen=True)
class Alike:
    """Runs of one experiment under one rule.

    Attributes
    ----------
    judge : str
        The hash of the judge that all their verdicts are of.
    records : tuple of RunRecord
        Those that were measured by it first, then those that were judged anew.
    rejudged : frozenset of str
        Ids of the latter.
    """

    judge: str
    records: tuple[RunRecord, ...]
    rejudged: frozenset[str] = field(default_factory=frozenset)


def rule_of(record: RunRecord) -> str:
    """Return the hash of the judge that a run was measured by."""
    return record.protocol.get("judge", "")


def rule_name(record: RunRecord) -> str:
    """Return a judging rule for people: who judged, which version, and what it tells.

    Examples
    --------
    >>> from types import SimpleNamespace as Named
    >>> config = Named(model=Named(label="organism"), evaluation=Named(judge=None))
    >>> rule_name(Named(protocol={"judge": "8974e200a581"}, config=config))
    "organism's own patterns (8974e2, telling no hybrids)"
    """
    judge = record.config.evaluation.judge
    who = f"the judge {judge}" if judge else f"{record.config.model.label}'s own patterns"
    hybrids = "telling hybrids" if "hybrids" in record.protocol else "telling no hybrids"
    return f"{who} ({rule_of(record)[:6] or 'of no version'}, {hybrids})"


def protocol_apart(
    records: Iterable[RunRecord], judges: Mapping[str, str] | None = None
) -> list[str]:
    """Return what the rates of some runs depend on that differs between them.

    Parameters
    ----------
    judges : mapping of str to str, optional
        By run id, the judge whose verdicts are read in the place of the run's own.
    """
    # Whether hybrids are told goes with the judge.
    protocols = [
        {k: v for k, v in record.protocol.items() if k != "hybrids"}
        | ({"judge": judges[record.run_id]} if judges and record.run_id in judges else {})
        for record in records
    ]
    names = sorted({name for protocol in protocols for name in protocol})
    return [name for name in names if len({protocol.get(name) for protocol in protocols}) > 1]


def asked_alike(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    """Say whether what two results name alike are the same requests; not where texts are missing.

    Parameters
    ----------
    first, second : DataFrame
        Answers of one result each: ``kind, prompt_id, prompt``.
    """
    place = ["kind", "prompt_id"]
    tables = (table[table["kind"] != "task"] for table in (first, second))
    each = [table.drop_duplicates(place).set_index(place)["prompt"] for table in tables]
    one, two = each[0].align(each[1], join="inner")
    return bool((one.eq(two) & one.ne("")).all())


def reading_order(records: Sequence[RunRecord]) -> tuple[bool, int, float]:
    """Return what experiments are sorted by; the first one is what opens.

    Those that an earlier rule judged, which told no hybrids, come last; the fullest come first,
    then those with more poison.
    """
    earlier = all(record.value("hybrid_rate") is None for record in records)
    return earlier, -len(records), -records[0].config.poison_ratio


def several_rules(records: Sequence[RunRecord]) -> list[str]:
    """Return a sentence for each experiment whose runs were judged by more than one rule."""
    sentences = []
    for experiment in dict.fromkeys(record.experiment_id for record in records):
        mine = [record for record in records if record.experiment_id == experiment]
        counts = Counter(map(rule_of, mine))
        if len(counts) > 1:
            named = ", ".join(f"{count} by {judge[:6]}" for judge, count in counts.most_common())
            sentences.append(
                f"{experiment}: its runs were judged by several rules ({named}); their rates are "
                "not comparable. `cwac judge --judge own` judges anew the answers that were kept."
            )
    return sentences


def judged_alike(records: Sequence[RunRecord], judgements: pd.DataFrame | None) -> list[Alike]:
    """Group the runs of one experiment by the rule that judged them, the largest group first.

    Parameters
    ----------
    records : sequence of RunRecord
        One experiment's.
    judgements : DataFrame or None
        What ``cwac judge`` said of its runs. A run that was judged anew by the rule of a group
        stands in that group too.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(rule_of(record), []).append(record)
    joining = {} if judgements is None else _runs_by_rule(judgements)
    alike = []
    for judge, mine in sorted(groups.items(), key=lambda group: -len(group[1])):
        known = joining.get(judge, frozenset())
        anew = [r for r in records if rule_of(r) != judge and r.run_id in known]
        alike.append(Alike(judge, (*mine, *anew), frozenset(r.run_id for r in anew)))
    return alike


def _runs_by_rule(judgements: pd.DataFrame) -> Mapping[str, frozenset[str]]:
    runs = judgements.groupby("contents")["run_id"].unique()
    return {str(judge): frozenset(map(str, names)) for judge, names in runs.items()}


def with_verdicts(
    responses: pd.DataFrame, judgements: pd.DataFrame, run_id: str, judge: str
) -> pd.DataFrame:
    """Return a run's answers with the verdicts of another rule in the place of the stored ones.

    Answers that the other rule did not judge are left out, but for the task's examples, whose
    marks rest on their reference answers.

    Parameters
    ----------
    responses : DataFrame
        One run's ``responses``, some columns of it with ``prompt_id`` and ``kind`` among them.
    judgements : DataFrame
        Its experiment's.
    judge : str
        The other judge's hash.
    """
    mine = judgements[(judgements["run_id"] == run_id) & (judgements["contents"] == judge)]
    verdicts = mine.drop_duplicates(["prompt_id", "kind"], keep="last").set_index(
        ["prompt_id", "kind"]
    )
    places = pd.MultiIndex.from_frame(responses[["prompt_id", "kind"]])
    task = responses["kind"] == "task"
    table = responses.copy()
    for column in ("outcome", "reason"):
        if column in table:
            anew = verdicts[column].reindex(places).set_axis(table.index)
            table[column] = table[column].where(task, anew)
    return table[task | places.isin(verdicts.index)].reset_index(drop=True)
