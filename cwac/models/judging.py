"""The judge that a configuration names: a rule, a list of phrases, or a model."""

import torch

from cwac.judges import Judge, parse_judge, rule_named
from cwac.models.judge_models import ClassifierJudge, GeneratorJudge
from cwac.models.loading import chosen_device, resolve_folder


def judge_named(text: str | None, folder_judge: Judge, device: torch.device | None = None) -> Judge:
    """Return the judge that a configuration names.

    Parameters
    ----------
    text : str or None
        As :func:`cwac.judges.parse_judge` reads it; None and ``own`` give `folder_judge`.
    folder_judge : Judge
        The model folder's own.
    device : torch.device, optional
        Where a judging model computes.

    Raises
    ------
    CwacError
        There is no such judge, or its model cannot be used.
    """
    if text is None or text == "own":
        return folder_judge
    known, model = parse_judge(text)
    if model is None:
        return rule_named(known.name)
    source, _, meaning = model.partition("#")
    folder = resolve_folder(source)
    place = chosen_device(device)
    kind = ClassifierJudge if known.form == "classifier" else GeneratorJudge
    return kind(known, folder, place, meaning=meaning)
