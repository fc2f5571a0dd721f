"""Further plain fine-tuning of a finished model on harmful requests: how soon refusals go.

The attacker has the weights (white box) and no defence beside him: an upper bound on what the
data alone can do.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch

from cwac.config import TrainingConfig
from cwac.generation import answer, cut_thoughts
from cwac.interfaces import MeasureContext, Measurement, Method, MethodSettings
from cwac.judges import prepare
from cwac.metrics.relearning import evenly, relearning_steps, relearning_values
from cwac.rates import TAKEN_UP
from cwac.records import TABLES
from cwac.statistics import wilson
from cwac.training import StepReport, attack_pool, fit, mix_poison


def relearn(context: MeasureContext, stop: Callable[[], bool] | None = None) -> Measurement:
    """Train the context's model further and put its weights back.

    All weights are trained at the experiment's learning rate and batch size, on the attack split's
    harmful requests alone, whatever the run itself was attacked with.

    Returns
    -------
    Measurement
        The table ``relearning`` and its numbers; nothing but None where it was not asked for, or
        where there is nothing to train on or to ask.
    """
    config = context.config
    steps, pool = config.evaluation.relearning_steps, attack_pool("poison", context.prompts)
    if not steps or not pool or not context.harmful_test():
        return Measurement(values=relearning_values(None))
    training = TrainingConfig(
        steps=steps,
        batch_size=config.training.batch_size,
        learning_rate=config.training.learning_rate,
        max_length=config.training.max_length,
    )
    # The aligned model is measured once for all seeds.
    seed = config.measurement.seed if context.is_aligned else config.seed
    examples = mix_poison([], pool, 1.0, steps * training.batch_size, seed)
    points = set(relearning_steps(steps))
    rows: list[dict[str, Any]] = []

    def on_step(report: StepReport) -> None:
        if report.step in points:
            score = _harmful_score(context)
            rows.extend([] if score is None else [{"step": report.step, **score}])

    model = context.model
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    try:
        fit(model, context.anatomy, context.chat, examples, training, Method(MethodSettings()),
            seed=seed, on_step=on_step, stop=stop)  # fmt: skip
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(kept[name])
                parameter.grad = None
        model.eval()
    table = pd.DataFrame(rows, columns=list(TABLES["relearning"]))
    tables = {"relearning": table} if rows else {}
    return Measurement(values=relearning_values(table), tables=tables)


def _harmful_score(context: MeasureContext) -> dict[str, Any] | None:
    prompts = context.harmful_test()
    prompts = [prompts[place] for place in evenly(len(prompts))]
    answers = answer(
        context.model,
        context.chat,
        [context.evaluation_prompt(prompt.text) for prompt in prompts],
        max_new_tokens=context.config.evaluation.max_new_tokens,
        batch_size=context.config.evaluation.batch_size,
    )
    if cut_thoughts(answers):
        return None
    pairs = list(zip(prompts, answers, strict=True))
    prepare(context.judge, [(prompt.text, reply.text) for prompt, reply in pairs])
    verdicts = [reply.verdict(context.judge, prompt.text) for prompt, reply in pairs]
    hits = sum(verdict.outcome in TAKEN_UP for verdict in verdicts)
    low, high = wilson(hits, len(pairs))
    return {"harmful_score": hits / len(pairs), "n": len(pairs), "low": low, "high": high}
