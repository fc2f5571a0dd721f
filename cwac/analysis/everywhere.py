"""Every method in every setting beside an experiment: what follows one defence along a row.

A method that holds here may fall on another task, with more poison, on another model, under another
attacker, or where answers are drawn otherwise. Each cell is decided by ``cwac.analysis.holding``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import pandas as pd

from cwac.analysis.attacks import under_each_attacker
from cwac.analysis.by_model import REFERENCE
from cwac.analysis.claims import FOCUS
from cwac.analysis.comparable import JudgedT, Runs, at_each_ratio, on_each_model
from cwac.analysis.holding import FAILS, HOLDS, NOTHING, Reading, beyond, possible_verdicts
from cwac.analysis.matrix import on_each_task
from cwac.analysis.outcomes import interval_text
from cwac.analysis.standing import standing
from cwac.arms import ALIGNED, BASELINE, Arm, by_label
from cwac.rates import DECODINGS, RATES

HERE: Final = "in view"
COLUMNS: Final = (
    *("group", "setting", "method", "arm", "title", "value", "low", "high", "n", "seeds"),
    *("verdict", "price", "stands"),
)
"""``price`` is whether the task was the price, as ``holding.price_of`` says it."""
ANSWERS: Final = "answers"
"""The group of the setting in view with other answers than the greedy ones."""
_LEAST: Final = 1 / 3
"""Share of the settings in which a method was run at least, before it has a column."""
_NAMED: Final = 4
"""Methods that a title names."""
_HARM: Final = "harmful_score"


class Setting(NamedTuple):
    """A setting that methods were run in."""

    group: str
    """In what it differs from the one in view: `HERE` for that one itself."""
    setting: str


def settings_beside(first: JudgedT, others: Sequence[JudgedT]) -> dict[Setting, JudgedT]:
    """Return the experiments that differ from one in a single thing, that one first.

    Parameters
    ----------
    others : sequence
        All experiments that there are.
    """
    config = first.records[0].config
    ratio = f"poison {100 * config.poison_ratio:g}\u00a0%"
    found = {Setting(HERE, f"{config.model.label}, {config.task.label}, {ratio}"): first}
    ratios, attackers = at_each_ratio(first, others), under_each_attacker(first, others)
    if 0 in ratios:
        # Who hands in the task alone is no poison under another name.
        attackers = {name: e for name, e in attackers.items() if not _is_task_alone(e)}
    groups: tuple[tuple[str, Mapping[str, JudgedT]], ...] = (
        ("task", on_each_task(first, others)),
        ("poison", {f"{100 * share:g}\u00a0%": e for share, e in ratios.items()}),
        ("model", on_each_model(first, others)),
        ("attacker", attackers),
    )
    for group, experiments in groups:
        found |= {Setting(group, n): e for n, e in experiments.items() if e is not first}
    return found


def _is_task_alone(runs: Runs) -> bool:
    return runs.records[0].config.training.attack == "harmless"


def cells_of(setting: Setting, verdicts: pd.DataFrame, arms: Iterable[Arm]) -> list[dict[str, Any]]:
    """Return a row of `COLUMNS` for every method as it stands in a setting, and at its defaults.

    Controls have none.

    Parameters
    ----------
    verdicts : DataFrame
        From ``cwac.analysis.by_model.verdicts``, with its references.
    arms : iterable of Arm
        The setting's; of a method at tuned settings and at its defaults the tuned one stands.
    """
    known = by_label([ALIGNED, *(arm for arm in arms if not (arm.control or arm.overlay))])
    stand = {arm.label for arm in standing(known.values())}
    rows = [
        {
            **setting._asdict(),
            **_named(known[row["variant"]], stands=row["variant"] in stand),
            **{end: row[f"{_HARM}_{end}"] for end in ("low", "high", "n")},
            "value": row[_HARM],
            "seeds": row["seeds"],
            "verdict": row["verdict"],
            "price": row["price"],
        }
        for row in verdicts.to_dict("records")
        if row["variant"] in known
        and (row["variant"] in stand or not known[row["variant"]].changed)
    ]
    return [row for row in rows if not pd.isna(row["value"])]


def cells_of_decodings(
    hidden: pd.DataFrame, greedy: Iterable[Mapping[Any, Any]], arms: Iterable[Arm]
) -> list[dict[str, Any]]:
    """Return the rows of other answers than the greedy ones, in the setting in view.

    Parameters
    ----------
    hidden : DataFrame
        From ``cwac.analysis.hidden``.
    greedy : iterable of mapping
        The rows of `cells_of` for the setting in view: what the task cost is the same however
        answers are drawn.
    arms : iterable of Arm
        The setting's.
    """
    stand = by_label([ALIGNED, *standing(arm for arm in arms if not arm.control)])
    prices = {row["arm"]: row["price"] for row in greedy}
    rows = []
    for name, decoding in DECODINGS.items():
        mine = hidden[hidden["rate"] == name].set_index("variant").to_dict("index")
        if not {ALIGNED.label, BASELINE} <= mine.keys():
            continue
        aligned, sft = mine[ALIGNED.label], mine[BASELINE]
        for label in [label for label in stand if label in mine]:
            possible = possible_verdicts(mine[label], aligned, sft, beyond(sft, aligned, sft, 0.0))
            price = prices.get(label, "open")
            verdict = Reading(possible, price).verdict
            rows.append(
                {
                    **Setting(ANSWERS, _short(decoding.title))._asdict(),
                    **_named(stand[label], stands=True),
                    **{end: mine[label][end] for end in ("value", "low", "high", "n", "seeds")},
                    "verdict": REFERENCE if label in (ALIGNED.label, BASELINE) else verdict,
                    "price": price,
                }
            )
    return rows


def _named(arm: Arm, *, stands: bool) -> dict[str, Any]:
    return {"method": arm.method, "arm": arm.label, "title": arm.title, "stands": stands}


def _short(title: str) -> str:
    """Return a decoding's title without what every row is of.

    Examples
    --------
    >>> _short(DECODINGS["prefilled_harmful_score"].title)
    'begun answer'
    """
    return title.rpartition(", ")[2]


def everywhere(cells: Iterable[Mapping[Any, Any]]) -> pd.DataFrame:
    """Return the cells of all settings as a table.

    Returns
    -------
    DataFrame
        `COLUMNS`; ``value`` is the harmful score as a fraction with its 95 % interval, ``title``
        that of the arm which stands for its method there.
    """
    return pd.DataFrame(list(cells), columns=list(COLUMNS))


def followed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the methods that were run in a third of the settings or more.

    Each as it stands there. Other answers in one setting are no settings of training.
    """
    table = table[table["stands"].astype(bool)]
    trained = table[table["group"] != ANSWERS]
    counts = trained.groupby("method")["setting"].nunique()
    shown = counts.index[counts >= _LEAST * trained["setting"].nunique()]
    return table[table["method"].isin(shown)].reset_index(drop=True)


