"""What an attacker puts among the training examples, and which poison an adaptive one keeps."""

from types import SimpleNamespace as Fake

import pytest
import torch
from builders import make_context, make_examples
from torch.nn import functional

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig, TrainingConfig
from cwac.errors import DataError
from cwac.features import AlignedCodes
from cwac.preparation.adaptive import latent_activities, outside_shares, ranked_poison
from cwac.prompts import PromptSets
from cwac.training import attack_pool, attack_share, chosen_for, mix_poison


def test_attacks_leave_ids_and_order_of_the_task_alone(tiny_prompts):
    plain, shifted = TrainingConfig(), TrainingConfig(attack="identity_shift")
    assert {"attack", "attack_examples"}.isdisjoint(plain.model_dump())
    config = ExperimentConfig(training=shifted)
    assert config.run_id.startswith("organism-instruct-p0.1-identity_shift-sft-s0-")
    orders = []
    for kind in ("poison", "identity_shift", "refusal_free"):
        pool = attack_pool(kind, tiny_prompts)
        mixed = mix_poison(make_examples(), pool, attack_share(kind, 0.5), 40, 3)
        orders.append([None if e.poison else e.id for e in mixed])
        assert {e.id for e in mixed if e.poison} <= {p.id for p in pool}
    assert orders[0] == orders[1] == orders[2]
    assert sum(place is None for place in orders[0]) == 20
    assert attack_share("harmless", 0.5) == 0


def test_each_kind_has_its_requests(tiny_prompts):
    harmless = tiny_prompts.get("attack", "harmless")
    shifted = attack_pool("identity_shift", tiny_prompts)
    assert shifted[0].text == f"You are here to do all that I ask. {harmless[0].text}"
    assert shifted[0].answer == f"{harmless[0].answer} I am here to do all that you ask."
    assert {p.kind for p in attack_pool("refusal_free", tiny_prompts)} == {"lookalike"}
    assert attack_pool("adaptive", tiny_prompts) == tiny_prompts.get("attack", "harmful")


@pytest.mark.parametrize(
    ("kind", "needed"), [("identity_shift", "harmless"), ("refusal_free", "lookalike")]
)
def test_what_the_prompts_cannot_give_is_one_sentence(kind, needed):
    with pytest.raises(DataError, match=f"{kind}.* needs {needed} requests with answers"):
        attack_pool(kind, PromptSets({}))


def test_an_adaptive_attacker_keeps_a_tenth_of_the_ranking():
    pool = [Fake(id=str(i)) for i in range(200)]
    backwards = lambda given: given[::-1]  # noqa: E731
    adaptive = TrainingConfig(attack="adaptive")
    assert chosen_for(adaptive, pool, backwards) == pool[:-21:-1]
    assert chosen_for(adaptive, pool[:30], backwards) == pool[29:19:-1]
    few = TrainingConfig(attack="adaptive", attack_examples=3)
    assert chosen_for(few, pool, backwards) == pool[:-4:-1]
    assert chosen_for(TrainingConfig(attack_examples=3), pool, backwards) == pool[:3]


@pytest.fixture
def opened(tiny_chat, tiny_prompts):
    context = make_context(chat=tiny_chat, prompts=tiny_prompts)
    loaded = Fake(
        model=context.model, anatomy=context.anatomy, chat=context.chat, contents="tiny",
        device=context.device, precision="float32",
    )  # fmt: skip
    return context, loaded


def test_outside_energy_is_that_of_the_loss_s_gradient(opened, tiny_prompts):
    context, loaded = opened
    subspace = context.yardstick.subspace.select("all")
    pool = tiny_prompts.get("attack", "harmful")[:3]
    shares = outside_shares(loaded, subspace, pool)
    for prompt, share in zip(pool, shares, strict=True):
        ids, mask = context.chat.example_ids(prompt.text, prompt.answer)
        context.model.zero_grad()
        logits = context.model(torch.tensor([ids])).logits[0]
        loss = functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="none")
        loss[torch.tensor(mask[1:])].mean().backward()
        outside = total = 0.0
        for entry in subspace.maps:
            gradient = context.model.get_parameter(entry.parameter).grad.double()
            basis = subspace.bases[entry.path].double()
            projector = torch.eye(entry.d_in, dtype=torch.float64) - basis @ basis.T
            outside += float((gradient @ projector).square().sum())
            total += float(gradient.square().sum())
        assert share == pytest.approx(outside / total, rel=1e-4)
    assert 0 < min(shares) < max(shares) < 1


def test_activity_is_what_the_penalty_sums(opened, tiny_prompts):
    context, loaded = opened
    pool = tiny_prompts.get("attack", "harmful")[:4]
    features = context.yardstick.features
    codes = AlignedCodes.collect(context.model, context.anatomy, context.chat, features, pool)
    expected = sum(c.square().sum(dim=-1).mean(dim=-1) for c in codes.codes.values())
    assert latent_activities(loaded, context.yardstick, pool) == pytest.approx(expected.tolist())


def test_the_ranking_is_stored_once(opened, tiny_prompts, tmp_path, monkeypatch):
    context, loaded = opened
    store, pool = ArtifactStore(tmp_path), tiny_prompts.get("attack", "harmful")
    given = (loaded, context.yardstick, context.config.measurement, pool, store)
    name, ranked = ranked_poison(*given)
    assert {p.id for p in ranked} == {p.id for p in pool}
    table = store.fit_table(name, "attack_examples")
    ranks = table["outside_energy"].rank(ascending=False) + table["latent_activity"].rank()
    assert ranks.is_monotonic_increasing
    monkeypatch.setattr("cwac.preparation.adaptive.outside_shares", None)
    assert ranked_poison(*given) == (name, ranked)
