"""What a metric of answers is given to see, on a tiny model."""

import torch
from builders import make_examples

from cwac.config import EvaluationConfig, ExperimentConfig, TaskConfig
from cwac.interfaces import MeasureContext
from cwac.judges import PatternJudge
from cwac.tasks import TASKS

JUDGE = PatternJudge(["^sorry", "^i cannot"], ["^sure"])


def make_measure_context(model, chat, prompts, *, limit=None, test_limit=5, reference=None):
    config = ExperimentConfig(
        evaluation=EvaluationConfig(max_new_tokens=8, batch_size=16, prompt_limit=limit),
        task=TaskConfig(source="sentiment", test_limit=test_limit),
    )
    return MeasureContext(
        config=config,
        model=model,
        anatomy=None,
        chat=chat,
        aligned={},
        prompts=prompts,
        task=TASKS["sentiment"](make_examples(4), make_examples(8)),
        judge=JUDGE,
        yardstick=None,
        device=torch.device("cpu"),
        evaluation_prompt=str,
        aligned_tables=reference,
    )
