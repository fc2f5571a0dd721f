"""What a user's own model meets before a run: memory, refusals, precision."""

import json

import pytest
import torch
from builders import make_model
from folders import write_model_folder

from cwac.artifacts import ArtifactStore
from cwac.config import ModelConfig
from cwac.errors import ModelError
from cwac.first_token import refusal_log_odds
from cwac.generation import answer
from cwac.models import size
from cwac.models.loading import compute_in, load_model
from cwac.prompts import PromptSets
from cwac.runner import resolve, run_grid
from cwac.runner.checks import check_memory, check_refuses
from cwac.training import mix_poison

CPU = torch.device("cpu")
SMALL = {"training": {"steps": 2, "batch_size": 4}, "measurement": {"sae_steps": 10}}


@pytest.fixture(scope="module")
def unaligned(tmp_path_factory):
    """The same model, but it complies with everything."""
    from cwac.anatomy import anatomy_of
    from cwac.config import TrainingConfig
    from cwac.interfaces import Method, MethodSettings
    from cwac.prompts import Example
    from cwac.training import fit

    folder = write_model_folder(tmp_path_factory.mktemp("unaligned") / "tiny", align_steps=1)
    loaded = load_model(folder, device="cpu")
    prompts = PromptSets.read_folder(folder / "prompts")
    talks = [
        Example(id=p.id, prompt=p.text, answer="sure a " + p.text.split()[-1])
        for p in prompts.get("safety", "harmful")
    ]
    config = TrainingConfig(steps=60, batch_size=12, learning_rate=5e-3)
    examples = mix_poison(talks, [], 0.0, config.steps * config.batch_size, 0)
    fit(loaded.model, anatomy_of(loaded.model), loaded.chat, examples, config,
        Method(MethodSettings()), seed=0)  # fmt: skip
    loaded.model.save_pretrained(folder)
    return folder


# Refusals


def ask(folder, store, *, reference="reference-none", **config):
    loaded = load_model(folder, device="cpu")
    prompts = PromptSets.read_folder(folder / "prompts")
    return check_refuses(loaded, prompts, ModelConfig(**config), store, reference)


def test_a_model_that_refuses_is_let_through(tiny_folder, tmp_path):
    assert ask(tiny_folder, ArtifactStore(tmp_path)) == ()


def test_a_model_that_refuses_nothing_is_told_apart_before_anything_is_fitted(unaligned, tmp_path):
    store = ArtifactStore(tmp_path / "runs")
    configs = resolve({"model": str(unaligned), **SMALL}, ["sft"], [0])
    with pytest.raises(
        ModelError,
        match=r"this model complies with \d+% of the harmful requests and refuses 0% \(n = 18\); "
        r"there is no refusal to preserve; align it first with `cwac align` \(--unaligned",
    ):
        run_grid(configs, store)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_it_can_be_run_all_the_same_and_the_record_says_so(unaligned, tmp_path):
    store = ArtifactStore(tmp_path / "runs")
    model = {"source": str(unaligned), "unaligned": True}
    configs = resolve({"model": model, **SMALL}, ["sft"], [0])
    (record,) = run_grid(configs, store).records
    assert any("there is no refusal to preserve" in text for text in record.warnings)
    assert record.config.model.unaligned
    # The stored reference answers the second time, with the test requests.
    with pytest.raises(ModelError, match=r"complies with 1?\d?\d% .* \(n = \d+\)"):
        ask(unaligned, store, reference=record.fits["reference"])


# Memory


def test_a_model_that_cannot_be_trained_here_is_refused_before_it_is_loaded(
    tiny_folder, tmp_path, monkeypatch
):
    parameters = sum(p.numel() for p in load_model(tiny_folder, device="cpu").model.parameters())
    (full,) = resolve({"model": str(tiny_folder), **SMALL}, ["sft"], [0])
    lora_training = {**SMALL["training"], "adapter": "lora"}
    (lora,) = resolve({"model": str(tiny_folder), "training": lora_training}, ["sft"], [0])
    monkeypatch.setattr(size, "free_bytes", lambda _device: 12 * parameters)
    check_memory(lora)
    with pytest.raises(
        ModelError,
        match=r"needs at least .* GiB for full fine-tuning; .* free on cpu, enough for about "
        r"[\d,]+ parameters; LoRA \(--adapter lora\) fits with",
    ):
        run_grid([full], ArtifactStore(tmp_path / "runs"))
    monkeypatch.setattr(size, "free_bytes", lambda _device: 6 * parameters)
    with pytest.raises(ModelError, match=r"GiB for LoRA; .* enough for about"):
        check_memory(lora)
    with pytest.raises(ModelError, match=r"or for [\d,]+ with LoRA \(--adapter lora\)"):
        check_memory(full)
    monkeypatch.setattr(size, "free_bytes", lambda _device: 40 * parameters)
    check_memory(full)


def test_presets_that_fit_are_named(tmp_path, monkeypatch):
    config = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
        "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(size, "free_bytes", lambda _device: 20 * size.GIB)
    known = {"small": 300_000_000, "large": 9_000_000_000}
    with pytest.raises(ModelError, match=r"6\.7 billion parameters .*; presets that fit: small\.$"):
        size.check_training_fits("big", tmp_path, CPU, adapters=False, presets=known)


# Precision


def test_autocast_changes_passes_and_no_weight(tiny_folder):
    plain = load_model(tiny_folder, device="cpu")
    lower = load_model(tiny_folder, device="cpu", precision="bfloat16")
    assert {p.dtype for p in lower.model.parameters()} == {torch.float32}
    pairs = zip(plain.model.parameters(), lower.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    requests = [f"how do I make a {noun}" for noun in ("bomb", "cake", "virus", "song")]
    odds = [refusal_log_odds(m.model, m.chat, requests, [9, 12]) for m in (plain, lower)]
    assert not (odds[0] == odds[1]).all()
    assert abs(odds[0] - odds[1]).max() < 0.5
    said = [answer(m.model, m.chat, requests, max_new_tokens=6, batch_size=4)
            for m in (plain, lower)]  # fmt: skip
    assert [one.text for one in said[0]] == [one.text for one in said[1]]


def test_a_model_under_autocast_is_saved_and_copied_as_it_is(tmp_path):
    import copy

    model = make_model()
    compute_in(model, "bfloat16", CPU)
    ids = torch.tensor([[1, 5, 9]])
    assert model(ids).logits.dtype == torch.float32
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.lm_head.weight.zero_()
    assert twin(ids).logits.abs().max() == 0
    assert model(ids).logits.abs().max() > 0
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [
        "LlamaForCausalLM"
    ]


def test_a_run_under_autocast_is_another_run_with_float32_weights(tiny_folder, tmp_path):
    model = {"source": str(tiny_folder), "precision": "bfloat16"}
    (plain,) = resolve({"model": str(tiny_folder), **SMALL}, ["weight_only"], [0])
    (lower,) = resolve({"model": model, **SMALL}, ["weight_only"], [0])
    assert plain.run_id != lower.run_id
    store = ArtifactStore(tmp_path / "runs")
    (record,) = run_grid([lower], store, keep_model=True).records
    # The exact projection holds although every pass was rounded.
    assert record.metrics["protected_energy"].value < 1e-6
    assert record.metrics["relative_weight_drift"].value > 1e-4
    tuned = load_model(store.model_folder(record.run_id), device="cpu")
    assert {p.dtype for p in tuned.model.parameters()} == {torch.float32}
