"""At which learning rate plain fine-tuning learns each task, on validation.

    pip install -e '.[tune]'
    python benchmarks/task_rates.py --folder runs/task-rates

Each line is one training of SFT on the organism at poison ratio 0.1, with a seed that no reported
run has, measured on validation requests and examples (``benchmarks/tune.py`` has the bench).
``task_rates.md`` under the folder grows by a line per training; what stands there already is not
trained again. The rule: the smallest rate whose accuracy is within 0.02 of the task's best; no
defence has a say, so that none is favoured.
"""

import sys
from typing import Final

from growing import GrowingTable, asked_folder
from tune import Bench

TASKS: Final = ("sentiment", "topic", "arithmetic", "instruct")
LEARNING_RATES: Final = (3e-4, 1e-3, 2e-3, 3e-3)
RATES: Final = ("task_accuracy", "harmful_score", "answered")


def main() -> int:
    """Train what is not in the table yet."""
    folder = asked_folder(__doc__)
    table = GrowingTable(folder, "task_rates.md", ("task", "learning rate", *RATES))
    for task in TASKS:
        raw = {"model": "organism", "task": task, "poison_ratio": 0.1, "training": {}}
        bench: Bench | None = None
        for rate in LEARNING_RATES:
            names = task, f"{rate:g}"
            if table.has(*names):
                continue
            bench = bench or Bench.open(raw, table.fits())
            measured = bench.try_one("sft", rate, {})
            table.add(names, [f"{measured[each]:.3f}" for each in RATES])
    return 0


if __name__ == "__main__":
    sys.exit(main())
