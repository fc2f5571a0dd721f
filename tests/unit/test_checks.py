"""What a method needs and the model lacks is one sentence."""

from typing import ClassVar, get_args

import pytest
from builders import make_prompts

from cwac.errors import DataError
from cwac.interfaces import Method, Needs
from cwac.models.card import ModelCard
from cwac.prompts import PromptSets
from cwac.runner.checks import check_needs


def _method(*needs):
    class Probe(Method):
        name: ClassVar[str] = "probe"

    Probe.needs = frozenset(needs)
    return Probe


WHOLE = make_prompts()
WITHOUT_ANSWERS = PromptSets(
    {
        part: [p.model_copy(update={"answer": None}) for p in prompts]
        for part, prompts in WHOLE.parts.items()
    }
)
ONLY_TESTS = PromptSets({("test", kind): WHOLE.get("test", kind) for kind in ("harmful",)})


@pytest.mark.parametrize(
    ("need", "prompts", "said"),
    [
        ("base_model", WHOLE, "needs the model before alignment, and the model's folder names"),
        ("safety_prompts", ONLY_TESTS, "needs harmful safety requests; there are none"),
        ("features", ONLY_TESTS, "needs harmful safety requests; there are none"),
        ("harmless_prompts", ONLY_TESTS, "needs harmless safety requests; there are none"),
        ("safety_answers", WITHOUT_ANSWERS, "with a safe answer, and none of them has one"),
        ("safety_answers", ONLY_TESTS, "with a safe answer, and none of them has one"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(need, prompts, said):
    with pytest.raises(DataError, match=said) as problem:
        check_needs(_method(need), ModelCard(), prompts)
    assert str(problem.value).startswith("the method 'probe' ")
    assert str(problem.value).count(".") - str(problem.value).count("cwac.json") == 1


def test_nothing_is_said_where_nothing_is_missing_or_needed():
    check_needs(_method(*get_args(Needs)), ModelCard(base="base"), WHOLE)
    check_needs(_method("subspace"), ModelCard(), PromptSets({}))
