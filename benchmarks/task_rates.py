"""At which learning rate plain fine-tuning learns each task, on validation.

    pip install -e '.[tune]'
    python benchmarks/task_rates.py --folder runs/task-rates

Each line is one training of SFT on the organism at poison ratio 0.1, with a seed that no reported
run has, measured on validation requests and examples (``benchmarks/tune.py`` has the bench).
``task_rates.md`` under the folder grows by a line per training; what stands there already is not
trained again. The rule: the smallest rate whose accuracy is within 0.02 of the task's best; no
defence has a say, so that none is favoured.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from tune import Bench

from cwac.artifacts import writing_store

TASKS: Final = ("sentiment", "topic", "arithmetic", "instruct")
LEARNING_RATES: Final = (3e-4, 1e-3, 2e-3, 3e-3)
RATES: Final = ("task_accuracy", "harmful_score", "answered")
HEAD: Final = f"| task | learning rate | {' | '.join(RATES)} |\n|{'---|' * (2 + len(RATES))}\n"


def main() -> int:
    """Train what is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the table and the fits")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task_rates.md"
    if not path.exists():
        path.write_text(HEAD, encoding="utf-8")
    for task in TASKS:
        raw = {"model": "organism", "task": task, "poison_ratio": 0.1, "training": {}}
        bench: Bench | None = None
        for rate in LEARNING_RATES:
            name = f"| {task} | {rate:g} |"
            if name in path.read_text(encoding="utf-8"):
                continue
            bench = bench or Bench.open(raw, writing_store(folder / "fits"))
            measured = bench.try_one("sft", rate, {})
            line = f"{name} {' | '.join(f'{measured[each]:.3f}' for each in RATES)} |"
            with path.open("a", encoding="utf-8") as table:
                table.write(f"{line}\n")
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
