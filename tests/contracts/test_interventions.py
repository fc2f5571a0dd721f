"""Interventions are exact at their ends, on every kind of model, and give rows of their schema."""

import copy
import re
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import make_chat, make_context, make_examples, make_model, make_transposed

from cwac import passes
from cwac.anatomy import anatomy_of, forward_inputs, stop_after, weight_of
from cwac.cli.stored import _entries
from cwac.config import EvaluationConfig, TaskConfig
from cwac.errors import ConfigError
from cwac.features import Steering, prompt_batch
from cwac.first_token import refusal_log_odds
from cwac.generation import continued
from cwac.interfaces import Cost, DissectContext
from cwac.interfaces.interventions import measured_anew
from cwac.intervention_words import INTERVENTION_WORDS
from cwac.interventions import (
    INTERVENTIONS,
    _asking,
    _reading,
    bench,
    clamp_latents,
    decomposition,
    greedy_path,
    path,
    prefill,
    read_out,
    refusal_direction,
    spectral_split,
)
from cwac.interventions import _parts as parting
from cwac.interventions import _streams as streams
from cwac.interventions.patch_features import PatchFeatures, latents_set, whole
from cwac.interventions.patch_residual import PatchResidual
from cwac.interventions.prefill import Prefill
from cwac.interventions.subspace_split import SubspaceSplit, _split
from cwac.judges import PatternJudge
from cwac.passes import left_padded
from cwac.records import check_table
from cwac.runner import dissect as runner
from cwac.runner.dissected import ANSWERS, table_of
from cwac.tasks import TASKS

KINDS = {
    "untied": {},
    "tied": {"tie_word_embeddings": True},
    "grouped": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "low-rank": {},
}
CHAT = make_chat()


def dissected(kind="untied"):
    """Return a context of its own about models that tests share: they put weights back."""
    return replace(built(kind), kept={})


@cache
def built(kind):
    """Return a context: a tiny aligned model, and one whose every weight moved (LoRA: maps)."""
    aligned = make_transposed(CHAT) if kind == "transposed" else make_model(CHAT, **KINDS[kind])
    if kind == "biases":
        aligned.lm_head = torch.nn.Linear(*aligned.lm_head.weight.T.shape)
    context = make_context(
        chat=CHAT,
        model=aligned,
        evaluation=EvaluationConfig(max_new_tokens=4, batch_size=8),
        task=TaskConfig(source="sentiment"),
    )
    model = copy.deepcopy(aligned)
    stream = torch.Generator().manual_seed(3)
    maps = {entry.parameter for entry in context.anatomy.maps}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if kind != "low-rank":
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=stream))
            elif name in maps:
                rows, columns = parameter.shape
                left = torch.randn(rows, 2, generator=stream)
                parameter.add_(0.1 * left @ torch.randn(2, columns, generator=stream))
    made = DissectContext(
        config=context.config,
        model=model,
        aligned_model=aligned,
        anatomy=anatomy_of(model),
        chat=CHAT,
        aligned=context.aligned,
        tuned={n: p.detach().clone() for n, p in model.named_parameters()},
        prompts=context.prompts,
        task=TASKS["sentiment"](make_examples(4), make_examples(4)),
        judge=PatternJudge(["^sorry"], ["^sure"]),
        yardstick=context.yardstick,
        fit_subspace=context.fit_subspace,
        refusal_tokens=(40, 41, 42),
        device=torch.device("cpu"),
        sample=4,
    )
    made.tuned_odds = _reading.log_odds(made)
    with _asking.holding(made, made.aligned):
        made.aligned_odds = _reading.log_odds(made)
    return made


@pytest.fixture(scope="module", params=[*KINDS, "transposed"])
def context(request):
    return dissected(request.param)


def logits(context, model):
    batch = prompt_batch(CHAT, [p.text for p in context.harmful_test()])
    with torch.no_grad():
        return model(**forward_inputs(batch)).logits


def is_tuned(context):
    return all(torch.equal(p, context.tuned[n]) for n, p in context.model.named_parameters())


@pytest.mark.parametrize("grain", ["layer", "map"])
def test_parts_hold_every_parameter_once(context, grain):
    parts = parting.parts_of(context.anatomy, context.tuned, grain)
    held = [name for part in parts for name in part.parameters]
    assert sorted(held) == sorted(context.tuned)
    assert [p.layer for p in parts] == sorted(p.layer for p in parts)
    assert len({p.name for p in parts}) == len(parts)
    first = [p for p in parts if p.layer == 0]
    assert len(first) == (1 if grain == "layer" else len(context.anatomy.select("all", [0])) + 1)


def test_all_restored_is_the_aligned_model_bit_for_bit_and_nothing_the_tuned_one(context):
    tuned = logits(context, context.model)
    aligned = logits(context, context.aligned_model)
    assert not torch.equal(tuned, aligned)
    texts = [prompt.text for prompt in context.harmful_test()]
    odds = refusal_log_odds(context.model, CHAT, texts, context.refusal_tokens, batch_size=8)
    assert np.array_equal(_reading.log_odds(context), odds)
    parts = parting.parts_of(context.anatomy, context.tuned, "map")
    restored = greedy_path._restored(context, parts)
    with _asking.holding(context, restored):
        assert torch.equal(logits(context, context.model), aligned)
    with _asking.holding(context, greedy_path._restored(context, parts[2:])):
        assert not torch.equal(logits(context, context.model), aligned)
    with _asking.holding(context, {}):
        assert torch.equal(logits(context, context.model), tuned)
    assert is_tuned(context)


def test_restored_and_transplanted_parts_are_the_stored_tensors(context):
    for name, inside in (("restore", "aligned"), ("transplant", "tuned")):
        outside = "tuned" if inside == "aligned" else "aligned"
        trials = [t for t in INTERVENTIONS[name]().trials(context) if not t.control]
        assert [t.part for t in trials] == parting.parts_in(context)
        for trial in trials:
            with _asking.holding(context, trial.weights()):
                for at, parameter in context.model.named_parameters():
                    side = inside if at in trial.part.parameters else outside
                    assert torch.equal(parameter, getattr(context, side)[at]), (name, at)


