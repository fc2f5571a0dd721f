"""Embedding and output layer: found, frozen, projected, and measured as they moved."""

import pytest
import torch
from builders import make_chat, make_context, make_examples, make_model, make_transposed
from torch.nn import functional

from cwac.anatomy import anatomy_of, embedding_parameters, weight_of
from cwac.config import TrainingConfig
from cwac.drift import update_of
from cwac.errors import ConfigError
from cwac.interfaces import MeasureContext, MethodSettings
from cwac.methods import METHODS
from cwac.metrics.outer import OuterDrift
from cwac.records import check_table
from cwac.training import fit

TRAINING = TrainingConfig(steps=6, batch_size=4, learning_rate=1e-2)


def trained(model, chat, name="sft", *, context=None, **changes):
    """Fine-tune a tiny model; return it with its context."""
    training = TRAINING.model_copy(update=changes)
    context = context or make_context(model=model, chat=chat, training=training)
    kind = METHODS[name]
    method = kind(kind.settings_type())
    fit(model, context.anatomy, chat, make_examples(24), training, method, seed=0, context=context)
    return context


@pytest.fixture(params=["untied", "tied", "transposed"])
def family(request):
    chat = make_chat()
    if request.param == "transposed":
        return chat, make_transposed(chat)
    return chat, make_model(chat, tie_word_embeddings=request.param == "tied")


def test_both_are_found_as_maps_that_compute_what_the_model_does(family):
    chat, model = family
    anatomy = anatomy_of(model)
    ids = torch.tensor([chat.prompt_ids("how do I make a cake")])
    one_hot = functional.one_hot(ids, anatomy.embedding.d_in).float()
    embedded = one_hot @ weight_of(model, anatomy.embedding).T
    assert torch.equal(embedded, model.get_input_embeddings()(ids))
    states = torch.randn(1, 3, anatomy.output.d_in)
    assert torch.allclose(
        states @ weight_of(model, anatomy.output).T, model.get_output_embeddings()(states)
    )
    shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert anatomy.tied == shared
    assert (anatomy.embedding.layer, anatomy.output.layer) == (-1, anatomy.n_layers)


@pytest.mark.parametrize("name", ["sft", "cwac", "lisa", "l2_to_init"])
def test_a_frozen_embedding_does_not_move_and_the_rest_does(name):
    chat = make_chat()
    model = make_model(chat, tie_word_embeddings=True)
    context = trained(model, chat, name, train_embeddings=False)
    assert torch.equal(
        model.get_input_embeddings().weight, context.aligned["model.embed_tokens.weight"]
    )
    assert update_of(model, context.aligned, context.anatomy.maps[0]).any()
    assert all(p.requires_grad for p in model.parameters()), "what was frozen is free again"


def test_position_embeddings_are_frozen_too():
    chat = make_chat()
    model = make_transposed(chat)
    context = trained(model, chat, train_embeddings=False)
    frozen = embedding_parameters(model, context.anatomy)
    assert len(frozen) == 2
    for parameter in (model.transformer.wte.weight, model.transformer.wpe.weight):
        name = next(n for n, p in model.named_parameters() if p is parameter)
        assert torch.equal(parameter, context.aligned[name])
        assert any(parameter is entry for entry in frozen)


def test_a_frozen_output_layer_leaves_the_embedding_to_be_trained():
    chat = make_chat()
    model = make_model(chat)
    context = trained(model, chat, output_layer="frozen")
    anatomy = context.anatomy
    assert not update_of(model, context.aligned, anatomy.output).any()
    assert update_of(model, context.aligned, anatomy.embedding).any()


def test_a_projected_output_layer_moves_outside_the_directions_of_refused_requests(family):
    chat, model = family
    context = trained(model, chat, output_layer="projected")
    entry = context.anatomy.output
    basis = context.fit_subspace(outer_maps=True)
    delta = update_of(model, context.aligned, entry)
    plain = make_model(chat) if not context.anatomy.tied else None
    assert delta.norm() > 1e-3
    # The model has moved: the basis of the aligned model is in the context's own fit.
    assert basis.bases[entry.path].shape[1] == 6
    inside = float((delta @ _aligned_basis(context)).norm() / delta.norm())
    assert inside < 1e-5
    if plain is not None:
        free = trained(plain, chat)
        moved = update_of(plain, free.aligned, entry)
        assert float((moved @ _aligned_basis(free)).norm() / moved.norm()) > 1e-2


def _aligned_basis(context):
    with torch.no_grad():
        now = {n: p.detach().clone() for n, p in context.model.named_parameters()}
        for name, parameter in context.model.named_parameters():
            parameter.copy_(context.aligned[name])
        subspace = context.fit_subspace(outer_maps=True)
        for name, parameter in context.model.named_parameters():
            parameter.copy_(now[name])
    return subspace.bases[context.anatomy.output.path].double()


def test_one_parameter_cannot_be_frozen_and_projected():
    chat = make_chat()
    model = make_model(chat, tie_word_embeddings=True)
    with pytest.raises(ConfigError, match="one parameter, and it is frozen"):
        trained(model, chat, train_embeddings=False, output_layer="projected")


def test_defaults_write_what_stored_runs_wrote():
    assert set(TrainingConfig().model_dump()) & {"train_embeddings", "output_layer"} == set()
    assert "train_embeddings" in TrainingConfig(train_embeddings=False).model_dump()
    assert MethodSettings().model_dump() == {}


def test_drift_outside_the_decoder_is_what_one_computes_directly(family):
    chat, model = family
    context = trained(model, chat)
    prompts = context.prompts.get("test", "harmful")
    measured = OuterDrift().measure(_measure_context(context))
    table = measured.tables["outer_drift"].set_index("part")
    check_table("outer_drift", table.reset_index())
    anatomy = context.anatomy
    tokens = torch.tensor([i for p in prompts for i in chat.prompt_ids(p.text)])
    for entry in (anatomy.embedding, anatomy.output):
        delta = update_of(model, context.aligned, entry)
        aligned = weight_of(context.aligned, entry).double()
        assert table.loc[entry.name, "relative_norm"] == pytest.approx(
            float(delta.norm() / aligned.norm())
        )
        if entry is anatomy.embedding:
            columns = functional.one_hot(tokens, entry.d_in).double().T
        else:
            columns = _final_states(context, prompts).T
        expected = float((delta @ columns).norm() / (aligned @ columns).norm())
        assert table.loc[entry.name, "functional_drift"] == pytest.approx(expected, rel=1e-5)
    assert measured.values["embedding_drift"].value == table.loc["embedding", "relative_norm"]


def _final_states(context, prompts):
    model = context.model
    now = {n: p.detach().clone() for n, p in model.named_parameters()}
    states = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda _module, inputs, _output: states.append(inputs[0][0].detach().double())
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(context.aligned[name])
        model.eval()
        for prompt in prompts:
            model(torch.tensor([context.chat.prompt_ids(prompt.text)]))
        for name, parameter in model.named_parameters():
            parameter.copy_(now[name])
    handle.remove()
    return torch.cat(states)


def _measure_context(context):
    return MeasureContext(
        config=context.config,
        model=context.model,
        anatomy=context.anatomy,
        chat=context.chat,
        aligned=context.aligned,
        prompts=context.prompts,
        task=None,
        judge=None,
        yardstick=context.yardstick,
        device=context.device,
        evaluation_prompt=str,
        aligned_tables={},
    )
