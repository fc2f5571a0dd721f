"""Stands in for ``python -m cwac.runner.sweep.child``: no torch, tells the same and runs nothing.

``fake_child.py END ROOT...`` with END: ``stored`` (each run is over at once), ``never``.
"""

import json
import sys
import time


def main(end: str) -> None:
    """Tell of each run that comes in that it trains, and how it ends."""
    for line in sys.stdin:
        config = json.loads(line)
        run = {"run_id": f"{config['method']}-{config['seed']}"}
        arm = {"variant": config["method"], "seed": config["seed"]}
        phase = {"phase": "training", "message": "training", "fraction": 0.1, "left": ["measuring"]}
        tell({"kind": "event"} | run | arm | phase)
        if end == "never":
            time.sleep(600)
        tell({"kind": "outcome", "state": end} | run)


def tell(message: dict[str, object]) -> None:
    """Write a line at once."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
