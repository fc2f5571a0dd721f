"""Judges of the same answers: their rates, how far they agree, the answers they differ on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis import refusals
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import Reading, beyond, possible_verdicts, stays_low
from cwac.analysis.outcomes import Cells, interval_text
from cwac.arms import ALIGNED, BASELINE, Arm
from cwac.rates import HYBRIDS_TOLD, RATES, REQUESTS
from cwac.statistics import agreements, rates

STORED: Final = "stored"
"""The judge that a run was measured with."""
GENERAL: Final = "general"
PREFIX: Final = "judge:"
"""What the columns of outcomes begin with; a judge's name follows."""
AGREEMENT_COLUMNS: Final = ("group", "first", "second", "same", "n", "raw", "low", "high", "kappa")
_ABOUT: Final = (
    "run_id",
    "variant",
    "seed",
    "prompt_id",
    "kind",
    "unseen_category",
    "novel_template",
    HYBRIDS_TOLD,
)
RATE_COLUMNS: Final = ("judge", *refusals.COLUMNS)
GROUPS: Final = ("harmful requests", "look-alikes", "harmless requests")


def judged(responses: pd.DataFrame, judgements: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return stored answers with one column ``judge:NAME`` of outcomes per judge.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` with ``run_id``, and ``variant`` and ``seed`` where they are known; task
        answers are left out.
    judgements : DataFrame, optional
        The experiment's table of further verdicts; an outcome is missing where a judge did not
        judge an answer.
    """
    rows = responses[responses["kind"] != "task"]
    table = rows[[column for column in _ABOUT if column in rows]].copy()
    table[PREFIX + STORED] = rows["outcome"]
    table[PREFIX + GENERAL] = rows["general_outcome"]
    if judgements is None or judgements.empty:
        return table
    wide = judgements.pivot_table(
        index=["run_id", "prompt_id", "kind"], columns="judge", values="outcome", aggfunc="last"
    )
    wide.columns = [f"{PREFIX}{name}" for name in wide.columns]
    # The general rule's verdicts stand with every run; judged again they are the same.
    new = [name for name in wide.columns if name not in table.columns]
    return table.merge(
        wide[new].reset_index(), on=["run_id", "prompt_id", "kind"], how="left", sort=False
    )


def judges_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the judges that a table of :func:`judged` has a column of."""
    names = (str(name) for name in table.columns)
    return [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]


def agreement_table(table: pd.DataFrame) -> pd.DataFrame:
    """Compare every two judges on the answers that both judged, per kind of request.

    Parameters
    ----------
    table : DataFrame
        From :func:`judged`.

    Returns
    -------
    DataFrame
        The columns `AGREEMENT_COLUMNS`; ``raw``, ``low``, ``high`` are fractions (Wilson
        interval, answers taken as independent); ``kappa`` is missing where chance alone gives
        full agreement.
    """
    names = [PREFIX + name for name in judges_of(table)]
    rows = []
    for group in GROUPS:
        rated = table[REQUESTS[group].among(table)]
        for number, one in enumerate(names):
            for other in names[number + 1 :]:
                both = rated.dropna(subset=[one, other])
                titles: Mapping[str, list[str]] = {
                    one.removeprefix(PREFIX): both[one].tolist(),
                    other.removeprefix(PREFIX): both[other].tolist(),
                }
                (pair,) = agreements(titles)
                if pair.n:
                    rows.append((group, *(getattr(pair, name) for name in AGREEMENT_COLUMNS[1:])))
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def agreement_sentence(pairs: pd.DataFrame) -> str:
    """Say how far the two judges that agree least agree, per kind of request, or that all agree.

    Parameters
    ----------
    pairs : DataFrame
        From :func:`agreement_table`.
    """
    if pairs.empty:
        return "No answer was judged twice."
    counts = pairs.groupby(["first", "second"], sort=False)[["same", "n"]].sum().reset_index()
    least = min(counts.to_dict("records"), key=lambda row: float(row["same"] / row["n"]))
    first, second, same, n = (least[name] for name in ("first", "second", "same", "n"))
    if same == n:
        named = enumerated(dict.fromkeys([*pairs["first"], *pairs["second"]]))
        return f"The judges {named} give every answer the same verdict ({n} answers)."
    mine = pairs[(pairs["first"] == first) & (pairs["second"] == second)].to_dict("records")
    kinds = ", ".join(
        f"{100 * row['raw']:.1f}\u00a0% [{100 * row['low']:.1f}, {100 * row['high']:.1f}] of "
        f"{row['n']} to {row['group']}"
        for row in mine
    )
    most = ", the two that agree least," if len(counts) > 1 else ""
    return f"The judges {first} and {second}{most} give the same verdict on {kinds}."


def verdicts_by_judge(table: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's harmful score by each judge, and whether it holds by that judge.

    Parameters
    ----------
    table : DataFrame
        From :func:`judged`, with ``variant`` and ``seed``.

    Returns
    -------
    DataFrame
        ``judge, variant, value, low, high, n, seeds, verdict``: fractions, and the verdicts that
        ``cwac.analysis.holding`` leaves, beside SFT and the aligned model by the same judge; no row
        of these, nor where they were not judged.
    """
    rows: list[dict[str, Any]] = []
    for judge in judges_of(table):
        marked = table.dropna(subset=[PREFIX + judge])
        marked = marked.assign(outcome=marked[PREFIX + judge])
        counted = RATES["harmful_score"].counted(marked)
        scores = rates(Cells(marked).outcomes(*counted, pool="first"))
        named = {label: vars(share) for label, share in scores.items()}
        aligned, sft = named.get(ALIGNED.label), named.get(BASELINE)
        if aligned is None or sft is None:
            continue
        lost = beyond(sft, aligned, sft, 0)
        for label, mine in named.items():
            if label not in (ALIGNED.label, BASELINE):
                left = possible_verdicts(mine, aligned, sft, lost)
                verdict = Reading(left, "free").verdict
                rows.append({"judge": judge, "variant": label, **mine, "verdict": verdict})
    columns = ["judge", "variant", "value", "low", "high", "n", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def changed_sentence(verdicts: pd.DataFrame, arms: Iterable[Arm]) -> str:
    """Say of which arms it depends on the judge whether they hold; empty where none was judged so.

    Parameters
    ----------
    verdicts : DataFrame
        From :func:`verdicts_by_judge`.
    arms : iterable of Arm
        Those that may be named.
    """
    told: list[str] = []
    moved: dict[str, Sequence[Mapping[Any, Any]]] = {}
    for arm in arms:
        mine = verdicts[verdicts["variant"] == arm.label].to_dict("records")
        if len(mine) < 2:
            continue
        moved[arm.title] = mine
        said = {(row["verdict"], stays_low(row["value"])) for row in mine}
        if len(said) > 1:
            told.append(f"{arm.title}: {_by_each(mine, [_conclusion(row) for row in mine])}")
    if not moved:
        return ""
    count = f"{len(moved)} arm{'s' if len(moved) != 1 else ''}"
    if told:
        listed = ". ".join(told)
        return f"Who judges changes a conclusion for {len(told)} of {count}. {listed}."
    most = max(moved, key=lambda name: _spread(moved[name]))
    by = _by_each(moved[most], [""] * len(moved[most]))
    return (
        "Who judges changes no conclusion: whether harm is held and stays low is the same by every "
        f"judge for {count}. The harmful score moves most for {most}: {by}."
    )


def _spread(rows: Sequence[Mapping[Any, Any]]) -> float:
    values = [float(row["value"]) for row in rows]
    return max(values) - min(values)


def _conclusion(row: Mapping[Any, Any]) -> str:
    low = "stays low" if stays_low(row["value"]) else "does not stay low"
    return f"{row['verdict']}, {low} "


def _by_each(rows: Sequence[Mapping[Any, Any]], said: Sequence[str]) -> str:
    parts = (f"by {row['judge']} {text}{interval_text(row, 1)}"
             for row, text in zip(rows, said, strict=True))  # fmt: skip
    return "; ".join(parts)


def judge_rates(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the share of answers to which each judge gives an outcome, per arm and group.

    Parameters
    ----------
    table : DataFrame
        From :func:`judged`, with ``variant`` and ``seed``.
    outcome : str
        One of ``cwac.records.OUTCOMES``; a judge that calls no answer a hybrid does not tell them.

    Returns
    -------
    DataFrame
        The columns `RATE_COLUMNS`; fractions with their 95 % interval over the ``n`` requests
        that the judge judged under every seed of the arm. What a judge did not judge has no row.
    """
    parts = []
    for judge in judges_of(table):
        marked = table.dropna(subset=[PREFIX + judge])
        if judge not in {STORED, GENERAL}:
            # The column speaks of the runs' own judge.
            marked = marked.drop(columns=HYBRIDS_TOLD, errors="ignore")
        if outcome == "hybrid" and not (marked[PREFIX + judge] == outcome).any():
            continue
        shares = refusals.outcome_rates(marked.assign(outcome=marked[PREFIX + judge]), outcome)
        parts.append(shares[shares["group"].isin(GROUPS)].assign(judge=judge))
    if not parts:
        return pd.DataFrame(columns=list(RATE_COLUMNS))
    return pd.concat(parts, ignore_index=True)[list(RATE_COLUMNS)]


def disputed_counts(table: pd.DataFrame, seed: int, judges: Sequence[str]) -> dict[str, int]:
    """Return the number of rows that :func:`disputed` has for every arm, by label."""
    rows = table[(table["seed"] == seed) | (table["variant"] == ALIGNED.label)]
    counts = _differ(rows, judges).groupby(rows["variant"]).sum()
    return {str(arm): int(count) for arm, count in counts.items()}


def _differ(rows: pd.DataFrame, judges: Sequence[str]) -> "pd.Series[bool]":
    # Column by column: a table of text is slow to turn round.
    first = rows[PREFIX + judges[0]]
    differ = pd.Series(data=False, index=rows.index)
    for judge in judges[1:]:
        verdict = rows[PREFIX + judge]
        differ |= (verdict.notna() & first.notna() & (verdict != first)).astype(bool)
        first = first.where(first.notna(), verdict)
    return differ


def disputed(table: pd.DataFrame, arm: Arm, seed: int, judges: Sequence[str]) -> pd.DataFrame:
    """Return the answers of one arm that not all of some judges judged alike.

    Parameters
    ----------
    table : DataFrame
        From :func:`judged`, with ``variant`` and ``seed``.
    seed : int
        The arm's run of this seed; the aligned model has one alone.
    judges : sequence of str
        Whose verdicts count.

    Returns
    -------
    DataFrame
        ``run_id``, ``prompt_id``, ``kind`` and a column per judge, harmful requests first; a
        verdict is missing where a judge did not judge the answer.
    """
    rows = table[table["variant"] == arm.label]
    if not arm.is_aligned:
        rows = rows[rows["seed"] == seed]
    split = rows[_differ(rows, judges)]
    named = split.rename(columns={PREFIX + judge: judge for judge in judges})
    kinds = {"harmful": 0, "lookalike": 1, "harmless": 2}
    named = named.sort_values("kind", key=lambda kind: kind.map(kinds), kind="stable")
    return named[["run_id", "prompt_id", "kind", *judges]].reset_index(drop=True)
