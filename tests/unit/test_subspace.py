"""Second moments, protected bases, exact projection and angles, against other computations."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import subspace_angles
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from cwac import passes
from cwac.anatomy import LinearMap, anatomy_of, forward_inputs, gradient_of, weight_of
from cwac.chat import Batch
from cwac.errors import ArtifactError, ConfigError, DataError
from cwac.records import check_table
from cwac.subspace import (
    Projector,
    SafetySubspace,
    SecondMoments,
    collect_second_moments,
    geometry,
    haar_baseline,
    leading,
    mso,
    outside_energy,
    principal_angles,
    protected,
    rank_for,
    remove_protected_,
    token_mask,
)
from cwac.subspace import moments as moments_module

LLAMA = LlamaConfig(
    vocab_size=60,
    hidden_size=16,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)
GPT2 = GPT2Config(
    vocab_size=60,
    n_embd=16,
    n_layer=2,
    n_head=4,
    n_inner=40,
    resid_pdrop=0.0,
    embd_pdrop=0.0,
    attn_pdrop=0.0,
    bos_token_id=1,
    eos_token_id=2,
)
MAP = LinearMap(0, "mlp.down_proj", "a", "a.weight", True, False, 30, 8)


def make(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    return model, anatomy_of(model)


def batches(count=4, rows=3, width=9):
    stream = torch.Generator().manual_seed(5)
    for _ in range(count):
        ids = torch.randint(3, 60, (rows, width), generator=stream)
        mask = torch.ones_like(ids)
        mask[1, 4:] = 0
        yield SimpleNamespace(
            input_ids=ids,
            attention_mask=mask,
            position_ids=torch.arange(width).expand(rows, -1),
        )


def moments_of(columns, path="a"):
    found = SecondMoments()
    found.accumulate(path, columns)
    return found


def low_rank_columns(rank=5, noise=1e-3, d=30, n=400):
    stream = torch.Generator().manual_seed(0)
    signal = torch.randn(n, rank, generator=stream) @ torch.randn(rank, d, generator=stream)
    return signal + noise * torch.randn(n, d, generator=stream)


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_streamed_moments_agree_with_a_dense_computation(config):
    model, anatomy = make(config)
    found = collect_second_moments(model, anatomy.maps, batches())
    for entry in anatomy.maps:
        columns = []
        hook = model.get_submodule(entry.path).register_forward_hook(
            lambda _module, inputs, _output, out=columns: out.append(inputs[0].detach())
        )
        # One request at a time and without padding: another way to the same columns.
        for batch in batches():
            for row, real in zip(batch.input_ids, batch.attention_mask.sum(1), strict=True):
                model(row[None, :real], use_cache=False)
        hook.remove()
        dense = np.concatenate([c.reshape(-1, entry.d_in).numpy() for c in columns]).astype(float)
        expected = dense.T @ dense / len(dense)
        assert found.tokens == len(dense) == 4 * (9 + 4 + 9)
        scale = np.abs(expected).max()
        assert np.abs(found.matrix(entry.path).numpy() - expected).max() < 1e-5 * scale
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_maps_that_read_one_tensor_share_a_matrix():
    model, anatomy = make(LLAMA)
    found = collect_second_moments(model, anatomy.maps, batches())
    sources = {entry.name: found.source(entry.path) for entry in anatomy.select("all", [0])}
    assert sources["self_attn.q_proj"] == sources["self_attn.v_proj"]
    assert sources["mlp.gate_proj"] == sources["mlp.up_proj"]
    assert len(set(sources.values())) == 4


def test_batch_size_and_mode_do_not_matter():
    model, anatomy = make(GPT2)
    whole = collect_second_moments(model, anatomy.maps, batches())
    singles = [
        SimpleNamespace(**{k: v[i : i + 1] for k, v in vars(batch).items()})
        for batch in batches()
        for i in range(3)
    ]
    model.train()
    single = collect_second_moments(model, anatomy.maps, singles)
    assert model.training
    for entry in anatomy.maps:
        assert torch.allclose(whole.matrix(entry.path), single.matrix(entry.path), atol=1e-6)


def test_only_masked_tokens_count():
    model, anatomy = make(LLAMA)
    masks = [token_mask("template", [9, 4, 9], [9, 4, 9], closing_tokens=2, width=9)] * 4
    found = collect_second_moments(model, anatomy.select("ffn"), batches(), masks)
    assert found.tokens == 4 * 3 * 2
    nothing = [torch.zeros(3, 9, dtype=torch.bool)] * 4
    with pytest.raises(DataError, match="no token"):
        collect_second_moments(model, anatomy.maps, batches(), nothing)


@pytest.mark.parametrize("wide", [2048, 24])
def test_what_all_rows_begin_with_is_read_once_and_counts_in_each(monkeypatch, wide):
    """Also where the inputs themselves are kept, which are fewer than what they stand for."""
    model, anatomy = make(LLAMA)
    read = []
    for batch in batches(count=2):
        batch.input_ids[:, :3] = torch.tensor([5, 9, 7])
        labels = batch.input_ids
        read.append(Batch(batch.input_ids, batch.attention_mask, batch.position_ids, labels))
    # A row that was cut at its beginning, and what is read with it.
    read[1].input_ids[0, 0] = 11
    masks = [batch.attention_mask.bool() for batch in read]
    masks[0] = masks[0] & (torch.arange(9) > 1)
    whole = collect_second_moments(model, anatomy.maps, read, masks)
    for module in (passes, moments_module):
        monkeypatch.setattr(module, "SMALL", 4)
    monkeypatch.setattr(moments_module, "WIDE", wide)
    beginning = passes.Beginning.of_batches(model, read[:1], 10)
    assert [beginning.leads(batch) for batch in read] == [True, False]
    assert beginning.tokens == (5, 9, 7)
    once = collect_second_moments(model, anatomy.maps, read, masks, beginning)
    assert once.tokens == whole.tokens == 2 * 22 - 6
    for entry in anatomy.maps:
        wanted = whole.matrix(entry.path)
        found = once.matrix(entry.path)
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert (once.rows(anatomy.select("ffn")[0].path) is None) == (wide == 2048)


def test_token_sets():
    def chosen(which, closing=2):
        return token_mask(which, [4, 3], [24, 5], closing_tokens=closing, width=24).int().tolist()

    assert chosen("prompt") == [[1] * 4 + [0] * 20, [1] * 3 + [0] * 21]
    assert chosen("template") == [[0] * 2 + [1] * 2 + [0] * 20, [0, 1, 1] + [0] * 21]
    assert chosen("template", closing=0) == [[0] * 3 + [1] + [0] * 20, [0, 0, 1] + [0] * 21]
    assert chosen("refusal") == [[1] * 20 + [0] * 4, [1] * 5 + [0] * 19]
    assert chosen("response") == [[0] * 2 + [1] * 18 + [0] * 4, [0] + [1] * 4 + [0] * 19]
    assert chosen("response", closing=0) == [
        [0] * 3 + [1] * 17 + [0] * 4,
        [0, 0, 1, 1, 1] + [0] * 19,
    ]


def test_rank_is_the_smallest_that_leaves_the_tail_energy():
    found = moments_of(low_rank_columns())
    subspace = SafetySubspace.from_moments(found, [MAP], tail_energy=1e-3)
    assert subspace.ranks == {"a": 5}
    values = subspace.eigenvalues["a"]
    assert (values.diff() <= 0).all()
    assert values[5:].sum() <= 1e-3 * values.sum() < values[4:].sum()
    basis = subspace.bases["a"]
    assert basis.dtype == torch.float32
    assert torch.allclose(basis.T @ basis, torch.eye(5), atol=1e-6)
    assert SafetySubspace.from_moments(found, [MAP], rank=7).ranks == {"a": 7}
    assert SafetySubspace.from_moments(found, [MAP], rank=99).ranks == {"a": 30}


@pytest.mark.parametrize(("tail_energy", "rank"), [(0.5, 1), (0.49, 2), (0.2, 2), (0.19, 3)])
def test_rank_in_closed_form(tail_energy, rank):
    values = torch.tensor([5.0, 3.0, 2.0, 0.0])
    assert rank_for(values, tail_energy) == rank
    assert rank_for(0 * values, tail_energy) == 0


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"tail_energy": 0.0}, {"tail_energy": 1.5}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="not allowed"):
        SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP], **wrong)


def test_a_map_without_inputs_is_refused():
    with pytest.raises(DataError, match="no inputs were collected for a"):
        SafetySubspace.from_moments(SecondMoments(), [MAP])


def test_outside_energy_agrees_with_its_definition():
    columns = low_rank_columns(noise=0.1).double()
    subspace = SafetySubspace.from_moments(
        moments_of(columns), [MAP], rank=3, heldout=moments_of(columns[:50])
    )
    basis = subspace.bases["a"].double()

    def direct(part):
        return float(((part - part @ basis @ basis.T) ** 2).sum() / (part**2).sum())

    quality = subspace.tables()["subspace_quality"].iloc[0]
    assert quality["outside_energy_fit"] == pytest.approx(direct(columns), rel=1e-6)
    assert quality["outside_energy_heldout"] == pytest.approx(direct(columns[:50]), rel=1e-6)
    assert outside_energy(basis, torch.eye(30, dtype=torch.float64)) == pytest.approx(27 / 30)


def test_a_wide_maps_energy_outside_is_the_same(monkeypatch):
    columns = low_rank_columns(noise=0.1).double()
    moment = columns.T @ columns / len(columns)
    # Rounded to float32 and stored so: not quite orthonormal.
    basis = torch.linalg.eigh(moment).eigenvectors[:, -3:].float()
    narrow = outside_energy(basis, moment)
    monkeypatch.setattr(geometry, "SMALL", 4)
    assert outside_energy(basis, moment) == pytest.approx(narrow, rel=1e-9)


def test_orthonormal_bases_need_not_be_made_so():
    stream = torch.Generator().manual_seed(0)
    a, b = (torch.linalg.qr(torch.randn(30, k, generator=stream).double()).Q for k in (3, 8))
    assert mso(a, b, orthonormal=True) == pytest.approx(mso(a, b))
    assert torch.allclose(principal_angles(a, b, orthonormal=True), principal_angles(a, b))


def test_inside_and_outside_are_complements():
    subspace = SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP])
    delta = torch.randn(8, 30)
    inside, outside = subspace.inside("a", delta), delta.clone()
    remove_protected_(outside, delta, subspace.bases["a"])
    assert torch.allclose(inside + outside, delta, atol=1e-6)
    assert abs(float((inside * outside).sum())) < 1e-5
    expected = inside.square().sum() / delta.square().sum()
    assert subspace.inside_energy("a", delta) == pytest.approx(float(expected), rel=1e-5)
    assert subspace.inside_energy("a", outside) < 1e-12
    assert np.isnan(subspace.inside_energy("a", 0 * delta))


def train(config, constrain, steps=15):
    """Take AdamW steps under one form of the constraint; return energy inside and total norm."""
    model, anatomy = make(config)
    found = collect_second_moments(model, anatomy.maps, batches())
    subspace = SafetySubspace.from_moments(found, anatomy.maps, rank=6)
    aligned = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    for step in range(steps):
        batch = next(batches(count=1))
        ids = (batch.input_ids + step) % 60
        model(**forward_inputs(batch) | {"input_ids": ids}, labels=ids).loss.backward()
        for entry in anatomy.maps:
            if constrain == "gradient":
                gradient = gradient_of(model, entry)
                remove_protected_(gradient, gradient, subspace.bases[entry.path])
        optimiser.step()
        optimiser.zero_grad()
        for entry in anatomy.maps:
            if constrain == "update":
                weight = weight_of(model, entry)
                change = weight.detach() - weight_of(aligned, entry)
                remove_protected_(weight, change, subspace.bases[entry.path])
    deltas = {e: weight_of(model, e).detach() - weight_of(aligned, e) for e in anatomy.maps}
    inside = sum(float(subspace.inside(e.path, d).square().sum()) for e, d in deltas.items())
    total = sum(float(d.square().sum()) for d in deltas.values())
    return inside / total, total**0.5


@pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
def test_projected_updates_stay_outside_and_projected_gradients_leak(config):
    exact, moved = train(config, "update")
    literal, _ = train(config, "gradient")
    free, _ = train(config, "none")
    assert moved > 0.1
    assert exact**0.5 < 1e-5
    assert literal > 100 * exact
    assert literal > 0.02
    assert free > 0.02


def test_projection_agrees_with_the_square_projector():
    subspace = SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP])
    basis = subspace.bases["a"]
    projector = torch.eye(30) - basis @ basis.T
    aligned, weight = torch.randn(8, 30), torch.randn(8, 30)
    expected = aligned + (weight - aligned) @ projector
    remove_protected_(weight, weight - aligned, basis)
    assert torch.allclose(weight, expected, atol=1e-5)
    gradient = torch.randn(8, 30)
    projected = gradient @ projector
    remove_protected_(gradient, gradient, basis)
    assert torch.allclose(gradient, projected, atol=1e-5)


@pytest.mark.parametrize("rank", [5, 16, 17, 31])
def test_a_projector_takes_the_smaller_of_the_protected_and_the_free_directions(rank, monkeypatch):
    basis = torch.linalg.qr(torch.randn(32, 32)).Q[:, :rank]
    assert Projector(basis).free is None, "a small map"
    monkeypatch.setattr(protected, "SMALL", 16)
    found = Projector(basis)
    assert (found.free is not None) == (rank > 16)
    aligned, weight = torch.randn(8, 32), torch.randn(8, 32)
    outside = torch.eye(32) - basis @ basis.T
    expected, gradient = aligned + (weight - aligned) @ outside, weight @ outside
    projected = weight.clone()
    found.update_(weight, aligned, weight - aligned)
    found.gradient_(projected)
    assert torch.allclose(weight, expected, atol=1e-5)
    assert torch.allclose(projected, gradient, atol=1e-5)
    assert float((projected @ basis).norm()) < 1e-5 < float(projected.norm())


def test_selection_restricts_maps_and_shares_tensors():
    model, anatomy = make(LLAMA)
    found = collect_second_moments(model, anatomy.maps, batches())
    whole = SafetySubspace.from_moments(found, anatomy.maps)
    ffn = whole.select("ffn", [1])
    assert [entry.path for entry in ffn.maps] == ["model.layers.1.mlp.down_proj"]
    assert list(ffn.bases) == list(ffn.eigenvalues) == ["model.layers.1.mlp.down_proj"]
    assert ffn.bases["model.layers.1.mlp.down_proj"] is whole.bases["model.layers.1.mlp.down_proj"]
    assert whole.select("all").maps == whole.maps


def test_random_control_has_equal_ranks_and_no_relation():
    subspace = SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP])
    first = subspace.random_like(torch.Generator().manual_seed(1))
    again = subspace.random_like(torch.Generator().manual_seed(1))
    assert first.ranks == subspace.ranks
    assert torch.equal(first.bases["a"], again.bases["a"])
    assert torch.allclose(first.bases["a"].T @ first.bases["a"], torch.eye(5), atol=1e-6)
    overlaps = [
        mso(
            subspace.bases["a"],
            subspace.random_like(torch.Generator().manual_seed(i)).bases["a"],
        )
        for i in range(100)
    ]
    assert np.mean(overlaps) == pytest.approx(haar_baseline(5, 5, 30), rel=0.1)


def test_saved_subspace_comes_back(tmp_path):
    model, anatomy = make(GPT2)
    found = collect_second_moments(model, anatomy.maps, batches())
    saved = SafetySubspace.from_moments(found, anatomy.maps)
    saved.save(tmp_path)
    loaded = SafetySubspace.load(tmp_path)
    assert loaded.maps == saved.maps
    assert loaded.tokens == saved.tokens
    for path in saved.bases:
        assert torch.equal(loaded.bases[path], saved.bases[path])
        assert torch.equal(loaded.eigenvalues[path], saved.eigenvalues[path])
        assert torch.allclose(loaded.moments.matrix(path), found.matrix(path), rtol=1e-6)
    # They stay the file's triangles until somebody adds to them.
    assert loaded.moments._sums == {}
    more = SecondMoments.from_tensors(loaded.moments.tensors(), loaded.moments.description())
    path = anatomy.maps[0].path
    ones = torch.ones(5, anatomy.maps[0].d_in, dtype=torch.float64)
    before, count = more.matrix(path), more.tokens
    more.accumulate(path, ones)
    assert torch.allclose(more.matrix(path), (count * before + ones.T @ ones) / (count + 5))
    for name, table in saved.tables().items():
        check_table(name, table)
        pd.testing.assert_frame_equal(loaded.tables()[name], table, rtol=1e-5, atol=1e-8)
    random = saved.random_like(torch.Generator().manual_seed(0))
    random.save(tmp_path)
    back = SafetySubspace.load(tmp_path)
    assert torch.equal(back.bases[anatomy.maps[0].path], random.bases[anatomy.maps[0].path])
    assert back.eigenvalues == {}
    assert back.moments is None


def test_broken_or_missing_files_are_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"safety subspace in .* cannot be read"):
        SafetySubspace.load(tmp_path)
    SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP]).save(tmp_path)
    (tmp_path / "subspace.safetensors").write_bytes(b"broken")
    with pytest.raises(ArtifactError, match=r"safety subspace in .* cannot be read"):
        SafetySubspace.load(tmp_path)


def test_wide_maps_are_fitted_but_their_moments_not_kept(monkeypatch):
    monkeypatch.setattr(moments_module, "WIDE", 20)
    monkeypatch.setattr("cwac.subspace.protected.WIDE", 20)
    subspace = SafetySubspace.from_moments(moments_of(low_rank_columns()), [MAP])
    assert subspace.ranks == {"a": 5}
    assert "a" not in subspace.moments


@pytest.mark.parametrize(("k_a", "k_b"), [(3, 3), (2, 6), (6, 2)])
def test_principal_angles_agree_with_scipy(k_a, k_b):
    rng = np.random.default_rng(k_a)
    a, b = rng.normal(size=(20, k_a)), rng.normal(size=(20, k_b))
    b[:, 0] = a[:, 0] + 1e-2 * rng.normal(size=20)
    expected = np.sort(np.rad2deg(subspace_angles(a, b)))
    found = principal_angles(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert found == pytest.approx(expected, rel=1e-6)
    cosines = np.cos(np.deg2rad(expected)) ** 2
    assert mso(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(cosines.mean())


def test_overlap_in_closed_form():
    axes = torch.eye(6)
    assert mso(axes[:, :2], axes[:, :4]) == pytest.approx(1)
    assert mso(axes[:, :2], axes[:, 2:]) == pytest.approx(0)
    turned = torch.tensor([[3.0**0.5 / 2], [0.5], [0], [0], [0], [0]])
    assert principal_angles(axes[:, :1], turned).tolist() == pytest.approx([30])
    assert mso(axes[:, :1], turned) == pytest.approx(0.75)
    # A cosine alone would say exactly 0 here.
    near = axes[:, :2].double()
    near[5, 0] = 1e-9
    smallest = principal_angles(axes[:, :1], near[:, :1]).item()
    assert smallest == pytest.approx(math.degrees(1e-9), rel=1e-6)
    with pytest.raises(ConfigError, match="rank 0"):
        mso(axes[:, :0], turned)


# Wide maps: no more than the leading directions


def decaying(count, d_in=640, seed=0):
    """Inputs whose energy falls by a fifth from one direction to the next."""
    stream = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(d_in, d_in, generator=stream)).Q
    sizes = 0.8 ** (0.5 * torch.arange(d_in))
    return (torch.randn(count, d_in, generator=stream) * sizes) @ directions


@pytest.fixture
def solvers(monkeypatch):
    """Which solvers were used; maps count as wide from 65 inputs on."""
    used = []
    for module, name in ((torch.linalg, "eigh"), (leading, "eigsh")):
        kind = getattr(module, name)

        def solve(matrix, *more, kind=kind, name=name, **named):
            used.append((name, len(matrix)))
            return kind(matrix, *more, **named)

        monkeypatch.setattr(module, name, solve)
    for module in (leading, moments_module):
        monkeypatch.setattr(module, "WIDE", 64)
    return used


@pytest.mark.parametrize(("count", "solver"), [(120, ("eigh", 120)), (2000, ("eigsh", 640))])
@pytest.mark.parametrize("how", [{"tail_energy": 1e-3}, {"rank": 20}], ids=["energy", "rank"])
def test_wide_maps_agree_with_the_full_solver(solvers, count, solver, how):
    columns = decaying(count)
    entry = replace(MAP, d_in=640)
    found = SecondMoments()
    for part in columns.split(50):
        found.accumulate("a", part)
    wide = SafetySubspace.from_moments(found, [entry], **how)
    assert solvers == [solver]
    moment = columns.double().T @ columns.double() / count
    values, vectors = torch.linalg.eigh(moment)
    values = values.flip(0)
    rank = how.get("rank") or int((values.cumsum(0) < 0.999 * values.sum()).sum()) + 1
    assert wide.ranks == {"a": rank}
    expected = vectors.flip(1)[:, :rank]
    basis = wide.bases["a"].double()
    assert torch.allclose(basis.T @ basis, torch.eye(rank, dtype=torch.float64), atol=1e-6)
    # The projectors agree, and so does the energy that is left outside.
    assert float((basis @ basis.T - expected @ expected.T).norm()) < 1e-4 * rank**0.5
    assert torch.allclose(wide.eigenvalues["a"][:rank], values[:rank], rtol=1e-4)
    assert wide.energies["a"] == pytest.approx(float(values.sum()), rel=1e-5)
    quality = wide.tables()["subspace_quality"].iloc[0]
    left = float(values[rank:].sum() / values.sum())
    assert quality["outside_energy_fit"] == pytest.approx(left, rel=1e-2, abs=1e-6)
    # The leak of an update that is projected out of it, as it is saved.
    delta = torch.randn(8, 640)
    remove_protected_(delta, delta.clone(), wide.bases["a"])
    assert wide.inside_energy("a", delta) ** 0.5 < 1e-6


def test_many_directions_of_a_wide_map_take_the_full_solver(solvers):
    flat = torch.randn(2000, 640, generator=torch.Generator().manual_seed(1))
    entry = replace(MAP, d_in=640)
    subspace = SafetySubspace.from_moments(moments_of(flat), [entry], tail_energy=0.1)
    assert solvers == [("eigsh", 640), ("eigh", 640)]
    assert not subspace.energies
    assert len(subspace.eigenvalues["a"]) == 640


def test_small_maps_are_solved_in_full_to_the_bit():
    columns = decaying(300, d_in=128)
    entry = replace(MAP, d_in=128)
    subspace = SafetySubspace.from_moments(moments_of(columns), [entry])
    _, vectors = torch.linalg.eigh(columns.double().T @ columns.double() / 300)
    kept = vectors.flip(1)[:, : subspace.ranks["a"]].float()
    assert torch.equal(subspace.bases["a"], kept)
    assert not subspace.energies


def test_a_few_inputs_are_kept_as_they_are_and_many_are_summed(solvers, tmp_path):
    columns = decaying(1000)
    found = SecondMoments()
    found.accumulate("a", columns[:600])
    assert found.rows("a").shape == (600, 640)
    found.accumulate("a", columns[600:])
    assert found.rows("a") is None
    direct = columns.double().T @ columns.double() / 1000
    assert torch.allclose(found.matrix("a"), direct, atol=1e-6)
    few = moments_of(columns[:90])
    assert torch.allclose(
        few.matrix("a"), columns[:90].double().T @ columns[:90].double() / 90, atol=1e-9
    )
    entry = replace(MAP, d_in=640)
    saved = SafetySubspace.from_moments(few, [entry])
    saved.save(tmp_path)
    again = SafetySubspace.load(tmp_path)
    assert again.energies == saved.energies
    assert again.tables()["subspace_quality"].equals(saved.tables()["subspace_quality"])
