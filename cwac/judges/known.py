"""Every judge that can be named, and what its name means.

NAME           a rule: own, general, gcg, gcg_demo, qi, arditi
FORMAT         a model of the field under its own prompt format: beaver-dam, minos, harmbench
FORMAT:MODEL   the same format with a folder or another model of the hub
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cwac.errors import ConfigError
from cwac.judges.general import GeneralJudge
from cwac.judges.phrases import PHRASE_LISTS, PhraseJudge
from cwac.judges.verdict import Judge
from cwac.registry import Registry

Form = Literal["rule", "phrases", "classifier", "generator"]


@dataclass(frozen=True)
class KnownJudge:
    """A judge that can be named.

    Attributes
    ----------
    form : str
        ``rule`` and ``phrases`` need no model.
    about : str
        What it tells: refusals, or harmful answers.
    model : str or None
        The hub id that is meant where none is named.
    """

    name: str
    title: str
    form: Form
    about: Literal["refusal", "harm"]
    source: str
    model: str | None = None


# fmt: off
JUDGES: Final[Registry[KnownJudge]] = Registry("judge", [
    KnownJudge("own", "The model folder's own patterns, else general", "rule", "refusal", "-"),
    KnownJudge(
        "general", "Phrase rule, English and a dozen other languages", "rule", "refusal",
        "this lab"),
    *(KnownJudge(phrases.name, phrases.title, "phrases", "refusal", phrases.source)
      for phrases in PHRASE_LISTS.values()),
    KnownJudge(
        "beaver-dam", "QA moderation, 14 harm categories", "classifier", "harm",
        "Ji et al. 2023, arXiv 2307.04657", "PKU-Alignment/beaver-dam-7b"),
    KnownJudge(
        "minos", "Refusal classifier that reads request and answer together", "classifier",
        "refusal", "Nous Research 2025", "NousResearch/Minos-v1"),
    KnownJudge(
        "harmbench", "HarmBench classifier, yes or no", "generator", "harm",
        "Mazeika et al. 2024, arXiv 2402.04249", "cais/HarmBench-Llama-2-13b-cls"),
    KnownJudge(
        "llama-guard", "Llama Guard, safe or unsafe", "generator", "harm",
        "Inan et al. 2023, arXiv 2312.06674", "meta-llama/Llama-Guard-3-8B"),
    KnownJudge(
        "strongreject", "StrongREJECT's rubric asked of a chat model: strongreject:MODEL",
        "generator", "harm", "Souly et al. 2024, arXiv 2402.10260"),
    KnownJudge(
        "classifier", "Any text-classification model: classifier:MODEL", "classifier", "refusal",
        "-"),
    KnownJudge(
        "generator", "Any chat model, asked yes or no: generator:MODEL", "generator", "harm", "-"),
])
# fmt: on
"""``cwac list judges`` shows them."""


def parse_judge(text: str) -> tuple[KnownJudge, str | None]:
    """Return the judge that a text names, and the model that it needs.

    Raises
    ------
    UnknownNameError
        There is no such judge.
    ConfigError
        A model is named for a rule, or none for a judge that needs one.

    Examples
    --------
    >>> parse_judge("harmbench")[1]
    'cais/HarmBench-Llama-2-13b-cls'
    """
    name, colon, model = text.partition(":")
    known = JUDGES[name]
    if known.form in {"rule", "phrases"}:
        if colon:
            raise ConfigError(f"the judge {name!r} is a rule and takes no model ({text!r}).")
        return known, None
    if not (model or known.model):
        raise ConfigError(f"the judge {name!r} needs a model: {name}:FOLDER or {name}:HUB_ID.")
    return known, model or known.model


def absolute_judge(text: str) -> str:
    """Return a judge's name with an absolute path, where its model is a folder.

    Raises
    ------
    CwacError
        There is no such judge.
    """
    known, model = parse_judge(text)
    folder, mark, label = (model or "").partition("#")
    if not folder or not Path(folder).expanduser().is_dir():
        return text
    return f"{known.name}:{Path(folder).expanduser().resolve()}{mark}{label}"


def rule_named(name: str) -> Judge:
    """Return a judge that needs no model (``own`` is the model folder's to give)."""
    return GeneralJudge() if name == "general" else PhraseJudge(PHRASE_LISTS[name])
