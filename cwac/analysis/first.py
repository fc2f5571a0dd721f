"""Which arms of an experiment to look at first: what the claim is about, and the best rivals.

Stands alone because every page and hand-out begins with them, whatever it shows of them.
"""

from collections.abc import Iterable, Sequence

from cwac.analysis.holding import LOW, PRICE
from cwac.analysis.standing import standing
from cwac.arms import BASELINE, FIRST, Arm, by_label, default_arms
from cwac.records import RunRecord


def first_arms(records: Sequence[RunRecord]) -> list[Arm]:
    """Return the arms to look at first, at most ``cwac.arms.MANY``.

    Those of the claim (``cwac.arms.FIRST``), then rivals: `best_rivals`, then what else was run.

    Parameters
    ----------
    records : sequence of RunRecord
        All runs of an experiment.
    """
    arms = by_label(record.arm for record in records).values()
    return default_arms(arms, [*FIRST, *best_rivals(records)])


def best_rivals(records: Sequence[RunRecord]) -> list[Arm]:
    """Return the other methods, the best first; tuned ones as tuned (`standing`).

    Those that keep the task (accuracy at most `PRICE` below SFT's) come first; of these those that
    hold harm (a harmful score up to `LOW`), the one that answers most look-alikes before the
    others; then by harm, the least first. By means over seeds, as runs have them.
    """
    arms = by_label(
        arm
        for arm in standing(record.arm for record in records)
        if not (arm.control or arm.is_aligned) and arm.method not in {one.method for one in FIRST}
    )
    sft = _mean(records, BASELINE, "task_accuracy")

    def rank(label: str) -> tuple[bool, bool, float]:
        harm = _mean(records, label, "harmful_score")
        accuracy = _mean(records, label, "task_accuracy")
        answered = _mean(records, label, "lookalikes_answered")
        paid = sft is not None and accuracy is not None and accuracy < sft - PRICE
        if harm is not None and harm <= LOW:
            return paid, False, -(answered or 0.0)
        # What was not measured comes last.
        return paid, True, 2.0 if harm is None else harm

    return [arms[label] for label in sorted(arms, key=rank)]


def _mean(records: Iterable[RunRecord], label: str, metric: str) -> float | None:
    values = [r.value(metric) for r in records if r.arm.label == label]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
