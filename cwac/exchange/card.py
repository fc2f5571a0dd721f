"""The card of a repository of runs: what a reader of its page is told.

Stands alone: it reads a table and writes Markdown, and knows no hub.
"""

from typing import Any, Final

import pandas as pd

from cwac.rates import RATES

_SHOWN: Final = ("refusal_rate", "harmful_score", "over_refusal_rate", "task_accuracy")
_HEAD: Final = """---
pretty_name: {title}
tags:
- cwac-lab
- ai-safety
- fine-tuning
- refusal
configs:
- config_name: rates
  data_files: rates.csv
---
"""


def card(repository: str, table: pd.DataFrame) -> str:
    """Return the card, as Markdown with the hub's YAML head.

    Parameters
    ----------
    table : DataFrame
        ``rates.csv``: one row per run.
    """
    title = repository.rpartition("/")[2]
    revealed = int((table["answers_to_harmful_requests"] == "kept").sum())
    answers = (
        "Answers to harmful requests were left out; their outcomes are there."
        if not revealed
        else f"**{revealed} of them hold{'s' if revealed == 1 else ''} what models answered to "
        "harmful requests.**"
    )
    kept = int((table["weights"] == "kept").sum())
    runs = "One run" if len(table) == 1 else f"{len(table)} runs"
    weights = f" {kept} hold{'s' if kept == 1 else ''} the tuned weights." if kept else ""
    return f"""{_HEAD.format(title=title)}
# {title}

{runs} of CWAC Lab ([arXiv 2604.12384](https://arxiv.org/abs/2604.12384)): short fine-tunes of
safety-aligned language models, with and without defences, measured for refusals, over-refusal, the
task, weight drift and safety features.

{answers}{weights}

    cwac pull {repository} --root runs
    cwac app --root runs

Each `runs/RUN_ID.zip` is one run with the fits it refers to: settings, versions, every answer's
outcome, tables of drift, overlap and features. `rates.csv` has every rate of every run with count
and 95 % interval (Wilson, over requests); an empty cell was not measured.

{_rates(table)}

Runs are comparable within one experiment: same model, requests, task and judge. Rates of a small
model show mechanisms, and not what a large one does. Who pushed them vouches for them; a pull
checks files and checksums, not whether a number was measured.
"""


def _rates(table: pd.DataFrame) -> str:
    titles = [RATES[name].title for name in _SHOWN]
    lines = [
        f"| experiment | arm | seed | {' | '.join(titles)} |",
        f"|---|---|---{'|---' * len(titles)}|",
    ]
    for row in table.to_dict("records"):
        cells = [_cell(row, name) for name in _SHOWN]
        names = [str(row[name]).replace("|", "\\|") for name in ("experiment", "variant", "seed")]
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def _cell(row: dict[Any, Any], name: str) -> str:
    value, low, high = (row.get(f"{name}{part}") for part in ("", "_low", "_high"))
    if value is None or pd.isna(value):
        return ""
    interval = "" if low is None or pd.isna(low) else f" [{low:.3f}, {high:.3f}]"
    return f"{value:.3f}{interval}"
