"""Wall time of the four arms as a user runs them: one seed, defaults, measurements included.

    python benchmarks/four_arms.py [--model FOLDER] [--check]

The runs go to a temporary folder; fits that are shipped are read, as a user's runs read them.
``--again`` runs the arms twice, so that the second time shows what stored fits save.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from bench import ARMS, Verdict

BUDGET = 120.0
"""Seconds on 2 cores."""


def main() -> None:
    """Measure, print, judge."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="organism")
    options.add_argument("--task", default="instruct")
    options.add_argument("--again", action="store_true", help="a second time, with stored fits")
    options.add_argument("--check", action="store_true", help="exit 1 on a missed budget")
    given = options.parse_args()
    command = [sys.executable, "-m", "cwac", "run", "--model", given.model, "--task", given.task]
    for name in ARMS:
        command += ["--method", name]
    verdict = Verdict(given.check)
    with tempfile.TemporaryDirectory() as root:
        print(f"{os.cpu_count()} cores: {' '.join(command[2:])}")
        for again in [[], ["--again"]] if given.again else [[]]:
            started = time.perf_counter()
            subprocess.run(
                [*command, "--root", root, *again], check=True, stdout=subprocess.DEVNULL
            )
            what = "four arms, fits stored" if again else "four arms"
            verdict.line(f"{what}, seconds", time.perf_counter() - started, BUDGET)
    verdict.leave()


if __name__ == "__main__":
    main()
