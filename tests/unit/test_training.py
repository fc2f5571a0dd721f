"""The loop: hook order, exact accumulation, schedule, data order, loud failures."""

import math
import time
from itertools import pairwise

import pytest
import torch
from builders import make_chat, make_context, make_examples, make_model
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup

from cwac.anatomy import anatomy_of
from cwac.chat import collate
from cwac.config import TrainingConfig
from cwac.errors import CancelledError, DataError, ModelError, TrainingError
from cwac.interfaces import Method, MethodSettings
from cwac.training import StepReport, fit, learning_rate, mix_poison


def _train(method=None, *, config=None, model=None, examples=None, chat=None, **extra):
    chat = chat or make_chat()
    model = model if model is not None else make_model(chat)
    config = config or TrainingConfig(steps=6, batch_size=8, learning_rate=1e-3)
    if examples is None:
        examples = mix_poison(make_examples(), (), 0.0, config.steps * config.batch_size, 0)
    reports: list[StepReport] = []
    result = fit(
        model,
        anatomy_of(model),
        chat,
        examples,
        config,
        method or Method(MethodSettings()),
        seed=0,
        **{"on_step": reports.append} | extra,
    )
    return model, reports, result


class _Spy(Method):
    """Writes down every hook, and what the model's weights and gradients look like there."""

    def __init__(self):
        super().__init__(MethodSettings())
        self.calls = []

    def _note(self, name, model):
        parameter = model.get_parameter("lm_head.weight")
        grad = None if parameter.grad is None else float(parameter.grad.norm())
        self.calls.append((name, float(parameter.detach().double().sum()), grad))

    def setup(self, context):
        self.calls.append(("setup", None, None))

    def training_data(self, examples):
        self.calls.append(("training_data", None, None))
        return examples

    def task_loss(self, model, batch):
        self._note("task_loss", model)

    def penalty(self, model):
        self._note("penalty", model)

    def after_backward(self, model):
        self._note("after_backward", model)

    def after_step(self, model):
        self._note("after_step", model)

    def finish(self, model):
        self._note("finish", model)


def test_hooks_come_in_the_documented_order():
    spy = _Spy()
    config = TrainingConfig(
        steps=2, batch_size=8, gradient_accumulation=2, learning_rate=1e-3, clip_norm=1e-2
    )
    context = make_context()
    _train(spy, config=config, model=context.model, chat=context.chat, context=context)
    step = ["task_loss", "task_loss", "penalty", "after_backward", "after_step"]
    names = [name for name, _, _ in spy.calls]
    assert names == ["setup", "training_data", *step, *step, "finish"]

    first_loss, second_loss, penalty, after_backward, after_step = spy.calls[2:7]
    # Forward before backward: no gradient yet; the penalty comes before the last backward.
    assert first_loss[2] is None
    assert second_loss[2] == penalty[2]
    # Clipped before after_backward (the whole gradient's norm was far above 0.01).
    assert 0 < after_backward[2] <= 1e-2 * (1 + 1e-4)
    # The optimiser acts between after_backward and after_step, nothing before it.
    assert first_loss[1] == penalty[1] == after_backward[1] != after_step[1]
    # Gradients are cleared before the next forward.
    assert spy.calls[7][0] == "task_loss"
    assert spy.calls[7][2] is None


class _Pull(Method):
    """A penalty that pulls one weight matrix to zero."""

    def __init__(self):
        super().__init__(MethodSettings())

    def penalty(self, model):
        return 0.05 * model.get_parameter("model.layers.0.mlp.down_proj.weight").square().sum()


@pytest.mark.parametrize("method", [lambda: Method(MethodSettings()), _Pull])
@pytest.mark.parametrize("parts", [3, 4, 8])
def test_accumulation_does_not_change_the_result(method, parts):
    seen = {}
    for accumulation in (1, parts):
        config = TrainingConfig(
            steps=5, batch_size=8, gradient_accumulation=accumulation, learning_rate=1e-3
        )
        model, reports, _ = _train(method(), config=config)
        seen[accumulation] = (
            torch.cat([p.detach().flatten() for p in model.parameters()]),
            [(r.task_loss, r.penalty, r.gradient_norm) for r in reports[1:]],
        )
    one, many = seen[1], seen[parts]
    assert torch.allclose(one[0], many[0], atol=3e-5)
    for a, b in zip(one[1], many[1], strict=True):
        assert (a[1] is None) == (b[1] is None)
        assert [x or 0.0 for x in a] == pytest.approx([x or 0.0 for x in b], rel=1e-4)


