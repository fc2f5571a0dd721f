"""Weight drift and subspace overlap of a tuned tiny model, against direct computations."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import make_chat, make_model, make_prompts
from safetensors.numpy import save_file
from scipy.linalg import subspace_angles

from cwac import passes
from cwac.anatomy import anatomy_of, weight_of
from cwac.artifacts.files import read_arrays
from cwac.config import ExperimentConfig
from cwac.interfaces import MeasureContext, Yardstick
from cwac.metrics import overlap as overlap_module
from cwac.metrics.overlap import (
    ARRAYS,
    SubspaceOverlap,
    _in_bytes,
    output_directions,
    pair_overlap,
)
from cwac.metrics.weights import WeightDrift
from cwac.prompts import PromptSets
from cwac.records import check_table
from cwac.subspace import SafetySubspace, SecondMoments, geometry
from cwac.subspace.moments import REFUSAL_TOKENS

CHOSEN = "model.layers.1.mlp.down_proj"


def aligned_inputs(model, entry, chat, prompts):
    """Inputs of a map, one request at a time, by a plain hook: ``(tokens, d_in)``."""
    columns = []
    handle = model.get_submodule(entry.path).register_forward_hook(
        lambda _module, inputs, _output: columns.append(inputs[0][0].detach().double())
    )
    for prompt in prompts:
        model(torch.tensor([chat.prompt_ids(prompt.text)]))
    handle.remove()
    return torch.cat(columns)


def moments_on(model, anatomy, chat, prompts):
    found = SecondMoments()
    for entry in anatomy.maps:
        found.accumulate(entry.path, aligned_inputs(model, entry, chat, prompts))
    return found


def uneven(prompts):
    """Give the test requests different lengths, so that batches have padding."""
    longer = {
        ("test", "harmful"): [
            p.model_copy(update={"text": p.text + " and a gun" * (i % 4)})
            for i, p in enumerate(prompts.get("test", "harmful"))
        ],
        ("safety", "harmful"): list(prompts.get("safety", "harmful")),
    }
    return PromptSets(longer)


def build_context(*, move=0.01, only=None, seed=1):
    chat, prompts = make_chat(), uneven(make_prompts())
    aligned, model = make_model(chat), make_model(chat)
    anatomy = anatomy_of(model)
    fit = moments_on(aligned, anatomy, chat, prompts.get("safety", "harmful"))
    maps = anatomy.select("ffn") if only == "ffn" else anatomy.maps
    subspace = SafetySubspace.from_moments(fit, maps, tail_energy=1e-2)
    aligned = {name: p.detach().clone() for name, p in model.named_parameters()}
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for entry in anatomy.maps:
            weight_of(model, entry).add_(
                move * torch.randn(entry.d_out, entry.d_in, generator=stream)
            )
    config = ExperimentConfig.build({"measurement": {"maps": "ffn", "layers": [1]}})
    return MeasureContext(
        config=config,
        model=model,
        anatomy=anatomy,
        chat=chat,
        aligned=aligned,
        prompts=prompts,
        task=None,
        judge=None,
        yardstick=Yardstick(subspace, None, "subspace-0", "features-0"),
        device=torch.device("cpu"),
        evaluation_prompt=str,
        aligned_tables={},
    )


@pytest.fixture(scope="module")
def context():
    return build_context()


@pytest.fixture(scope="module")
def drift(context):
    return WeightDrift().measure(context)


def row_of(table, entry):
    return table[(table["layer"] == entry.layer) & (table["map"] == entry.name)].iloc[0]


def test_tables_fit_their_schema(context, drift):
    overlap = SubspaceOverlap().measure(context)
    for name, table in (drift.tables | overlap.tables).items():
        assert len(check_table(name, table))
    assert len(drift.tables["weight_drift"]) == len(context.anatomy.maps)
    assert set(drift.values) == {info.name for info in WeightDrift.infos}


def test_every_row_agrees_with_direct_products(context, drift):
    aligned = make_model(context.chat)
    for entry in context.anatomy.maps:
        row = row_of(drift.tables["weight_drift"], entry)
        initial = weight_of(context.aligned, entry).double()
        delta = weight_of(context.model, entry).detach().double() - initial
        assert row["yardstick"] == (entry.path == CHOSEN)
        assert row["delta_norm"] == pytest.approx(float(delta.norm()), rel=1e-6)
        assert row["relative_norm"] == pytest.approx(float(delta.norm() / initial.norm()))
        assert row["spectral_norm"] == pytest.approx(float(torch.linalg.matrix_norm(delta, 2)))
        basis = context.yardstick.subspace.bases[entry.path].double()
        inside = float((delta @ basis).square().sum() / delta.square().sum())
        assert row["inside_energy"] == pytest.approx(inside)
        # A random update lies inside as much as chance has it.
        assert inside == pytest.approx(row["random_energy"], abs=0.15)
        for split, column in (("safety", "leakage_fit"), ("test", "leakage_heldout")):
            prompts = context.prompts.get(split, "harmful")
            columns = aligned_inputs(aligned, entry, context.chat, prompts)
            leak = (columns @ delta.T).norm() / (delta.norm() * columns.norm())
            assert row[column] == pytest.approx(float(leak), rel=1e-4)
            if split == "test":
                functional = (columns @ delta.T).norm() / (columns @ initial.T).norm()
                assert row["functional_drift"] == pytest.approx(float(functional), rel=1e-4)


def test_leakage_on_the_tokens_of_the_fit_agrees_with_direct_products(context, drift):
    # No refusal of the aligned model is known: like for like was not measured.
    assert drift.values["leakage_fitted_tokens"].value is None
    assert drift.tables["weight_drift"]["leakage_heldout_fitted"].isna().all()
    prompts = context.harmful_test()
    said = pd.DataFrame(
        {
            "prompt_id": [prompt.id for prompt in prompts],
            "kind": "harmful",
            "outcome": ["refusal"] * (len(prompts) - 1) + ["compliance"],
            "response": "I cannot help with that",
        }
    )
    measurement = context.config.measurement.model_copy(update={"tokens": "response"})
    config = context.config.model_copy(update={"measurement": measurement})
    known = {**(context.aligned_tables or {}), "responses": said}
    found = WeightDrift().measure(replace(context, config=config, aligned_tables=known))
    aligned, chat = make_model(context.chat), context.chat
    for entry in context.anatomy.maps:
        rows = []
        for prompt in prompts[:-1]:
            ids, supervised = chat.example_ids(prompt.text, "I cannot help with that")
            begins = supervised.index(True) - max(chat.closing_tokens, 1)
            inputs = []
            module = aligned.get_submodule(entry.path)
            handle = module.register_forward_pre_hook(lambda _m, a, i=inputs: i.append(a[0][0]))
            with torch.no_grad():
                aligned(input_ids=torch.tensor([ids]))
            handle.remove()
            end = supervised.index(True) + REFUSAL_TOKENS
            rows.append(inputs[0][begins:end].double())
        columns = torch.cat(rows)
        initial = weight_of(context.aligned, entry).double()
        delta = weight_of(context.model, entry).detach().double() - initial
        leak = (columns @ delta.T).norm() / (delta.norm() * columns.norm())
        row = row_of(found.tables["weight_drift"], entry)
        assert row["leakage_heldout_fitted"] == pytest.approx(float(leak), rel=1e-4)
        # The old number keeps its name and meaning.
        before = row_of(drift.tables["weight_drift"], entry)
        assert row["leakage_heldout"] == before["leakage_heldout"]


def test_numbers_pool_the_selected_maps(context, drift):
    entry = next(e for e in context.anatomy.maps if e.path == CHOSEN)
    row = row_of(drift.tables["weight_drift"], entry)
    assert drift.values["relative_weight_drift"].value == pytest.approx(row["relative_norm"])
    assert drift.values["protected_energy"].value == pytest.approx(row["inside_energy"])
    assert drift.values["leakage"].value == pytest.approx(row["leakage_heldout"])
    everything = replace(context, config=ExperimentConfig.build({"measurement": {"maps": "all"}}))
    pooled = WeightDrift().measure(everything)
    table = pooled.tables["weight_drift"]
    assert table["yardstick"].all()
    ratio = ((table["delta_norm"] ** 2).sum() / (table["weight_norm"] ** 2).sum()) ** 0.5
    assert pooled.values["relative_weight_drift"].value == pytest.approx(ratio)
    share = (table["inside_energy"] * table["delta_norm"] ** 2).sum()
    share /= (table["delta_norm"] ** 2).sum()
    assert pooled.values["protected_energy"].value == pytest.approx(share)


def test_measuring_leaves_the_weights_alone():
    other = build_context()
    before = {name: p.detach().clone() for name, p in other.model.named_parameters()}
    WeightDrift().measure(other)
    assert all(torch.equal(p, before[name]) for name, p in other.model.named_parameters())


def test_maps_without_a_basis_are_not_measured_inside():
    found = WeightDrift().measure(build_context(only="ffn")).tables["weight_drift"]
    others = found[found["map"] != "mlp.down_proj"]
    assert others["inside_energy"].isna().all()
    assert (others["rank"] == 0).all()
    assert others["functional_drift"].notna().all()
    check_table("weight_drift", found)


def test_an_update_of_zero_is_told_from_not_measured():
    context = build_context(move=0.0)
    found = WeightDrift().measure(context)
    assert found.values["relative_weight_drift"].value == 0
    assert found.values["protected_energy"].value is None
    assert found.values["leakage"].value is None
    check_table("weight_drift", found.tables["weight_drift"])
    overlap = SubspaceOverlap().measure(context)
    assert overlap.arrays[ARRAYS] == {}
    for name, table in overlap.tables.items():
        assert len(check_table(name, table)) == 0


def test_the_aligned_model_itself_leaves_nothing(context):
    reference = replace(context, aligned_tables=None)
    for metric in (WeightDrift(), SubspaceOverlap()):
        found = metric.measure(reference)
        assert not found.values
        assert not found.tables
        assert not found.arrays


def test_angles_agree_with_scipy(context):
    found = SubspaceOverlap().measure(context)
    entry = next(e for e in context.anatomy.maps if e.path == CHOSEN)
    initial = weight_of(context.aligned, entry).double()
    delta = weight_of(context.model, entry).detach().double() - initial
    left, _, right = np.linalg.svd(delta.numpy())
    subspace = context.yardstick.subspace
    safety = {
        "input": subspace.bases[entry.path].numpy(),
        "output": output_directions(subspace, entry.path, initial).numpy(),
    }
    updates = {"input": right[:8].T, "output": left[:, :8]}
    for side in ("input", "output"):
        rows = row_of(
            found.tables["subspace_overlap"][lambda t, side=side: t["side"] == side], entry
        )
        angles = found.tables["principal_angles"].query(
            "layer == 1 and map == 'mlp.down_proj' and side == @side"
        )["degrees"]
        expected = np.sort(np.rad2deg(subspace_angles(updates[side], safety[side])))
        assert angles.to_numpy() == pytest.approx(expected, abs=1e-4)
        assert rows["mso"] == pytest.approx(np.mean(np.cos(np.deg2rad(expected)) ** 2), rel=1e-5)
        larger = max(rows["k_update"], rows["k_safety"])
        assert rows["haar_baseline"] == pytest.approx(larger / rows["dimension"])
        # The update here is random: no more overlap than chance.
        assert rows["mso"] == pytest.approx(rows["haar_baseline"], abs=0.25)
        assert rows["random_mso"] == pytest.approx(rows["haar_baseline"], abs=0.25)


def test_output_side_agrees_with_the_written_second_moment(context):
    # Keeping the whole spectrum, W0 U diag(lambda) U^T W0^T is W0 C W0^T.
    entry = next(e for e in context.anatomy.maps if e.path == CHOSEN)
    moments = context.yardstick.subspace.moments
    whole = SafetySubspace.from_moments(moments, [entry], rank=entry.d_in)
    whole.settings["rank"] = 3
    initial = weight_of(context.aligned, entry).double()
    written = initial @ moments.matrix(entry.path) @ initial.T
    expected = torch.linalg.eigh(written).eigenvectors[:, -3:]
    found = output_directions(whole, entry.path, initial)
    assert subspace_angles(found.numpy(), expected.numpy()).max() < 1e-4


def test_every_arm_meets_the_same_random_subspace(context):
    again = SubspaceOverlap().measure(replace(build_context(), model=context.model))
    found = SubspaceOverlap().measure(context)
    for name in found.tables:
        pd.testing.assert_frame_equal(found.tables[name], again.tables[name])


def test_pairs_of_runs_agree_with_scipy():
    runs = {
        f"run-{seed}": SubspaceOverlap().measure(build_context(seed=seed)).arrays[ARRAYS]
        for seed in range(3)
    }
    table = check_table("pair_overlap", pair_overlap(runs))
    keys = runs["run-0"].keys()
    assert len(table) == 3 * len(keys)
    for row in table.itertuples():
        key = f"{row.layer}|{row.map}|{row.side}"
        a, b = (runs[run][key].astype(float) for run in (row.run_a, row.run_b))
        angles = np.rad2deg(subspace_angles(a, b))
        assert row.mean_degrees == pytest.approx(angles.mean(), rel=1e-6)
        assert row.mso == pytest.approx(np.mean(np.cos(np.deg2rad(angles)) ** 2), rel=1e-6)
        assert row.haar_baseline == pytest.approx(4 / len(a))


def turned(rng, dimension, degrees):
    """Two subspaces of four directions; every angle between them as given, or random."""
    drawn = np.linalg.qr(rng.normal(size=(dimension, 8)))[0]
    if degrees is None:
        return drawn[:, :4], np.linalg.qr(rng.normal(size=(dimension, 4)))[0]
    angle = np.deg2rad(degrees)
    moved = drawn[:, :4] * np.cos(angle) + drawn[:, 4:] * np.sin(angle)
    return drawn[:, :4], moved @ np.linalg.qr(rng.normal(size=(4, 4)))[0]


@pytest.mark.parametrize("dimension", [64, 128, 512])
@pytest.mark.parametrize(
    ("degrees", "bound"), [(None, 0.4), (60, 0.4), (10, 0.4), (1, 0.4), (0, 1)]
)
def test_rounding_to_bytes_hardly_moves_an_angle(dimension, degrees, bound):
    rng = np.random.default_rng(0)
    for _ in range(40):
        pair = turned(rng, dimension, degrees)
        stored = [_in_bytes(torch.from_numpy(basis)) for basis in pair]
        assert all(basis.dtype == np.int8 for basis in stored)
        exact, rounded = (
            subspace_angles(*(np.asarray(basis, dtype=float) for basis in bases))
            for bases in (pair, stored)
        )
        assert np.rad2deg(np.abs(exact - rounded)).max() < bound
        assert np.mean(np.cos(exact) ** 2) == pytest.approx(
            np.mean(np.cos(rounded) ** 2), abs=0.0015
        )


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_bases_stored_as_floats_are_still_read(kind, tmp_path):
    key = "0|mlp.down_proj|input"
    first, second = turned(np.random.default_rng(0), 64, 30)
    stored = {key: _in_bytes(torch.from_numpy(first))}
    save_file({key: second.astype(kind)}, tmp_path / "update_bases.safetensors")
    old = read_arrays(tmp_path / "update_bases.safetensors")
    (row,) = pair_overlap({"new": stored, "old": old}).itertuples()
    assert row.mean_degrees == pytest.approx(30, abs=0.4)
    assert row.mso == pytest.approx(0.75, abs=0.0015)


def test_pairs_with_fewer_directions_and_without_any():
    axes = np.eye(10, dtype=np.float16)
    key, other = "0|mlp.down_proj|input", "2|mlp.down_proj|output"
    table = pair_overlap(
        {
            "a": {key: axes[:, :4], other: axes[:, :2]},
            "b": {key: axes[:, 1:3]},
            "c": {key: axes[:, 3:7]},
        }
    )
    by_pair = table.set_index(["run_a", "run_b"])
    assert len(table) == 3
    assert by_pair.loc[("a", "b"), "mso"] == pytest.approx(1)
    assert by_pair.loc[("a", "b"), "mean_degrees"] == pytest.approx(0)
    assert by_pair.loc[("a", "c"), "mso"] == pytest.approx(1 / 4)
    assert by_pair.loc[("b", "c"), "mso"] == pytest.approx(0)
    assert by_pair.loc[("b", "c"), "mean_degrees"] == pytest.approx(90)
    assert by_pair.loc[("b", "c"), "haar_baseline"] == pytest.approx(0.4)
    assert len(check_table("pair_overlap", pair_overlap({}))) == 0
    assert len(pair_overlap({"a": {key: axes[:, :4]}})) == 0


def test_pairs_of_thirty_runs_are_fast():
    rng = np.random.default_rng(0)
    runs = {
        f"run-{i}": {
            f"{layer}|map-{m}|{side}": rng.normal(size=(128, 4)).astype(np.float16)
            for layer in range(4)
            for m in range(7)
            for side in ("input", "output")
        }
        for i in range(30)
    }
    start = time.process_time()
    table = pair_overlap(runs)
    assert time.process_time() - start < 3
    assert len(table) == 435 * 56
    assert table["mso"].mean() == pytest.approx(4 / 128, rel=0.05)


# A wide model, and an experiment's second arm


def test_a_wide_models_figures_are_the_same(context, drift, monkeypatch):
    overlap = SubspaceOverlap().measure(context)
    for module in (passes, overlap_module, geometry):
        monkeypatch.setattr(module, "SMALL", 4)
    monkeypatch.setattr(passes, "ROWS_WIDE", 3)
    wide = replace(context, known={})
    for name, table in WeightDrift().measure(wide).tables.items():
        pd.testing.assert_frame_equal(table, drift.tables[name], rtol=1e-5)
    for name, table in SubspaceOverlap().measure(wide).tables.items():
        pd.testing.assert_frame_equal(table, overlap.tables[name], rtol=1e-5, atol=1e-4)


def test_a_second_arm_finds_what_the_first_left(context, drift):
    first = replace(context, known={})
    WeightDrift().measure(first)
    kept = {key: dict(squares) for key, squares in first.known.items()}
    assert [len(squares) for squares in kept.values()] == [len(context.anatomy.maps)]
    other = replace(build_context(seed=2), known=first.known)
    again = WeightDrift().measure(other)
    assert first.known == kept
    alone = WeightDrift().measure(replace(other, known={}))
    for name, table in alone.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], table)
    assert not again.tables["weight_drift"].equals(drift.tables["weight_drift"])
