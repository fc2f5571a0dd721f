"""SAEs trained with sae-lens, and the yardstick that is fitted with them and stored once."""

import json
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from cwac import passes
from cwac.anatomy import layer_module
from cwac.artifacts import ArtifactStore
from cwac.artifacts.files import write_checksums
from cwac.config import MeasurementConfig
from cwac.errors import ConfigError, DataError, ModelError
from cwac.features import Sae, latent_statistics
from cwac.models.loading import load_model
from cwac.preparation import latents, sae_training
from cwac.preparation.fits import fit_subspace, prepare_yardstick, yardstick_warnings
from cwac.preparation.latents import _maps, final_norm
from cwac.preparation.sae_training import (
    SaeShape,
    score_sae,
    seconds_per_step,
    train_sae,
    training_steps,
)
from cwac.preparation.safety_text import (
    Conversation,
    Refusals,
    aligned_refusals,
    conversation_batches,
    stored_text,
)
from cwac.prompts import PromptSets

MEASUREMENT = MeasurementConfig(sae_steps=30, sae_width=64, latents=8, maps="all")
SHAPE = SaeShape(layers=(1,), width=96, k=6)


def _sparse_residuals(count=3000, d_model=24):
    """Sums of a few of 40 fixed directions: what an SAE can find."""
    stream = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(40, d_model, generator=stream), dim=1)
    strengths = torch.rand(count, 40, generator=stream)
    strengths *= torch.rand(count, 40, generator=stream) < 0.08
    return strengths @ directions + 0.5


def _train(residuals, **changes):
    arguments = {
        "layer": 1, "hook_name": "model.layers.1", "shape": SHAPE, "steps": 250, "seed": 3,
        "device": torch.device("cpu"),
    }  # fmt: skip
    return train_sae(residuals, **(arguments | changes))


@pytest.fixture(scope="module")
def trained():
    residuals = _sparse_residuals()
    return _train(residuals[:2700]), residuals[2700:]


def test_training_explains_residuals_it_has_not_seen(trained):
    sae, unseen = trained
    score = score_sae(sae, unseen)
    assert score.explained_variance > 0.7
    assert score.l0 <= 6
    assert score.tokens == 300
    assert score.live == round((1 - score.dead_fraction) * 96)
    # Recomputed without the class's own code.
    codes = sae.encode(unseen)
    rebuilt = codes @ sae.w_dec + sae.b_dec
    total = (unseen - unseen.mean(dim=0)).square().sum()
    assert score.explained_variance == pytest.approx(
        1 - float((unseen - rebuilt).square().sum() / total), abs=1e-5
    )


def test_our_codes_equal_sae_lens(trained, tmp_path):
    sae, unseen = trained
    sae.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sae_lens import SAE

        theirs = SAE.load_from_disk(str(tmp_path), device="cpu")
    x = unseen.reshape(10, 30, -1)
    with torch.no_grad():
        assert torch.equal(theirs.encode(x), sae.encode(x))
        assert torch.equal(theirs.decode(theirs.encode(x)), sae.decode(sae.encode(x)))
    assert theirs.cfg.metadata.hook_name == "model.layers.1"
    assert theirs.cfg.metadata.sae_lens_version
    assert theirs.cfg.normalize_activations == "none"
    assert theirs.cfg.k == sae.k == 6


def test_training_repeats_and_leaves_the_global_stream_alone():
    residuals = _sparse_residuals(600)
    torch.manual_seed(11)
    first = _train(residuals, steps=8)
    after = torch.rand(3)
    second = _train(residuals, steps=8)
    torch.manual_seed(11)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(first.w_enc, second.w_enc)
    assert not torch.equal(first.w_enc, _train(residuals, steps=8, seed=4).w_enc)


def test_what_is_told_while_it_trains_is_seen(capsys):
    def tell(share, message):
        print(f"{share:.1f} {message}", file=sys.stderr)  # noqa: T201

    _train(_sparse_residuals(600), steps=40, progress=tell)
    shown = capsys.readouterr().err
    assert "0.5 training the SAE of layer 1, step 20 of 40" in shown
    # The library's own bar is not.
    assert "it/s" not in shown


