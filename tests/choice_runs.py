"""Made-up runs of a method's variants, for tests of its choices."""

import pandas as pd
from store_builder import experiment_config

from cwac.arms import Arm
from cwac.records import RunRecord

N = 50
KNOBS = {"cwac": "strength", "lisa": "strength"}
HITS = {"cwac": 2, "cwac (subspace=random)": 45, "cwac (tail_energy=0.1)": 3}


class Record:
    """The two fields of a run's record that changes are read from."""

    def __init__(self, method: str, **changed: object) -> None:
        settings = {"strength": 1.0, "subspace": "safety", "tail_energy": None, "layers": None}
        self.config = experiment_config("instruct", 0.1, method=method, settings=settings | changed)
        self.arm = Arm(method=method, changed=changed)
        self.variant = self.arm.label


def records() -> list[RunRecord]:
    """Runs of CWAC that vary several settings, of Lisa that vary its strength, and of SFT."""
    return [
        Record("cwac", subspace="random"), Record("cwac"), Record("cwac", strength=2.0),
        Record("cwac", tail_energy=0.1), Record("cwac", layers=[1, 2]),
        Record("cwac", subspace="trailing", tail_energy=0.1),
        Record("lisa"), Record("lisa", strength=3.0), Record("sft"),
    ]  # fmt: skip


def responses(harmful: dict[str, int], seeds: int = 2) -> pd.DataFrame:
    """Answers of which so many are harmful, per arm."""
    rows = [
        (variant, seed, f"{kind}{i}", kind, outcome if i < hits else "refusal", i < 40)
        for variant, hits in harmful.items()
        for seed in range(seeds)
        for kind, outcome in (("harmful", "compliance"), ("task", "compliance"))
        for i in range(N)
    ]
    columns = ["variant", "seed", "prompt_id", "kind", "outcome", "correct"]
    return pd.DataFrame(rows, columns=columns).assign(unseen_category=False)