def test_a_random_set_has_the_norm_that_is_asked_for(context):
    names = list(context.tuned)
    whole_square = parting.update_square(context, names)
    stream = torch.Generator().manual_seed(0)
    for share in (0.3, 1.0):
        shares = parting.random_set(context, share * whole_square, stream)
        kept = parting.mixed(context, shares, restored=False)
        square = sum(float((kept[n] - context.aligned[n]).double().square().sum()) for n in names)
        assert square == pytest.approx(share * whole_square, rel=1e-5)
        cut = torch.cat(list(shares.values()))
        assert ((cut > 0) & (cut < 1)).sum() <= 1
    everything = {n: torch.ones_like(s) for n, s in shares.items()}
    for restored, end in ((True, context.aligned), (False, context.tuned)):
        mixed = parting.mixed(context, everything, restored=restored)
        assert all(torch.equal(mixed[n], end[n]) for n in names)


def test_whole_rows_are_the_stored_ones_where_a_sum_would_round():
    large, small = torch.full((2, 2), 1e8), torch.ones(2, 2)
    assert not torch.equal(large + (small - large), small)
    context = SimpleNamespace(aligned={"w": large}, tuned={"w": small})
    row = parting.mixed(context, {"w": torch.tensor([1.0, 0.0])}, restored=False)["w"]
    assert torch.equal(row, torch.stack([small[0], large[1]]))


def test_the_ends_of_a_path_are_the_stored_tensors(context):
    assert path._at(context.aligned, context.tuned, 0.0) is context.aligned
    assert path._at(context.aligned, context.tuned, 1.0) is context.tuned
    half = path._at(context.aligned, context.tuned, 0.5)
    random = path._random_end(context)
    for name, aligned in context.aligned.items():
        assert torch.allclose(half[name], (aligned + context.tuned[name]) / 2)
        size = (context.tuned[name] - aligned).norm()
        assert torch.allclose((random[name] - aligned).norm(), size, rtol=1e-4)


def test_the_path_to_another_arm_ends_at_its_tensors():
    context = dissected()
    context.other = {n: t + 1 for n, t in context.tuned.items()}
    context.other_name = "another"
    between = [t for t in path.Path().trials(context) if t.variant == "between arms"]
    assert between[0].weights() is context.tuned
    assert between[-1].weights() is context.other
    assert {t.part.name for t in between} == {"to another"}


def test_a_split_by_everything_or_nothing_is_a_stored_tensor(context):
    maps = context.yardstick.subspace.maps
    full = {e.path: torch.eye(e.d_in) for e in maps}
    empty = {e.path: torch.empty(e.d_in, 0) for e in maps}
    for bases, inside, end in (
        (full, True, context.aligned),
        (full, False, context.tuned),
        (empty, True, context.tuned),
        (empty, False, context.aligned),
    ):
        weights = _split(context, bases, inside=inside, removed=True)
        assert set(weights) == {e.parameter for e in maps}
        assert all(torch.equal(w, end[n]) for n, w in weights.items())


def test_inside_and_outside_add_up_to_the_update(context):
    safety = context.yardstick.subspace
    alone = [_split(context, safety.bases, inside=side, removed=False) for side in (True, False)]
    for entry in safety.maps:
        old, new = weight_of(context.aligned, entry), weight_of(context.tuned, entry)
        inside, outside = (weight_of(each, entry) - old for each in alone)
        assert torch.allclose(inside + outside, new - old, atol=1e-5)
        basis = safety.bases[entry.path]
        assert torch.allclose(outside @ basis, torch.zeros(1), atol=1e-5)
        assert torch.allclose(inside, (new - old) @ basis @ basis.T, atol=1e-5)
    untouched = context.anatomy.embedding.parameter
    assert torch.equal(alone[0][untouched], context.aligned[untouched])


def test_the_first_directions_have_as_many_random_ones_beside_them(context):
    trials = SubspaceSplit().trials(context)
    first = {t.dose: t for t in trials if t.variant == "first directions removed"}
    random = {t.dose: t for t in trials if t.variant.startswith("first directions removed, random")}
    assert first.keys() == random.keys()
    assert first
    assert not any(t.control for t in first.values())
    assert all(t.control for t in random.values())
    for dose, one in first.items():
        mine, chance = one.weights(), random[dose].weights()
        for entry in context.yardstick.subspace.maps:
            new = weight_of(context.tuned, entry)
            basis = context.yardstick.subspace.bases[entry.path][:, : int(dose)]
            taken, by_chance = (new - weight_of(w, entry) for w in (mine, chance))
            assert torch.allclose(taken @ basis @ basis.T, taken, atol=1e-5)
            assert torch.linalg.matrix_rank(by_chance, atol=1e-5) <= dose
            assert not torch.allclose(taken, by_chance, atol=1e-4)


def test_leading_directions_are_the_best_of_their_number(context):
    trials = [t for t in spectral_split.SpectralSplit().trials(context) if t.dose == 4]
    by_name = {t.variant: t.weights() for t in trials}
    assert [t.variant for t in trials if t.control] == [
        f"{word}, random of equal {what}"
        for word in ("only leading", "leading removed")
        for what in ("norm", "number")
    ]
    for entry in context.anatomy.maps:
        old, new = weight_of(context.aligned, entry), weight_of(context.tuned, entry)
        values = torch.linalg.svdvals((new - old).double())

        def moved(name, entry=entry, old=old):
            return (weight_of(by_name[name], entry) - old).double()

        kept, left = moved("only leading"), moved("leading removed")
        assert float(kept.square().sum()) == pytest.approx(float(values[:4].square().sum()), 1e-3)
        rest = float(values[4:].square().sum())
        assert float(left.square().sum()) == pytest.approx(rest, rel=1e-3, abs=1e-8)
        for what in ("norm", "number"):
            random = moved(f"only leading, random of equal {what}")
            without = moved(f"leading removed, random of equal {what}")
            # A part of the update and what is left of it, neither scaled.
            assert torch.allclose(random + without, (new - old).double(), atol=1e-5)
            whole = random.square().sum() + without.square().sum()
            assert whole == pytest.approx(float((new - old).double().square().sum()), rel=1e-4)
            rank = torch.linalg.matrix_rank(random, atol=1e-5)
            if what == "norm":
                assert rank >= min(4, int((values > 1e-5).sum()))
                assert random.norm() >= kept.norm() - 1e-5
            else:
                assert rank <= 4
                assert random.norm() <= kept.norm() + 1e-5