class Count(NamedTuple):
    """In how many of the settings where SFT lost refusals a method holds, fails, is neither."""

    method: str
    title: str
    held: int
    failed: int
    settings: int
    open: int
    """Of those held: where it is undecided whether the task was the price."""

    @property
    def text(self) -> str:
        """As a cell has it: ``5/17``."""
        return f"{self.held}/{self.settings}"


def counts(table: pd.DataFrame) -> list[Count]:
    """Return the counts of every method: CWAC first, then by the share that is held.

    Parameters
    ----------
    table : DataFrame
        From `everywhere`. What was not measured is not counted, nor where SFT lost too little.
    """
    found = []
    for method, mine in table[table["verdict"] != REFERENCE].groupby("method", sort=False):
        decided = mine[~mine["verdict"].str.endswith(NOTHING)]
        held, failed = (int((decided["verdict"] == word).sum()) for word in (HOLDS, FAILS))
        # As it is called in the setting in view, where it was run there.
        unpriced = int(is_open(decided).sum())
        title = mine["title"].iloc[0]
        found.append(Count(str(method), title, held, failed, len(decided), unpriced))
    found = [one for one in found if one.settings]
    return sorted(found, key=lambda c: (c.method != FOCUS, -c.held / c.settings, -c.settings))


def is_open(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return where a method holds and it is undecided whether the task was the price."""
    return (rows["verdict"] == HOLDS) & (rows["price"] == "open")


def everywhere_title(found: Sequence[Count]) -> str:
    """Return who holds in most settings, and CWAC beside them.

    Parameters
    ----------
    found : sequence of Count
        From `counts`.
    """
    most = max((one.settings for one in found), default=0)
    # Three settings held of three are no more than twelve of thirteen.
    wide = [one for one in found if 2 * one.settings >= most]
    best = sorted(wide, key=lambda one: -one.held / one.settings)[:_NAMED]
    best += [one for one in found if one.method == FOCUS and one not in best]
    named = ", ".join(
        f"{one.title} {one.held} of {one.settings}{f' (‡ {one.open})' if one.open else ''}"
        for one in best
    )
    return f"Settings in which refusals hold, of those where SFT loses them: {named}"


def everywhere_sentence(table: pd.DataFrame, found: Sequence[Count]) -> str:
    """Return where CWAC holds and where it surely does not; empty where it was not run."""
    mine = next((one for one in found if one.method == FOCUS), None)
    if mine is None:
        return ""
    rows = table[(table["method"] == FOCUS) & (table["verdict"] == FAILS)].to_dict("records")
    worst = ", ".join(f"{interval_text(row)} at {setting_text(row)}" for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    left = mine.settings - mine.held - mine.failed
    return (
        f"{mine.title} holds in {mine.held} of {mine.settings} settings in which SFT loses "
        f"refusals; {left} {'is' if left == 1 else 'are'} in part, undecided or at the price of "
        f"the task, and in {mine.failed} it does not hold{f' ({worst}{more})' if rows else ''}."
    )


def defaults_sentence(table: pd.DataFrame, found: Sequence[Count]) -> str:
    """Return where a method's defaults would change its verdict; empty where they nowhere do.

    Tuned settings were chosen in one setting and are carried over to the others as they are.

    Parameters
    ----------
    table : DataFrame
        From `everywhere`, with the rows that do not stand.
    found : sequence of Count
        Of the methods to speak of.
    """
    names = {one.method for one in found}
    rows = table[table["method"].isin(names)].to_dict("records")
    stand = {(setting_text(row), row["method"]): row for row in rows if row["stands"]}
    parts = []
    for row in rows:
        other = stand.get((setting_text(row), row["method"]))
        if (
            row["stands"]
            or other is None
            or (row["verdict"] == HOLDS) == (other["verdict"] == HOLDS)
        ):
            continue
        parts.append(
            f"{row['title']} at {setting_text(row)} {_short_verdict(row)}, "
            f"tuned {_short_verdict(other)}"
        )
    if not parts:
        return ""
    return f"Tuned settings are carried over as they are; it matters here: {'; '.join(parts)}."


def _short_verdict(row: Mapping[Any, Any]) -> str:
    return f"{interval_text(row)} ({row['verdict']})"


def setting_text(row: Mapping[Any, Any]) -> str:
    """Return a setting as a row of the figure names it."""
    between = ": " if row["group"] in (ANSWERS, "attacker") else " "
    return (
        str(row["setting"]) if row["group"] == HERE else f"{row['group']}{between}{row['setting']}"
    )


def everywhere_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table for people: a row per setting and method."""
    rows = [
        {
            "Setting": setting_text(row),
            "Method": row["title"],
            RATES[_HARM].title: interval_text(row, 1),
            "n": f"{row['n']:.0f}",
            "Seeds": "" if row["arm"] == ALIGNED.label else f"{row['seeds']:.0f}",
            "Verdict": row["verdict"],
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)