def test_a_missed_gate_says_which_and_by_how_much(trained):
    sae, unseen = trained
    score = score_sae(sae, unseen)
    missed = score.shortfalls(1, 24)
    # 96 latents cannot be 400 live ones.
    assert any("live latents (wanted 400)" in text for text in missed)
    assert not any("L0" in text for text in missed)
    assert any("L0" in text for text in score.shortfalls(1, 8))


# The yardstick


@pytest.fixture(scope="module")
def prompts(tiny_folder):
    return PromptSets.read_folder(tiny_folder / "prompts")


@pytest.fixture(scope="module")
def fitted(tiny_folder, prompts, tmp_path_factory, umap_limit):
    loaded = load_model(tiny_folder, device="cpu")
    store = ArtifactStore(tmp_path_factory.mktemp("runs"))
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "MIN_FOR_UMAP", umap_limit)
        # The real one is compiled for 20 s; it has its own test.
        patch.setattr(latents, "_umap", lambda directions, _seed: directions[:, :2])
        yardstick = prepare_yardstick(
            loaded, prompts, MEASUREMENT, store, lambda share, text: told.append((share, text))
        )
    return loaded, store, yardstick, told


def test_the_yardstick_protects_refused_requests(fitted, prompts):
    loaded, _, yardstick, told = fitted
    harmful = prompts.get("safety", "harmful")
    refused = aligned_refusals(loaded, harmful)
    assert 0 < refused.refused <= len(harmful)
    assert yardstick.features.prompt_ids == tuple(t.prompt.id for t in refused.conversations)
    assert len(yardstick.features.index) <= 8
    assert len(yardstick.subspace.maps) == len(loaded.anatomy.maps)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] <= 1


def test_the_chosen_latents_have_the_highest_differences(fitted, prompts):
    loaded, _, yardstick, _ = fitted
    features = yardstick.features
    scores = {}
    for kind, sign in (("harmful", 1), ("harmless", -1)):
        texts = prompts.get("safety", kind)
        texts = features.refused(texts) if kind == "harmful" else texts
        found = latent_statistics(
            loaded.model, loaded.anatomy, loaded.chat, features.saes, [p.text for p in texts]
        )
        for layer in features.layers:
            scores[layer] = scores.get(layer, 0) + sign * found[layer].mean
    every = torch.cat([scores[layer] for layer in features.layers])
    kept = torch.cat([scores[layer][features.protected[layer]] for layer in features.layers])
    best = every.topk(8).values
    assert torch.allclose(kept.sort(descending=True).values, best[best > 0], atol=1e-5)
    for layer in features.layers:
        assert not set(features.controls[layer].tolist()) & set(features.protected[layer].tolist())
        assert len(features.controls[layer]) <= len(features.protected[layer])


def test_a_wide_models_latents_are_described_the_same(fitted, prompts, monkeypatch):
    loaded, _, yardstick, _ = fitted
    texts = [
        Conversation(p, p.text * (1 + i % 3)) for i, p in enumerate(prompts.get("test", "harmful"))
    ]
    arguments = (loaded, yardstick.features, texts, lambda *_told: None)
    narrow = latents._top_tokens(*arguments)
    monkeypatch.setattr(passes, "SMALL", 4)
    monkeypatch.setattr(passes, "ROWS_WIDE", 3)
    assert [talks.places for talks in conversation_batches(loaded, texts)] != [
        list(range(len(texts)))
    ]
    assert latents._top_tokens(*arguments) == narrow
    assert any(examples for of_layer in narrow.values() for examples in of_layer)


