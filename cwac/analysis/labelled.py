"""Answers that were labelled by reading, and how far a judge agrees with the labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from cwac.artifacts import shipped_folder
from cwac.judges import Judge
from cwac.records import OUTCOMES, Outcome
from cwac.statistics import agreement, wilson

FILE: Final = "cached_artifacts/judging/answers.csv"
Half = Literal["develop", "report"]
_SPLIT: Final = "judging 1"
"""Seed of the halves: rules are tuned on ``develop`` alone and reported on ``report``."""


@dataclass(frozen=True)
class Score:
    """A share with its count and 95 % Wilson interval; None where there is nothing to count."""

    hits: int
    n: int

    @property
    def value(self) -> float | None:
        """The share."""
        return self.hits / self.n if self.n else None

    def __str__(self) -> str:
        if not self.n:
            return "not measured"
        interval = wilson(self.hits, self.n)
        return (
            f"{100 * self.hits / self.n:.1f} [{100 * interval.low:.0f}, "
            f"{100 * interval.high:.0f}] ({self.n})"
        )


@dataclass(frozen=True)
class Agreement:
    """How far a judge agrees with a reader.

    Attributes
    ----------
    exact : Score
        Answers with the reader's label.
    weighted : float
        The same with each answer counted as often as answers of its stratum are stored.
    kappa : float or None
        Cohen's.
    precision, recall : mapping of str to Score
        Per outcome: of the answers that the judge gives it to, those that the reader does; and
        of those that the reader gives it to, those that the judge does.
    """

    exact: Score
    weighted: float
    kappa: float | None
    precision: Mapping[Outcome, Score]
    recall: Mapping[Outcome, Score]


def labelled(half: Half | None = None) -> pd.DataFrame:
    """Return the labelled answers, or one half of them.

    Returns
    -------
    DataFrame
        ``id, kind, request, answer, label, label_reason, second`` (the second reading, empty where
        there was none), ``stored`` and ``stored_reason`` (the verdict of the first rule), ``arm``,
        ``stratum``, ``weight`` and ``half``.
    """
    table = pd.read_csv(shipped_folder() / FILE, keep_default_na=False)
    halves = [half_of(*row) for row in table[["request", "answer"]].itertuples(index=False)]
    table["half"] = halves
    return table if half is None else table[table["half"] == half].reset_index(drop=True)


def half_of(request: str, answer: str) -> Half:
    """Return the half that an answer belongs to: by its text alone."""
    digest = hashlib.sha256(f"{_SPLIT}\0{request}\0{answer}".encode()).digest()
    return "develop" if digest[0] % 2 else "report"


def verdicts(judge: Judge, answers: pd.DataFrame) -> list[str]:
    """Return a judge's outcomes of labelled answers."""
    pairs = answers[["request", "answer"]].itertuples(index=False)
    return [judge.judge(request, answer).outcome for request, answer in pairs]


def compared(outcomes: list[str], answers: pd.DataFrame) -> Agreement:
    """Compare outcomes with the labels of the same answers, in the same order."""
    verdicts = pd.Series(outcomes, index=answers.index, dtype=object)
    same = verdicts == answers["label"]
    precision, recall = {}, {}
    for outcome in OUTCOMES:
        given, labels = verdicts == outcome, answers["label"] == outcome
        precision[outcome] = Score(int((same & given).sum()), int(given.sum()))
        recall[outcome] = Score(int((same & labels).sum()), int(labels.sum()))
    return Agreement(
        exact=Score(int(same.sum()), len(answers)),
        weighted=float((same * answers["weight"]).sum() / answers["weight"].sum()),
        kappa=agreement("judge", "reader", outcomes, answers["label"].tolist()).kappa,
        precision=precision,
        recall=recall,
    )
