import json
from pathlib import Path

import pytest

from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.flags import Plan


def test_without_flags_nothing_is_set():
    plan = Plan.of({})
    assert plan.sections == {}
    assert list(plan.arms) == [("sft", {})]
    assert list(plan.seeds) == [0]


def test_flags_reach_their_sections():
    plan = Plan.of(
        {
            "model": "m",
            "task": "t.csv",
            "prompt_column": "q",
            "steps": 5,
            "poison": 0.0,
            "harmful": "h.txt",
            "lookalike_where": "label=safe",
        }
    )
    assert plan.sections == {
        "model": {"source": "m"},
        "task": {"source": "t.csv", "prompt_column": "q"},
        "training": {"steps": 5},
        "prompts": {"harmful": "h.txt", "lookalike_where": "label=safe"},
        "poison_ratio": 0.0,
    }


def test_set_applies_to_the_named_method_alone():
    plan = Plan.of({"method": ["sft", "cwac"], "set": ["cwac.strength=0.5"]})
    assert dict(plan.arms) == {"sft": {}, "cwac": {"strength": 0.5}}


def test_set_reaches_sections_and_beats_flags():
    plan = Plan.of(
        {"steps": 5, "set": ["training.warmup_fraction=0.1", "measurement.layers=[0, 2]"]}
    )
    assert plan.sections["training"] == {"steps": 5, "warmup_fraction": 0.1}
    assert plan.sections["measurement"] == {"layers": [0, 2]}


@pytest.mark.parametrize(
    ("flags", "adapter"),
    [
        ({"adapter": "lora"}, "lora"),
        ({"set": ["training.adapter=lora"]}, "lora"),
        ({"adapter": "lora", "set": ["training.adapter.rank=4"]}, {"kind": "lora", "rank": 4}),
        (
            {"set": ["training.adapter.rank=4", "training.adapter.targets=ffn"]},
            {"rank": 4, "targets": "ffn"},
        ),
    ],
)
def test_the_adapter_is_a_flag_and_its_settings_are_set_one_by_one(flags, adapter):
    assert Plan.of(flags).sections["training"] == {"adapter": adapter}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cwac.x=0.5", 0.5),
        ("cwac.x=3", 3),
        ("cwac.x=True", True),
        ("cwac.x=none", None),
        ("cwac.x=random", "random"),
        ("cwac.x=[1,2]", [1, 2]),
        ("cwac.x = a=b ", "a=b"),
    ],
)
def test_values_are_read_as_what_they_are(text, value):
    arms = dict(Plan.of({"method": ["cwac"], "set": [text]}).arms)
    assert arms["cwac"]["x"] == value


@pytest.mark.parametrize("text", ["cwac", "cwac.strength", "strength=0.5", "=1", "cwac.=1"])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(ConfigError, match=r"must have the form name\.key=value"):
        Plan.of({"method": ["cwac"], "set": [text]})


def test_a_method_that_does_not_run_cannot_be_set():
    with pytest.raises(ConfigError, match="neither a method of this command nor a section"):
        Plan.of({"method": ["sft"], "set": ["cwac.strength=0.5"]})


def _file(path: Path, values) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_flags_win_over_the_file(tmp_path):
    config = _file(
        tmp_path / "a.json",
        {
            "task": "sentiment",
            "training": {"steps": 3, "batch_size": 2},
            "methods": ["sft", {"method": "cwac", "settings": {"strength": 2}}],
            "seeds": [4, 5],
            "poison_ratio": 0.3,
        },
    )
    plan = Plan.of({"config": config, "steps": 9, "poison": 0.2})
    assert plan.sections["training"] == {"steps": 9, "batch_size": 2}
    assert plan.sections["poison_ratio"] == 0.2
    assert plan.sections["task"] == "sentiment"
    assert list(plan.arms) == [("sft", {}), ("cwac", {"strength": 2})]
    assert list(plan.seeds) == [4, 5]
    other = Plan.of({"config": config, "method": ["sft"], "seed": [1], "task": "topic"})
    assert list(other.arms) == [("sft", {})]
    assert list(other.seeds) == [1]
    assert other.sections["task"] == {"source": "topic"}


def test_a_stored_run_is_a_configuration(tmp_path):
    stored = ExperimentConfig(method="cwac", settings={"strength": 1.5}, seed=7)
    run = {"run_id": stored.run_id, "config": stored.model_dump(mode="json")}
    plan = Plan.of({"config": _file(tmp_path / "run.json", run)})
    assert list(plan.arms) == [("cwac", {"strength": 1.5})]
    assert list(plan.seeds) == [7]
    assert set(plan.sections) == set(ExperimentConfig.model_fields) - {"method", "settings", "seed"}


@pytest.mark.parametrize(
    "values", [{"methods": [3]}, {"methods": [{"name": "sft"}]}, {"seeds": ["a"]}, {"seed": -1}]
)
def test_a_wrong_file_is_one_sentence(tmp_path, values):
    with pytest.raises(ConfigError, match=r"a\.json"):
        Plan.of({"config": _file(tmp_path / "a.json", values)})


def test_nothing_of_a_finished_checkpoint_can_be_set():
    values = {"aligned": "a", "tuned": "t", "set": ["measured.name=x"]}
    with pytest.raises(ConfigError, match="neither a method"):
        Plan.of(values)
