"""Arms are data: what their labels, titles and order are made from, and what a control is."""

import json
from pathlib import Path

import pytest

from cwac.arms import (
    ALIGNED,
    CONTROLS,
    TITLES,
    Arm,
    adapter_name,
    arm_of_old_record,
    in_order,
    is_control,
)
from cwac.artifacts import ArtifactStore
from cwac.config import MEASURED, ExperimentConfig

SHIPPED = Path(__file__).resolve().parents[2] / "cached_artifacts" / "runs"


def old(method: str, variant: str, **settings: object) -> Arm:
    return arm_of_old_record(ExperimentConfig(method=method, settings=settings), variant)


def test_label_is_sorted_and_names_the_compared_experiment() -> None:
    arm = Arm(method="cwac", changed={"b": [1, 2], "a": 2})
    assert arm.label == "cwac (a=2, b=[1, 2])"
    assert arm.over("topic p0.1").label == "cwac (a=2, b=[1, 2]) @ topic p0.1"
    assert arm.over("topic p0.1").title == "CWAC (a=2, b=[1, 2]) on topic p0.1"
    assert arm.without("a").without("b") == Arm(method="cwac")


@pytest.mark.parametrize("name", ["gradient-surgery-7b", "random-walk", "x (subspace=random)"])
def test_a_checkpoints_name_makes_it_no_control(name: str) -> None:
    arm = old(MEASURED, f"measured: {name}", name=name, source="/far")
    assert arm.label == f"measured: {name}"
    assert not arm.control


def test_control_is_told_by_declared_values_alone() -> None:
    assert old("cwac", "cwac (subspace=random)", subspace="random", latents="safety").control
    assert old("cwac", "cwac (latents=harmless)", latents="harmless").control
    literal = old("cwac", "cwac (projection=gradient)", projection="gradient", subspace="safety")
    assert literal.changed == {"projection": "gradient"}
    assert not literal.control
    assert not is_control({"tokens": "random"}, CONTROLS)


def test_values_with_commas_and_names_within_names_are_told_apart() -> None:
    settings = {"layers": [0, 1], "latent_layers": [2], "rank": 8, "text": "a, rank=8"}
    label = Arm(method="cwac", changed={"layers": [0, 1], "text": "a, rank=8"}).label
    assert old("cwac", label, **settings).label == label


def test_order_is_the_catalogues_with_controls_last() -> None:
    control = Arm(method="cwac", changed={"subspace": "random"}, control=True)
    arms = [control, Arm(method="lox"), Arm(method="cwac"), ALIGNED, Arm(method="sft")]
    ordered = [arm.label for arm in in_order([*arms, Arm(method="cwac")])]
    assert ordered == ["aligned", "sft", "cwac", "lox", "cwac (subspace=random)"]


def test_a_method_of_ones_own_brings_its_title() -> None:
    assert "lox" not in TITLES
    assert Arm(method="lox", method_title="LoX").title == "LoX"
    assert Arm(method="lox").title == "lox"


def test_arms_that_are_equal_hash_alike() -> None:
    one, two = (Arm(method="cwac", changed={"layers": [0, 1]}) for _ in range(2))
    assert {one, two} == {one}


def test_shipped_records_have_the_arms_that_their_labels_say() -> None:
    store = ArtifactStore(SHIPPED)
    runs = list(store.list_runs())
    assert len(runs) > 300
    for run in runs:
        record = run.record
        assert record is not None, run.problem
        assert record.arm.label == record.variant
        assert record.config.run_id == record.run_id
        assert record.config.experiment_id == record.experiment_id
        assert record.arm.adapter == adapter_name(record.config)
        assert all(record.config.settings[k] == v for k, v in record.arm.changed.items())


def test_shipped_aligned_models_are_the_aligned_arm() -> None:
    records = [p.parent for p in (SHIPPED / "fits").glob("*/run.json")]
    assert records
    store = ArtifactStore(SHIPPED)
    for folder in records:
        assert store.fit_record(folder.name).arm.label == ALIGNED.label


def test_a_stored_arm_is_read_back_as_it_was(tmp_path: Path) -> None:
    source = next(path for path in SHIPPED.glob("*cwac-s0*/run.json"))
    raw = json.loads(source.read_text())
    arm = Arm(method="lox", method_title="LoX", changed={"a": [1]}, control=True)
    folder = tmp_path / raw["run_id"]
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(raw | {"arm": arm.model_dump(mode="json")}))
    assert ArtifactStore(tmp_path).load(raw["run_id"]).arm == arm
