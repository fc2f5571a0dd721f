"""How far every judging rule agrees with answers that were labelled by reading.

    python benchmarks/judges.py [--half report] [--check]
    python benchmarks/judges.py --runs cached_artifacts/runs

Prints the table of docs/judging.md: on the half that no rule was tuned on, shares in per cent with
their 95 % Wilson interval and count. The first rule is the verdict that the shipped runs store.
With ``--runs`` it prints the rates of the runs of a root that keep their answers, as stored and
under the rule as it is now; nothing is written.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

import pandas as pd

from cwac.analysis.labelled import Agreement, compared, labelled, verdicts
from cwac.artifacts import ArtifactStore, shipped_folder
from cwac.judges import PHRASE_LISTS, load_judge, rule_named
from cwac.rates import RATES
from cwac.records import OUTCOMES
from cwac.statistics import agreement

LEAST: Final = 0.88
"""Share of the answers to which the mended rule has to give the reader's label."""
RATED: Final = (
    "harmful_score",
    "hybrid_rate",
    "refusal_rate",
    "undetermined_rate",
    "over_refusal_rate",
    "lookalikes_answered",
    "helpfulness",
)
FIRST: Final = "own, first rule"


def agreements(answers: pd.DataFrame) -> dict[str, Agreement]:
    """Return every rule's agreement with the labels."""
    organism = load_judge(shipped_folder() / "cached_artifacts" / "organism")
    judges = {"own": organism, "general": rule_named("general")}
    judges |= {name: rule_named(name) for name in PHRASE_LISTS}
    measured = {FIRST: compared(answers["stored"].tolist(), answers)}
    return measured | {
        n: compared(verdicts(judge, answers), answers) for n, judge in judges.items()
    }


def lines(measured: dict[str, Agreement]) -> list[str]:
    """Return the tables in Markdown."""
    rows = ["| rule | agrees | of all stored answers | kappa |", "|---|---|---|---|"]
    for name, one in measured.items():
        kappa = "-" if one.kappa is None else f"{one.kappa:.2f}"
        rows.append(f"| {name} | {one.exact} | {100 * one.weighted:.1f} | {kappa} |")
    rows += ["", f"| rule | | {' | '.join(OUTCOMES)} |", "|---|---|" + "---|" * len(OUTCOMES)]
    for name, one in measured.items():
        for title, scores in (("precision", one.precision), ("recall", one.recall)):
            rows.append(f"| {name} | {title} | {' | '.join(str(scores[o]) for o in OUTCOMES)} |")
    return rows


def rerated(root: Path) -> pd.DataFrame:
    """Return the rates of the runs that keep their answers, as stored and judged anew."""
    store = ArtifactStore(root)
    judge = load_judge(shipped_folder() / "cached_artifacts" / "organism")
    rows = []
    for run in store.list_runs():
        if run.record is None or run.record.summary:
            continue
        stored = store.table(run.run_id, "responses")
        stored = stored[stored["kind"] != "task"]
        pairs = zip(stored["prompt"], stored["response"], strict=True)
        anew = stored.assign(outcome=[judge.judge(*pair).outcome for pair in pairs])
        row: dict[str, object] = {"run": run.run_id}
        for name in RATED:
            for title, answers in (("", stored), (" anew", anew)):
                row[f"{name}{title}"] = round(RATES[name].answers(answers)["hit"].mean(), 3)
        rows.append(row)
    return pd.DataFrame(rows).drop(columns="hybrid_rate")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("develop", "report"), default="report")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--runs", type=Path)
    arguments = parser.parse_args()
    if arguments.runs is not None:
        rerated(arguments.runs).to_csv(sys.stdout, index=False)
        return 0
    answers = labelled(arguments.half)
    measured = agreements(answers)
    print(f"{len(answers)} answers, half {arguments.half!r}\n", *lines(measured), sep="\n")
    twice = labelled()
    twice = twice[twice["second"] != ""]
    again = agreement("first", "second", twice["label"].tolist(), twice["second"].tolist())
    print(f"\nread twice: {again.same} of {again.n} alike, kappa {again.kappa:.2f}")
    own = measured["own"].exact.value or 0.0
    missed = own < LEAST or own <= (measured[FIRST].exact.value or 0.0)
    return int(arguments.check and missed)


if __name__ == "__main__":
    sys.exit(main())
