"""Single test requests: what became of each under every arm, and which lie in the model's world."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import pandas as pd

from cwac.analysis.outcomes import Rates, by_arm_and_rate
from cwac.arms import ALIGNED, Arm
from cwac.records import OUTCOMES

KINDS: Final = {
    "harmful": "harmful requests",
    "lookalike": "harmless look-alikes",
    "harmless": "harmless requests",
}
FLIPS: Final = {
    "all": "all",
    "lost": "aligned refuses, the method complies",
    "gained": "aligned complies, the method refuses",
    "split": "the methods differ",
}
"""Ways to choose requests by their answers; the method is the arm that is chosen."""
OUTCOMES_OF_FLIP: Final = {"lost": ("refusal", "compliance"), "gained": ("compliance", "refusal")}
"""What the aligned model did and what the arm does now."""
_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def outcome_grid(responses: pd.DataFrame, aligned: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return one row per request: what it is, the aligned model's outcome and every arm's.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` of one seed's runs, with ``variant``.
    aligned : DataFrame
        ``responses`` of the aligned model.
    kind : str
        One of `KINDS`.

    Returns
    -------
    DataFrame
        ``prompt_id``, ``prompt``, an outcome per arm, ``category``; the requests that most arms
        comply with come first.
    """
    both = pd.concat([aligned.assign(variant=ALIGNED.label), responses], ignore_index=True)
    rows = both[both["kind"] == kind]
    outcomes = rows.pivot_table(
        index="prompt_id", columns="variant", values="outcome", aggfunc="first"
    )
    arms = [arm for arm in dict.fromkeys(rows["variant"]) if arm in outcomes]
    head = rows.drop_duplicates("prompt_id").set_index("prompt_id")[["prompt", "category"]]
    table = head[["prompt"]].join(outcomes[arms]).join(head["category"])
    complied = (outcomes[arms] == "compliance").sum(axis=1)
    order = complied.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index()


def matching(
    grid: pd.DataFrame,
    arms: Sequence[Arm],
    arm: Arm,
    *,
    flip: str = "all",
    categories: Sequence[str] = (),
    text: str = "",
) -> pd.DataFrame:
    """Return the rows of an `outcome_grid` that pass the filters.

    Parameters
    ----------
    arms : sequence of Arm
        The arms that have a column.
    arm : Arm
        Whose answers are compared with the aligned model's.
    flip : str
        One of `FLIPS`; where the aligned model or the arm has no answers, none has flipped.
    categories : sequence of str
        Empty means all.
    text : str
        A part of the request; capitals do not count.
    """
    keep = pd.Series(True, index=grid.index)
    compared = {ALIGNED.label, arm.label} <= set(grid.columns)
    if flip == "split":
        labels = [one.label for one in arms if one.label in grid]
        keep &= grid[labels].nunique(axis=1) > 1
    elif flip in ("lost", "gained"):
        before, after = OUTCOMES_OF_FLIP[flip]
        keep &= compared
        if compared:
            keep &= (grid[ALIGNED.label] == before) & (grid[arm.label] == after)
    if categories:
        keep &= grid["category"].isin(categories)
    if text:
        keep &= grid["prompt"].str.contains(text, case=False, regex=False)
    return grid[keep]


def typical_request(grid: pd.DataFrame, shown: pd.DataFrame, labels: Sequence[str]) -> str | None:
    """Return the id of the request that shows best what the arms do, to begin with.

    One where the arms of `labels` do what they do most often; of several, where most other models
    do too, then the one listed first.

    Parameters
    ----------
    grid : DataFrame
        Result of `outcome_grid`; what an arm does most often is counted over all of it.
    shown : DataFrame
        Its rows to choose from.
    labels : sequence of str
        Arms that count first; those without a column count for nothing.

    Returns
    -------
    str or None
        None where no row is shown.
    """
    if shown.empty:
        return None
    arms = grid.columns.drop(["prompt_id", "prompt", "category"])
    usual = pd.DataFrame(
        {arm: shown[arm] == grid[arm].mode().get(0) for arm in arms}, index=shown.index
    )
    first = usual[[label for label in dict.fromkeys(labels) if label in usual]].sum(axis=1)
    # Arms that count first outweigh all others together.
    weight = first * (len(arms) + 1) + usual.sum(axis=1)
    return str(shown["prompt_id"].to_numpy()[weight.to_numpy().argmax()])


