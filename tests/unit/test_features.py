"""SAE codes, the choice of scored tokens, and the activation loss."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from builders import make_features
from safetensors.torch import load_file, save_file

from cwac import passes
from cwac.anatomy import anatomy_of, residual_streams
from cwac.errors import ArtifactError, DataError
from cwac.features import (
    AlignedCodes,
    Sae,
    SafetyFeatures,
    activation_loss,
    last_tokens,
    latent_statistics,
    prompt_batch,
    scored_residuals,
    scored_tokens,
)


@pytest.fixture
def parts(tiny_model, tiny_chat, tiny_prompts):
    """Model, anatomy, features and the aligned codes of all harmful safety requests."""
    anatomy = anatomy_of(tiny_model)
    features = make_features(tiny_model, anatomy, tiny_prompts)
    prompts = tiny_prompts.get("safety", "harmful")
    codes = AlignedCodes.collect(tiny_model, anatomy, tiny_chat, features, prompts)
    return tiny_model, anatomy, features, codes


def _random_sae(k=4, width=24, d_model=8, **config):
    stream = torch.Generator().manual_seed(1)
    parts = [
        torch.randn(*size, generator=stream)
        for size in ((d_model, width), (width,), (width, d_model), (d_model,))
    ]
    base = {"architecture": "topk", "k": k, "normalize_activations": "none"}
    return Sae(*parts, base | config)


def _residuals(*shape):
    return torch.randn(*shape, 8, generator=torch.Generator().manual_seed(2))


# The reader


def test_codes_keep_the_k_largest_and_are_never_negative():
    sae = _random_sae()
    x = _residuals(5, 3)
    scores = (x - sae.b_dec) @ sae.w_enc + sae.b_enc
    codes = sae.encode(x)
    assert codes.shape == (5, 3, 24)
    assert codes.min() >= 0
    assert (codes > 0).sum(dim=-1).max() <= 4
    for row, score in zip(codes.reshape(-1, 24), scores.reshape(-1, 24), strict=True):
        top = score.topk(4).indices
        assert torch.equal(row[top], score[top].relu())
        assert (row > 0).sum() == (score[top] > 0).sum()


def test_the_decoder_bias_can_be_left_out_of_the_input():
    x = _residuals(4)
    sae = _random_sae(apply_b_dec_to_input=False)
    assert torch.allclose(sae.preactivations(x), x @ sae.w_enc + sae.b_enc)


def test_an_sae_survives_a_round_trip(tmp_path):
    sae = _random_sae(metadata={"hook_name": "model.layers.2"})
    sae.save(tmp_path / "layer_2")
    again = Sae.load(tmp_path / "layer_2")
    x = _residuals(6)
    assert torch.equal(again.encode(x), sae.encode(x))
    assert torch.equal(again.decode(again.encode(x)), sae.decode(sae.encode(x)))
    assert again.config["metadata"] == {"hook_name": "model.layers.2"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "gated"}, "'gated'"),
        ({"architecture": "jumprelu"}, "threshold"),
        ({"normalize_activations": "layer_norm"}, "topk"),
    ],
)
def test_other_kinds_of_sae_are_refused(tmp_path, change, message):
    sae = _random_sae()
    replace(sae, config=sae.config | change).save(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        Sae.load(tmp_path)


def test_a_threshold_of_its_own_decides_over_each_latent(tmp_path):
    threshold = torch.linspace(-1, 4, 24)
    sae = replace(_random_sae(architecture="jumprelu"), threshold=threshold)
    assert sae.k is None
    sae.save(tmp_path)
    x = _residuals(7)
    scores = sae.preactivations(x)
    expected = torch.where((scores > threshold) & (scores > 0), scores, 0)
    assert 0 < (expected > 0).sum() < (scores > 0).sum()
    assert torch.equal(Sae.load(tmp_path).encode(x), expected)
    assert torch.equal(sae.to(torch.device("cpu")).encode(x), expected)
    standard = _random_sae(architecture="standard")
    assert torch.equal(standard.encode(x), standard.preactivations(x).relu())


def test_a_broken_sae_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        Sae.load(tmp_path)
    _random_sae().save(tmp_path)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    del weights["W_dec"]
    save_file(weights, tmp_path / "sae_weights.safetensors")
    with pytest.raises(ArtifactError, match="W_dec"):
        Sae.load(tmp_path)


def test_features_survive_a_round_trip(tmp_path, parts):
    _, _, features, _ = parts
    features.save(tmp_path)
    again = SafetyFeatures.load(tmp_path)
    assert again.layers == features.layers == (0, 1)
    assert again.index == features.index
    assert again.prompt_ids == features.prompt_ids
    for layer in features.layers:
        assert torch.equal(again.controls[layer], features.controls[layer])
    (tmp_path / "features.json").write_text(json.dumps({"layers": [0]}))
    with pytest.raises(ArtifactError, match="cannot be read"):
        SafetyFeatures.load(tmp_path)


def test_only_refused_prompts_are_used(parts, tiny_prompts):
    _, _, features, _ = parts
    prompts = tiny_prompts.get("safety", "harmful")
    some = replace(features, prompt_ids=(prompts[3].id, prompts[1].id))
    assert some.refused(prompts) == [prompts[1], prompts[3]]


# What is scored


def test_the_last_tokens_are_those_before_the_padding():
    stream = torch.arange(2 * 5).reshape(2, 5, 1).float()
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert last_tokens(stream, mask, 2)[..., 0].tolist() == [[1, 2], [8, 9]]


def test_the_templates_closing_tokens_are_scored(tiny_chat, parts):
    _, _, _, codes = parts
    assert codes.scored == scored_tokens(tiny_chat) == tiny_chat.closing_tokens == 1
    ids = codes.batch.input_ids[0][codes.batch.attention_mask[0].bool()]
    assert tiny_chat.tokenizer.convert_ids_to_tokens(ids[-1:].tolist()) == ["<assistant>"]


def test_statistics_equal_a_plain_loop(tiny_chat, tiny_prompts, parts):
    model, anatomy, features, _ = parts
    texts = [prompt.text for prompt in tiny_prompts.get("safety", "harmless")]
    found = latent_statistics(
        model, anatomy, tiny_chat, features.saes, texts, chosen=features.protected
    )
    for layer in features.layers:
        rows = []
        for text in texts:
            batch = prompt_batch(tiny_chat, [text])
            with torch.no_grad():
                stream = residual_streams(model, anatomy, batch, layer)[layer]
            rows.append(features.encode(layer, stream[0, -1]))
        codes = torch.stack(rows)
        assert torch.allclose(found[layer].mean, codes.mean(dim=0), atol=1e-4)
        assert torch.allclose(found[layer].frequency, (codes > 0).float().mean(dim=0))
        chosen = codes[:, features.protected[layer]]
        assert torch.allclose(found[layer].codes[:, 0], chosen, atol=1e-4)


# The loss


def test_the_loss_is_zero_on_the_aligned_model(parts):
    model, _, features, codes = parts
    loss, normalised, per_latent = activation_loss(model, features, codes, torch.arange(len(codes)))
    assert loss.item() < 1e-8
    assert normalised < 1e-8
    assert per_latent.shape == (len(features.index),)


def _move(model, scale=0.05):
    stream = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=stream))


def test_the_loss_is_the_mean_squared_distance_over_the_union_of_supports(parts):
    model, anatomy, features, codes = parts
    _move(model)
    index = torch.tensor([4, 0, 9])
    loss, normalised, per_latent = activation_loss(model, features, codes, index)
    expected, energy = [], 0.0
    for layer in features.layers:
        sae, chosen = features.saes[layer], features.protected[layer]
        total = torch.zeros(len(chosen))
        for row in index.tolist():
            batch = codes.batch.rows(torch.tensor([row]))
            stream = residual_streams(model, anatomy, batch, layer)[layer]
            before = codes.codes[layer][row, 0]
            scores = sae.preactivations(stream[0, -1])
            inside = (before > 0) | (sae.activate(scores)[chosen] > 0)
            total += (torch.where(inside, scores[chosen], 0) - before).square() / len(index)
            energy += float(before.square().sum()) / len(index)
        expected.append(total)
    assert loss.item() > 0
    assert torch.allclose(per_latent, torch.cat(expected), rtol=1e-4)
    assert loss.item() == pytest.approx(float(per_latent.sum()), rel=1e-5)
    assert normalised == pytest.approx(loss.item() / energy, rel=1e-4)


def test_a_wide_model_reads_what_all_requests_begin_with_once(
    tiny_chat, tiny_prompts, parts, monkeypatch
):
    model, anatomy, features, codes = parts
    monkeypatch.setattr(passes, "SMALL", 4)
    prompts = tiny_prompts.get("safety", "harmful")
    shared = AlignedCodes.collect(model, anatomy, tiny_chat, features, prompts)
    assert len(shared.beginning) > 0 == len(codes.beginning)
    _move(model)
    index = torch.tensor([4, 0, 9])
    weights = [model.get_parameter(entry.parameter) for entry in anatomy.maps]
    # Twice: the beginning is read by the weights of each step.
    for _ in range(2):
        found = [activation_loss(model, features, each, index) for each in (shared, codes)]
        assert found[0][0].item() == pytest.approx(found[1][0].item(), rel=1e-4)
        assert torch.allclose(found[0][2], found[1][2], rtol=1e-3)
        gradients = [
            torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
            for loss, _, _ in found
        ]
        assert any(float(gradient.norm()) > 0 for gradient in gradients[0])
        for ours, plain in zip(*gradients, strict=True):
            assert torch.allclose(ours, plain, rtol=1e-3, atol=1e-5 + 1e-4 * float(plain.norm()))
        _move(model)


def test_a_latent_that_left_the_top_k_gets_a_gradient(parts):
    model, anatomy, features, codes = parts
    index = torch.arange(len(codes))
    layer = 0
    fires = (codes.codes[layer] > 0).float().mean(dim=(0, 1))
    latent = int(fires.argmax())
    only = replace(
        features,
        protected={
            0: features.protected[0][latent : latent + 1],
            1: features.protected[1][:0],
        },
    )
    baseline = replace(
        codes,
        codes={0: codes.codes[0][..., latent : latent + 1], 1: codes.codes[1][..., :0]},
    )
    # Pushing every residual against the latent's direction puts it out of every top k.
    weight = model.get_parameter("model.layers.0.mlp.down_proj.weight")
    direction = features.saes[layer].w_dec[only.protected[0]][0]
    with torch.no_grad():
        streams = residual_streams(model, anatomy, codes.batch, 0)[0]
        model.get_parameter("model.embed_tokens.weight").sub_(
            3 * streams.norm(dim=-1).mean() * direction
        )
        now = features.encode(0, residual_streams(model, anatomy, codes.batch, 0)[0])
        assert float(now[..., only.protected[0]].max()) == 0.0
    loss, _, per_latent = activation_loss(model, only, baseline, index)
    (gradient,) = torch.autograd.grad(loss, [weight])
    assert float(per_latent[0]) > 0
    assert float(gradient.norm()) > 0
    # And it points the right way: a step against it brings the latent closer.
    with torch.no_grad():
        weight.sub_(1e-4 * gradient / gradient.norm())
    assert float(activation_loss(model, only, baseline, index)[0].detach()) < loss.item()


def test_nothing_beyond_the_highest_sae_layer_is_computed(parts):
    model, _, features, codes = parts
    low = SafetyFeatures({0: features.saes[0]}, features.protected, features.controls)
    loss, _, _ = activation_loss(model, low, codes, torch.tensor([0, 1]))
    # The aligned model's loss is 0 and so is its gradient, but only what took part has one.
    loss.backward()
    assert model.get_parameter("model.layers.0.mlp.down_proj.weight").grad is not None
    assert model.get_parameter("model.layers.1.mlp.down_proj.weight").grad is None
    assert model.get_parameter("lm_head.weight").grad is None


def test_the_loss_does_not_depend_on_the_rest_of_the_batch(parts):
    model, _, features, codes = parts
    _move(model)
    both = activation_loss(model, features, codes, torch.tensor([2, 7]))[0]
    each = [activation_loss(model, features, codes, torch.tensor([row]))[0] for row in (2, 7)]
    assert both.item() == pytest.approx(sum(one.item() for one in each) / 2, rel=1e-4)


def test_no_prompts_is_an_error(tiny_model, tiny_chat, parts):
    _, anatomy, features, _ = parts
    with pytest.raises(DataError, match="there are none"):
        AlignedCodes.collect(tiny_model, anatomy, tiny_chat, features, [])
    with pytest.raises(DataError, match="at least one request"):
        latent_statistics(tiny_model, anatomy, tiny_chat, features.saes, [])


# Texts of one length are read together


def test_a_wide_models_residuals_come_back_in_order(parts, tiny_chat, tiny_prompts, monkeypatch):
    model, anatomy, features, _ = parts
    prompts = tiny_prompts.get("safety", "harmful")
    texts = [prompt.text + " and a gun" * (5 * i % 7) for i, prompt in enumerate(prompts)]
    longer = [p.model_copy(update={"text": t}) for p, t in zip(prompts, texts, strict=True)]
    chosen = features.protected

    def read():
        streams = scored_residuals(model, anatomy, tiny_chat, texts, features.layers)
        statistics = latent_statistics(
            model, anatomy, tiny_chat, features.saes, texts, chosen=chosen, progress=told.append
        )
        collected = AlignedCodes.collect(model, anatomy, tiny_chat, features, longer)
        return streams, statistics, collected.codes

    told: list[float] = []
    narrow = read()
    assert told == [1.0]
    monkeypatch.setattr(passes, "SMALL", 4)
    monkeypatch.setattr(passes, "ROWS_WIDE", 3)
    told.clear()
    widths = []
    hook = model.register_forward_pre_hook(
        lambda _m, _a, given: widths.append(given["input_ids"].shape), with_kwargs=True
    )
    wide = read()
    hook.remove()
    assert told == [0.25, 0.5, 0.75, 1.0]
    # What all begin with is a pass of its own; the others hold what follows.
    (_, shared), *rest = widths[:5]
    assert [rows for rows, _ in widths[:5]] == [1, 3, 3, 3, 3]
    assert rest == sorted(rest)
    longest = max(len(tiny_chat.prompt_ids(text)) for text in texts)
    assert shared > 0
    assert rest[-1][1] == longest - shared
    for layer in features.layers:
        assert torch.allclose(wide[0][layer], narrow[0][layer], atol=1e-5)
        assert torch.allclose(wide[2][layer], narrow[2][layer], atol=1e-5)
        for name in ("mean", "frequency", "codes"):
            ours, theirs = (getattr(one[1][layer], name) for one in (wide, narrow))
            assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_long_text_is_not_read_with_short_ones():
    wide = SimpleNamespace(d_model=4096)
    lengths = [10, 3000, 12, 11, 5000, 9]
    assert passes.read_together(wide, lengths) == [[5, 0, 3, 2], [1], [4]]
    # What is cut counts as what is left of it, and who stops early has not seen short ones alone.
    assert passes.read_together(wide, lengths, limit=256, stretch=3) == [[0, 2, 1, 5, 3, 4]]
    assert passes.read_together(wide, []) == []
    assert passes.read_together(SimpleNamespace(d_model=512), lengths, rows=4) == [
        [0, 1, 2, 3],
        [4, 5],
    ]
