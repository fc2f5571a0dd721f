"""Real requests and a real task on a real pretrained model, end to end, as a user types it.

    python benchmarks/real_data.py --data FOLDER [--check]

FOLDER holds ``stories260k/hf`` (a 260 k parameter Llama that refuses nothing), ``advbench``,
``alpaca``, ``xstest`` and ``sst2``. The model is aligned, fine-tuned by SFT and by CWAC, and
measured; CWAC's weights are measured once more as a checkpoint that somebody else trained. What
the model says is reported, not judged: it is a tiny story model.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import Verdict

BUDGET = 600.0
"""Seconds on 2 cores."""
SHARED = ("--task", "--prompt-column", "--answer-column", "--harm", "--lookalike", "--root")
"""What `measure` is told as `run` is."""


def commands(data: Path, root: Path, steps: int) -> dict[str, list[str]]:
    """Return the commands of the path, by what they do."""
    aligned = root / "aligned"
    requests = [
        f"--harmful={data}/advbench/advbench_goals.txt",
        f"--harmless={data}/alpaca/alpaca_en_demo.json:instruction",
        "--harmless-answer-column=output",
        f"--lookalike={data}/xstest/xstest_prompts.csv:prompt",
        "--lookalike-where=label=safe",
    ]
    task = [
        f"--task={data}/sst2/dev.tsv",
        "--prompt-column=sentence",
        "--answer-column=label",
    ]
    training = ["--poison=0.1", f"--steps={steps}", "--save-model"]
    arms = ["--method=sft", "--method=cwac", f"--root={root / 'runs'}"]
    return {
        "align": ["align", f"--model={data}/stories260k/hf", *requests, f"--out={aligned}"],
        "run": ["run", f"--model={aligned}", *task, *training, *requests, *arms],
    }


def measuring(data: Path, root: Path) -> list[str]:
    """Return the command that measures the weights that CWAC's run has left."""
    (tuned,) = (root / "runs").glob("*-cwac-*/model")
    run = commands(data, root, 1)["run"]
    # The same task and requests; how the weights were made is not known.
    shared = [word for word in run if word.startswith(SHARED)]
    return ["measure", f"--aligned={root / 'aligned'}", f"--tuned={tuned}", *shared]


def call(name: str, command: list[str]) -> None:
    """Call the command line and say how long it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cwac", *command], check=True)
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Measure, print, judge."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True, help="folder of the public data sets")
    options.add_argument("--steps", type=int, default=300, help="of each arm")
    options.add_argument("--check", action="store_true", help="exit 1 on a missed budget")
    given = options.parse_args()
    verdict = Verdict(given.check)
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        for name, command in commands(given.data, Path(root), given.steps).items():
            call(name, command)
        call("measure", measuring(given.data, Path(root)))
        verdict.line("real data end to end, seconds", time.perf_counter() - began, BUDGET)
    verdict.leave()


if __name__ == "__main__":
    main()
