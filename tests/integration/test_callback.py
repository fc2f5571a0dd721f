"""`CwacCallback` in `transformers.Trainer`: the same weights as our own loop, step for step."""

import copy

import pytest
import torch
from builders import make_chat, make_context, make_model, make_prompts
from trainers import CONFIG, make_order, make_trainer

from cwac import passes
from cwac.anatomy import anatomy_of, weight_of
from cwac.errors import DataError, ModelError, TrainingError
from cwac.interfaces import Method, MethodSettings
from cwac.methods.cwac import Cwac, CwacSettings
from cwac.trainer import CwacCallback
from cwac.trainer.weights import inner_model
from cwac.training import fit

ON = CwacSettings(strength=0.5, harmful_batch=4)


@pytest.fixture
def context():
    return make_context(training=CONFIG)


def ours(method, context=None, config=CONFIG):
    """The weights after our own loop."""
    chat = make_chat()
    context = context or make_context(training=config)
    model = context.model
    fit(model, anatomy_of(model), chat, make_order(config), config, method, seed=0, context=context)
    return {name: p.detach() for name, p in model.named_parameters()}


def theirs(context, out, settings=ON, *, model=None, **arguments):
    """The weights after the Trainer, the callback in it, and the trainer."""
    guard = CwacCallback(context, settings)
    model = model if model is not None else copy.deepcopy(context.model)
    trainer = make_trainer(model, context.chat, out, callbacks=[guard], **arguments)
    trainer.train()
    return {name: p.detach() for name, p in model.named_parameters()}, guard, trainer


def apart(one, other):
    """The largest difference, in units of the largest change that training made."""
    assert one.keys() == other.keys()
    start = dict(make_model().named_parameters())
    moved = max(float((p.detach() - one[name]).abs().max()) for name, p in start.items())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / moved


def protected(context, weights, select="ffn"):
    """The share of the change's energy inside the subspace, largest over the maps."""
    subspace = context.yardstick.subspace.select(select)
    found = []
    for entry in subspace.maps:
        delta = weight_of(weights, entry) - weight_of(context.aligned, entry)
        assert float(delta.norm()) > 0
        found.append(subspace.inside_energy(entry.path, delta))
    return max(found)


@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_the_trainer_ends_where_our_loop_ends(context, tmp_path, accumulation):
    expected = ours(Cwac(ON))
    weights, guard, _ = theirs(context, tmp_path, accumulation=accumulation)
    assert apart(expected, weights) < 1e-3
    assert protected(context, weights) < 1e-10
    assert guard.diagnostics()["safety_loss"] > 0
    # The comparison can tell: either constraint alone ends elsewhere.
    for off in ({"activation": False}, {"weight": False}):
        assert apart(ours(Cwac(ON.model_copy(update=off))), weights) > 1e-2


@pytest.mark.parametrize(
    "settings",
    [
        CwacSettings(activation=False),
        CwacSettings(weight=False, strength=0.5),
        CwacSettings(activation=False, projection="gradient"),
        CwacSettings(activation=False, projection="frozen"),
    ],
)
def test_each_constraint_alone_too(context, tmp_path, settings):
    weights, _, _ = theirs(context, tmp_path, settings)
    assert apart(ours(Cwac(settings)), weights) < 1e-3


def test_with_both_constraints_off_nothing_is_changed(context, tmp_path):
    weights, guard, _ = theirs(context, tmp_path, CwacSettings(weight=False, activation=False))
    plain = copy.deepcopy(context.model)
    make_trainer(plain, context.chat, tmp_path).train()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(parameter.detach(), weights[name], rtol=0, atol=0)
    assert apart(ours(Method(MethodSettings())), weights) < 1e-3
    assert guard.diagnostics() == {}


def test_the_safety_loss_is_logged_beside_the_tasks_own(context, tmp_path):
    _, guard, trainer = theirs(context, tmp_path)
    plain = make_trainer(copy.deepcopy(context.model), context.chat, tmp_path)
    plain.train()
    first, alone = trainer.state.log_history[0], plain.state.log_history[0]
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-5)
    assert [e["safety_loss"] for e in trainer.state.log_history if "loss" in e][-1] == (
        guard.diagnostics()["safety_loss"]
    )


def test_gradient_checkpointing_and_autocast_change_nothing_much(context, tmp_path, monkeypatch):
    expected, _, _ = theirs(context, tmp_path)
    weights, _, _ = theirs(context, tmp_path, gradient_checkpointing=True)
    assert apart(expected, weights) < 1e-3
    rough, _, _ = theirs(context, tmp_path, bf16=True)
    assert protected(context, rough) < 1e-10
    assert all(p.dtype == torch.float32 for p in rough.values())
    # A wide model reads what all requests begin with once, into a cache.
    monkeypatch.setattr(passes, "SMALL", 4)
    wide, _, _ = theirs(context, tmp_path, gradient_checkpointing=True)
    assert 0 < apart(expected, wide) < 1e-3
    rough, _, _ = theirs(context, tmp_path, bf16=True)
    assert protected(context, rough) < 1e-10


