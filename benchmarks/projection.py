"""Share of a step that the exact projection takes, for FFN output maps and for all linear maps.

    python benchmarks/projection.py [--model FOLDER] [--check]

The hook itself is timed inside real steps of the weight constraint: its seconds over the
seconds of the step without it.
"""

import statistics
import time
from collections.abc import Callable

from bench import Bench, Verdict, describe, open_bench, parser
from torch import nn

from cwac.methods import METHODS

BUDGETS = {"ffn": 0.05, "all": 0.12}


class _Timed(METHODS["weight_only"]):  # type: ignore[misc]  # a class from the registry
    """The weight constraint, with a stop-watch around its hook."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.clock: Callable[[], float] = time.perf_counter
        self.seconds: list[float] = []

    def after_step(self, model: nn.Module) -> None:
        started = self.clock()
        super().after_step(model)
        self.seconds.append(self.clock() - started)


def main() -> None:
    """Measure, print, judge."""
    given = parser(__doc__ or "").parse_args()
    bench = open_bench(given)
    describe(bench)
    shares: dict[str, list[float]] = {maps: [] for maps in BUDGETS}
    for number in range(given.rounds + 1):
        for maps, found in shares.items():
            share, ranks = _share(bench, maps)
            if number:
                found.append(share)
            else:
                print(f"{maps}: {len(ranks)} maps, ranks {min(ranks)} to {max(ranks)}")
    verdict = Verdict(given.check)
    for maps, found in shares.items():
        print(f"{maps}: rounds from {min(found):.3f} to {max(found):.3f} of a step")
        verdict.line(
            f"{maps}: projection over the rest of a step", statistics.median(found), BUDGETS[maps]
        )
    verdict.leave()


def _share(bench: Bench, maps: str) -> tuple[float, list[int]]:
    method = _Timed(METHODS["weight_only"].settings_type.build({"maps": maps}))
    method.clock = bench.clock
    steps = bench.fit(method).seconds
    pairs = list(zip(method.seconds, steps, strict=True))[5:]
    ranks = [basis.shape[1] for basis in method.weight.bases]
    return statistics.median(hook / (step - hook) for hook, step in pairs), ranks


if __name__ == "__main__":
    main()
