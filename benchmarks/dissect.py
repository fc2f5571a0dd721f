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

from cwac.artifacts import ArtifactStore
from cwac.interventions import INTERVENTIONS
from cwac.runner.dissect import Estimate, dissect


def main() -> None:
    """Take a run apart and print where the time went."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(options.root, Path(folder) / "root"))
        _measure(ArtifactStore(root), options)


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
    began = (time.perf_counter(), time.process_time())
    titles = {kind.title.lower(): name for name, kind in INTERVENTIONS.items()}
    marks: list[tuple[float, str]] = []
    estimates: list[Estimate] = []

    def report(_share: float, text: str) -> None:
        doing = titles.get(text, "open")
        if not marks or marks[-1][1] != doing:
            marks.append((time.perf_counter(), doing))

    def told(estimate: Estimate) -> None:
        estimates.append(estimate)
        marks.append((time.perf_counter(), "told"))

    # Earlier versions take no number of requests.
    more = {"requests": options.requests} if "requests" in signature(dissect).parameters else {}
    table = dissect(store, options.run, options.only, grain=options.by, again=True,
                    report=report, told=told, **more)  # fmt: skip
    seconds, processor = time.perf_counter() - began[0], time.process_time() - began[1]
    ends = [when for when, _ in marks[1:]]
    taken = {name: end - start for (start, name), end in zip(marks, ends, strict=False)}
    print(f"{options.run}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name in estimates[0].costs:
        print(f"  {name:<18} {taken.get(name, 0.0):7.1f} s  "
              f"(estimate {estimates[0].seconds(name):.1f} s)")  # fmt: skip
    work = sum(taken.get(name, 0.0) for name in estimates[0].costs)
    odds = table[(table["intervention"] == "ends") & (table["measure"] == "refusal_log_odds")]
    print(f"  interventions {work:.1f} s, estimate {estimates[0].seconds():.1f} s")
    print(f"  opening the run and measuring both ends {seconds - work:.1f} s")
    print(f"  whole {seconds:.1f} s, {processor:.1f} s of processor; log-odds on "
          f"{odds['n'].max()} requests")  # fmt: skip


if __name__ == "__main__":
    main()
