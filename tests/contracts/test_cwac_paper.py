"""CWAC as printed: what its arm protects, and that it is the lab's code under other settings."""

import torch
from builders import make_context
from method_runs import TRAINING, change_of, make_method, same_weights, set_up, train

from cwac.anatomy import weight_of
from cwac.chat import collate
from cwac.config import MeasurementConfig
from cwac.methods.cwac import Cwac
from cwac.methods.cwac_paper import CwacPaper
from cwac.methods.sft import Sft

PRINTED = {"maps": "ffn", "projection": "gradient", "tokens": "prompt", "strength": 0.5}


def test_it_is_cwac_under_the_printed_settings() -> None:
    assert same_weights(train(make_method(CwacPaper)), train(make_method(Cwac, **PRINTED)))
    yardstick = {"maps": "ffn", "strength": 0.5}
    assert not same_weights(train(make_method(CwacPaper)), train(make_method(Cwac, **yardstick)))


def test_off_is_plain_fine_tuning() -> None:
    plain = train(make_method(Sft))
    assert same_weights(train(make_method(CwacPaper, weight=False, strength=0.0)), plain)
    assert not same_weights(train(make_method(CwacPaper, weight=False)), plain)
    assert not same_weights(train(make_method(CwacPaper, strength=0.0)), plain)


def test_it_fits_its_own_subspace_on_prompt_tokens() -> None:
    """Whatever the yardstick, which measures every arm, is fitted on."""
    context = make_context(
        training=TRAINING, measurement=MeasurementConfig(maps="all", tokens="response", rank=6)
    )
    asked = []
    fit = context.fit_subspace

    def watched(**changes):
        asked.append(changes)
        return fit(**changes)

    context.fit_subspace = watched
    method = make_method(CwacPaper)
    set_up(method, context)
    assert asked == [{"tokens": "prompt"}]
    assert {m.path for m in method.weight.maps} == {m.path for m in context.anatomy.select("ffn")}


def test_the_gradient_is_projected_and_the_weights_are_left_alone() -> None:
    method = make_method(CwacPaper)
    context = set_up(method)
    batch = collate([context.chat.example_ids("make a cake", "sure")], context.chat.pad_id)
    context.model(input_ids=batch.input_ids, labels=batch.labels).loss.backward()
    before = {n: p.grad.clone().double() for n, p in context.model.named_parameters()}
    method.after_backward(context.model)
    bases = context.fit_subspace(tokens="prompt").bases
    for entry in context.anatomy.maps:
        expected = before[entry.parameter]
        if entry.ffn_output:
            basis = bases[entry.path].double()
            expected = expected @ (torch.eye(entry.d_in, dtype=torch.float64) - basis @ basis.T)
        gradient = context.model.get_parameter(entry.parameter).grad.double()
        assert torch.allclose(gradient, expected, atol=1e-8)
    method.after_step(context.model)
    for entry in context.anatomy.maps:
        assert torch.equal(weight_of(context.model, entry), weight_of(context.aligned, entry))
        assert change_of(context, entry).norm() == 0
