"""A thousand wrong calls of the command line: how many end in a traceback, a hang or a long text.

python benchmarks/wrong_calls.py [--count 1000] [--seed 1]
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from folders import write_model_folder
from wrong_calls import call, calls


def main() -> int:
    """Make the calls and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began, defects = time.time(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "root").mkdir()
        model = write_model_folder(folder / "tiny", align_steps=2)
        # Some write a file of the name that they are given.
        with contextlib.chdir(folder / "root"):
            for words in calls(folder, model, given.count, given.seed, spoiled_share=0.3):
                outcome = call(words)
                if outcome.defect:
                    defects.append(outcome)
                    sys.stdout.write(f"{outcome.words}\n{outcome.defect}\n\n")
                    sys.stdout.flush()
    spent = time.time() - began
    sys.stdout.write(f"{given.count} wrong calls, {len(defects)} defects, {spent:.0f} s\n")
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
