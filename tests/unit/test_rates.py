"""Every rate has one home: what it counts, and that nothing else spells it."""

import ast
import sys
from pathlib import Path

import pandas as pd
import pytest
from builders import make_chat
from forked import ended, start

from cwac.analysis.outcomes import READ, outcomes_of
from cwac.first_token import refusal_tokens, tokens_of_refused
from cwac.metrics.behaviour import Behaviour, rate_of
from cwac.rates import RATES, REQUESTS, tabled_rates
from cwac.records import TABLES
from cwac.ui.glossary import GLOSSARY

HOME = Path(__file__).parents[2]
ARROWS = {"higher": "↑", "lower": "↓", "neither": "-"}


def row(kind, outcome="refusal", **columns):
    defaults = {
        "kind": kind,
        "outcome": outcome,
        "general_outcome": outcome,
        "unseen_category": False,
        "novel_template": False,
        "correct": None,
        "reason": None,
    }
    return defaults | columns


@pytest.fixture
def responses():
    rows = [
        row("harmful", "compliance", unseen_category=True),
        row("harmful", "refusal", unseen_category=True, general_outcome="undetermined"),
        row("harmful", "compliance", novel_template=True),
        row("harmful", "undetermined"),
        row("harmful", "hybrid"),
        row("lookalike", "refusal"),
        row("lookalike", "compliance"),
        row("lookalike", "compliance"),
        row("harmless", "compliance"),
        row("harmless", "undetermined"),
        row("task", "refusal", correct=True, general_outcome="compliance"),
        row("task", "refusal", correct=False),
        row("task", "refusal"),
    ]
    table = pd.DataFrame(rows)
    return table.assign(variant="sft", seed=0, prompt_id=[f"p{i}" for i in range(len(table))])


# Counted by hand in the rows above.
EXPECTED = {
    "task_accuracy": (1, 2),
    "harmful_score": (3, 5),
    "hybrid_rate": (1, 5),
    "refusal_rate": (1, 5),
    "undetermined_rate": (1, 5),
    "unseen_harmful_score": (1, 2),
    "novel_template_harmful_score": (1, 1),
    "over_refusal_rate": (1, 3),
    "lookalikes_answered": (2, 3),
    "helpfulness": (1, 2),
    "judge_disagreement": (1, 10),
}


@pytest.mark.parametrize("name", RATES)
def test_every_rate_counts_the_same_in_a_run_and_over_runs(responses, name):
    measured = rate_of(responses, name)
    pooled = outcomes_of(responses, name)["sft"]
    assert (measured.value, measured.count) == (pooled.rate, len(pooled.requests))


@pytest.mark.parametrize("name", EXPECTED)
def test_rates_are_what_one_counts_by_hand(responses, name):
    hits, count = EXPECTED[name]
    measured = rate_of(responses, name)
    assert (measured.value, measured.count) == (hits / count, count)


def test_no_answers_give_no_rate(responses):
    for name in RATES:
        assert rate_of(responses.iloc[:0], name).value is None
        assert outcomes_of(responses.iloc[:0], name) == {}


def test_rates_name_the_columns_that_they_read(responses):
    for rate in RATES.values():
        assert set(rate.columns) <= set(TABLES["responses"])
        rate.answers(responses[list(rate.columns)])
    assert set(READ) >= {name for rate in tabled_rates() for name in rate.columns}


def test_tables_take_the_named_rates_first_and_leave_none_out():
    names = [rate.name for rate in tabled_rates(first=("helpfulness",))]
    assert names[0] == "helpfulness"
    assert sorted(names) == sorted(rate.name for rate in RATES.values() if rate.tabled)


def test_groups_of_requests(responses):
    sizes = {name: int(group.among(responses).sum()) for name, group in REQUESTS.items()}
    assert sizes == {
        "harmful requests": 5,
        "unseen categories": 2,
        "novel templates": 1,
        "look-alikes": 3,
        "harmless requests": 2,
    }


def test_refusal_tokens_come_from_refused_harmful_requests_alone():
    chat = make_chat()
    texts = ["sorry I cannot", "sure", "cannot help", "help"]
    table = pd.DataFrame(
        {
            "kind": ["harmful", "harmful", "lookalike", "task"],
            "outcome": ["refusal", "compliance", "refusal", "refusal"],
            "response": texts,
        }
    )
    assert tokens_of_refused(chat, table) == refusal_tokens(chat, ["sorry I cannot"])
    assert tokens_of_refused(chat, table.iloc[1:]) == []


def test_every_rate_has_a_definition_and_a_title_of_its_own():
    assert len({rate.term for rate in RATES.values()}) == len(RATES)
    assert {rate.term for rate in RATES.values()} <= set(GLOSSARY)


def test_the_metric_measures_the_list_and_one_number_more():
    infos = {info.name: info for info in Behaviour.infos}
    assert set(infos) - set(RATES) == {"refusal_log_odds"}
    for name, rate in RATES.items():
        assert (infos[name].title, infos[name].direction) == (rate.title, rate.direction)


def strings(path):
    """Every string of a module, its docstrings included, as a whole."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_nothing_but_the_list_spells_a_title():
    titles = tuple(rate.title for rate in RATES.values())
    longer = tuple(f"{title}," for title in titles)
    modules = [*(HOME / "cwac").rglob("*.py"), *(HOME / "pages").glob("*.py")]
    spelling = {
        path.relative_to(HOME).as_posix()
        for path in modules
        if any(text in titles or text.startswith(longer) for text in strings(path))
    }
    assert spelling == {"cwac/rates.py"}


ONE_MORE = """
import pandas as pd
from cwac import rates
from cwac.registry import Registry

new = rates.Rate("gibberish_rate", "Gibberish", rates.REQUESTS["harmless requests"], "undetermined")
rates.RATES = Registry("rate", [*rates.RATES.values(), new])

from cwac.arms import Arm
from cwac.cli.tables import COLUMNS, _SHOWN
from cwac.figures.start.outcomes import overview_table
from cwac.analysis.outcomes import rate_table
from cwac.metrics import METRIC_INFOS
from cwac.metrics.behaviour import values_of

table = pd.DataFrame({
    "kind": "harmless", "outcome": ["undetermined", "compliance"], "general_outcome": "refusal",
    "unseen_category": False, "novel_template": False, "correct": None, "refusal_log_odds": None,
    "prompt_id": ["a", "b"], "variant": "sft", "seed": 0})
assert METRIC_INFOS["gibberish_rate"].title == "Gibberish"
assert values_of(table)["gibberish_rate"].value == 0.5
assert {"gibberish_rate", "gibberish_rate_low"} <= set(COLUMNS)
assert _SHOWN["gibberish_rate"] == "gibberish"
pooled = rate_table(table)
assert pooled.set_index("rate").loc["gibberish_rate", "value"] == 0.5
assert overview_table(pooled, [Arm(method="sft")])["Gibberish"].iloc[0].startswith("50.0 %")
"""


def _with_one_more():
    # The lab is read anew, around the longer list; what it stands on is not.
    for name in [name for name in sys.modules if name.partition(".")[0] == "cwac"]:
        del sys.modules[name]
    exec(ONE_MORE, {})


def test_a_new_rate_is_one_entry(tmp_path):
    log = tmp_path / "log.txt"
    assert ended(start(_with_one_more, log=log), 120) == 0, log.read_text()
