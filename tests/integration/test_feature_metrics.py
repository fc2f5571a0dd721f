"""Feature drift, prompt lenses and SAE quality, against plain loops over single requests."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from builders import make_context
from torch.nn import functional

from cwac import passes
from cwac.anatomy import weight_of
from cwac.config import EvaluationConfig, MeasurementConfig
from cwac.features import prompt_batch
from cwac.interfaces import MeasureContext
from cwac.metrics import sae_quality
from cwac.metrics.features import FeatureDrift, aligned_weights
from cwac.metrics.sae_quality import SaeQuality
from cwac.prompts import PromptSets
from cwac.records import check_table


def _context(**changes) -> MeasureContext:
    made = make_context(measurement=MeasurementConfig(rank=6, maps="all"))
    return MeasureContext(
        config=made.config,
        model=made.model,
        anatomy=made.anatomy,
        chat=made.chat,
        aligned=made.aligned,
        prompts=made.prompts,
        task=None,
        judge=None,
        yardstick=made.yardstick,
        device=made.device,
        **({"evaluation_prompt": str} | changes),
    )


def _move(model, scale=0.03):
    stream = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=stream))


@pytest.fixture(scope="module")
def measured():
    """The reference's measurement, a moved model's, and the latter's context."""
    context = _context()
    reference = FeatureDrift().measure(context)
    _move(context.model)
    moved = dataclasses.replace(context, aligned_tables=reference.tables)
    return reference, FeatureDrift().measure(moved), moved


@torch.no_grad()
def _code(context, text, layer, place=-1):
    """All codes of one layer at a prompt token, the last, from the model's own hidden states."""
    batch = prompt_batch(context.chat, [text])
    stream = {}
    handle = context.model.get_submodule(f"model.layers.{layer}").register_forward_hook(
        lambda _m, _i, out: stream.update(x=out)
    )
    context.model(input_ids=batch.input_ids)
    handle.remove()
    return context.yardstick.features.encode(layer, stream["x"][0, place])


def test_tables_match_their_schema(measured):
    reference, moved, _ = measured
    for measurement in (reference, moved):
        for name, table in measurement.tables.items():
            check_table(name, table)
    both = {"features", "feature_histograms", "token_activations"}
    assert set(reference.tables) == both
    assert set(moved.tables) == both | {"prompt_lenses"}
    # 0 by definition on the aligned model: not a measurement.
    assert reference.values == {}


def test_activity_equals_a_plain_loop(measured):
    _, moved, context = measured
    table = moved.tables["features"].set_index(["layer", "latent"])
    for kind in ("harmful", "lookalike"):
        texts = [prompt.text for prompt in context.prompts.get("test", kind)]
        for layer in context.yardstick.features.layers:
            codes = torch.stack([_code(context, text, layer) for text in texts])
            mine = table.loc[layer]
            assert np.allclose(mine[f"mean_{kind}"], codes.mean(dim=0), rtol=2e-3, atol=1e-4)
            fires = (codes > 0).float().mean(dim=0)
            assert np.allclose(mine[f"frequency_{kind}"], fires, atol=1e-3)
            chosen = context.yardstick.features.protected[layer].tolist()
            assert mine.index[mine["protected"]].tolist() == chosen


def test_every_token_of_four_requests_is_kept_as_a_plain_pass_reads_it(measured):
    _, moved, context = measured
    table = moved.tables["token_activations"].set_index(["prompt_id", "layer", "latent"])
    assert list(dict.fromkeys(table["kind"])) == ["harmful", "lookalike", "harmless"]
    ids = list(dict.fromkeys(table.index.get_level_values(0)))
    assert ids[:2] == ["harmful-test-0000", "harmful-test-0006"]
    assert len(ids) == 4
    assert len(table) == 4 * len(context.yardstick.features.index)
    table = table.sort_index()
    for prompt_id in ids[1:3]:
        text = table.loc[prompt_id, "prompt"].iloc[0]
        tokens = context.chat.pieces(context.chat.prompt_ids(text))
        for layer in context.yardstick.features.layers:
            codes = _code(context, text, layer, place=slice(None))
            for latent, row in table.loc[prompt_id].loc[layer].iterrows():
                assert json.loads(row["tokens"]) == tokens
                first, *rest = json.loads(row["activations"])
                assert first is None, "attention parks there what it does not need"
                assert rest == pytest.approx(codes[1:, latent].tolist(), rel=6e-3, abs=1e-5)