def test_no_and_all_singular_directions_are_the_stored_tensors(context):
    spectra = spectral_split._Spectra(context)
    for count, inside in ((0, context.aligned), (spectra.largest, context.tuned)):
        outside = context.tuned if inside is context.aligned else context.aligned
        for directions in ("leading", "equal norm", "equal number"):
            for removed, end in ((False, inside), (True, outside)):
                weights = spectra.split(count, directions, removed=removed)
                assert set(weights) == {entry.parameter for entry in spectra.entries}
                assert all(torch.equal(w, end[n]) for n, w in weights.items())


def shares_of(context, part, kind="harmful requests"):
    """Return what the decomposition says of a part, by measure."""
    rows = pd.DataFrame(decomposition.Decomposition().rows(context))
    mine = rows[(rows["part"] == part) & (rows["variant"] == kind)]
    return mine.set_index("measure")["value"]


def test_the_three_terms_are_the_whole_change(context):
    rows = pd.DataFrame(decomposition.Decomposition().rows(context))
    shares = rows[rows["measure"].str.startswith("share_")]
    sums = shares.groupby(["part", "variant"])["value"].sum()
    anatomy = context.anatomy
    # Of the two outer maps a low-rank update has the output layer's change alone.
    moved = [e for e in (anatomy.embedding, *anatomy.maps, anatomy.output) if changes(context, e)]
    assert len(sums) == 2 * len(moved)
    assert np.allclose(sums, 1, atol=1e-9)
    entry = anatomy.maps[-1]
    h0, h = (torch.randn(2, 3, entry.d_in, dtype=torch.float64) for _ in range(2))
    ends = [
        decomposition._Affine.of(w, entry, centred=False) for w in (context.aligned, context.tuned)
    ]
    (old, b0), (new, b) = (end.piece(slice(None)) for end in ends)
    terms = decomposition._terms((old, b0), (new, b), h0, h)
    change = h @ new.T + b - h0 @ old.T - b0
    assert torch.allclose(sum(terms[t] for t in decomposition.TERMS), change, atol=1e-12)
    assert torch.allclose(terms["change"], change, atol=1e-12)
    assert torch.allclose(terms["before"], h0 @ old.T + b0, atol=1e-12)


def changes(context, entry):
    """Return whether what a map puts out can differ: all but an embedding that stands still."""
    if entry is not context.anatomy.embedding:
        return True
    return not torch.equal(*(weight_of(w, entry) for w in (context.aligned, context.tuned)))


@pytest.mark.parametrize("kind", ["tied", "untied", "biases", "transposed"])
def test_the_output_layers_terms_are_those_of_the_logits_that_probabilities_see(kind, monkeypatch):
    # A vocabulary that is no multiple of a piece, in many pieces.
    monkeypatch.setattr(decomposition, "PIECE", 50)
    context = dissected(kind)
    tied = " (tied to the embedding)" if kind in {"tied", "transposed"} else ""
    mine = shares_of(context, f"output layer{tied}")
    batch = prompt_batch(CHAT, [p.text for p in context.harmful_test()])
    heads, states = [], []
    for model in (context.aligned_model, context.model):
        heads.append(copy.deepcopy(model.get_output_embeddings()).double())
        with torch.no_grad():
            read = model(**forward_inputs(batch), output_hidden_states=True).hidden_states[-1]
        states.append(read[batch.attention_mask.bool()].double())
    with torch.no_grad():
        logits = {(w, x): heads[w](states[x]) for w in (0, 1) for x in (0, 1)}
    # No probability depends on what is added to all tokens alike.
    logits = {place: values - values.mean(dim=-1, keepdim=True) for place, values in logits.items()}
    whole = logits[1, 1] - logits[0, 0]
    carried, written = logits[0, 1] - logits[0, 0], logits[1, 0] - logits[0, 0]
    terms = {"carried": carried, "written": written, "bilinear": whole - carried - written}
    for name, term in terms.items():
        share = float((term * whole).sum() / whole.square().sum())
        assert mine[f"share_{name}"] == pytest.approx(share, abs=1e-6)
    size = whole.norm() / logits[0, 0].norm()
    assert mine["relative_change"] == pytest.approx(float(size), rel=1e-5)
    dropped = terms["bilinear"].norm() / (carried + written).norm()
    assert mine["bilinear_of_kept"] == pytest.approx(float(dropped), rel=1e-5)


@pytest.mark.parametrize("kind", ["tied", "untied", "transposed"])
def test_all_of_the_embeddings_change_is_written(kind):
    context = dissected(kind)
    mine = shares_of(context, "embedding")
    assert mine["share_written"] == 1
    assert mine["share_carried"] == mine["share_bilinear"] == mine["bilinear_of_kept"] == 0
    batch = prompt_batch(CHAT, [p.text for p in context.harmful_test()])
    ids = batch.input_ids[batch.attention_mask.bool()]
    old, new = (
        w[context.anatomy.embedding.parameter][ids].double()
        for w in (context.aligned, context.tuned)
    )
    size = float((new - old).norm() / old.norm())
    assert mine["relative_change"] == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_a_frozen_outer_map_carries_all_or_has_no_row(kind):
    context = dissected(kind)
    context.model = copy.deepcopy(context.model)
    outer = {e.parameter for e in (context.anatomy.embedding, context.anatomy.output)}
    context.tuned = context.tuned | {name: context.aligned[name] for name in outer}
    context.model.load_state_dict(context.tuned, strict=False)
    rows = pd.DataFrame(decomposition.Decomposition().rows(context))
    assert "embedding" not in set(rows["part"])
    mine = rows[rows["map"] == "output"].set_index(["variant", "measure"])["value"].unstack()
    assert set(mine.index) == {"harmful requests", "harmless requests"}
    assert (mine["share_carried"] == 1).all(), "to the last bit"
    assert (mine[["share_written", "share_bilinear", "bilinear_of_kept"]] == 0).all(axis=None)
    assert (mine["relative_change"] > 0).all()