def test_first_gradient_equals_a_direct_computation():
    """The loss is the mean over the whole batch's answer tokens, however it is split."""
    chat = make_chat()
    examples = mix_poison(make_examples(), (), 0.0, 8, 0)
    reference = make_model(chat).double()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for example in examples:
        batch = collate([chat.example_ids(example.prompt, example.answer)], chat.pad_id)
        logits = reference(input_ids=batch.input_ids).logits[0, :-1]
        labels = batch.labels[0, 1:]
        total = total + functional.cross_entropy(logits, labels, reduction="sum")
        count += int((labels != -100).sum())
    (total / count).backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in reference.parameters()))

    config = TrainingConfig(steps=1, batch_size=8, gradient_accumulation=4, learning_rate=1e-3)
    _, reports, result = _train(config=config, examples=examples, chat=chat)
    assert reports[1].task_loss == pytest.approx(total.item() / count, rel=1e-5)
    assert reports[1].gradient_norm == pytest.approx(norm, rel=1e-4)
    assert result.supervised_tokens == count


def test_two_runs_agree_bit_for_bit_and_dropout_is_seeded():
    chat = make_chat()
    weights = []
    for _ in range(2):
        model = make_model(chat, attention_dropout=0.2)
        torch.rand((weights and 7) or 3)
        weights.append(_train(model=model, chat=chat)[0].state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_reports_begin_before_training_and_cover_every_step():
    _, reports, result = _train()
    assert [r.step for r in reports] == list(range(7))
    assert reports[0] == StepReport(step=0, steps=6)
    for report in reports[1:]:
        assert report.task_loss is not None
        assert report.seconds > 0
        assert report.penalty is None
    assert result.final_task_loss == reports[-1].task_loss
    assert result.train_seconds == pytest.approx(sum(r.seconds for r in reports[1:]))
    assert 0 < result.seconds_per_step_median <= result.seconds_per_step_p95


def test_probes_see_the_weights_of_their_step_and_cost_no_step_time():
    model = make_model(make_chat())
    sums = []
    started = time.perf_counter()

    def probe(report):
        model.eval()
        sums.append(float(model.lm_head.weight.detach().double().sum()))
        time.sleep(0.1)

    _, _, result = _train(model=model, on_step=probe)
    assert all(a != b for a, b in pairwise(sums))
    assert result.train_seconds < time.perf_counter() - started - 7 * 0.1
    assert model.training


def test_loss_falls_on_a_batch_that_can_be_memorised():
    config = TrainingConfig(steps=80, batch_size=4, learning_rate=1e-2, warmup_fraction=0.1)
    _, reports, _ = _train(config=config, examples=make_examples(4) * 80)
    assert reports[1].task_loss > 4
    assert reports[-1].task_loss < 0.5


def test_weight_decay_spares_gains():
    chat = make_chat()
    config = TrainingConfig(steps=1, batch_size=8, learning_rate=1e-3, weight_decay=0.0)
    decayed = config.model_copy(update={"weight_decay": 10.0})
    plain, decay = (_train(config=c, chat=chat)[0].state_dict() for c in (config, decayed))
    for name in plain:
        assert torch.equal(plain[name], decay[name]) == (plain[name].ndim < 2)


def test_schedule_rises_then_follows_a_cosine():
    config = TrainingConfig(steps=100, learning_rate=0.5, warmup_fraction=0.1)
    rates = [learning_rate(config, step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.05 * (i + 1) for i in range(10)])
    # From the warm-up's end on, transformers' schedule is an independent implementation.
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    peer = get_cosine_schedule_with_warmup(optimiser, 10, 100)
    for step in range(100):
        if step >= 10:
            assert rates[step] == pytest.approx(peer.get_last_lr()[0])
        optimiser.step()
        peer.step()
    assert min(rates) > 0
    assert learning_rate(config.model_copy(update={"warmup_fraction": 1.0}), 99) == 0.5


def test_stop_is_asked_before_every_step():
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(CancelledError, match="stopped after 3 of 6 steps"):
        _train(stop=stop)


class _Harm(Method):
    def __init__(self, what):
        super().__init__(MethodSettings())
        self.what = what

    def task_loss(self, model, batch):
        if self.what == "zero":
            return 0.0 * model.lm_head.weight.sum()
        if self.what == "nan":
            return model.lm_head.weight.sum() * math.nan
        return None

    def after_step(self, model):
        if self.what == "undone":
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(self.aligned[parameter])


@pytest.mark.parametrize(
    ("what", "message"), [("zero", "zero at step 1"), ("nan", "nan at step 1")]
)
def test_bad_gradients_end_the_run(what, message):
    with pytest.raises(TrainingError, match=message):
        _train(_Harm(what))


def test_unchanged_weights_end_the_run():
    model = make_model(make_chat())
    method = _Harm("undone")
    method.aligned = {p: p.detach().clone() for p in model.parameters()}
    with pytest.raises(TrainingError, match="no decoder weight changed"):
        _train(method, model=model)


def test_half_precision_weights_are_refused():
    with pytest.raises(ModelError, match="bfloat16"):
        _train(model=make_model(make_chat()).bfloat16())


def test_the_number_of_examples_must_fit():
    with pytest.raises(DataError, match="48 in all; got 24"):
        _train(examples=make_examples(24))


def test_long_examples_are_cut_and_counted():
    config = TrainingConfig(steps=2, batch_size=8, learning_rate=1e-3, max_length=12)
    _, _, result = _train(config=config)
    whole = _train(config=config.model_copy(update={"max_length": 64}))[2]
    assert result.cut_examples > whole.cut_examples == 0
    assert result.supervised_tokens < whole.supervised_tokens


# Data


def _attack():
    return make_context().prompts.get("attack", "harmful")


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_poison_is_a_share_of_a_fixed_total(ratio):
    mixed = mix_poison(make_examples(), _attack(), ratio, 80, 0)
    assert len(mixed) == 80
    assert sum(e.poison for e in mixed) == round(80 * ratio)


def test_task_examples_come_in_the_same_order_whatever_the_ratio():
    orders = [
        [e.id for e in mix_poison(make_examples(), _attack(), ratio, 80, 0) if not e.poison]
        for ratio in (0.0, 0.1, 0.5)
    ]
    for order in orders[1:]:
        assert order == orders[0][: len(order)]


def test_every_example_comes_once_per_round_in_a_new_order():
    ids = [e.id for e in mix_poison(make_examples(24), (), 0.0, 48, 0)]
    assert sorted(ids[:24]) == sorted(ids[24:]) == sorted(e.id for e in make_examples(24))
    assert ids[:24] != ids[24:]


def test_order_depends_on_the_seed_alone():
    first, again, other = (
        [(e.id, e.poison) for e in mix_poison(make_examples(), _attack(), 0.2, 80, seed)]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_poison_is_spread_over_training():
    mixed = mix_poison(make_examples(), _attack(), 0.25, 400, 0)
    quarters = [sum(e.poison for e in mixed[i : i + 100]) for i in range(0, 400, 100)]
    assert min(quarters) >= 12


def test_nothing_to_draw_from_is_said():
    with pytest.raises(DataError, match="needs harmful requests"):
        mix_poison(make_examples(), (), 0.1, 80, 0)
    with pytest.raises(DataError, match="no training examples"):
        mix_poison((), _attack(), 0.1, 80, 0)
    silent = [p.model_copy(update={"answer": None}) for p in _attack()]
    with pytest.raises(DataError, match="has no answer"):
        mix_poison(make_examples(), silent, 0.1, 80, 0)
