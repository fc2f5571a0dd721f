"""What is stated prints as a command, and the command states the same."""

import json
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwac import flags
from cwac.config import ExperimentConfig, LoraConfig
from cwac.errors import ConfigError
from cwac.flags import Plan, arguments, command, parse, stated

SECTIONS = {name: type(getattr(ExperimentConfig(), name)).model_fields for name in flags.SECTIONS}
# A shell can hold neither a lone surrogate nor a zero byte.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD = st.sampled_from(
    ["", " ", "none", "True", "12", "1e-3", "NaN", "[1", '"', "a,b", "a=b", "it's", "x\ny", "-x",
     "--judge", "$HOME", "*", "\\", "{}", "null ", "é", "\u2028"]
)  # fmt: skip
NUMBERS = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | AWKWARD
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=2)
)
METHODS = st.sampled_from(["sft", "cwac", "lisa", "weight_only", "salora"])
KEYS = st.sampled_from(["strength", "subspace", "maps", "layers"])
ADAPTERS = st.fixed_dictionaries(
    {}, optional={"kind": st.just("lora"), "rank": SCALARS, "targets": VALUES}
)

CARD = {
    "training": {"steps": 7, "max_length": 64},
    "measurement": {"maps": "all"},
    "tasks": {"t.jsonl": {"max_length": 99}},
}


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Whatever may stand in a plan, not only what is allowed in the end."""
    sections = {}
    for name in draw(st.sets(st.sampled_from(sorted(SECTIONS)))):
        keys = st.sampled_from(sorted(SECTIONS[name]))
        table = draw(st.dictionaries(keys, VALUES, min_size=1))
        if "adapter" in table:
            table["adapter"] = draw(SCALARS | ADAPTERS)
        sections[name] = table
    if draw(st.booleans()):
        sections["poison_ratio"] = draw(st.floats(0, 1))
    if draw(st.booleans()):
        checkpoint = {"source": draw(TEXTS), "name": draw(TEXTS)}
        checkpoint |= draw(st.fixed_dictionaries({}, optional={"base": TEXTS}))
        sections.pop("poison_ratio", None)
        # The aligned model must be named.
        sections["model"] = sections.get("model", {}) | {"source": draw(TEXTS)}
        return Plan(sections, [("measured", checkpoint)], [0])
    arms = draw(st.dictionaries(METHODS, st.dictionaries(KEYS, VALUES), min_size=1))
    seeds = draw(st.lists(st.integers(-3, 10**9), min_size=1))
    return Plan(sections, list(arms.items()), seeds)


@given(plans())
@settings(max_examples=150, deadline=None)
def test_a_printed_plan_is_read_as_the_same_plan(plan: Plan) -> None:
    words = shlex.split(command(plan))
    assert words == ["cwac", *arguments(plan)]
    read = parse(words[1:])
    assert read == plan
    # 1 == 1.0 == True in Python, but not in a run's id.
    assert _types(read) == _types(plan)


def _types(plan: Plan) -> str:
    # A flag's number is a float whether it was written as one or not.
    floats = {flag.place for flag in flags.FLAGS if flag.kind is float}
    tables = {
        section: {k: float(v) if f"{section}.{k}" in floats and _number(v) else v
                  for k, v in table.items()} if isinstance(table, dict) else table
        for section, table in plan.sections.items()
    }  # fmt: skip
    return json.dumps([tables, list(plan.arms)], sort_keys=True)


def _number(value) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) <= 2**53)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_configuration_is_stated_so_that_it_is_built_again(data: st.DataObject) -> None:
    changes = {
        "model": {"source": "some/folder", "precision": "bfloat16", "unaligned": True},
        "prompts": {"harmful": "a b.csv:goal", "harmful_where": "kind=a,b", "limit": 20},
        "task": {"source": "t.jsonl", "check": "word", "test_source": "hf:o/n", "test_limit": 7},
        "training": {"learning_rate": 0.1 + 0.2, "weight_decay": 0.01, "max_length": 64,
                     "adapter": {"rank": 3, "alpha": 2.5, "targets": ("ffn", "self_attn.q_proj")}},
        "evaluation": {"judge": "classifier:x#y", "max_new_tokens": 9, "prompt_limit": 10},
        "measurement": {"maps": "all", "layers": (0, 2), "sae_ids": ("a", "b"), "rank": 5},
    }  # fmt: skip
    chosen = {
        section: {key: table[key] for key in data.draw(st.sets(st.sampled_from(sorted(table))))}
        for section, table in changes.items()
    }
    config = ExperimentConfig.build(chosen | {"method": "cwac", "settings": {"strength": 0.3}})
    card = data.draw(st.sampled_from([None, {}, CARD]))
    plan = stated(config, card)
    assert parse(arguments(plan)) == plan
    assert _built(plan, card or {}) == config


def _built(plan: Plan, card) -> ExperimentConfig:
    """Return the configuration as the runner fills it from a card's defaults."""
    source = plan.section("task")["source"]
    documented = {**card.get("training", {}), **card.get("tasks", {}).get(source, {})}
    defaults = {"training": documented, "measurement": card.get("measurement", {})}
    tables = {name: {**defaults.get(name, {}), **plan.section(name)} for name in flags.SECTIONS}
    ((method, changed),) = plan.arms
    rest = {"poison_ratio": plan.sections["poison_ratio"], "seed": plan.seeds[0]}
    return ExperimentConfig.build({**tables, **rest, "method": method, "settings": changed})


def test_what_is_at_its_default_is_not_stated() -> None:
    config = ExperimentConfig.build({"training": {"steps": 7}, "seed": 3})
    assert command(stated(config, {"training": {"steps": 7}})) == (
        "cwac run --model organism --task instruct --poison 0.1 --method sft --seed 3"
    )
    assert "--steps 7" in command(stated(config, {}))
    # A default of the code differs from one of the card: it must be said.
    assert "--steps 300" in command(stated(ExperimentConfig(), {"training": {"steps": 7}}))


def test_lora_is_stated_by_what_differs() -> None:
    def text(adapter) -> str:
        return command(stated(ExperimentConfig.build({"training": {"adapter": adapter}}), {}))

    assert text(LoraConfig()).endswith("--adapter lora")
    assert text(LoraConfig(rank=4)).endswith("--adapter lora --set training.adapter.rank=4")


def test_a_method_with_two_settings_needs_a_file() -> None:
    plan = Plan({}, [("cwac", {}), ("cwac", {"strength": 2})], [0])
    with pytest.raises(ConfigError, match="'cwac' stands twice"):
        arguments(plan)


@pytest.mark.parametrize("name", ["run", "measure"])
def test_no_flag_fills_the_place_of_another(name: str) -> None:
    places = [flag.place for flag in flags.COMMANDS[name] if flag.place]
    assert len(places) == len(set(places))
    for place in places:
        section, _, key = place.partition(".")
        known = {"source", "base", "name"} if section == "measured" else SECTIONS.get(section)
        assert place == "poison_ratio" or (known is not None and key in known)