def test_examples_lie_at_the_quantiles_of_what_fires_a_latent(fitted, prompts):
    loaded, store, yardstick, _ = fitted
    table = store.fit_table(yardstick.features_fit, "latent_examples")
    layer, latent = table.loc[table["tokens"].idxmax(), ["layer", "latent"]]
    sae = yardstick.features.saes[layer]
    stream, values = {}, []
    module = layer_module(loaded.model, loaded.anatomy, layer)
    handle = module.register_forward_hook(lambda _m, _i, out: stream.update(x=out))
    for talk in stored_text(loaded, prompts):
        ids, mask = loaded.chat.example_ids(talk.prompt.text, talk.answer)
        ids = ids if talk.answer else ids[: mask.index(True)]
        with torch.no_grad():
            loaded.model(torch.tensor([ids]))
        values += sae.encode(stream["x"].reshape(len(ids), -1)[1:])[:, latent].tolist()
    handle.remove()
    fires = np.array([value for value in values if value > 0])
    table["quantile"] = table["quantile"].astype(float).round(3)
    rows = table[(table["layer"] == layer) & (table["latent"] == latent)].set_index("quantile")
    assert rows["tokens"].tolist() == pytest.approx([len(fires)] * 3, abs=2)
    for quantile, text in rows["examples"].items():
        shown = [each["activation"] for each in json.loads(text)]
        assert 1 <= len(shown) <= 3
        wanted = np.quantile(fires, quantile)
        assert min(abs(v - wanted) for v in shown) <= np.abs(fires - wanted).min() + 0.006
    top, low = (json.loads(rows["examples"][q])[0]["activation"] for q in (1.0, 0.1))
    assert low < top


def test_the_second_asking_reads_what_the_first_stored(fitted, prompts, monkeypatch):
    loaded, store, yardstick, _ = fitted
    for name in ("aligned_refusals", "fit_features", "fit_directions"):
        monkeypatch.setattr(f"cwac.preparation.fits.{name}", _never)
    again = prepare_yardstick(loaded, prompts, MEASUREMENT, store)
    assert again.subspace_fit == yardstick.subspace_fit
    assert again.features.index == yardstick.features.index
    for path, basis in yardstick.subspace.bases.items():
        assert torch.equal(again.subspace.bases[path], basis)


def _never(*_args, **_kwargs):
    raise AssertionError("a stored fit was made again")


def test_what_decides_a_fit_is_in_its_name(fitted, prompts, monkeypatch):
    loaded, store, yardstick, _ = fitted
    # Maps and layers only narrow the stored subspace, which has bases for all maps.
    narrow = MEASUREMENT.model_copy(update={"maps": "ffn", "layers": (0,)})
    same = prepare_yardstick(loaded, prompts, narrow, store)
    assert (same.subspace_fit, same.features_fit) == (
        yardstick.subspace_fit,
        yardstick.features_fit,
    )
    ranked = fit_subspace(loaded, prompts, MEASUREMENT.model_copy(update={"rank": 2}), store)
    assert set(ranked.ranks.values()) == {2}
    names = {path.name for path in (store.write_root / "fits").iterdir()}
    assert len([name for name in names if name.startswith("subspace-")]) == 2
    fewer = PromptSets({part: found[:9] for part, found in prompts.parts.items()})
    fit_subspace(loaded, fewer, MEASUREMENT, store)
    assert len(list((store.write_root / "fits").glob("subspace-*"))) == 3


def test_the_folders_are_complete(fitted):
    _, store, yardstick, _ = fitted
    features = yardstick.features
    quality = store.fit_table(yardstick.subspace_fit, "subspace_quality")
    assert quality["outside_energy_fit"].max() <= MEASUREMENT.tail_energy
    assert quality["outside_energy_heldout"].notna().all()
    assert len(store.fit_table(yardstick.subspace_fit, "eigenvalues"))
    table = store.fit_table(yardstick.features_fit, "latents")
    assert len(table) == 64 * len(features.layers)
    assert int(table["protected"].sum()) == len(features.index)
    figures = json.loads((store.fit_folder(yardstick.features_fit) / "quality.json").read_text())
    assert set(figures["layers"]) == {str(layer) for layer in features.layers}
    assert figures["asked"] == 18
    found = yardstick_warnings(store, yardstick)
    assert any("live latents" in text for text in found)
    for layer in features.layers:
        Sae.load(store.fit_folder(yardstick.features_fit) / f"layer_{layer}")


