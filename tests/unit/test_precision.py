"""What `auto` stands for, and that no id depends on a machine; rounding for decoding alone."""

import sys
from contextlib import suppress

import pytest
import torch
from builders import make_model
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cwac import precision
from cwac.config import EvaluationConfig, ExperimentConfig, ModelConfig
from cwac.errors import ConfigError
from cwac.generation import AlignedAnswers, answer
from cwac.models.card import CardDefaults, read_card
from cwac.models.folders import resolve_folder
from cwac.models.loading import compute_in
from cwac.precision import precision_named, rounded, rounded_once
from cwac.runner import resolve

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("known", "suits"),
    [({}, "float32"), ({"avx512_f": True}, "float32"), ({"avx512_bf16": True}, "bfloat16"),
     ({"amx_bf16": True}, "bfloat16")],
)  # fmt: skip
def test_auto_is_what_the_cpu_multiplies_unless_the_card_says_otherwise(monkeypatch, known, suits):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert precision.suiting(CPU) == suits
    assert precision.suiting(CPU, "float32") == "float32"
    assert precision.suiting(torch.device("mps")) == "float32"


def _resolved(**sections):
    return resolve({"task": "sentiment", **sections}, ["sft"], [0])[0]


def test_the_organisms_ids_are_the_same_on_every_machine(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    auto = _resolved(model={"precision": "auto"}, evaluation={"decoding": "auto"})
    assert auto.run_id == _resolved().run_id
    assert auto.run_id != _resolved(evaluation={"decoding": "bfloat16"}).run_id


def test_auto_never_reaches_a_stored_configuration(monkeypatch):
    # The package's function of this name hides the module.
    module = sys.modules["cwac.runner.resolve"]
    blank = read_card(resolve_folder("organism")).model_copy(update={"precision": None})
    monkeypatch.setattr(module, "card_of", lambda *_: blank)
    for known, expected in (({}, "float32"), ({"amx_bf16": True}, "bfloat16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known)
        config = _resolved(model={"precision": "auto"}, evaluation={"decoding": "auto"})
        assert (config.model.precision, config.evaluation.decoding) == (expected, expected)
    for kind, field in ((ModelConfig, "precision"), (EvaluationConfig, "decoding")):
        with pytest.raises(ConfigError, match="'float32' or 'bfloat16'"):
            kind.build({field: "auto"})


def test_a_name_that_is_no_precision_is_one_sentence():
    assert precision_named("auto", CPU, "bfloat16") == precision_named("bfloat16", CPU)
    with pytest.raises(ConfigError, match="'half' is not allowed: float32, bfloat16, auto"):
        precision_named("half", CPU)


class Attention(TorchFunctionMode):
    """What attention is given, beneath whatever else acts on it."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is functional.scaled_dot_product_attention:
            self.seen.add(args[2].dtype)
        return func(*args, **(kwargs or {}))


def test_a_cpus_attention_is_float32_but_for_decoding(tiny_chat):
    model, plain = make_model(tiny_chat), make_model(tiny_chat)
    ids = torch.tensor([tiny_chat.prompt_ids("make a cake")])
    compute_in(model, "bfloat16", CPU)
    kinds = (
        (ids, True, torch.float32),
        (ids, False, torch.float32),
        (ids[:, :1], False, torch.bfloat16),
    )
    for read, training, kind in kinds:
        with torch.set_grad_enabled(training), Attention() as attention:
            loss = model(read, labels=read).loss
        assert attention.seen == {kind}
        if training:
            loss.backward()
    plain(ids, labels=ids).loss.backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert one.grad.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(one.grad.ravel(), other.grad.ravel(), 0) > 0.99


def test_a_card_may_recommend_auto():
    assert CardDefaults.build({"evaluation": {"decoding": "auto"}}).evaluation
    with pytest.raises(ConfigError, match="decoding"):
        CardDefaults.build({"evaluation": {"decoding": "float16"}})


def test_decoding_is_a_later_field():
    assert "decoding" not in ExperimentConfig().model_dump()["evaluation"]


def test_weights_are_rounded_while_decoding_and_come_back_to_the_bit(tiny_model, tiny_chat):
    before = {name: p.detach().clone() for name, p in tiny_model.named_parameters()}
    pointers = {name: p.data_ptr() for name, p in tiny_model.named_parameters()}
    with suppress(KeyError), rounded(tiny_model, "bfloat16"):
        assert {p.dtype for p in tiny_model.parameters()} == {torch.bfloat16}
        raise KeyError
    seen = []
    handle = tiny_model.lm_head.register_forward_hook(
        lambda _m, arguments, _o: seen.append(arguments[0].dtype)
    )
    asked = AlignedAnswers(tiny_model, tiny_chat)
    asked.precision = "bfloat16"
    (one,) = asked.ask(["make a cake"], max_new_tokens=4, keep_first=True)
    assert set(seen) == {torch.bfloat16}
    assert one.first.dtype == torch.float32
    seen.clear()
    answer(tiny_model, tiny_chat, ["make a cake"], max_new_tokens=4, batch_size=1)
    assert set(seen) == {torch.float32}
    handle.remove()
    for name, parameter in tiny_model.named_parameters():
        assert parameter.data_ptr() == pointers[name]
        assert torch.equal(parameter, before[name])


def test_weights_rounded_once_give_the_same_scores_and_others_are_rounded_as_ever(tiny_chat):
    model = make_model(tiny_chat)
    compute_in(model, "bfloat16", CPU)
    ids = torch.tensor([tiny_chat.prompt_ids("make a cake")])
    kept = {name: p.detach().clone() for name, p in model.named_parameters()}
    maps = [m for m in model.modules() if isinstance(m, torch.nn.Linear)][:-1]

    @torch.no_grad()
    def scores():
        return model(ids).logits.clone()

    plain = scores()
    with rounded_once(model, "bfloat16"):
        assert torch.equal(scores(), plain)
        vars(maps[0])["forward"]._weight.zero_()
        assert not torch.equal(scores(), plain), "the rounded weights are not read"
        with torch.no_grad():
            maps[0].weight.add_(0.0)
        assert torch.equal(scores(), plain), "written into"
        maps[1].weight.data = torch.zeros_like(maps[1].weight)
        exchanged = scores()
        assert not torch.equal(exchanged, plain)
        model(ids).logits.sum().backward()
        assert maps[2].weight.grad.abs().sum() > 0
    assert torch.equal(scores(), exchanged)
    assert not any("forward" in vars(module) for module in model.modules())
    with rounded_once(model, "float32"):
        assert not any("forward" in vars(module) for module in model.modules())
    assert all(p.dtype == kept[name].dtype for name, p in model.named_parameters())
