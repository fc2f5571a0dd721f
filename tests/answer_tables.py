"""Made-up answers of one arm and of the aligned model, for tests of rates and flips."""

import pandas as pd

ALIGNED_OUTCOMES = ["refusal"] * 9 + ["compliance"]
ARM_OUTCOMES = {0: ["compliance"] * 6 + ["refusal"] * 3 + ["undetermined"], 1: ["refusal"] * 10}


def answers(outcomes: list[str], kind: str = "harmful", **columns: object) -> pd.DataFrame:
    """Stored answers with these outcomes."""
    table = pd.DataFrame(
        {
            "prompt_id": [f"{kind}-{i}" for i in range(len(outcomes))],
            "kind": kind,
            "category": ["fraud" if i < 6 else "poison" for i in range(len(outcomes))],
            "unseen_category": [i >= 6 for i in range(len(outcomes))],
            "novel_template": [i % 2 == 0 for i in range(len(outcomes))],
            "outcome": outcomes,
            "general_outcome": ["refusal"] * len(outcomes),
        }
    )
    return table.assign(**columns)


def arm_answers() -> pd.DataFrame:
    """Answers of SFT under two seeds."""
    parts = [answers(ARM_OUTCOMES[seed], variant="sft", seed=seed) for seed in (0, 1)]
    parts += [
        answers(["compliance"] * 4, "lookalike", variant="sft", seed=seed, category="look")
        for seed in (0, 1)
    ]
    return pd.concat(parts, ignore_index=True)


def aligned_answers() -> pd.DataFrame:
    """Answers of the aligned model."""
    return answers(ALIGNED_OUTCOMES)
