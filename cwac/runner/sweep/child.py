"""The process of one local worker: configurations in, signs of life and outcomes out.

Both ways one JSON object a line. Started by :mod:`cwac.runner.sweep.local`.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from typing import Any, TextIO

from cwac.config import ExperimentConfig
from cwac.runner.progress import Event
from cwac.runner.sweep.local import one_thread_worker, plain


def main() -> None:
    """Run what comes in until nothing comes any more."""
    parser = argparse.ArgumentParser()
    parser.add_argument("roots", nargs="+")
    parser.add_argument("--keep-model", action="store_true")
    arguments = parser.parse_args()
    out = _private_output()

    def tell(kind: str, values: dict[str, Any]) -> None:
        out.write(json.dumps({"kind": kind, **values}, default=plain) + "\n")
        out.flush()

    def listen(event: Event) -> None:
        tell("event", asdict(event))

    worker = one_thread_worker(arguments.roots, arguments.keep_model, listen)
    try:
        for line in sys.stdin:
            config = ExperimentConfig.build(json.loads(line))
            tell("outcome", asdict(worker.run(config)))
    except BrokenPipeError:
        # The sweep is gone, so nobody wants this run.
        os._exit(1)


def _private_output() -> TextIO:
    """Return the standard output for us alone; what libraries print joins the errors."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return private


if __name__ == "__main__":
    main()
