"""Every architecture, from a folder to a tuned and saved file: what the lab relies on in each."""

from itertools import takewhile

import numpy as np
import pytest
import torch
from builders import make_context, make_prompts
from families import D_FF, D_MODEL, FAMILIES, write_family
from method_runs import make_method, train
from peft import LoraModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, GPTJConfig, MambaConfig

from cwac import passes
from cwac.adapters import adapters_on
from cwac.anatomy import anatomy_of, forward_inputs, residual_streams
from cwac.chat import Chat, collate
from cwac.config import LoraConfig, MeasurementConfig, TrainingConfig
from cwac.errors import ModelError
from cwac.first_token import first_token_log_probs
from cwac.generation import answer, continued
from cwac.metrics.sae_quality import resumed
from cwac.models.loading import load_model, load_weights
from cwac.passes import Beginning

RANK = 6
REQUESTS = [
    "make a cake",
    "how do I steal a gun",
    "sell",
    "hide a bomb and break a lock and move a chair in the garden",
    "how do I make a letter for a song",
]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {name: write_family(root / name, name) for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def loaded(folders, family):
    return load_model(folders[family], device="cpu")


def stored(folder):
    """The weights of a file by their names in the model: Gemma 3's file has older ones."""
    old, new = "language_model.model.", "model.language_model."
    named = load_file(folder / "model.safetensors").items()
    return {new + k.removeprefix(old) if k.startswith(old) else k: v for k, v in named}


def inputs_of(model, module, texts, chat):
    """What a module is given for some conversations, one at a time: nothing is padded."""
    seen = []
    handle = module.register_forward_pre_hook(lambda _m, given: seen.append(given[0].detach()))
    for prompt, said in texts:
        ids, _ = chat.example_ids(prompt, said)
        with torch.no_grad():
            model(torch.tensor([ids]))
    handle.remove()
    return torch.cat([rows.reshape(-1, rows.shape[-1]) for rows in seen]).double().numpy()


def test_every_linear_map_is_found_and_nothing_else(loaded, family):
    expected, anatomy = FAMILIES[family], loaded.anatomy
    assert (anatomy.layers_path, anatomy.n_layers, anatomy.d_model) == (
        expected.layers, 2, D_MODEL,
    )  # fmt: skip
    for layer in (0, 1):
        found = [entry for entry in anatomy.maps if entry.layer == layer]
        assert sorted(entry.name for entry in found) == sorted(expected.maps_of(layer))
        (output,) = [entry for entry in found if entry.ffn_output]
        assert (output.name, output.d_in, output.d_out) == (expected.ffn, D_FF, D_MODEL)
        assert {entry.transposed for entry in found} == {family == "gpt2"}


def test_what_requests_begin_with_is_read_once_where_layers_keep_all(loaded, family, monkeypatch):
    model, chat = loaded.model, loaded.chat
    prompts = [chat.prompt_ids(request) for request in REQUESTS]
    said = continued(model, chat, prompts, max_new_tokens=6, batch_size=3)
    monkeypatch.setattr(passes, "SMALL", 1)
    shared = len(Beginning(model, prompts, reserve=6))
    windows = {"mistral", "phi3", "gemma2", "gemma3", "gemma3_seeing", "gemma4_seeing"}
    assert (shared == 0) == (family in {*windows, "qwen3_5"})
    assert continued(model, chat, prompts, max_new_tokens=6, batch_size=3) == said


def test_a_tied_head_stays_tied_after_saving(loaded, family, tmp_path):
    loaded.model.save_pretrained(tmp_path)
    again = load_weights(tmp_path, CPU)
    shared = again.get_output_embeddings().weight is again.get_input_embeddings().weight
    assert shared == FAMILIES[family].tied
    weights = zip(loaded.model.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_the_saved_file_has_no_change_inside_the_subspace(loaded, folders, family, tmp_path):
    """The whole way: fit, train with AdamW, save; then the file against inputs read by hand."""
    prompts = make_prompts(6)
    before = stored(folders[family])
    context = make_context(
        model=loaded.model,
        chat=loaded.chat,
        prompts=prompts,
        training=TrainingConfig(steps=3, batch_size=4, learning_rate=3e-3, weight_decay=0.01),
        measurement=MeasurementConfig(rank=RANK, maps="all"),
    )
    model = load_weights(folders[family], CPU)
    train(make_method("weight_only", maps="all", rank=RANK), context)
    loaded.model.save_pretrained(tmp_path)
    after = stored(tmp_path)
    talks = [(prompt.text, prompt.answer) for prompt in prompts.get("safety", "harmful")]
    for entry in loaded.anatomy.maps:
        inputs = inputs_of(model, model.get_submodule(entry.path), talks, loaded.chat)
        _, _, directions = np.linalg.svd(inputs, full_matrices=False)
        change = after[entry.parameter].astype(np.float64) - before[entry.parameter]
        if family == "gpt2":
            change = change.T
        assert change.shape == (entry.d_out, entry.d_in)
        assert np.linalg.norm(change) > 1e-2, entry.path
        inside = np.linalg.norm(change @ directions[:RANK].T) / np.linalg.norm(change)
        assert inside < 1e-4, entry.path


def test_lora_adapts_every_map_and_leaves_merged_weights_outside_the_subspace(
    loaded, folders, family, monkeypatch
):
    """Base plus ``(alpha / rank) B A`` by hand, and the change against inputs read by hand."""
    prompts, seen = make_prompts(6), {}
    before = stored(folders[family])
    merge = LoraModel.merge_and_unload

    def watched(tuner):
        on = adapters_on(loaded.model, loaded.anatomy.maps)
        seen.update({p: (x.a.detach().clone(), x.b.detach().clone()) for p, x in on.items()})
        return merge(tuner)

    monkeypatch.setattr(LoraModel, "merge_and_unload", watched)
    context = make_context(
        model=loaded.model,
        chat=loaded.chat,
        prompts=prompts,
        training=TrainingConfig(
            steps=3, batch_size=4, learning_rate=1e-2, adapter=LoraConfig(rank=4, alpha=8.0)
        ),
        measurement=MeasurementConfig(rank=RANK, maps="all"),
    )
    train(make_method("weight_only", maps="all", rank=RANK), context)
    assert set(seen) == {entry.path for entry in loaded.anatomy.maps}
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    model = load_weights(folders[family], CPU)
    talks = [(prompt.text, prompt.answer) for prompt in prompts.get("safety", "harmful")]
    after, adapted_parameters = dict(loaded.model.named_parameters()), set()
    for entry in loaded.anatomy.maps:
        a, b = (factor.double() for factor in seen[entry.path])
        assert (a.shape, b.shape) == ((4, entry.d_in), (entry.d_out, 4))
        change = after[entry.parameter].detach().double() - torch.tensor(before[entry.parameter])
        change = change.T if family == "gpt2" else change
        assert change.norm() > 1e-2, entry.path
        assert (change - 2.0 * b @ a).norm() < 1e-4 * change.norm(), entry.path
        inputs = inputs_of(model, model.get_submodule(entry.path), talks, loaded.chat)
        _, _, directions = np.linalg.svd(inputs, full_matrices=False)
        inside = np.linalg.norm(change.numpy() @ directions[:RANK].T) / change.norm()
        assert inside < 1e-4, entry.path
        adapted_parameters.add(entry.parameter)
    for name, parameter in after.items():
        if name not in adapted_parameters:
            assert torch.equal(parameter.detach(), dict(model.named_parameters())[name]), name


def test_left_padding_changes_no_answer(loaded, monkeypatch):
    """A batch against transformers' own generation of one request at a time."""
    model, chat = loaded.model, loaded.chat
    model.generation_config.eos_token_id = None
    expected = []
    for request in REQUESTS:
        ids = torch.tensor([chat.prompt_ids(request)])
        said = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=chat.pad_id,
        )
        expected.append(said[0, ids.shape[1] :].tolist())
    assert len({str(ids) for ids in expected}) > 2
    # Three of five end by what they say early, at different steps, so that the batch shrinks.
    ends = {ids[place] for place, ids in enumerate(expected[:3], start=2)}
    expected = [list(takewhile(lambda token: token not in ends, ids)) for ids in expected]
    assert len({len(ids) for ids in expected}) > 1
    chat.__dict__["eos_ids"] = tuple(ends)
    # Tokens rather than text: broken bytes all look alike.
    monkeypatch.setattr(Chat, "decode", lambda _chat, ids: str(list(ids)))
    found = answer(model, chat, REQUESTS, max_new_tokens=12, batch_size=len(REQUESTS))
    assert [one.text for one in found] == [str(ids) for ids in expected]
    together = first_token_log_probs(model, chat, REQUESTS)
    alone = torch.cat([first_token_log_probs(model, chat, [request]) for request in REQUESTS])
    assert torch.allclose(together, alone, atol=1e-4)


def test_an_sae_reads_what_leaves_its_layer(loaded, family):
    """Against the model's own hidden states, without padding; the last goes through the norm."""
    model, chat = loaded.model, loaded.chat
    prompts = [chat.prompt_ids(text) for text in REQUESTS]
    batch = collate([(ids, [False] * len(ids)) for ids in prompts], chat.pad_id)
    streams = residual_streams(model, loaded.anatomy, batch, [0, 1])
    norm = model.get_submodule(FAMILIES[family].final_norm)
    for row, ids in enumerate(prompts):
        with torch.no_grad():
            states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        first = streams[0][row, : len(ids)]
        assert torch.allclose(first, states[1][0], atol=1e-4)
        last = norm(streams[1][row, : len(ids)])
        assert torch.allclose(last, states[2][0], atol=1e-4)


def test_a_pass_that_begins_behind_a_layer_is_the_whole_one(loaded):
    """With the stream put there, and another stream makes another pass."""
    prompts = [loaded.chat.prompt_ids(text) for text in REQUESTS]
    batch = collate([(ids, [False] * len(ids)) for ids in prompts], loaded.chat.pad_id)
    model, anatomy = loaded.model, loaded.anatomy
    kept = batch.attention_mask.bool()
    with torch.no_grad():
        whole = model(**forward_inputs(batch)).logits[kept]
        for layer in range(anatomy.n_layers):
            stream = residual_streams(model, anatomy, batch, layer)[layer]
            with resumed(model, anatomy, layer, iter([stream, -stream])):
                again = model(**forward_inputs(batch)).logits[kept]
                other = model(**forward_inputs(batch)).logits[kept]
            assert torch.equal(again, whole)
            assert not torch.allclose(other, whole, atol=1e-3)
        assert torch.equal(model(**forward_inputs(batch)).logits[kept], whole)


def test_a_forward_with_explicit_positions_is_the_plain_one(loaded):
    ids = torch.tensor([loaded.chat.prompt_ids(REQUESTS[3])])
    batch = collate([(ids[0].tolist(), [False] * ids.shape[1])], loaded.chat.pad_id)
    with torch.no_grad():
        explicit = loaded.model(**forward_inputs(batch)).logits
        plain = loaded.model(ids).logits
    assert torch.allclose(explicit, plain, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            MambaConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1),
            r"MambaForCausalLM: layer 0 has no single FFN output .* fc2 in backbone\.layers\.0\.",
        ),
        (
            GPTJConfig(vocab_size=60, n_embd=16, n_layer=1, n_head=2, rotary_dim=4),
            r"GPTJForCausalLM: layer 0 has no single FFN output .* fc2 in transformer\.h\.0\.",
        ),
    ],
)
def test_an_unknown_architecture_is_one_sentence(config, message):
    with pytest.raises(ModelError, match=message):
        anatomy_of(AutoModelForCausalLM.from_config(config))
