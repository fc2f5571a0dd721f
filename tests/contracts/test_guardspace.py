"""GuardSpace's projector: what harmful requests put in comes out as before."""

import pytest
import torch
from builders import make_context
from method_runs import change_of, make_method, move, same_weights, set_up, train

from cwac.anatomy import weight_of
from cwac.methods.guardspace import GuardSpace
from cwac.methods.sft import Sft


def _inputs(context, method):
    """Every map's inputs on the refused harmful requests, float64 ``(d_in, tokens)``."""
    found = {m.path: [] for m in method.weight.maps}
    handles = [
        context.model.get_submodule(path).register_forward_hook(
            lambda _module, args, _out, path=path: found[path].append(args[0].detach()[0].double())
        )
        for path in found
    ]
    with torch.no_grad():
        for prompt in context.prompts.get("safety", "harmful"):
            ids, _ = context.chat.example_ids(prompt.text, prompt.answer)
            context.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {path: torch.cat(parts).T for path, parts in found.items()}


def test_it_equals_a_dense_projector_on_near_null_eigenvectors_in_float64():
    method = make_method(GuardSpace, tail_energy=1e-2)
    context = set_up(method)
    assert method.weight.maps == context.anatomy.maps
    inputs = _inputs(context, method)
    move(context)
    moved = {
        m.path: weight_of(context.model, m).detach().double().clone() for m in method.weight.maps
    }
    method.after_step(context.model)
    for m in method.weight.maps:
        columns = inputs[m.path]
        values, vectors = torch.linalg.eigh(columns @ columns.T)
        # Ascending eigenvalues: the null part is as long as its energy stays below a hundredth.
        null = vectors[:, values.cumsum(0) <= 1e-2 * values.sum()]
        start = weight_of(context.aligned, m).double()
        expected = start + (moved[m.path] - start) @ null @ null.T
        assert 0 < null.shape[1] < m.d_in
        assert torch.allclose(weight_of(context.model, m).double(), expected, atol=1e-6)


def test_trained_maps_answer_harmful_inputs_nearly_as_before_and_change_elsewhere():
    tail = 1e-2
    method, twin = (make_method(GuardSpace, tail_energy=tail) for _ in range(2))
    inputs = _inputs(set_up(twin), twin)
    context, free = train(method), train(make_method(Sft))
    for m in method.weight.maps:
        x = inputs[m.path]
        change, other = change_of(context, m), change_of(free, m)
        assert change.norm() > 1e-2
        # ||dW X||^2 <= (energy of the null part) ||dW||^2, and that is at most the tail's share.
        assert (change @ x).norm() <= tail**0.5 * change.norm() * x.norm()
        assert (other @ x).norm() > 2 * (change @ x).norm() * other.norm() / change.norm()


def test_the_columns_are_prompt_tokens_unless_the_yardstick_decides():
    asked = []
    context = make_context()
    fitted = context.fit_subspace
    context.fit_subspace = lambda **changes: (asked.append(changes), fitted(**changes))[1]
    make_method(GuardSpace, rank=3).setup(context)
    make_method(GuardSpace, tokens=None, tail_energy=0.5).setup(context)
    assert asked == [{"tokens": "prompt", "rank": 3}, {"tail_energy": 0.5, "rank": None}]


@pytest.mark.parametrize("rank", [0, 4])
def test_rank_zero_is_plain_fine_tuning(rank):
    same = same_weights(train(make_method(GuardSpace, rank=rank)), train(make_method(Sft)))
    assert same == (rank == 0)
