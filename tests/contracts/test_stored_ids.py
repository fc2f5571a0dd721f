"""Settings grow, stored ids do not: every shipped run is recomputed from its configuration."""

import re
from typing import Any

import pytest

from cwac.artifacts import ArtifactStore, shipped_folder
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.methods import METHODS
from cwac.models.card import ModelCard
from cwac.records import RunRecord
from cwac.runner.resolve import Arm, arm_of, method_settings


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    store = ArtifactStore(shipped_folder() / "cached_artifacts" / "runs")
    stored = [run.record for run in store.list_runs()]
    assert len(stored) == 446
    assert all(stored)
    return [record for record in stored if record is not None]


def test_every_stored_id_is_that_of_its_configuration(records: list[RunRecord]) -> None:
    for record in records:
        again = ExperimentConfig.build(record.config.model_dump(mode="json"))
        assert again.run_id == record.run_id
        assert again.experiment_id == record.experiment_id


def test_every_stored_id_comes_out_of_the_methods_settings_class(records: list[RunRecord]) -> None:
    """As the runner fills settings in: a later field at its default must not be written."""
    for record in records:
        arm = Arm(record.config.method, record.config.settings)
        filled = method_settings(arm, ModelCard())
        assert filled == record.config.settings
        assert record.config.model_copy(update={"settings": filled}).run_id == record.run_id


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