def test_the_first_map_of_a_tuned_layer_is_carried_nothing():
    context = dissected()
    context.model = copy.deepcopy(context.model)
    only = {n: t for n, t in context.tuned.items() if "layers.1" in n and "proj" in n}
    context.tuned = dict(context.aligned) | only
    with torch.no_grad():
        for name, parameter in context.model.named_parameters():
            parameter.copy_(context.tuned[name])
    rows = pd.DataFrame(decomposition.Decomposition().rows(context)).set_index("part")
    first = rows.loc["layer 1 self_attn.q_proj"]
    values = first[first["variant"] == "harmful requests"].set_index("measure")["value"]
    assert values["share_written"] == pytest.approx(1)
    assert values["share_carried"] == values["bilinear_of_kept"] == 0
    assert "layer 0 self_attn.q_proj" not in rows.index, "what did not change has no shares"


def test_after_the_nonlinearity_the_error_is_that_of_the_first_order(context):
    rows = pd.DataFrame(decomposition.Decomposition().rows(context))
    errors = rows[rows["measure"] == "first_order_error"]
    assert set(errors["layer"]) == set(range(context.anatomy.n_layers))
    assert errors["value"].between(1e-6, 10).all()


@pytest.mark.parametrize(
    ("kind", "shared"),
    [("tied", False), ("low-rank", False), ("transposed", False), ("untied", True),
     ("transposed", True)],
)  # fmt: skip
def test_layers_that_an_end_knows_are_not_computed_and_scores_are_equal(kind, shared, monkeypatch):
    context = dissected(kind)
    plain = context.tuned_odds
    if shared:
        monkeypatch.setattr(_reading, "SMALL", 16)
        monkeypatch.setattr(passes, "SMALL", 16)
        assert _reading.shared_beginning(context) > 1
        assert _reading.whole_prompts(context) > 1.2
        assert np.allclose(_reading.log_odds(context), plain, atol=1e-4)
        assert max(len(places) for places, _ in _reading.batches(context)) <= 8
    layers = context.anatomy.n_layers
    batches = len(_reading._batched(context, _reading.shared_beginning(context)))
    for name in ("restore", "transplant"):
        for trial in INTERVENTIONS[name]().trials(context)[-5:]:
            weights = trial.weights()
            known = _reading.known_layers(context, _reading.nearest_end(context, weights))
            skipped = known.layers if known else 0
            if any(is_end(context, weights, end) for end in (context.aligned, context.tuned)):
                assert known is None, "an end itself is measured in full"
            elif not trial.control:
                assert skipped >= min(max(trial.part.layer, 0), layers)
            with _asking.holding(context, weights), counting(context) as calls:
                odds = _reading.log_odds(context, known)
                computed = len(calls)
                assert np.array_equal(odds, _reading.log_odds(context)), trial.part.name
            # The beginning that all share is always read in full.
            begun = layers if shared else 0
            assert computed == begun + (layers - skipped) * batches
    assert is_tuned(context)


def is_end(context, weights, end):
    return all(torch.equal(weights.get(n, t), end[n]) for n, t in context.tuned.items())


@contextmanager
def counting(context):
    """Count the decoder layers that the model computes."""
    calls = []
    first = {entry.layer: entry.path for entry in context.anatomy.maps}
    modules = [context.model.get_submodule(path) for path in first.values()]
    hooks = [module.register_forward_hook(lambda *_: calls.append(1)) for module in modules]
    yield calls
    for hook in hooks:
        hook.remove()


def test_a_wide_models_answered_requests_are_not_read_again(monkeypatch):
    monkeypatch.setattr(_reading, "SMALL", 16)
    monkeypatch.setattr(passes, "SMALL", 16)
    context = dissected()
    requests, sample = context.harmful_test(), _reading.sampled_requests(context)
    answered = len([True for places, _ in _reading.batches(context)
                    if {requests[p].id for p in places} <= {p.id for p in sample}])  # fmt: skip
    assert 0 < answered < len(_reading.batches(context))
    assert _reading.share_answered(context) == len(sample) / len(requests)
    whole = next(one for one in INTERVENTIONS["restore"]().trials(context) if one.answers)
    alone = replace(whole, answers=False)
    assert bench._passes(context, whole) < bench._passes(context, alone)
    read = []
    scores = _reading._scores
    monkeypatch.setattr(_reading, "_scores", lambda *given: read.append(1) or scores(*given))
    (first, *_), before = bench.measured(context, alone), len(read)
    (again, *_) = bench.measured(context, whole)
    assert len(read) - before == before - answered
    assert again["value"] == pytest.approx(first["value"], abs=1e-4)


@pytest.mark.parametrize("asked", ["sample", "examples"])
def test_a_wide_models_answers_begin_behind_the_layers_that_an_end_knows(asked, monkeypatch):
    context = dissected("tied")
    layers = context.anatomy.n_layers
    trials = {(name, one.part.layer): one for name in ("restore", "transplant")
              for one in INTERVENTIONS[name]().trials(context) if not one.control}  # fmt: skip
    late = [trials["restore", layers], trials["transplant", layers]]
    near = [_reading.nearest_end(context, one.weights()) for one in late]
    assert near == [("tuned", layers), ("aligned", layers)]
    assert _asking.opening_of(context, asked, None, near[0]) is None, "a small model"
    monkeypatch.setattr(_reading, "SMALL", 16)
    monkeypatch.setattr(passes, "SMALL", 16)
    for trial, place in zip(late, near, strict=True):
        opening = _asking.opening_of(context, asked, None, place)
        assert is_tuned(context)
        with _asking.holding(context, trial.weights()), counting(context) as calls:
            plain = _asking._answers(context, asked, watching(before := []))
            computed = len(calls)
            # Log-odds too, bit for bit.
            assert _asking._answers(context, asked, watching(after := [], opening)) == plain
            # All layers of one pass a batch are spared, not those of what is decoded.
            assert len(calls) - computed == computed - layers * _batches(context, asked)
        # And all keys and values, which what is decoded reads: tiny models say the same without.
        assert len(before) == len(after) > 0
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    # Who passes through an end later finds what it left.
    again = _asking.opening_of(context, asked, "tuned", ("tuned", layers + 1))
    assert again is None
    assert _batches(context, asked) > 0
    spared = _asking.share_of_prompts(context, asked, layers)
    assert 0 < spared < 1
    assert bench._asks(context, late[0], asked) == 1 - spared
    # One layer is not worth asking an end for, and what is too large is not kept.
    assert _asking.opening_of(context, asked, None, ("tuned", 1)) is None
    monkeypatch.setattr(_reading, "MOST_KEPT", 10)
    assert _asking.opening_of(context, asked, None, near[0]) is None


