"""What is published and what differs from it: named where methods are shown, and runnable."""

import re
from typing import Any

import pytest

from cwac.artifacts import shipped_folder
from cwac.cli.catalogue import catalogue
from cwac.methods import METHODS
from cwac.models.card import ModelCard
from cwac.runner import Arm
from cwac.runner.resolve import method_settings
from cwac.settings import read_config_file
from cwac.ui.reference.methods import DIFFERS, method_rows

DIFFERENT = (
    "cwac",
    "cwac_paper",
    "safe_instruct",
    "sppft",
    "lisa",
    "asft",
    "constrained_sft",
    "backdoor_align",
    "salora",
    "safegrad",
    "guardspace",
    "ewc",
    "refusal_direction_penalty",
    "safelora",
    "safe_delta",
    "safe_merge",
    "resta",
)
"""Methods that audits found to differ from what they are named after."""


@pytest.mark.parametrize("name", METHODS)
def test_a_deviation_is_one_text_whose_settings_exist(name: str) -> None:
    kind = METHODS[name]
    assert not kind.deviation or kind.deviation.endswith(".")
    for setting in re.findall(r"(\w+) = ", kind.deviation):
        assert setting in kind.settings_type.model_fields


def test_deviations_are_shown_where_methods_are() -> None:
    entries = catalogue().methods
    rows = method_rows(entries).set_index("Method")
    for entry in entries:
        assert entry.deviation == METHODS[entry.name].deviation
        assert rows.loc[entry.name, DIFFERS] == (entry.deviation or "nothing known")
    assert {entry.name for entry in entries if entry.deviation} >= set(DIFFERENT)


def _published() -> list[dict[str, Any]]:
    grid = read_config_file(shipped_folder() / "cached_artifacts" / "grids" / "published.toml")
    return [{"method": m} if isinstance(m, str) else m for m in grid["methods"]]


def test_the_published_settings_are_a_grid_that_can_be_run() -> None:
    for entry in _published():
        arm = Arm(entry["method"], entry.get("settings", {}))
        filled = method_settings(arm, ModelCard())
        assert (
            arm.settings.items()
            <= METHODS[arm.method].settings_type.build(filled).complete().items()
        )


def test_what_a_method_says_is_published_is_what_that_grid_runs() -> None:
    for entry in _published():
        told, settings = METHODS[entry["method"]].published, entry.get("settings", {})
        # Words stand for a range, or for another scale than the lab's.
        numbers = {k: told[k] for k in settings if isinstance(told.get(k), int | float)}
        # The code's threshold of SafeLoRA stands beside the paper's.
        if settings != {"threshold": 0.5}:
            assert numbers == {name: settings[name] for name in numbers}, entry["method"]
    for kind in METHODS.values():
        assert set(kind.published) <= set(kind.settings_type.model_fields)


def test_what_a_deviation_calls_published_is_in_that_grid() -> None:
    by_method = {entry["method"]: entry.get("settings", {}) for entry in _published()}
    assert by_method["sppft"] == {"share": 0.3}
    assert by_method["resta"]["unaligned"] == "harm_tuned"
    assert by_method["backdoor_align"]["repeats"] == 5
    assert by_method["asft"]["projector"] == "released"
    assert by_method["refusal_direction_penalty"]["inputs"] == "training"
    lisa = by_method["lisa"]
    assert lisa["alignment_steps"] / (lisa["alignment_steps"] + lisa["finetune_steps"]) == 0.1
    constrained = by_method["constrained_sft"]
    assert constrained == {
        "strength": 1.0, "floor": 0.001, "adam_beta1": 0.5, "warmup_steps": 10
    }  # fmt: skip
