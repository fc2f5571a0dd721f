"""What the paper reports, as printed, and what its own numbers say when they are added up again."""

import json
from functools import cache
from importlib import resources
from typing import Any, Final

import pandas as pd

from cwac.rates import RATES

QUANTITIES: Final = {name: RATES[name].title for name in ("harmful_score", "task_accuracy")}
OURS: Final = {
    "SFT": "sft",
    "Lisa": "lisa",
    "SafeInstr": "safe_instruct",
    "BEA": "backdoor_align",
    "SPPFT": "sppft",
    "AsFT": "asft",
    "Weight-only": "weight_only",
    "Activation-only": "activation_only",
    "CWAC": "cwac",
}
"""The paper's name of a method to the lab's."""
ROUNDING: Final = 0.0101
"""Per cent by which a printed average may differ from the mean of its printed cells."""
_KEYS: Final = ["table", "model", "method"]


@cache
def _file() -> dict[str, Any]:
    text = resources.files("cwac.analysis").joinpath("paper_results.json").read_text("utf-8")
    return dict(json.loads(text))


def source() -> str:
    """Return the citation of the reported figures."""
    return str(_file()["source"])


def reported() -> pd.DataFrame:
    """Return the paper's tables 1 to 5 in long form, as printed.

    Returns
    -------
    DataFrame
        ``table, model, method, task, poison_ratio, task_accuracy, harmful_score, alpaca_eval``
        in per cent; ``task`` is missing in a printed average, ``poison_ratio`` in one over ratios.
    """
    return pd.DataFrame(_file()["rows"], columns=_file()["columns"])


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """Return every printed average beside the mean of the cells that it stands for.

    Returns
    -------
    DataFrame
        ``table, model, method, quantity, cells, printed, recomputed, difference, adds_up`` and
        ``hidden_cell``: what one more, unprinted cell would have to be for the average to hold.
    """
    rows = []
    cells = table.dropna(subset=["task"]).groupby(_KEYS)
    for line in table[table["task"].isna()].to_dict("records"):
        averaged = cells.get_group(tuple(line[key] for key in _KEYS))
        for quantity in QUANTITIES:
            printed, mean = float(line[quantity]), float(averaged[quantity].mean())
            hidden = (len(averaged) + 1) * printed - float(averaged[quantity].sum())
            off = printed - mean
            rows.append([*(line[key] for key in _KEYS), quantity, len(averaged), printed, mean, off,
                         abs(off) <= ROUNDING, hidden])  # fmt: skip
    columns = [*_KEYS, "quantity", "cells", "printed", "recomputed", "difference", "adds_up",
               "hidden_cell"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def repeated_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return what tables 1 and 5 print for the same model, method and task, and how they differ.

    The paper gives neither seeds nor intervals; this difference is what it lets one see of the
    spread between runs.
    """
    keys = ["model", "method", "task"]
    cells = table.dropna(subset=["task"])
    one, five = (cells[cells["table"] == number] for number in (1, 5))
    both = one.merge(five, on=keys, suffixes=("_1", "_5"))
    parts = []
    for quantity in QUANTITIES:
        part = both[keys].assign(quantity=quantity)
        part["table_1"], part["table_5"] = both[f"{quantity}_1"], both[f"{quantity}_5"]
        part["difference"] = part["table_5"] - part["table_1"]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def settings(table: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Return the paper's settings, one column of results each, a column per method of ours.

    Tables over tasks are averaged here over their printed cells, never taken from the printed
    averages; tables over poison ratios give one setting per ratio.

    Returns
    -------
    DataFrame
        Index ``setting`` (``"T3 Llama-2-7B, SST-2, poison 0.1"``), ``poison_ratio`` and the lab's
        names of methods; per cent, missing where the paper has no such number.
    """
    cells = table.dropna(subset=["task"])
    rows = []
    for (number, model, ratio), part in cells.groupby(["table", "model", "poison_ratio"]):
        tasks = list(dict.fromkeys(part["task"]))
        scope = tasks[0] if len(tasks) == 1 else f"mean of {len(tasks)} tasks"
        means = part.groupby("method")[quantity].mean()
        row = {"setting": f"T{number} {model}, {scope}, poison {ratio:g}", "poison_ratio": ratio}
        rows.append(row | {ours: means.get(theirs) for theirs, ours in OURS.items()})
    return pd.DataFrame(rows).set_index("setting")
