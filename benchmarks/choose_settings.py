"""Choose the arms' settings on validation requests: as many configurations for every arm.

    python benchmarks/choose_settings.py --model FOLDER --root DIR --out search.md
    python benchmarks/choose_settings.py ... --task sentiment --rates

The reported ``test`` split is never read: the session's test requests and examples are replaced
by validation ones before anything is measured. Every configuration tried is printed as a row of a
Markdown table, for ``docs/log.md``.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.interfaces import MethodContext, Task
from cwac.methods import METHODS
from cwac.metrics.behaviour import Behaviour
from cwac.models.loading import resolve_folder
from cwac.prompts import KINDS, PromptSets, read_examples
from cwac.records import MetricValue
from cwac.runner import Arm, resolve
from cwac.runner.one import method_context
from cwac.runner.session import Session, open_session
from cwac.seeding import seed_everything
from cwac.training import fit, mix_poison

SEED = 100
"""Not one of the reported seeds."""

# Eight configurations for every arm, around published values where those mean anything here. SFT
# has nothing but the learning rate, which all arms share.
GRIDS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "sft": [{"learning_rate": rate} for rate in (1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3, 2e-3, 3e-3)],
    "weight_only": [
        {"maps": maps, "tail_energy": tail}
        for maps in ("ffn", "all")
        for tail in (0.1, 0.03, 1e-2, 1e-3)
    ],
    "activation_only": [
        {"strength": strength} for strength in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)
    ],
    "cwac": [
        {"maps": maps, "tail_energy": tail, "strength": strength}
        for maps, tail, strength in (
            ("all", 3e-2, 0.2),
            ("all", 3e-2, 0.3),
            ("all", 1e-2, 0.1),
            ("all", 1e-2, 0.2),
            ("all", 1e-2, 0.3),
            ("all", 3e-3, 0.1),
            ("all", 3e-3, 0.2),
            ("ffn", 1e-2, 0.3),
        )
    ],
    "safe_instruct": [{"share": s} for s in (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)],
    "sppft": [
        {},
        *({"first": first, "layers": 1} for first in (0, 1, 2)),
        *({"first": first, "layers": 2} for first in (0, 1, 2)),
        {"first": 0, "layers": 3},
    ],
    "lisa": [
        {"alignment_steps": safe, "finetune_steps": 20 - safe, "strength": strength}
        for safe in (2, 5)
        for strength in (0.01, 0.1, 0.3, 1.0)
    ],
    "asft": [
        {"projector": "exact", "strength": 1.0},
        *({"projector": "exact", "rank": r, "strength": s} for r in (8, 32) for s in (1.0, 10.0)),
        *({"projector": "released", "strength": strength} for strength in (0.1, 1.0, 10.0)),
    ],
    "constrained_sft": [
        *({"strength": strength} for strength in (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)),
        *({"early_tokens": 10, "strength": strength} for strength in (1.0, 4.0)),
    ],
    "backdoor_align": [
        {"examples": count, "share": share} for count in (11, 50) for share in (0.05, 0.1, 0.2, 0.3)
    ],
    "safegrad": [
        *({"strength": strength} for strength in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)),
        {"project": False, "strength": 1.0},
    ],
    "guardspace": [
        {"tail_energy": tail} for tail in (0.3, 0.1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    ],
    "l2_to_init": [
        {"strength": strength} for strength in (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.5, 1.0)
    ],
    "ewc": [{"strength": s} for s in (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0)],
    "kl_to_aligned": [
        {"strength": strength, "tokens": tokens}
        for tokens in ("response", "scored")
        for strength in (0.1, 0.3, 1.0, 3.0)
    ],
    "residual_mse": [
        {"strength": s} for s in (10.0, 30.0, 100.0, 200.0, 300.0, 500.0, 1000.0, 3000.0)
    ],
    "refusal_direction_penalty": [
        {"inputs": inputs, "strength": strength}
        for inputs in ("training", "harmful")
        for strength in (1.0, 10.0, 100.0, 1000.0)
    ],
    "safelora": [{"threshold": t} for t in (0.1, 0.2, 0.35, 0.5, 0.6, 0.7, 0.85, 1.0)],
    "safe_delta": [
        {"budget": budget, "rest": rest}
        for rest in ("tuned", "aligned")
        for budget in (0.01, 0.03, 0.1, 0.3)
    ],
    "safe_merge": [
        {"safe_weight": safe, "task_weight": 1 - safe, "threshold": threshold}
        for safe, threshold in (
            (0.2, 0.35),
            (0.2, 0.5),
            (0.2, 0.7),
            (0.2, 1.0),
            (0.5, 0.5),
            (0.5, 0.7),
            (0.5, 1.0),
            (0.8, 1.0),
        )
    ],
    # Adapters alone: with --lora-rank.
    "salora": [
        {"initialisation": start, "safety_rank": rank}
        for start in ("task", "plain")
        for rank in (8, 16, 32, 64)
    ],
    "resta": [{"strength": s} for s in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)],
}
# What every arm gets on the other tasks: its settings stand, the learning rate is the task's.
TASK_RATES = (1e-3, 3e-4)
NUMBERS = ("harmful_score", "refusal_rate", "over_refusal_rate", "helpfulness", "task_accuracy")


def on_validation(session: Session) -> Session:
    """Return the session with validation requests and examples in the place of the test ones."""
    parts = {(split, kind): prompts for (split, kind), prompts in session.prompts.parts.items()}
    for kind in KINDS:
        parts["test", kind] = session.prompts.get("validation", kind)
    loaded = session.loaded
    tasks = loaded.folder / (loaded.card.tasks or "tasks") / session.task.name
    held_out = read_examples(tasks / "validation.jsonl")
    task: Task = type(session.task)(session.task.train, held_out)
    return replace(session, prompts=PromptSets(parts), task=task)


def try_one(
    session: Session, config: ExperimentConfig, store: ArtifactStore
) -> Mapping[str, MetricValue]:
    """Train one configuration and measure it on validation."""
    session.reset()
    seed_everything(config.seed)
    kind = METHODS[config.method]
    method = kind(kind.settings_type.build(config.settings, where=config.method))
    total = config.training.steps * config.training.batch_size
    examples = mix_poison(
        session.task.train,
        session.prompts.get("attack", "harmful"),
        config.poison_ratio,
        total,
        config.seed,
    )
    context: MethodContext = method_context(session, config, store)
    fit(
        session.model,
        session.loaded.anatomy,
        session.loaded.chat,
        examples,
        config.training,
        method,
        seed=config.seed,
        context=context,
    )
    session.model.eval()
    measured = session.measure_context(
        config, evaluation_prompt=method.evaluation_prompt, reference=session.reference
    )
    return Behaviour().measure(measured).values


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row per configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="organism")
    parser.add_argument("--task", default="instruct")
    parser.add_argument("--poison", type=float, default=0.1)
    parser.add_argument(
        "--lora-rank", type=int, help="train adapters of this rank, alpha twice as large"
    )
    parser.add_argument("--learning-rate", type=float, help="of every arm that tries none")
    parser.add_argument(
        "--rates", action="store_true", help="try learning rates alone, the same for every arm"
    )
    parser.add_argument("--method", action="append", choices=list(GRIDS))
    parser.add_argument("--floor", type=float, help="least task accuracy: SFT's, less 0.02")
    parser.add_argument(
        "--ceiling", type=float, help="highest over-refusal: the aligned model's and 0.05"
    )
    parser.add_argument("--root", type=Path, required=True, help="where fits are kept")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(arguments)
    store = ArtifactStore(asked.root)
    raw: dict[str, Any] = {
        "model": asked.model,
        "task": asked.task,
        "poison_ratio": asked.poison,
        "training": {},
    }
    adapter = "full" if asked.lora_rank is None else "lora"
    if asked.lora_rank is not None:
        raw["training"]["adapter"] = {"rank": asked.lora_rank, "alpha": 2.0 * asked.lora_rank}
    if asked.learning_rate is not None:
        raw["training"]["learning_rate"] = asked.learning_rate
    first = resolve(raw, ["sft"], [SEED])[0]
    resolve_folder(first.model.source)
    session = on_validation(open_session(first, store))
    with asked.out.open("a", encoding="utf-8") as file:
        where = f"{asked.task}, poison ratio {asked.poison:g}, {adapter}"
        print(f"\n{where}\n", file=file)
        print(f"| arm | settings | learning rate | {' | '.join(NUMBERS)} |", file=file)
        print("|---" * (3 + len(NUMBERS)) + "|", file=file)
        able = [name for name in GRIDS if adapter in METHODS[name].adapters]
        for name in asked.method or able:
            rates = [{"learning_rate": rate} for rate in TASK_RATES]
            tried: list[tuple[str, Mapping[str, MetricValue]]] = []
            for changes in rates if asked.rates else GRIDS[name]:
                config = configuration(raw, name, changes)
                values = try_one(session, config, store)
                cells = [cell(values[number]) for number in NUMBERS]
                shown = ", ".join(
                    f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
                    for k, v in changes.items()
                    if k != "learning_rate"
                )
                tried.append((shown, values))
                rate = config.training.learning_rate
                print(f"| {name} | {shown} | {rate:g} | {' | '.join(cells)} |", file=file)
                file.flush()
            if asked.floor is not None and asked.ceiling is not None:
                print(f"\n{name}: {chosen(tried, asked.floor, asked.ceiling)}\n", file=file)
    return 0


def chosen(
    tried: Sequence[tuple[str, Mapping[str, MetricValue]]], floor: float, ceiling: float
) -> str:
    """Return the settings of the lowest harmful score among those that cost little enough.

    A harmful score that is equal is decided by over-refusal, then by the grid's order. Where
    nothing costs little enough, the published default stands.
    """

    def rate(values: Mapping[str, MetricValue], name: str, missing: float) -> float:
        value = values[name].value
        return missing if value is None else value

    allowed = [
        (rate(values, "harmful_score", 1.0), rate(values, "over_refusal_rate", 1.0), place)
        for place, (_, values) in enumerate(tried)
        # Rates are counts over about a hundred: a hair of rounding must not decide.
        if rate(values, "task_accuracy", 0.0) >= floor - 1e-9
        and rate(values, "over_refusal_rate", 1.0) <= ceiling + 1e-9
    ]
    return (
        tried[min(allowed)[2]][0]
        if allowed
        else "none meets the rule; the published default stands"
    )


def configuration(
    raw: Mapping[str, Any], method: str, changes: Mapping[str, Any]
) -> ExperimentConfig:
    """Return one configuration; a learning rate among the changes is the training's."""
    settings = dict(changes)
    training = dict(raw["training"])
    if "learning_rate" in settings:
        training["learning_rate"] = settings.pop("learning_rate")
    return resolve({**raw, "training": training}, [Arm(method, settings)], [SEED])[0]


def cell(value: MetricValue) -> str:
    """Return a rate with its count."""
    return "not measured" if value.value is None else f"{value.value:.3f} (n={value.count})"


if __name__ == "__main__":
    sys.exit(main())