def test_drift_is_the_change_over_the_aligned_norm(measured):
    _, moved, context = measured
    features, prompts = context.yardstick.features, context.prompts.get("test", "harmful")
    change = norm = 0.0
    shifts = {}
    for layer in features.layers:
        chosen = features.protected[layer]
        for prompt in prompts:
            now = _code(context, prompt.text, layer)[chosen]
            with aligned_weights(context.model, context.aligned):
                before = _code(context, prompt.text, layer)[chosen]
            shifts[prompt.id, layer] = float((now - before).norm() / before.norm())
            change += float((now - before).square().sum())
            norm += float(before.square().sum())
    value = moved.values["safety_feature_drift"]
    assert value.value == pytest.approx((change / norm) ** 0.5, rel=1e-3)
    assert value.value > 0.05
    assert value.count == len(prompts)
    assert value.direction == "lower"
    lenses = moved.tables["prompt_lenses"].set_index(["prompt_id", "layer"])["feature_shift"]
    for place, expected in shifts.items():
        if np.isfinite(expected):
            assert lenses[place] == pytest.approx(expected, rel=2e-3)
        else:
            assert np.isnan(lenses[place])


def test_the_leak_is_what_the_update_adds_to_a_request(measured):
    _, moved, context = measured
    prompt = context.prompts.get("test", "harmful")[4]
    batch = prompt_batch(context.chat, [prompt.text])
    inputs, handles = {}, []
    for entry in context.anatomy.maps:

        def read(_module, arguments, path=entry.path):
            inputs[path] = arguments[0][0, -1]

        handles.append(context.model.get_submodule(entry.path).register_forward_pre_hook(read))
    with torch.no_grad(), aligned_weights(context.model, context.aligned):
        context.model(input_ids=batch.input_ids)
    for handle in handles:
        handle.remove()
    lenses = moved.tables["prompt_lenses"].set_index(["prompt_id", "layer"])["leak"]
    for layer in range(2):
        top = bottom = 0.0
        for entry in context.anatomy.select("all", [layer]):
            before = weight_of(context.aligned, entry)
            delta = weight_of(context.model, entry).detach() - before
            top += float((delta @ inputs[entry.path]).square().sum())
            bottom += float((before @ inputs[entry.path]).square().sum())
        assert lenses[prompt.id, layer] == pytest.approx((top / bottom) ** 0.5, rel=2e-3)


def test_aligned_weights_come_and_go(measured):
    _, _, context = measured
    name = "model.layers.0.mlp.down_proj.weight"
    weight = context.model.get_parameter(name)
    tuned = weight.detach().clone()

    def fail_inside():
        with aligned_weights(context.model, context.aligned):
            assert torch.equal(weight, context.aligned[name])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_inside()
    assert torch.equal(weight, tuned)
    assert not torch.equal(weight, context.aligned[name])


def test_an_unmoved_model_has_no_drift():
    context = _context(aligned_tables={})
    found = FeatureDrift().measure(context)
    assert found.values["safety_feature_drift"].value == pytest.approx(0, abs=1e-5)
    assert found.tables["prompt_lenses"]["leak"].max() == 0


def test_layers_without_a_measurement_have_gaps():
    context = _context(aligned_tables={})
    features = context.yardstick.features
    del features.saes[1]
    narrow = MeasurementConfig(rank=6, maps="ffn", layers=(1,))
    context.config = context.config.model_copy(update={"measurement": narrow})
    _move(context.model)
    lenses = FeatureDrift().measure(context).tables["prompt_lenses"]
    by_layer = lenses.groupby("layer")[["leak", "feature_shift"]].count()
    assert by_layer["leak"].tolist() == [0, 12]
    assert by_layer["feature_shift"].iloc[1] == 0
    assert by_layer["feature_shift"].iloc[0] > 0


def test_every_arm_uses_the_aligned_models_bins(measured):
    reference, moved, context = measured
    before, after = reference.tables["feature_histograms"], moved.tables["feature_histograms"]
    latents = sum(len(chosen) for chosen in context.yardstick.features.protected.values())
    for table in (before, after):
        totals = table.groupby(["layer", "latent", "kind"])["count"].sum()
        assert len(totals) == 3 * latents
        assert (totals == 12).all()
        assert table.groupby(["layer", "latent", "kind"]).size().max() <= 12
    edges = before.groupby(["layer", "latent"])["high"].min()
    again = after.groupby(["layer", "latent"])["high"].min()
    several = after.groupby(["layer", "latent"])["high"].nunique() > 1
    assert several.any()
    assert np.allclose(edges[several], again[several], rtol=1e-3)


