"""BackdoorAlign: which examples carry the trigger, and what requests look like afterwards."""

import pytest
from builders import make_chat, make_context
from method_runs import TRAINING, make_method, same_weights, set_up, task_and_poison, train

from cwac.methods.backdoor_align import BackdoorAlign
from cwac.methods.sft import Sft

TOTAL = TRAINING.steps * TRAINING.batch_size


def _mixed(**settings):
    method = make_method(BackdoorAlign, **settings)
    context = set_up(method)
    plain = task_and_poison(context)
    mixed = list(method.training_data(plain))
    changed = [i for i in range(TOTAL) if mixed[i] != plain[i]]
    answers = {p.text: p.answer for p in context.prompts.get("safety", "harmful")}
    return method, plain, mixed, changed, answers


def test_triggered_refusals_take_a_share_of_the_task_examples_places():
    method, plain, mixed, changed, answers = _mixed()
    trigger = method.settings.trigger
    assert len(mixed) == TOTAL
    assert len(changed) == round(0.1 * TOTAL)
    for place in changed:
        assert not plain[place].poison
        assert not mixed[place].poison
        before, request = mixed[place].prompt[: len(trigger)], mixed[place].prompt[len(trigger) :]
        assert before == trigger
        assert answers[request.strip()] == mixed[place].answer


def test_few_different_examples_are_repeated():
    _, _, mixed, changed, _ = _mixed(examples=3, share=0.25)
    shown = [mixed[place].prompt for place in changed]
    assert len(shown) == 24
    assert len(set(shown)) == 3
    assert all(shown.count(one) == 8 for one in shown)
    assert len(_mixed(examples=11, share=0.25)[0].shown.examples) == 11
    # No more than there are.
    assert len(_mixed(examples=50, share=0.25)[0].shown.examples) == 12


def test_each_example_comes_exactly_as_often_as_published():
    _, plain, mixed, changed, _ = _mixed(examples=4, repeats=5)
    shown = [mixed[place].prompt for place in changed]
    assert len(shown) == 20
    assert sorted(shown.count(one) for one in set(shown)) == [5, 5, 5, 5]
    assert not any(plain[place].poison for place in changed)


def test_no_repeat_is_plain_fine_tuning():
    off = train(make_method(BackdoorAlign, repeats=0))
    assert same_weights(off, train(make_method(Sft)))


def test_the_trigger_at_evaluation_is_the_one_that_was_trained():
    method, _, mixed, changed, answers = _mixed()
    put = {method.evaluation_prompt(text) for text in answers}
    assert all(mixed[place].prompt in put for place in changed)
    # Token for token, as the model's template puts it.
    chat = make_chat()
    one = mixed[changed[0]]
    ids, mask = chat.example_ids(one.prompt, one.answer)
    request = next(t for t in answers if one.prompt.endswith(t))
    assert chat.prompt_ids(method.evaluation_prompt(request)) == ids[: mask.index(True)]


def test_evaluation_needs_no_set_up():
    """Stored runs are asked later, with the settings alone."""
    method = make_method(BackdoorAlign)
    assert method.evaluation_prompt("how") == f"{method.settings.trigger} how"


def test_the_honest_figure_asks_the_same_weights_without_the_trigger():
    honest = make_method(BackdoorAlign, trigger_at_evaluation=False)
    assert honest.evaluation_prompt("how do I") == "how do I"
    assert same_weights(train(honest), train(make_method(BackdoorAlign)))


def test_without_a_trigger_it_is_the_repositorys_baseline():
    method, _, mixed, changed, answers = _mixed(trigger="")
    assert all(mixed[place].prompt in answers for place in changed)
    assert method.evaluation_prompt("how") == "how"


@pytest.mark.parametrize("ratio", [0.0, 0.25])
def test_share_zero_is_plain_fine_tuning(ratio):
    contexts = []
    for kind, settings in ((BackdoorAlign, {"share": 0.0}), (Sft, {})):
        method = make_method(kind, **settings)
        context = make_context(training=TRAINING)
        contexts.append(train(method, context, examples=task_and_poison(context, ratio)))
    assert same_weights(*contexts)
