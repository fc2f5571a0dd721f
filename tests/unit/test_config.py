import json

import pytest

from cwac.config import (
    ExperimentConfig,
    LoraConfig,
    MeasurementConfig,
    TrainingConfig,
    read_config_file,
)
from cwac.errors import ConfigError


def test_settings_survive_json():
    config = ExperimentConfig(
        method="cwac",
        settings={"strength": 0.5, "rank": None},
        measurement=MeasurementConfig(layers=(0, 2)),
        seed=3,
    )
    again = ExperimentConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert again.run_id == config.run_id


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'lerning_rate'.*did you mean 'learning_rate'"):
        TrainingConfig.build({"lerning_rate": 0.1})


def test_a_value_that_is_not_allowed_is_one_sentence():
    with pytest.raises(ConfigError) as problem:
        TrainingConfig.build({"steps": 0}, where="training")
    assert str(problem.value).startswith("training.steps = 0 is not allowed")
    assert "\n" not in str(problem.value)


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        TrainingConfig().steps = 5


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"method": "cwac"},
        {"settings": {"strength": 0.5}},
        {"poison_ratio": 0.2},
        {"training": TrainingConfig(steps=7)},
    ],
)
def test_run_id_depends_on_every_setting(change):
    assert ExperimentConfig(**change).run_id != ExperimentConfig().run_id


def test_experiment_id_ignores_what_differs_between_arms():
    first = ExperimentConfig(method="sft", seed=0)
    second = ExperimentConfig(method="cwac", settings={"strength": 1.0}, seed=4)
    assert first.experiment_id == second.experiment_id
    assert first.experiment_id != ExperimentConfig(poison_ratio=0.0).experiment_id


def test_run_id_is_pinned():
    """Changing how ids are made orphans every stored run: do it on purpose or not at all."""
    assert ExperimentConfig().run_id == "organism-instruct-p0.1-sft-s0-" + _digest()


def _digest():
    import hashlib

    text = json.dumps(
        ExperimentConfig().model_dump(mode="json"), sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def test_a_run_is_the_same_wherever_its_files_lie():
    """Their contents are hashed beside; without a hash the place is all that is known."""

    def ids(folder, contents):
        config = ExperimentConfig.build(
            {
                "model": {"source": f"{folder}tiny:{folder}tiny.gguf", "contents": "a"},
                "task": {"source": f"sst2:{folder}sst2.tsv", "contents": contents},
                "prompts": {"harmful": f"{folder}harm.csv:goal", "contents": "b"},
            }
        )
        return config.run_id, config.experiment_id

    here = ids("", "c")
    assert ids("/data/glue/", "c") == ids("/elsewhere/", "c") == here
    assert ids("/data/glue/", "d") != here
    assert ids("/data/glue/", None) != ids("/elsewhere/", None)
    earlier = ExperimentConfig(task={"source": "/data/sst2.tsv", "contents": "c"})
    assert earlier.earlier_ids[0] != earlier.run_id
    assert ExperimentConfig().earlier_ids == (
        ExperimentConfig().run_id,
        ExperimentConfig().experiment_id,
    )


def test_full_fine_tuning_is_written_as_it_always_was():
    """The ids of all runs made before there were adapters depend on it."""
    for given in ({}, {"adapter": "full"}, {"adapter": None}):
        config = TrainingConfig.build(given)
        assert config.adapter == "full"
        assert '"adapter":"full"' in config.canonical_json()
    assert ExperimentConfig().experiment_id.startswith("organism-instruct-p0.1-")


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ("lora", {}),
        ({}, {}),
        ({"rank": 4}, {"rank": 4}),
        ({"kind": "lora", "targets": "ffn"}, {"targets": ("ffn",)}),
        (LoraConfig(alpha=32), {"alpha": 32}),
    ],
)
def test_a_name_or_a_table_of_settings_is_lora(given, settings):
    config = ExperimentConfig(training=TrainingConfig.build({"adapter": given}))
    assert config.training.adapter == LoraConfig(**settings)
    assert ExperimentConfig.model_validate_json(config.model_dump_json()) == config
    assert config.experiment_id != ExperimentConfig().experiment_id
    assert f"-lora{config.training.adapter.rank}-" in config.run_id


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("qlora", "training.adapter = 'qlora' is not allowed: 'full', 'lora', or a table"),
        (["lora"], "is not allowed: 'full', 'lora', or a table"),
        ({"rnk": 4}, "unknown key 'rnk' in training.adapter; did you mean 'rank'"),
        ({"rank": 0}, "training.adapter.rank = 0 is not allowed"),
        ({"kind": "full"}, "training.adapter.kind = 'full' is not allowed"),
        ({"targets": []}, "training.adapter.targets = "),
    ],
)
def test_a_wrong_adapter_is_one_sentence(given, message):
    with pytest.raises(ConfigError, match=message) as problem:
        ExperimentConfig.build({"training": {"adapter": given}})
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "x: 1", "allowed: .toml, .json"),
        ("a.json", "[1]", "one JSON object"),
        ("a.json", "{", "cannot read"),
        ("a.toml", "x = = 1", "cannot read"),
    ],
)
def test_broken_config_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_config_file(path)


def test_toml_and_json_mean_the_same(tmp_path):
    (tmp_path / "a.toml").write_text("[training]\nsteps = 5\n")
    (tmp_path / "a.json").write_text('{"training": {"steps": 5}}')
    assert read_config_file(tmp_path / "a.toml") == read_config_file(tmp_path / "a.json")


def test_missing_config_file(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as problem:
        read_config_file(path)
    assert str(problem.value) == f"cannot read the configuration {path}: no such file or directory."


def test_an_unknown_key_ends_its_sentence_before_what_is_allowed():
    with pytest.raises(ConfigError, match=r"unknown key 'zzz' in training\. Allowed: "):
        TrainingConfig.build({"zzz": 1}, where="training")
