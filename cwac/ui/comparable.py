"""Experiments of other models that may stand beside the one in view, and what else they differ in.

Stands alone because Results and Mechanism both ask whether something holds on other models, and
must mean the same models by it.
"""

from collections.abc import Callable, Mapping

from cwac.analysis.by_model import apart, aspects, trained_alike
from cwac.arms import BASELINE
from cwac.ui.experiments import Experiment, earlier
from cwac.ui.frame import Frame


def models_in_view(
    frame: Frame, fits: Callable[[Experiment], object] | None = None
) -> dict[str, Experiment]:
    """Return an experiment per model, comparable in kind with the one in view, that one first.

    Of several experiments of a model, the one that differs least from that in view stands for it,
    then the one with the most arms of it. Models with the same settings come first.

    Parameters
    ----------
    fits : callable, optional
        Says which others have what is compared; without it those that share an arm beside SFT.
    """
    first = frame.experiments[0]
    kind, here = trained_alike(first.config), aspects(first.config)
    mine = {record.arm.label for record in first.records} - {BASELINE}

    def shared(other: Experiment) -> int:
        return len(mine & {record.arm.label for record in other.records})

    def distance(other: Experiment) -> tuple[int, int]:
        return unlike(here, aspects(other.config)), -shared(other)

    others = [
        other
        for other in frame.listing.experiments
        # Each model has its own patterns, so that hashes differ: rules of one kind tell hybrids.
        if trained_alike(other.config) == kind
        and earlier(other) == earlier(first)
        and not other.config.is_measured
        and (fits or shared)(other)
    ]
    models = {first.config.model.label: first}
    if not first.config.is_measured:
        for other in sorted(others, key=distance):
            models.setdefault(other.config.model.label, other)
    return models


def unlike(here: Mapping[str, str], there: Mapping[str, str]) -> int:
    """Return in how many of their `aspects` two experiments differ."""
    return sum(there[name] != text for name, text in here.items())


def differences(models: Mapping[str, Experiment], further: Mapping[str, Mapping[str, str]]) -> str:
    """Name what differs between experiments, so that nobody takes it for the model's alone.

    Parameters
    ----------
    models : mapping of str to Experiment
        As from `models_in_view`.
    further : mapping of str to mapping
        Model to what else may differ, in words.

    Returns
    -------
    str
        A sentence with a space behind it; empty where the models alone differ.
    """
    each = {name: aspects(e.config) | further.get(name, {}) for name, e in models.items()}
    differing = apart(each)
    return f"Not the model alone differs: {differing}. " if differing else ""