def test_the_protocol_limits_the_prompts_and_words_them(measured):
    asked = []
    context = _context(aligned_tables={}, evaluation_prompt=lambda text: asked.append(text) or text)
    limit = EvaluationConfig(prompt_limit=10)
    context.config = context.config.model_copy(update={"evaluation": limit})
    found = FeatureDrift().measure(context)
    assert found.values["safety_feature_drift"].count == 10
    assert len(found.tables["prompt_lenses"]) == 20
    assert len(asked) == 3 * 10 + 4, "and four that are kept token by token"


def test_a_kind_without_requests_is_not_measured():
    context = _context()
    kept = {part: found for part, found in context.prompts.parts.items() if part[1] != "lookalike"}
    context.prompts = PromptSets(kept)
    table = FeatureDrift().measure(context).tables["features"]
    assert table["mean_lookalike"].isna().all()
    assert table["mean_harmful"].notna().all()
    check_table("features", table)


# The SAEs' fit


def test_quality_equals_a_plain_loop():
    context = _context()
    table = SaeQuality().measure(context).tables["sae_quality"]
    check_table("sae_quality", table)
    assert table["dead_fraction"].isna().all()
    for row in table.itertuples():
        sae = context.yardstick.features.saes[row.layer]
        plain, replaced, stream = _run(context, row.layer, sae)
        codes = sae.encode(stream)
        error = (stream - sae.decode(codes)).square().sum()
        variance = (stream - stream.mean(dim=0)).square().sum()
        assert row.tokens == len(stream)
        assert row.explained_variance == pytest.approx(float(1 - error / variance), rel=1e-4)
        assert row.l0 == pytest.approx(float((codes > 0).sum(dim=1).float().mean()), rel=1e-4)
        assert row.cross_entropy_gap == pytest.approx(replaced - plain, abs=1e-4)
        assert abs(row.cross_entropy_gap) > 1e-4


@torch.no_grad()
def _run(context, layer, sae):
    """Cross-entropy as it is and with the layer rebuilt, one conversation at a time."""
    sums = {"plain": 0.0, "replaced": 0.0}
    count, streams = 0, []
    for kind in ("harmful", "harmless", "lookalike"):
        for prompt in context.prompts.get("test", kind):
            ids = torch.tensor([context.chat.example_ids(prompt.text, prompt.answer)[0]])
            for way in sums:

                def hook(_module, _inputs, output, way=way):
                    if way == "plain":
                        streams.append(output[0, 1:])
                        return output
                    rest = sae.decode(sae.encode(output[:, 1:]))
                    return torch.cat([output[:, :1], rest], dim=1)

                handle = context.model.get_submodule(f"model.layers.{layer}").register_forward_hook(
                    hook
                )
                logits = context.model(input_ids=ids).logits[0]
                handle.remove()
                sums[way] += float(
                    functional.cross_entropy(logits[1:-1], ids[0, 2:], reduction="sum")
                )
            count += ids.shape[1] - 2
    return sums["plain"] / count, sums["replaced"] / count, torch.cat(streams)


def test_without_test_requests_no_quality_is_claimed():
    context = _context()
    context.prompts = PromptSets({})
    assert SaeQuality().measure(context).tables == {}


# A wide model


def _as_wide(monkeypatch):
    for module in (passes, sae_quality):
        monkeypatch.setattr(module, "SMALL", 4)


def test_a_wide_models_figures_are_the_same(measured, monkeypatch):
    _, moved, context = measured
    narrow = SaeQuality().measure(context).tables["sae_quality"]
    _as_wide(monkeypatch)
    context = dataclasses.replace(context, known={})
    wide = SaeQuality().measure(context).tables["sae_quality"]
    pd.testing.assert_frame_equal(wide, narrow, rtol=1e-4, atol=1e-5)
    again = FeatureDrift().measure(context)
    for name, table in moved.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table, rtol=2e-3, atol=1e-4)
    assert again.values["safety_feature_drift"].value == pytest.approx(
        moved.values["safety_feature_drift"].value, rel=1e-5
    )


def test_the_aligned_model_is_read_for_the_first_arm_alone(measured):
    _, moved, context = measured
    passed = []
    handle = context.model.register_forward_pre_hook(lambda *_given: passed.append(1))
    shared = dataclasses.replace(context, known={})
    counts = []
    for _ in range(2):
        passed.clear()
        again = FeatureDrift().measure(shared)
        counts.append(len(passed))
        for name, table in moved.tables.items():
            pd.testing.assert_frame_equal(again.tables[name], table)
    handle.remove()
    # Three kinds of requests, four of them token by token, and the aligned model's two passes
    # over the harmful ones.
    assert counts == [6, 4]