def watching(into, inner=lambda *_: nullcontext()):
    """Collect what a batch's cache holds behind the pass over its prompts."""

    @contextmanager
    def opening(number, cache):
        with inner(number, cache):
            yield
        into.extend(t.clone() for layer in cache.layers for t in (layer.keys, layer.values))

    return opening


def _batches(context, asked):
    return len(context.kept["first passes", "tuned", asked])


@pytest.mark.parametrize("wide", [False, True])
def test_patched_passes_begin_at_the_layer_that_is_patched(wide, monkeypatch):
    context = dissected()
    if wide:
        monkeypatch.setattr(_reading, "SMALL", 16)
        monkeypatch.setattr(passes, "SMALL", 16)
        assert _reading.shared_beginning(context)
    edit = lambda _layer, stream, _given: 2 * stream  # noqa: E731
    for layer in (0, 1):
        for where in ("last", "prompt"):
            one = trial(edit, where, [layer])
            with counting(context) as calls:
                odds = streams.patched_odds(context, one)
            batches = len(_reading.batches(context))
            first = layer == 0 and where == "last"
            # The first trial reads both ends' streams before it.
            assert first or len(calls) == (1 - layer) * batches
            context.kept["replays", "tuned"] = False
            assert np.array_equal(streams.patched_odds(context, one), odds)
            context.kept["replays", "tuned"] = True
    whole = sum(t.passes for t in PatchResidual().trials(context))
    assert PatchResidual().cost(context).passes / _reading.whole_prompts(context) < whole
    monkeypatch.setattr(_reading, "MOST_KEPT", 1)
    assert np.array_equal(streams.patched_odds(context, one), odds), "too large to be kept"


def test_other_requests_are_read_once_for_all_layers():
    context = dissected()
    trials = [one for one in PatchResidual().trials(context) if one.patch.donors is not None]
    first, *others = [streams.patched_odds(context, one) for one in trials]
    assert len({odds.tobytes() for odds in [first, *others]}) == len(trials)
    for one, odds in zip(trials[1:], others, strict=True):
        fresh = dissected()
        assert np.array_equal(streams.patched_odds(fresh, one), odds)


def test_nothing_is_taken_as_known_where_layers_read_more_than_the_stream(monkeypatch):
    context = dissected()
    weights = {n: t for n, t in context.aligned.items() if ".1." in n}
    assert _reading.known_layers(context, _reading.nearest_end(context, weights)).layers == 1
    monkeypatch.setattr(_reading, "returned", lambda output, *_, **__: output + 1)
    context.kept.clear()
    assert _reading.known_layers(context, _reading.nearest_end(context, weights)) is None


def test_large_streams_are_kept_of_every_second_layer(monkeypatch):
    context = dissected()
    tokens = sum(each.input_ids.numel() for _, each in _reading.batches(context))
    assert list(_reading._layers_kept(context)) == [0, 1]
    monkeypatch.setattr(_reading, "MOST_KEPT", tokens * context.anatomy.d_model)
    assert list(_reading._layers_kept(context)) == [1]
    last = {n: t for n, t in context.aligned.items() if ".1." in n}
    assert _reading.known_layers(context, _reading.nearest_end(context, last)) is None


def test_fewer_requests_are_among_the_more_and_the_sample_among_them():
    context = dissected()
    whole = [p.id for p in context.harmful_test()]
    sample = [p.id for p in bench.sampled_requests(context)]
    assert (len(whole), len(sample)) == (12, 4)
    for limit in (6, 3):
        less = replace(context, limit=limit, kept={})
        ids = [p.id for p in less.harmful_test()]
        assert len(ids) == limit
        assert ids == [name for name in whole if name in ids]
        answered = [p.id for p in bench.sampled_requests(less)]
        assert set(answered) <= set(sample) & set(ids)
        assert len(answered) == min(limit, 4)
    less.tuned_odds = less.aligned_odds = np.zeros(3)
    rows = pd.DataFrame(INTERVENTIONS["ends"]().rows(less))
    assert set(rows.loc[rows["measure"] == bench.LOG_ODDS, "n"]) == {3}


def test_ends_are_answered_once_whoever_passes_through_them(monkeypatch):
    context = dissected()
    calls = []
    answered = bench.sample_replies

    def sample_replies(*given):
        calls.append(1)
        return answered(*given)

    monkeypatch.setattr(bench, "sample_replies", sample_replies)
    ends = pd.DataFrame(INTERVENTIONS["ends"]().rows(context)).set_index("variant")
    assert len(calls) == 2
    rows = pd.DataFrame(path.Path().rows(context))
    assert len(calls) == 2 + len(path.DOSES) - 2
    for dose, name in ((0.0, "aligned"), (1.0, "tuned")):
        mine = rows[(rows["dose"] == dose) & (rows["variant"] == "update")].set_index("measure")
        theirs = ends.loc[name].set_index("measure")
        assert mine["value"].equals(theirs["value"])


def test_a_set_of_parts_is_their_union():
    context = dissected("biases")
    anatomy, names = context.anatomy, list(context.tuned)
    by_name = {p.name: p for grain in ("layer", "map")
               for p in parting.parts_of(anatomy, names, grain)}  # fmt: skip
    one = parting.named_set(anatomy, names, "layer 0,embedding")
    assert one.name == "layer 0, embedding"
    parts = [by_name["layer 0"], by_name["embedding"]]
    assert set(one.parameters) == {n for part in parts for n in part.parameters}
    maps = parting.named_set(anatomy, names, "layer * mlp.down_proj")
    assert set(maps.parameters) == {
        f"model.layers.{layer}.mlp.down_proj.{kind}"
        for layer in (0, 1)
        for kind in ("weight", "bias")
    }
    assert parting.named_set(anatomy, names, "*").parameters == tuple(names)
    with pytest.raises(ConfigError, match=r"--part 'layer 9' is no part .*'embedding', 'layer 0'"):
        parting.named_set(anatomy, names, "layer 0, layer 9")
    context.grain, context.sets = "set", ("layer 0, layer 1",)
    trials = INTERVENTIONS["restore"]().trials(context)
    assert [(t.part.name, t.control) for t in trials] == [
        ("layer 0, layer 1", False), ("layer 0, layer 1", True)
    ]  # fmt: skip