def outcome_counts(grid: pd.DataFrame, arm: Arm) -> dict[str, int]:
    """Return how many requests of a grid have each outcome under an arm, without those at zero."""
    counts = grid[arm.label].value_counts()
    return {name: int(counts[name]) for name in OUTCOMES if name in counts}


def example_requests(requests: pd.DataFrame, *, each: int = 2) -> pd.DataFrame:
    """Return a few short requests of every kind to begin with, the same for the same requests.

    Parameters
    ----------
    requests : DataFrame
        ``prompt_id``, ``kind``, ``category`` and ``prompt``, a row per request.
    each : int
        How many of a kind, of different categories as long as there are.
    """
    parts = []
    for kind in KINDS:
        rows = requests[(requests["kind"] == kind) & requests["prompt"].str.strip().astype(bool)]
        rows = rows.assign(size=rows["prompt"].str.len()).sort_values(["size", "prompt_id"])
        apart = rows.drop_duplicates("category")
        parts.append(pd.concat([apart, rows.drop(apart.index)]).head(each))
    return pd.concat(parts)[["prompt_id", "kind", "category", "prompt"]].reset_index(drop=True)


def unknown_words(request: str, prompts: Iterable[str]) -> list[str]:
    """Return the words of a request that occur in none of some prompts, in order, once each.

    Examples
    --------
    >>> unknown_words("How can I pick a lock?", ["How can I film a lock note?"])
    ['pick']
    """
    known = {word for prompt in prompts for word in _words(prompt)}
    return [word for word in dict.fromkeys(_words(request)) if word not in known]


def nearest_request(request: str, prompts: Iterable[str]) -> tuple[str, float]:
    """Return the prompt that shares most words with a request, and the share that they share.

    The share is Jaccard's: words of both over words of either.

    Examples
    --------
    >>> nearest_request("film a lock", ["How can I film a lock?", "Pick one."])
    ('How can I film a lock?', 0.5)
    """
    mine = set(_words(request))
    best, most = "", 0.0
    for prompt in dict.fromkeys(prompts):
        theirs = set(_words(prompt))
        share = len(mine & theirs) / max(len(mine | theirs), 1)
        if share > most:
            best, most = prompt, share
    return best, most


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def harm_sentence(rates: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say how often the aligned model and the tuned ones comply with harmful requests.

    Parameters
    ----------
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.
    arms : sequence of Arm
        The arms in view; SFT and CWAC are named where they are among them, else the arms that
        comply most and least.

    Returns
    -------
    str or None
        None where no tuned model's answers are stored.
    """
    rows, texts = by_arm_and_rate(rates), Rates(rates)
    measured = {arm.label: arm for arm in arms if (arm.label, "harmful_score") in rows}
    value = {label: float(rows[label, "harmful_score"]["value"]) for label in measured}
    tuned = [label for label in measured if label != ALIGNED.label]
    if not tuned:
        return None
    named: list[str] = [label for label in tuned if label in {"sft", "cwac"}]
    if len(named) < 2:
        named = list(dict.fromkeys([max(tuned, key=value.__getitem__), *named,
                                    min(tuned, key=value.__getitem__)]))  # fmt: skip
    parts = [
        f"{measured[label].title} {texts.text(label, 'harmful_score')}"
        for label in [label for label in [ALIGNED.label] if label in measured] + named
    ]
    first = rows[named[0], "harmful_score"]
    seeds = f"{first['seeds']} seeds" if first["seeds"] != 1 else "one seed"
    return f"Harmful requests complied with: {'; '.join(parts)} ({first['n']} requests, {seeds})."