def test_a_latents_card_shows_what_fires_it_and_what_it_promotes(fitted):
    loaded, store, yardstick, _ = fitted
    table = store.fit_table(yardstick.features_fit, "latents")
    features = yardstick.features
    live = table[table["top_tokens"] != "[]"]
    assert len(live) > 3
    row = live.iloc[0]
    top = json.loads(row["top_tokens"])
    assert [t["activation"] for t in top] == sorted((t["activation"] for t in top), reverse=True)
    assert set(top[0]) == {"token", "context_before", "context_after", "activation"}
    promoted = json.loads(row["promoted_tokens"])
    direction = features.saes[row["layer"]].w_dec[row["latent"]]
    with torch.no_grad():
        lens = loaded.model.lm_head(final_norm(loaded)(direction))
    best = loaded.chat.tokenizer.decode([int(lens.argmax())])
    assert promoted[0][0] == best
    cards = store.fit_table(yardstick.features_fit, "latent_cards")
    assert len(cards) == sum(len(c) for p in (features.protected, features.controls)
                             for c in p.values())  # fmt: skip
    card = cards.iloc[0]
    sae = features.saes[card["layer"]]
    with torch.no_grad():
        lens = loaded.model.lm_head(final_norm(loaded)(sae.w_dec[card["latent"]]))
    (token, logit), *_ = json.loads(card["suppressed_tokens"])
    assert token == loaded.chat.tokenizer.decode([int(lens.argmin())])
    assert logit < 0
    near, cosine = json.loads(card["neighbours"])[0]
    cosines = torch.nn.functional.cosine_similarity(sae.w_dec, sae.w_dec[card["latent"]], dim=1)
    assert sorted(cosines.tolist())[-2] == pytest.approx(cosine, abs=1e-3)
    assert near != card["latent"]
    examples = store.fit_table(yardstick.features_fit, "latent_examples")
    assert len(examples) == 3 * len(cards)
    # A fit of an earlier version gets the table, and its checksums with it.
    folder = store.fit_folder(yardstick.features_fit)
    (folder / "latent_cards.parquet").unlink()
    write_checksums(folder)
    assert store.extend_fit(yardstick.features_fit, {"latent_cards": cards})
    assert store.verified_fit(yardstick.features_fit) == folder
    assert store.fit_has(yardstick.features_fit, "latent_cards")
    assert not ArtifactStore(store.write_root / "other", *store.roots).extend_fit(folder.name, {})
    dead = table[table["top_tokens"] == "[]"]
    assert dead[["pca_x", "umap_x"]].isna().all(axis=None)
    assert live["pca_x"].notna().all()
    mapped = live.groupby("layer")[["umap_x", "umap_y"]].count()
    sizes = live.groupby("layer").size()
    assert sizes.max() >= 10
    for layer, size in sizes.items():
        assert (mapped.loc[layer] == (size if size >= 10 else 0)).all()


def test_defaults_of_the_sae_follow_the_model(fitted):
    loaded, _, _, _ = fitted
    shape = SaeShape.of(loaded, MeasurementConfig())
    assert (shape.width, shape.k) == (256, 8)
    assert shape.layers == (0,)
    with pytest.raises(ConfigError, match="only 16 latents"):
        SaeShape.of(loaded, MeasurementConfig(sae_k=20, sae_width=16))
    with pytest.raises(ModelError, match="no decoder layer 7"):
        SaeShape.of(loaded, MeasurementConfig(sae_layers=(7,)))


def test_a_model_that_refuses_nothing_is_measured_with_a_warning(tiny_folder, prompts):
    loaded = load_model(tiny_folder / "base", device="cpu")
    refusals = aligned_refusals(loaded, prompts.get("safety", "harmful"))
    assert refusals.refused == 0
    assert len(refusals.conversations) == refusals.asked == 18
    assert "refuses none of 18" in refusals.warning
    assert "only 5 of 18" in Refusals((), 5, 18).warning
    assert Refusals((), 20, 25).warning is None


def test_prompts_without_harmful_requests_are_refused(fitted):
    loaded, store, _, _ = fitted
    with pytest.raises(DataError, match="no harmful safety requests"):
        prepare_yardstick(loaded, PromptSets({}), MEASUREMENT, store)


def test_the_latents_table_is_a_frame_of_small_numbers(fitted):
    _, store, yardstick, _ = fitted
    table = store.fit_table(yardstick.features_fit, "latents")
    assert isinstance(table, pd.DataFrame)
    assert {str(table[name].dtype) for name in ("score", "pca_x")} == {"float32"}