def test_a_resumed_training_ends_like_an_unbroken_one(context, tmp_path):
    expected, _, _ = theirs(context, tmp_path / "whole")
    theirs(context, tmp_path / "cut", save_strategy="steps", save_steps=3)
    # What the second half starts from is the checkpoint's, not the aligned model's.
    guard, model = CwacCallback(context, ON), copy.deepcopy(context.model)
    trainer = make_trainer(model, context.chat, tmp_path / "cut", callbacks=[guard])
    trainer.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-3"))
    weights = {name: p.detach() for name, p in model.named_parameters()}
    assert apart(expected, weights) < 1e-3
    assert protected(context, weights) < 1e-10


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lora_stays_outside_the_subspace_too(context, tmp_path):
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
    changes = {}
    for name, settings in (("on", ON), ("off", CwacSettings(weight=False, activation=False))):
        model = get_peft_model(copy.deepcopy(context.model), lora)
        _, guard, trainer = theirs(context, tmp_path, settings, model=model)
        merged = inner_model(trainer.model.merge_and_unload())
        changes[name] = protected(context, dict(merged.named_parameters()))
    assert guard.diagnostics() == {}
    assert changes["on"] < 1e-9
    assert changes["off"] > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox"])
def test_other_architectures_too(tmp_path, kind):
    from transformers import AutoConfig, AutoModelForCausalLM

    chat = make_chat()
    torch.manual_seed(0)
    sizes = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 48},
        "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                     "intermediate_size": 48},
    }[kind]  # fmt: skip
    config = AutoConfig.for_model(kind, vocab_size=len(chat.tokenizer), **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    context = make_context(model=model, chat=chat, training=CONFIG)
    weights, _, _ = theirs(context, tmp_path)
    assert protected(context, weights) < 1e-9


# What cannot be trained is said before the first step


def test_other_weights_than_the_aligned_ones_are_refused(context, tmp_path):
    with pytest.raises(TrainingError, match=r"is not the aligned model's"):
        theirs(context, tmp_path, model=make_model(seed=1))


def test_a_model_of_another_shape_is_refused(context, tmp_path):
    with pytest.raises(ModelError, match=r"has shape \(32, 64\), the aligned model's \(32, 48\)"):
        theirs(context, tmp_path, model=make_model(intermediate_size=64))


def test_half_precision_weights_are_refused(context, tmp_path):
    model = copy.deepcopy(context.model).to(torch.bfloat16)
    with pytest.raises(ModelError, match="needs float32 weights"):
        theirs(context, tmp_path, model=model)


# From a model folder


def test_ten_lines_protect_a_fine_tune(tiny_folder, tmp_path):
    from cwac import CwacCallback as Lazy

    assert Lazy is CwacCallback
    guard = Lazy.fit(tiny_folder, root=tmp_path / "runs", measurement={"maps": "ffn"})
    assert guard.activation.strength == 0.25  # The model's documented default.
    before = {name: p.detach().clone() for name, p in guard.model.named_parameters()}
    make_trainer(guard.model, make_chat(), tmp_path, callbacks=[guard]).train()
    for entry, basis in zip(guard.weight.maps, guard.weight.bases, strict=True):
        delta = weight_of(guard.model, entry).detach() - weight_of(before, entry)
        assert float((delta @ basis).norm() / delta.norm()) < 1e-5
    # The second time the fits are read.
    fits = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs/fits").iterdir()}
    Lazy.fit(tiny_folder, root=tmp_path / "runs", measurement={"maps": "ffn"})
    again = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs/fits").iterdir()}
    assert fits == again


def test_requests_of_ones_own_are_all_safety_requests(tiny_folder, tmp_path):
    prompts = make_prompts()
    harmful = [p.text for p in prompts.get("safety", "harmful")]
    path = tmp_path / "harmless.txt"
    path.write_text("\n".join(p.text for p in prompts.get("safety", "harmless")))
    guard = CwacCallback.fit(
        tiny_folder, harmful, str(path), root=tmp_path / "runs", strength=2.0, harmful_batch=3
    )
    assert guard.activation.strength == 2.0
    assert len(guard.activation.codes) == len(set(harmful))
    with pytest.raises(DataError, match=r"harmless=\.\.\. is missing"):
        CwacCallback.fit(tiny_folder, harmful, root=tmp_path / "runs")
    with pytest.raises(DataError, match="there are no harmful requests"):
        CwacCallback.fit(tiny_folder, [" "], harmful, root=tmp_path / "runs")
