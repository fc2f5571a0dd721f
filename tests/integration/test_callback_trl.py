"""`CwacCallback` in trl's `SFTTrainer`: the same weights as our own loop, and under LoRA."""

import copy

import pytest
import torch
from builders import make_context
from torch.optim.lr_scheduler import LambdaLR
from trainers import CONFIG, make_order

from cwac.anatomy import anatomy_of, weight_of
from cwac.methods.cwac import Cwac, CwacSettings
from cwac.trainer import CwacCallback
from cwac.training import fit, learning_rate

trl = pytest.importorskip("trl", reason="trl is an optional part of the tests")
datasets = pytest.importorskip("datasets")

ON = CwacSettings(strength=0.5, harmful_batch=4)
OFF = CwacSettings(weight=False, activation=False)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def sft(context, out, settings, **arguments):
    """Train with SFTTrainer on our loop's data, order, optimiser and schedule."""
    items = [context.chat.example_ids(example.prompt, example.answer) for example in make_order()]
    rows = [{"input_ids": ids, "completion_mask": list(map(int, mask))} for ids, mask in items]
    model = copy.deepcopy(context.model)
    optimisers = {}
    if "peft_config" not in arguments:
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": CONFIG.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        adamw = torch.optim.AdamW(groups, lr=CONFIG.learning_rate)

        def rate(step):
            return learning_rate(CONFIG, min(step, CONFIG.steps - 1)) / CONFIG.learning_rate

        optimisers = {"optimizers": (adamw, LambdaLR(adamw, rate))}
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            str(out),
            max_steps=CONFIG.steps,
            per_device_train_batch_size=CONFIG.batch_size,
            learning_rate=CONFIG.learning_rate,
            max_grad_norm=CONFIG.clip_norm,
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            completion_only_loss=True,
            bf16=False,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=context.chat.tokenizer,
        callbacks=[CwacCallback(context, settings)],
        **optimisers,
        **arguments,
    )
    trainer.train()
    return trainer.model


def apart(one, other, start):
    """The largest difference, in units of the largest change that training made."""
    moved = max(float((one[name] - start[name]).abs().max()) for name in start)
    return max(float((one[name] - other[name]).abs().max()) for name in start) / moved


def protected(context, weights):
    """The share of the change's energy inside the subspace, largest over the maps."""
    subspace = context.yardstick.subspace.select("ffn")
    found = []
    for entry in subspace.maps:
        delta = weight_of(weights, entry) - weight_of(context.aligned, entry)
        assert float(delta.norm()) > 0
        found.append(subspace.inside_energy(entry.path, delta))
    return max(found)


def named(model):
    return {name: p.detach() for name, p in model.named_parameters()}


def test_sft_trainer_ends_where_our_loop_ends(tmp_path):
    context = make_context(training=CONFIG)
    start = named(copy.deepcopy(context.model))
    weights = named(sft(context, tmp_path, ON))
    assert protected(context, weights) < 1e-10
    free = named(sft(context, tmp_path, OFF))
    assert protected(context, free) > 1e-3
    model = context.model
    fit(
        model,
        anatomy_of(model),
        context.chat,
        make_order(),
        CONFIG,
        Cwac(ON),
        seed=0,
        context=context,
    )
    assert apart(named(model), weights, start) < 1e-3
    # The comparison can tell.
    assert apart(named(model), free, start) > 1e-2


def test_sft_trainers_own_lora_stays_outside_the_subspace(tmp_path):
    from peft import LoraConfig

    context = make_context(training=CONFIG)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
    inside = {}
    for name, settings in (("on", ON), ("off", OFF)):
        model = sft(context, tmp_path, settings, peft_config=lora)
        inside[name] = protected(context, named(model.merge_and_unload()))
    assert inside["on"] < 1e-9
    assert inside["off"] > 1e-3
