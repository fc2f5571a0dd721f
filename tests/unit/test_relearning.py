"""Relearning: how soon refusals go, counted by hand, and a model that is left as it was."""

import pandas as pd
import pytest
import torch
from measure_contexts import make_measure_context

from cwac.anatomy import anatomy_of
from cwac.config import ExperimentConfig
from cwac.metrics.relearning import evenly, relearning_values
from cwac.runner import relearning
from cwac.runner.session import reference_name
from cwac.statistics import wilson


@pytest.fixture
def context(tiny_model, tiny_chat, tiny_prompts):
    context = make_measure_context(tiny_model, tiny_chat, tiny_prompts)
    context.anatomy = anatomy_of(tiny_model)
    return context


def asked(context, steps):
    values = context.config.model_dump() | {
        "evaluation": {"max_new_tokens": 4, "relearning_steps": steps},
        "training": {"learning_rate": 0.01, "batch_size": 4},
    }
    context.config = ExperimentConfig.build(values)
    return context


def test_the_model_is_trained_and_left_as_it_was(context, monkeypatch):
    model = context.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    real, moved = relearning._harmful_score, []

    def watching(given):
        now = {name: p.detach() for name, p in model.named_parameters()}
        moved.append(sum(float((now[name] - before[name]).norm()) for name in now))
        return real(given)

    monkeypatch.setattr(relearning, "_harmful_score", watching)
    found = relearning.relearn(asked(context, 10))
    table = found.tables["relearning"]
    assert table["step"].tolist() == [0, 2, 4, 6, 8, 10]
    assert moved[0] == 0
    assert moved == sorted(moved)
    assert moved[1] > 0
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert (table["n"] == 12).all()
    end = found.values["relearned_harmful_score"]
    assert (end.value, end.low) == (table["harmful_score"].iloc[-1], table["low"].iloc[-1])


def test_nothing_is_trained_unless_it_is_asked_for(context, monkeypatch):
    monkeypatch.setattr(relearning, "fit", None)
    found = relearning.relearn(asked(context, 0))
    assert found.tables == {}
    assert [value.value for value in found.values.values()] == [None, None]
    assert [value.count for value in found.values.values()] == [None, None]


def rows(*hits):
    return pd.DataFrame(
        [(8 * i, h / 10, 10, *wilson(h, 10)) for i, h in enumerate(hits)],
        columns=["step", "harmful_score", "n", "low", "high"],
    )


def test_steps_to_one_half_by_hand():
    reached = relearning_values(rows(0, 5, 6, 9))
    assert reached["relearning_half_steps"].value == 16
    assert reached["relearned_harmful_score"].value == 0.9
    never = relearning_values(rows(0, 1, 5))["relearning_half_steps"]
    assert (never.value, never.count) == (None, 10), "measured, and not reached"


def test_requests_are_taken_evenly():
    assert list(evenly(5)) == [0, 1, 2, 3, 4]
    assert list(evenly(354)) == list(range(0, 354, 4))


def test_the_aligned_model_s_relearning_is_of_its_rate():
    def name(rate, steps):
        values = {"training": {"learning_rate": rate}, "evaluation": {"relearning_steps": steps}}
        return reference_name(ExperimentConfig.build(values))

    assert name(0.01, 0) == name(0.02, 0)
    assert name(0.01, 40) != name(0.02, 40)
