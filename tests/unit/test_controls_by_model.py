"""What a control teaches, model by model: one sentence where they do not agree, none else."""

import numpy as np
import pandas as pd

from cwac.analysis.controls import control_sentence
from cwac.arms import Arm

HARMLESS = Arm(method="cwac", changed={"subspace": "harmless"}, control=True)


def _answers(cwac: int, control: int) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "variant": label,
                "seed": 0,
                "prompt_id": [f"h{i:03}" for i in range(100)],
                "kind": "harmful",
                "outcome": np.where(np.arange(100) < hits, "compliance", "refusal"),
            }
        )
        for label, hits in (("cwac", cwac), (HARMLESS.label, control))
    ]
    return pd.concat(parts, ignore_index=True)


def test_models_that_disagree_on_a_control_stand_in_one_sentence() -> None:
    models = {"a": _answers(1, 95), "b": _answers(94, 95), "c": _answers(90, 20)}
    said = control_sentence(models, HARMLESS).replace("\u00a0", " ")
    assert said.startswith(
        "That CWAC leaves fewer harmful answers than its control CWAC (harmless directions) "
        "depends on the model: shown on a (1 % [0, 5] against 95 % [89, 98], -94.0 points ["
    )
    assert "the other way round on c (90 %" in said
    assert "not shown on b (94 %" in said
    assert said.count(". ") == 0, "one sentence"
    assert control_sentence({"a": _answers(1, 95), "b": _answers(2, 90)}, HARMLESS) == ""
    assert control_sentence({"a": _answers(1, 95)}, HARMLESS) == ""
