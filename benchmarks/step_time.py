"""Time per step of the four arms, relative to SFT, interleaved in one run.

python benchmarks/step_time.py [--model FOLDER] [--check]
"""

import statistics
from collections.abc import Callable
from functools import partial

from bench import ARMS, Bench, Verdict, describe, interleaved, open_bench, parser, ratio

from cwac.methods import METHODS
from cwac.runner.resolve import Arm, method_settings

BUDGETS = {"cwac": 1.6}
"""Seconds per step over SFT's; the other arms are each a part of CWAC."""


def main() -> None:
    """Measure, print, judge."""
    options = parser(__doc__ or "")
    options.add_argument("--methods", nargs="+", default=list(ARMS))
    given = options.parse_args()
    bench = open_bench(given)
    describe(bench)
    setups: dict[str, list[float]] = {name: [] for name in given.methods}
    arms = {name: Arm(name, method_settings(Arm(name), bench.loaded.card)) for name in setups}
    runs: dict[str, Callable[[], list[float]]] = {
        name: partial(_steps, bench, arm, setups[name]) for name, arm in arms.items()
    }
    medians = interleaved(given.rounds, runs)
    verdict = Verdict(given.check)
    for name in given.methods:
        per_step, setup = statistics.median(medians[name]), statistics.median(setups[name])
        print(f"{name}: {1000 * per_step:.2f} ms per step, set-up {setup:.3f} s")
    for name in given.methods:
        if name == "sft" or "sft" not in medians:
            continue
        middle, low, high = ratio(medians, name, "sft")
        print(f"{name} / sft: {middle:.3f}, rounds from {low:.3f} to {high:.3f}")
        # A default run's length decides how much the set-up weighs.
        whole = [
            statistics.median(setups[x]) + 300 * statistics.median(medians[x])
            for x in (name, "sft")
        ]
        print(f"  with set-up, over 300 steps: {whole[0] / whole[1]:.3f}")
        if name in BUDGETS:
            verdict.line(f"  {name} time per step over sft", middle, BUDGETS[name])
    verdict.leave()


def _steps(bench: Bench, arm: Arm, setups: list[float]) -> list[float]:
    kind = METHODS[arm.method]
    fitted = bench.fit(kind(kind.settings_type.build(arm.settings)))
    setups.append(fitted.setup)
    return fitted.seconds


if __name__ == "__main__":
    main()