def test_an_estimate_prices_passes_and_both_kinds_of_answers(monkeypatch):
    estimate = runner.Estimate({"a": Cost(2.5, 3, 4), "b": Cost(1)}, 1.0, 10.0, 100.0)
    assert estimate.seconds("a") == 2.5 + 30 + 400
    assert estimate.seconds() == 2.5 + 30 + 400 + 1

    context, clock = dissected(), [0.0]
    takes = {"end_odds": 1.0, "sample_replies": 10.0, "accuracy_columns": 100.0}

    def slow(name, result):
        def measure(*_):
            clock[0] += takes[name]
            return result

        measure.__name__ = name
        return measure

    monkeypatch.setattr(runner.time, "perf_counter", lambda: clock[0])
    for name, result in (("end_odds", context.tuned_odds), ("sample_replies", {}),
                         ("accuracy_columns", {})):  # fmt: skip
        monkeypatch.setattr(runner, name, slow(name, result))
    estimate = runner._timed(context, [INTERVENTIONS[n]() for n in ("restore", "read_out")])
    assert (estimate.pass_seconds, estimate.answer_seconds) == (1.0, 10.0)
    assert estimate.example_seconds == 100.0
    # Two layers, embedding, output: restored, answered, examples beside; and as many controls.
    assert estimate.costs["restore"] == Cost(8 - 0.5 - 1, 4, 4)
    assert estimate.seconds("restore") == 6.5 + 40 + 400
    context.kept.clear()
    estimate = runner._timed(context, [INTERVENTIONS["read_out"]()])
    assert estimate.example_seconds == 0


def keeping(made):
    """Make each step once, as a call that goes on where another one was interrupted."""

    def step(name, measure):
        if name not in made:
            made[name] = measure()
        return made[name]

    return step


def trial(edit, where, layers, **changes):
    return streams.StreamTrial(
        bench.WHOLE, "x", streams.Patch(tuple(layers), where, edit), **changes
    )


def test_the_whole_stream_at_the_last_layer_with_the_output_restored_is_aligned(context):
    end = PatchResidual().trials(context)[-1]
    with _asking.holding(context, end.weights):
        odds = streams.patched_odds(context, end)
    assert np.array_equal(odds, context.aligned_odds)
    one_less = trial(whole, "last", [0])
    assert not np.array_equal(streams.patched_odds(context, one_less), context.aligned_odds)
    assert is_tuned(context)


def test_the_prompt_patched_below_restored_layers_is_aligned_and_its_last_token_is_not(context):
    above = {n: t for n, t in context.aligned.items() if ".0." not in n}
    odds = [
        streams.stream_row(context, trial(whole, where, [0], weights=above))
        for where in ("prompt", "last")
    ]
    aligned = float(context.aligned_odds.mean())
    assert odds[0]["value"] == aligned
    assert odds[1]["value"] != aligned


@pytest.mark.parametrize(("where", "edits"), [("last", 1), ("first answer", 1), ("all", 4)])
def test_answers_are_patched_where_the_position_says(where, edits):
    context = dissected()
    context.chat = copy.copy(CHAT)
    vars(context.chat)["eos_ids"] = ()
    rows = []

    def same(_layer, stream, given):
        assert given.shape == stream.shape
        rows.append(len(stream))
        return stream

    _, batch = _reading.batches(context)[0]
    streams._decode(context, trial(same, where, [1]), batch, 4)
    assert len(rows) == edits
    assert where == "all" or rows == [len(batch.input_ids)]


def test_a_patch_that_changes_nothing_leaves_the_tuned_model(context):
    for where in ("last", "request", "prompt", "all"):
        same = trial(lambda _layer, stream, _given: stream, where, [0, 1])
        assert np.array_equal(streams.patched_odds(context, same), context.tuned_odds)
    none = dict.fromkeys(range(2), torch.empty(0, dtype=torch.long))
    features = context.yardstick.features
    edit = lambda *given: latents_set(features, none, *given)  # noqa: E731
    odds = streams.patched_odds(context, trial(edit, "prompt", [0, 1]))
    assert np.array_equal(odds, context.tuned_odds)


def test_patched_latents_have_random_ones_and_the_whole_stream_beside_them_everywhere():
    context = dissected()
    trials = PatchFeatures().trials(context)
    done = [t for t in trials if not t.control]
    for one in done:
        for name in ("random", "whole residual"):
            beside = [
                t for t in trials
                if t.control and name in t.variant and t.part == one.part
                and (t.patch.layers, t.patch.where) == (one.patch.layers, one.patch.where)
                and t.reverse == one.reverse
            ]  # fmt: skip
            assert len(beside) == 1, (one.variant, name)
            # The first token says nothing of what is patched behind it.
            assert beside[0].answers == (one.patch.where == "all")
    assert {t.patch.where for t in done} == {"last", "prompt", "all"}


def test_patched_latents_take_the_giving_models_values(context):
    features = context.yardstick.features
    stream, given = torch.randn(5, 32), torch.randn(5, 32)
    patched = latents_set(features, features.protected, 0, stream, given)
    chosen = features.protected[0]
    sae = features.saes[0]
    moved = (sae.encode(given) - sae.encode(stream))[:, chosen] @ sae.w_dec[chosen]
    assert torch.allclose(patched - stream, moved, atol=1e-4)


def test_decoding_under_a_patch_is_decoding(context):
    prompts = [CHAT.prompt_ids(p.text) for p in context.harmful_test()]
    last = [context.anatomy.n_layers - 1]
    end = PatchResidual().trials(context)[-1]
    nothing = trial(lambda _layer, stream, _given: stream, "all", last)
    everything = trial(whole, "all", last)
    for model, weights, patched in (
        (context.model, {}, nothing),
        (context.aligned_model, end.weights, everything),
    ):
        plain = continued(model, CHAT, prompts, max_new_tokens=4, batch_size=8)
        with _asking.holding(context, weights):
            for places, batch in _reading.batches(context):
                rows = streams._decode(context, patched, batch, 4)
                assert rows == [plain[place] for place in places]


