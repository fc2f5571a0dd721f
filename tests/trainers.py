"""A small fine-tune in `transformers.Trainer` with our loop's data, order and optimiser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from builders import make_examples
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments

from cwac.chat import Chat, collate
from cwac.config import TrainingConfig
from cwac.prompts import Example
from cwac.training import learning_rate, mix_poison

CONFIG = TrainingConfig(steps=6, batch_size=8, learning_rate=1e-3, weight_decay=0.01)


def make_order(config: TrainingConfig = CONFIG) -> list[Example]:
    """The examples of a whole training in their order."""
    return mix_poison(make_examples(), (), 0.0, config.steps * config.batch_size, 0)


def make_trainer(
    model: Any,
    chat: Chat,
    out: Path,
    *,
    config: TrainingConfig = CONFIG,
    accumulation: int = 1,
    processes: int = 1,
    callbacks: Sequence[Any] = (),
    **arguments: Any,
) -> Trainer:
    """A Trainer that does what our loop does under `config`."""
    items = [chat.example_ids(example.prompt, example.answer) for example in make_order(config)]

    def join(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate([row["item"] for row in rows], chat.pad_id, side="right")
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "labels": batch.labels,
        }

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
    rate = LambdaLR(
        optimiser,
        lambda step: learning_rate(config, min(step, config.steps - 1)) / config.learning_rate,
    )
    return Trainer(
        model=model,
        args=TrainingArguments(
            str(out),
            **{
                "max_steps": config.steps,
                "per_device_train_batch_size": config.batch_size // accumulation // processes,
                "gradient_accumulation_steps": accumulation,
                "train_sampling_strategy": "sequential",
                "max_grad_norm": config.clip_norm,
                "use_cpu": True,
                "report_to": "none",
                "disable_tqdm": True,
                "save_strategy": "no",
                "logging_steps": 1,
                "remove_unused_columns": False,
            }
            | arguments,
        ),
        data_collator=join,
        train_dataset=[{"item": item} for item in items],
        optimizers=(optimiser, rate),
        callbacks=list(callbacks),
    )
