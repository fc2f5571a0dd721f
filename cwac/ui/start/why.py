"""Why refusals go, of the experiment in view: Start, the lesson and its hand-out say it."""

from cwac.analysis import drift
from cwac.analysis.causes import restored
from cwac.analysis.lesson import over_runs
from cwac.analysis.outcomes import by_arm_and_rate
from cwac.analysis.why import inside_sentence, returned_sentence, without_inside
from cwac.arms import BASELINE
from cwac.ui.answers import answers_in_view, rates_of_answers
from cwac.ui.frame import Frame
from cwac.ui.once import once


def why(frame: Frame) -> str:
    """Return what the numbers say of the cause, in plain text; empty where nothing was measured."""
    rates = by_arm_and_rate(rates_of_answers(answers_in_view(frame)))
    arms = [arm for arm in frame.arms if arm.overlay is None]
    chance = chance_inside(frame)
    said = []
    if chance is not None:
        inside = over_runs(frame.records_in_view, "protected_energy")
        said.append(inside_sentence(inside, chance, rates, arms))
    sft = [r for r in frame.records_in_view if r.arm.label == BASELINE]
    stored = frame.pairs("dissection")
    mine = stored[stored["run_id"].isin([r.run_id for r in sft])]
    if len(mine):
        seeds = {r.run_id: r.config.seed for r in sft}
        arm, named = sft[0].arm, {r.run_id: r.arm for r in sft}
        effects = once(restored, mine, named, seeds)
        split = once(without_inside, mine, named, seeds, arm)
        said.append(returned_sentence(effects, split, arm, rates))
    return " ".join(filter(None, said))


def chance_inside(frame: Frame) -> float | None:
    """Return the share of a random update of SFT's size in the safety subspace."""
    columns = ("yardstick", "delta_norm", "inside_energy", "random_energy")
    runs = [r.run_id for r in frame.records_in_view if r.arm.label == BASELINE]
    table = frame.table("weight_drift", columns, runs=runs)
    return None if table.empty else drift.chance_inside(table)