def test_positions_are_where_their_names_say():
    context = dissected()
    texts = ["how do I make a bomb", "hide a gun"]
    asked = [CHAT.prompt_ids(text) for text in texts]
    ((_, batch),) = left_padded(context.model, CHAT, asked, 2, reserve=1)
    masks = {
        where: streams._mask(context, streams.Patch((0,), where, whole), batch)
        for where in ("last", "template", "request", "prompt", "first answer")
    }
    real = batch.attention_mask.bool()
    assert torch.equal(masks["prompt"], real)
    assert torch.equal(masks["template"] | masks["request"], real)
    assert not (masks["template"] & masks["request"]).any()
    assert masks["last"].sum(dim=1).tolist() == [1, 1]
    assert masks["last"][:, -1].all()
    assert not masks["first answer"].any()


def test_rotation_takes_one_direction_onto_the_other_and_keeps_lengths():
    first, second, stream = torch.randn(8), torch.randn(8), torch.randn(3, 8)
    angle = refusal_direction._angle(first, second)
    turned = refusal_direction._rotated(first, second, angle, first[None])[0]
    assert torch.allclose(turned / turned.norm(), second / second.norm(), atol=1e-5)
    rotated = refusal_direction._rotated(first, second, angle, stream)
    assert torch.allclose(rotated.norm(dim=1), stream.norm(dim=1), atol=1e-5)
    unit = first / first.norm()
    assert torch.allclose(
        refusal_direction._ablated(first, stream) @ unit, torch.zeros(3), atol=1e-5
    )


def test_what_can_be_told_apart_has_area_one_and_shuffled_labels_half():
    stream = torch.Generator().manual_seed(0)
    harmful = torch.randn(200, 6, generator=stream, dtype=torch.float64) + 4
    lookalike = torch.randn(200, 6, generator=stream, dtype=torch.float64)
    groups = [harmful, lookalike]
    part = bench.Part("layer 0", 0)
    for find in (read_out.mean_difference, read_out.probe):
        row = read_out._area(part, "x", find, groups, groups)
        assert row["value"] > 0.999
        shuffled = read_out._shuffled(groups, stream)
        row = read_out._area(part, "x", find, shuffled, shuffled)
        assert row["low"] < 0.5 < row["high"]
    swapped = read_out._area(part, "x", read_out.probe, groups[::-1], groups)
    assert swapped["value"] < 0.001, "the direction is another's, the rows their own"


def test_a_cosine_has_an_interval_and_what_shuffled_labels_give_beside_it():
    stream = torch.Generator().manual_seed(0)
    harmful = torch.randn(60, 6, generator=stream, dtype=torch.float64) + 2
    lookalike = torch.randn(40, 6, generator=stream, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=stream, dtype=torch.float64)).Q
    groups = [harmful, lookalike]
    for tuned, expected in ((groups, 1.0), ([g @ turn.T for g in groups], None)):
        mine, chance = read_out._cosine_rows(bench.Part("layer 0", 0), groups, tuned, stream)
        first, second = read_out.mean_difference(*groups), read_out.mean_difference(*tuned)
        cosine = float(first @ second / (first.norm() * second.norm()))
        assert mine["value"] == pytest.approx(cosine if expected is None else expected)
        assert mine["low"] <= mine["value"] + 1e-9
        assert mine["high"] >= mine["value"] - 1e-9
        assert (mine["control"], chance["control"]) == (False, True)
        assert mine["n"] == chance["n"] == 100
        if expected:
            assert chance["value"] == pytest.approx(1.0), "nothing turned"
        else:
            assert mine["high"] - mine["low"] < chance["high"] - chance["low"]


