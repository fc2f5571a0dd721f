"""Where the constraints sit, chosen on validation: embedding, tokens, SAE layers, penalty's way.

    pip install -e '.[tune]'
    python benchmarks/placement.py --folder runs/placement

Each line is one training of the organism's `instruct` at poison ratio 0.1, with a seed that no
reported run has, measured on validation requests and examples (``benchmarks/tune.py`` has the
bench). ``placement.md`` under the folder grows by a line per training; what stands there already
is not trained again. The choices it led to, and what else they rest on, stand in ``docs/log.md``.
Every line states the settings that the card had when this was run: today's card has others.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from growing import GrowingTable, asked_folder
from tune import Bench

from cwac.errors import CwacError

PROMPT: Final = {"tokens": "prompt"}
RESPONSE: Final = {"tokens": "response"}
EIGHT: Final = {"harmful_batch": 8}
LISA: Final = {"alignment_steps": 5, "finetune_steps": 15, "strength": 1.0}
RATES: Final = ("harmful_score", "task_accuracy", "answered", "over_refusal_rate")
COLUMNS: Final = ("embedding", "SAE layers", "method", "settings", *RATES)


def trainings() -> Iterator[tuple[bool, tuple[int, ...], str, Mapping[str, Any]]]:
    """Yield (embedding trained, SAE layers, method, settings)."""
    for trained in (False, True):
        yield trained, (0, 2), "sft", {}
        yield trained, (0, 2), "lisa", LISA
        for tokens in (PROMPT, RESPONSE):
            yield trained, (0, 2), "weight_only", tokens
            for strength in (0.3, 1.0):
                yield trained, (0, 2), "cwac", {**tokens, **EIGHT, "strength": strength}
    for layers in ((0, 2), (2, 3), (3,), (0, 1, 2, 3)):
        for strength in (0.3, 1.0):
            yield False, layers, "activation_only", {**EIGHT, "strength": strength}
            yield False, layers, "cwac", {**PROMPT, **EIGHT, "strength": strength}
    for way in ("second_moment", "random_sign", "decoupled"):
        settings = {**PROMPT, **EIGHT, "strength": 0.3, "penalty_gradient": way}
        yield False, (0, 2), "cwac", settings
    for batch, strength in ((32, 0.3), (32, 1.0)):
        yield False, (0, 2), "cwac", {**PROMPT, "harmful_batch": batch, "strength": strength}


def main() -> int:
    """Train what is not in the table yet."""
    table = GrowingTable(asked_folder(__doc__), "placement.md", COLUMNS)
    benches: dict[tuple[bool, tuple[int, ...]], Bench] = {}
    for trained, layers, method, settings in trainings():
        shown = ", ".join(f"{k}={v}" for k, v in settings.items())
        names = "trained" if trained else "frozen", layers, method, shown
        if table.has(*names):
            continue
        key = trained, layers
        if key not in benches:
            raw = {
                "model": "organism",
                "task": "instruct",
                "poison_ratio": 0.1,
                "training": {"train_embeddings": trained},
                "measurement": {"sae_layers": layers},
            }
            benches = {key: Bench.open(raw, table.fits())}
        try:
            measured = benches[key].try_one(method, None, settings)
            cells = [f"{measured[rate]:.3f}" for rate in RATES]
        except CwacError as problem:
            cells = [str(problem), "", "", ""]
        table.add(names, cells)
    return 0


if __name__ == "__main__":
    sys.exit(main())