def test_maps_do_not_depend_on_the_number_of_threads(monkeypatch, umap_limit):
    monkeypatch.setattr(latents, "MIN_FOR_UMAP", umap_limit)
    draw = np.random.default_rng(0).normal(size=(600, 256))
    directions = (draw / np.linalg.norm(draw, axis=1, keepdims=True)).astype("float32")
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            found.append(_maps(directions, 0))
            # numba gives OpenMP all cores; what is fitted next must not notice.
            assert torch.get_num_threads() == threads
    for name in ("pca", "umap"):
        assert np.array_equal(found[0][name], found[1][name])
        assert np.isfinite(found[0][name]).all()
    # A wide model's neighbours are searched for here.
    monkeypatch.setattr(latents, "SMALL", 8)
    near, far = latents.nearest(directions[:40], 5)
    cosines = torch.from_numpy(directions[:40] @ directions[:40].T)
    assert near.tolist() == cosines.topk(5).indices.tolist()
    assert np.allclose(far, 1 - np.take_along_axis(cosines.numpy(), near, axis=1), atol=1e-6)
    few = _maps(directions[:10], 0)["umap"]
    assert few.shape == (10, 2)
    assert np.isfinite(few).all()
    assert _maps(directions[:9], 0)["umap"] is None


def test_scores_do_not_depend_on_the_number_of_threads(trained):
    sae, _ = trained
    many = _sparse_residuals(9000)
    found = []
    for threads in (1, 3):
        with threadpool_limits(threads):
            found.append(score_sae(sae, many))
    assert found[0] == found[1]


# Wide models: the same SAE, faster


def test_sparse_passes_train_the_same_sae(monkeypatch):
    residuals = _sparse_residuals(600)
    dense = _train(residuals, steps=40)
    monkeypatch.setattr(sae_training, "SMALL", 8)
    sparse = _train(residuals, steps=40)
    assert not torch.equal(dense.w_dec, sparse.w_dec)
    for name in ("w_enc", "w_dec", "b_enc", "b_dec"):
        assert torch.allclose(getattr(dense, name), getattr(sparse, name), atol=1e-5), name
    assert sparse.config == dense.config


@pytest.mark.parametrize("silent", [0, 5, 40])
def test_a_sparse_passs_loss_and_gradients_are_sae_lens_own(silent):
    """Of silent latents there are none, fewer, and more than the half of the inputs that count."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    inputs = _sparse_residuals(64)
    step = TrainStepInput(inputs, {}, torch.arange(96) < silent, 0, False)
    found = []
    for kind in (TopKTrainingSAE, sae_training.sparse_sae()):
        torch.manual_seed(0)
        sae = kind(TopKTrainingSAEConfig(d_in=24, d_sae=96, k=6))
        sae.W_dec.data *= 1 + torch.rand(96, 1)
        sae.b_enc.data += 0.1
        sae.b_dec.data += 0.3
        one = sae.training_forward_pass(step)
        one.loss.backward()
        gradients = {name: part.grad for name, part in sae.named_parameters()}
        found.append({**gradients, "loss": one.loss, "codes": one.feature_acts})
    for name, wanted in found[0].items():
        assert torch.allclose(found[1][name], wanted, rtol=1e-4, atol=1e-5), name


@pytest.mark.parametrize(
    ("rounds", "tokens", "steps"), [(None, 9000, 30), (4, 2560, 40), (0.5, 2560, 5), (3, 100, 3)]
)
def test_the_length_follows_from_the_tokens_there_are(rounds, tokens, steps):
    measurement = MEASUREMENT.model_copy(update={"sae_rounds": rounds})
    assert training_steps(measurement, tokens) == steps
    assert ("sae_rounds" in measurement.model_dump()) == (rounds is not None)


def test_the_cost_is_known_beforehand():
    one = seconds_per_step(SaeShape((0,), 512, 8), 256, torch.device("cpu"))
    eight = seconds_per_step(SaeShape((0,), 8 * 512, 8), 256, torch.device("cpu"))
    assert 0 < one < eight < 5