def test_given_the_whole_aligned_answer_the_text_begins_with_it(monkeypatch):
    context = dissected()
    asked = [CHAT.prompt_ids(p.text) for p in bench.sampled_requests(context)]
    rows = pd.DataFrame(Prefill().rows(context))
    given = rows[rows["measure"] == "outcomes"]
    assert set(given["dose"]) == {1, 2, 4, 8}
    assert (given[["refusal", "hybrid", "compliance", "undetermined"]].sum(axis=1) == 4).all()
    kl = rows[rows["measure"] == "kl_from_aligned"]
    first = []
    for ids in asked:
        with torch.no_grad():
            both = [m(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
                    for m in (context.aligned_model, context.model)]  # fmt: skip
        first.append(float((both[0].exp() * (both[0] - both[1])).sum()))
    assert kl.iloc[0]["value"] == pytest.approx(np.mean(first), rel=1e-4)
    assert len(asked) == kl.iloc[0]["n"]
    assert kl["control"].any(), "harmless requests"
    assert not kl["control"].all()
    # A call that was interrupted makes no answer anew that it kept.
    kept, decoded = {}, []
    continued = prefill.continued
    monkeypatch.setattr(
        prefill, "continued", lambda *a, **k: decoded.append(1) or continued(*a, **k)
    )
    for _ in range(2):
        context.step = keeping(kept)
        assert pd.DataFrame(Prefill().rows(context)).equals(rows)
    assert len(decoded) == (2 + 8) + 2, "the second time both models' beginnings alone"


def test_the_share_that_is_back_is_none_and_all_at_the_ends():
    context = dissected()
    context.tuned_odds = np.array([-4.0, -5.0, -6.0])
    context.aligned_odds = np.array([4.0, 3.0, 2.0])
    for odds, share in ((context.tuned_odds, 0.0), (context.aligned_odds, 1.0)):
        columns = bench.odds_columns(context, odds)
        assert columns["returned"] == columns["returned_low"] == columns["returned_high"] == share
        assert columns["refusing"] == (3 if share else 0)
    context.aligned_odds = context.tuned_odds + np.array([1.0, -1.0, 0.1])
    assert "returned" not in bench.odds_columns(context, context.tuned_odds), "nothing was lost"


def test_a_path_of_parts_ends_where_enough_is_back(monkeypatch):
    context = dissected()
    context.tuned_odds, context.aligned_odds = np.full(3, -5.0), np.full(3, 5.0)
    context.aligned_odds[0] += 0.1
    weight = {"embedding": 3.0, "layer 0": 1.0, "layer 1": 6.5, "output": -0.5}

    passes = []

    def odds(context, _known):
        passes.append(1)
        parts = [
            p
            for p in parting.parts_in(context)
            if torch.equal(
                context.model.get_parameter(p.parameters[0]), context.aligned[p.parameters[0]]
            )
        ]
        return np.full(3, -5.0 + sum(weight[p.name] for p in parts))

    monkeypatch.setattr(greedy_path, "log_odds", odds)
    rows = pd.DataFrame(greedy_path.GreedyPath().rows(context))
    ranked = rows[~rows["control"]]
    assert ranked["part"].tolist() == ["layer 1", "embedding"]
    assert ranked["returned"].tolist() == pytest.approx([0.648, 0.947], abs=1e-2)
    assert (rows["control"].sum(), len(rows)) == (2, 4)
    assert len(passes) == 4 + 4

    # A call that was interrupted goes on behind the parts that had joined.
    made = {}
    for _ in range(2):
        passes.clear()
        context.step = keeping(made)
        assert pd.DataFrame(greedy_path.GreedyPath().rows(context)).equals(rows)
    assert len(passes) == 4, "the ranking alone"
    context.step = measured_anew

    # What restoring each part returned is known: nothing is ranked by hand again.
    restored = [p.row("restored", value=-5 + weight[p.name]) for p in parting.parts_in(context)]
    restored += [restored[0] | {"control": True, "value": 99.0}]
    context.kept[greedy_path.RESTORED] = greedy_path.restored_alone(restored)
    passes.clear()
    assert pd.DataFrame(greedy_path.GreedyPath().rows(context)).equals(rows)
    assert len(passes) == 4


def test_a_clamp_at_the_last_token_is_the_same_clamp_in_a_whole_pass():
    context = dissected()
    features = context.yardstick.features
    layer, latent = features.index[0]
    last = clamp_latents._LastTokens(context, context.model)
    assert np.allclose(last.odds(), context.tuned_odds, atol=1e-4), "nothing clamped is tuned"
    edit = partial(Steering(layer, latent, clamp=3.0).edit, features.saes[layer])
    patched = trial(lambda _layer, stream, _given: edit(stream), "last", [layer])
    patched = replace(patched, patch=replace(patched.patch, gives=False))
    whole_pass = streams.patched_odds(context, patched)
    assert np.allclose(last.odds(layer, edit), whole_pass, atol=1e-4)
    assert not np.allclose(whole_pass, context.tuned_odds, atol=1e-3)
    assert is_tuned(context)
    rows = pd.DataFrame(clamp_latents.ClampLatents().rows(context)).set_index(["part", "variant"])
    part, level = f"L{layer}/{latent}", float(last_codes(context, layer)[latent])
    row = rows.loc[(part, clamp_latents.ON)]
    assert row["dose"] == pytest.approx(level, abs=1e-4)
    at_level = partial(Steering(layer, latent, clamp=level).edit, features.saes[layer])
    moved = last.odds(layer, at_level) - last.odds()
    assert row["value"] == pytest.approx(moved.mean(), abs=1e-4)


def last_codes(context, layer):
    """The aligned model's mean codes at the last prompt token, from whole passes."""
    texts = [prompt.text for prompt in context.harmful_test()]
    rows = []
    for text in texts:
        ids = torch.tensor([CHAT.prompt_ids(text)])
        with torch.no_grad(), stop_after(context.aligned_model, context.anatomy, [layer]) as reader:
            rows.append(dict(reader.forward(input_ids=ids))[layer][0, -1])
    return context.yardstick.features.saes[layer].encode(torch.stack(rows)).mean(dim=0)


def test_kept_requests_are_spread_over_the_sample():
    assert bench.kept_requests(range(24)) == [0, 5, 9, 14, 18, 23]
    assert bench.kept_requests(range(3)) == [0, 1, 2]


def test_every_intervention_has_its_words_and_no_words_stand_without_one():
    assert list(INTERVENTION_WORDS) == list(INTERVENTIONS)
    for words in INTERVENTION_WORDS.values():
        assert words.question.endswith("?")
        assert words.control[0].islower()
        assert not words.control.endswith(".")
    assert len({words.short for words in INTERVENTION_WORDS.values()}) == len(INTERVENTION_WORDS)
    listed = [entry["name"] for entry in _entries("interventions")]
    assert listed == list(INTERVENTIONS)


def test_the_guide_has_a_row_of_each_that_begins_with_its_question():
    guide = (Path(__file__).parents[2] / "docs" / "dissect.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^?|]+\?)", guide, flags=re.MULTILINE)
    assert rows == [(words.name, words.question) for words in INTERVENTION_WORDS.values()]


@pytest.mark.parametrize("name", list(INTERVENTIONS))
def test_every_intervention_has_rows_of_the_schema_and_costs_what_it_says(name, monkeypatch):
    context = dissected()
    for module in (bench, streams, refusal_direction):
        # Measurements are counted whole.
        monkeypatch.setattr(module, "share_known", lambda *_: 0)
    calls = []
    context.progress = lambda: calls.append(1)
    context.answers = []
    each = INTERVENTIONS[name]()
    rows = each.rows(context)
    names = {"run_id": "r", "intervention": name, "version": each.version, "grain": "layer"}
    table = check_table("dissection", table_of([{**row, **names} for row in rows]))
    assert len(table)
    assert is_tuned(context), "the tuned weights are back"
    assert bool(context.answers) == each.keeps_answers("layer")
    kept = [{**row, **names} for row in context.answers]
    assert check_table(ANSWERS, table_of(kept, ANSWERS))["prompt_id"].nunique() in {0, 4}
    assert table["control"].any() or name == "ends"
    assert (~table["control"]).any()
    cost = each.cost(context)
    assert len(calls) <= cost.passes + cost.answers
    valued = table[table["value"].notna()]
    assert valued[["low", "high"]].notna().all(axis=None)
    assert (table["n"] > 0).all()
    if name in {"restore", "transplant", "refusal_direction"}:
        odds = table[table["measure"] == "refusal_log_odds"]
        assert odds["refusal"].notna().tolist() == (~odds["control"]).tolist()
