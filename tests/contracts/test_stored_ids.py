"""Settings grow, stored ids do not: every run that ever shipped is recomputed from its settings."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cwac.artifacts import ArtifactStore, shipped_folder
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.methods import METHODS
from cwac.models.card import ModelCard
from cwac.runner.resolve import Arm, arm_of, method_settings

EARLIER = Path(__file__).parents[1] / "data" / "stored-configs-0.2.json.gz"
"""Ids and configurations of the 446 runs that shipped with version 0.2."""


@pytest.fixture(scope="module")
def stored() -> list[dict[str, Any]]:
    """Ids and configurations of the runs that ship and of those that did."""
    earlier: list[dict[str, Any]] = json.loads(gzip.decompress(EARLIER.read_bytes()))
    assert len(earlier) == 446
    runs = ArtifactStore(shipped_folder() / "cached_artifacts" / "runs").list_runs()
    records = [run.record for run in runs if run.record is not None]
    assert len(records) == len(runs) > 0
    return earlier + [
        {
            "run_id": record.run_id,
            "experiment_id": record.experiment_id,
            "config": record.config.model_dump(mode="json"),
        }
        for record in records
    ]


def test_every_stored_id_is_that_of_its_configuration(stored: list[dict[str, Any]]) -> None:
    for entry in stored:
        again = ExperimentConfig.build(entry["config"])
        assert again.run_id == entry["run_id"]
        assert again.experiment_id == entry["experiment_id"]


def test_every_stored_id_comes_out_of_the_methods_settings_class(
    stored: list[dict[str, Any]],
) -> None:
    """As the runner fills settings in: a later field at its default must not be written."""
    for entry in stored:
        config = ExperimentConfig.build(entry["config"])
        filled = method_settings(Arm(config.method, config.settings), ModelCard())
        assert filled == config.settings
        assert config.model_copy(update={"settings": filled}).run_id == entry["run_id"]


BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("refusal_direction_penalty", "penalty_gradient"): {"inputs": "harmful"},
}
"""What another setting must be before a setting may differ from its default."""


@pytest.mark.parametrize("name", METHODS)
def test_a_later_setting_is_written_when_it_differs_and_then_makes_another_run(name: str) -> None:
    kind = METHODS[name].settings_type
    default = kind()
    later = kind.later_fields()
    assert later <= set(kind.model_fields)
    assert not later & set(default.model_dump(mode="json"))
    assert set(default.complete()) == set(kind.model_fields)
    for field in later:
        beside = BESIDE.get((name, field), {})
        changed = kind.build({**beside, field: _other(name, field)}).model_dump(mode="json")
        assert field in changed
        ids = {
            ExperimentConfig(method=name, settings=settings).run_id
            for settings in (changed, kind.build(beside).model_dump(mode="json"))
        }
        assert len(ids) == 2


def _other(name: str, field: str) -> Any:
    """A value of a setting that is allowed and not its default."""
    kind = METHODS[name].settings_type
    beside = BESIDE.get((name, field), {})
    words = re.findall(r"'([^']*)'", str(kind.model_fields[field].annotation))
    default = getattr(kind(), field)
    for value in (*words, not default, 2, 0.5, 0.25, [0]):
        try:
            if getattr(kind.build({**beside, field: value}), field) != default:
                return value
        except ConfigError:
            continue
    raise AssertionError(f"no other value of {name}.{field} was tried that is allowed")


def test_an_arm_at_the_class_default_is_told_from_a_card_that_sets_a_later_field() -> None:
    """Such a value is not stored, and the label must still say what was changed."""
    card = ModelCard.model_validate(
        {"defaults": {"methods": {"resta": {"unaligned": "harm_tuned"}}}}
    )
    plain = ExperimentConfig(method="resta", settings=method_settings(Arm("resta"), ModelCard()))
    assert arm_of(plain, card).label == "resta (unaligned=base)"
    documented = plain.model_copy(update={"settings": method_settings(Arm("resta"), card)})
    assert arm_of(documented, card).label == "resta"
