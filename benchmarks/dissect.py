"""Seconds that each intervention of `cwac dissect` takes on a kept run, and the whole.

python benchmarks/dissect.py RUN_ID [--root runs] [--only NAME ...] [--requests N] [--threads N]

The run, its fits and its experiment are copied into a temporary folder: nothing is stored beside
them. Interventions that are stored are made again.
"""

import argparse
import shutil
import tempfile
import time
from inspect import signature
from pathlib import Path

import torch

from cwac.artifacts import ArtifactStore, with_shipped
from cwac.intervention_words import INTERVENTION_WORDS
from cwac.runner.dissect import Estimate, dissect


def main() -> None:
    """Take a run apart and print where the time went."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(options.root, Path(folder) / "root"))
        _measure(with_shipped(ArtifactStore(root)), options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("run")
    parser.add_argument("--root", type=Path, default=Path("runs"))
    parser.add_argument("--only", action="append")
    parser.add_argument("--by", default="layer")
    parser.add_argument("--requests", type=int)
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def _measure(store: ArtifactStore, options: argparse.Namespace) -> None:
    titles = {words.title.lower(): name for name, words in INTERVENTION_WORDS.items()}
    estimates: list[Estimate] = []
    began = last = (time.perf_counter(), time.process_time())
    doing = "opening, both ends"
    print(f"{options.run}, {torch.get_num_threads()} threads, torch {torch.__version__}")

    def begin(what: str) -> None:
        nonlocal doing, last
        now = (time.perf_counter(), time.process_time())
        estimate = estimates[0].seconds(doing) if estimates and doing in titles.values() else None
        beside = "" if estimate is None else f", estimate {estimate:.1f} s"
        print(f"  {doing:<20} {_between(last, now)}{beside}", flush=True)
        doing, last = what, now

    def report(_share: float, text: str) -> None:
        what = titles.get(text, doing)
        if what != doing:
            begin(what)

    def told(estimate: Estimate) -> None:
        # Both ends were measured for it; what follows says its name at once.
        begin("beginning")
        estimates.append(estimate)

    # Earlier versions take no number of requests.
    more = {"requests": options.requests} if "requests" in signature(dissect).parameters else {}
    table = dissect(store, options.run, options.only, grain=options.by, again=True,
                    report=report, told=told, **more)  # fmt: skip
    begin("nothing")
    odds = table[table["measure"] == "refusal_log_odds"]
    print(f"  whole {_between(began, last)}, estimate of interventions "
          f"{estimates[0].seconds():.1f} s; log-odds on {odds['n'].max()} requests")  # fmt: skip


def _between(start: tuple[float, float], end: tuple[float, float]) -> str:
    return f"{end[0] - start[0]:7.1f} s ({end[1] - start[1]:.1f} s of processor)"


if __name__ == "__main__":
    main()
