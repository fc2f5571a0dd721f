"""How long a training step took: what a method costs besides the refusals and the task it loses.

Stands alone because hand-outs alone set it beside rates; it is no rate, and has no interval.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from cwac.analysis.enumeration import enumerated
from cwac.analysis.lesson import over_runs
from cwac.analysis.seeds import ends_text
from cwac.records import RunRecord

TITLE: Final = "Seconds a step"


def step_seconds(records: Iterable[RunRecord]) -> dict[str, str]:
    """Return the seconds that a step of each arm took, by label; none of an arm that was not timed.

    Returns
    -------
    dict of str to str
        ``0.11 (3 seeds: 0.07 to 0.12)``: the mean of its runs' medians, the lowest and the highest.
    """
    texts = {}
    for row in over_runs(records, "seconds_per_step").to_dict("records"):
        value, low, high = (f"{row[name]:.2g}" for name in ("value", "low", "high"))
        seeds = int(row["seeds"])
        ends = f" {ends_text(low, high, seeds, counted=True)}" if seeds > 1 else " (1 seed)"
        texts[str(row["variant"])] = f"{value}{ends}"
    return texts


def timing_note(records: Sequence[RunRecord]) -> str:
    """Return where the steps were timed, in a sentence; empty where none was."""
    timed = [r.provenance for r in records if r.value("seconds_per_step") is not None]
    if not timed:
        return ""
    places = dict.fromkeys(
        one.device if one.threads is None else f"{one.device} ({_threads(one.threads)})"
        for one in timed
    )
    apart = "" if len(places) == 1 else ", which are not to be compared"
    return (
        f"{TITLE}: the mean of the runs' medians, on {enumerated(places)}{apart}, beside whatever "
        "else the machine did."
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count != 1 else ''}"
