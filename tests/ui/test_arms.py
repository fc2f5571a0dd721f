"""The picker of arms: all of a few, the ones to look at first of many."""

from collections.abc import Callable
from pathlib import Path

import pytest
from named_arms import arms
from store_builder import ARMS, CONTROLS, Arm, build_store, experiment_config
from streamlit.testing.v1 import AppTest

from cwac.analysis.claims import claimed_records
from cwac.analysis.first import best_rivals, first_arms
from cwac.arms import FIRST, MANY, default_arms
from cwac.arms import Arm as RunArm
from cwac.artifacts import ArtifactStore
from cwac.artifacts.cards import tuned_settings
from cwac.records import MetricValue, RunRecord

OpenPage = Callable[..., AppTest]
STRENGTHS: tuple[Arm, ...] = tuple(("cwac", {"strength": s}) for s in (0.1, 0.2, 0.4, 0.6, 0.8))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store whose one experiment has more arms than a figure bears."""
    return build_store(
        tmp_path_factory.mktemp("large"),
        arms=ARMS + CONTROLS + STRENGTHS,
        seeds=(0,),
        experiments=(("instruct", 0.1),),
    )


def shown_arms(app: AppTest) -> set[str]:
    return set(app.dataframe[0].value["Arm"])


def test_few_arms_are_all_in_view(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("start", store.write_root)
    assert not [widget for widget in app.multiselect if widget.key == "_arms"]
    assert len(shown_arms(app)) == len(ARMS + CONTROLS) + 1  # and the aligned model


def test_of_many_arms_those_to_look_at_first_are_in_view(
    large: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", large.write_root)
    picked = app.multiselect(key="_arms").value
    assert len(picked) == MANY
    assert set(picked) >= {"sft", "weight_only", "activation_only", "cwac"}
    assert len([arm for arm in picked if "strength" in arm]) == MANY - len(ARMS + CONTROLS)
    assert len(shown_arms(app)) == MANY + 1


def test_picked_arms_are_kept_in_the_link_and_on_every_page(
    large: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", large.write_root)
    app.multiselect(key="_arms").set_value(["sft", "cwac (strength=0.8)"]).run()
    assert app.query_params["arms"] == ["sft", "cwac (strength=0.8)"]
    assert len(shown_arms(app)) == 3
    app.switch_page("pages/requests.py").run()
    assert app.multiselect(key="_arms").value == ["sft", "cwac (strength=0.8)"]


def test_pages_about_all_arms_leave_none_out(large: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/cost", large.write_root)
    assert not app.exception
    assert not [widget for widget in app.multiselect if widget.key == "_arms"]


def test_a_link_to_arms_that_are_gone_shows_the_first_ones(
    large: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", large.write_root, arms="gone")
    assert not app.exception
    assert len(app.multiselect(key="_arms").value) == MANY


def made(
    method: str,
    harm: float,
    accuracy: float,
    alike: float,
    *,
    tuned: bool = False,
    **changed: float,
) -> RunRecord:
    record = experiment_config("instruct", 0.1, method=method)
    rates = {"harmful_score": harm, "task_accuracy": accuracy, "lookalikes_answered": alike}
    return RunRecord.model_construct(
        config=record,
        arm=RunArm(method=method, changed=changed, tuned=tuned),
        metrics={name: MetricValue(value=value, title=name) for name, value in rates.items()},
    )


def test_rivals_that_hold_harm_and_keep_the_task_come_first_by_look_alikes_answered() -> None:
    records = [
        made("sft", 0.97, 0.99, 0.98),
        made("kl_to_aligned", 0.00, 0.99, 0.69),
        made("lisa", 0.00, 0.98, 0.81),
        made("lisa", 0.02, 1.00, 0.83),
        made("safe_instruct", 0.30, 0.99, 0.90),
        made("resta", 0.00, 0.02, 0.95),
        made("ewc", 0.20, 0.99, 0.10),
        made("lisa", 0.00, 1.00, 0.99, strength=3.0),
        made("lisa", 0.00, 1.00, 0.99, strength=4.0),
        made("cwac", 0.01, 0.99, 0.85),
    ]
    ranked = [arm.label for arm in best_rivals(records)]
    assert ranked == ["lisa", "kl_to_aligned", "ewc", "safe_instruct", "resta"]
    first = [arm.label for arm in first_arms(records)]
    assert first[:4] == ["sft", "cwac", "lisa", "kl_to_aligned"]
    assert len(first) == MANY
    assert len(FIRST) + 3 == MANY, "three rivals: as many as are run beside CWAC everywhere"


def test_a_rival_stands_at_the_settings_that_were_best_of_those_tried() -> None:
    records = [
        made("sft", 0.97, 0.99, 0.98),
        made("lisa", 0.02, 1.00, 0.75),
        made("kl_to_aligned", 0.00, 0.99, 0.69),
        made("kl_to_aligned", 0.00, 0.99, 0.95, strength=9.0),
        made("kl_to_aligned", 0.01, 0.99, 0.79, tuned=True, strength=5.8),
        made("cwac", 0.01, 0.99, 0.85),
    ]
    better = "kl_to_aligned (strength=5.8)"
    assert [arm.label for arm in best_rivals(records)] == [better, "lisa"]
    claimed = [record.arm.label for record in claimed_records(records)]
    assert better in claimed
    assert "kl_to_aligned" not in claimed
    # Where the tuned settings were not run, the defaults are what there is.
    del records[4]
    assert [arm.label for arm in best_rivals(records)] == ["lisa", "kl_to_aligned"]
    assert "kl_to_aligned" in [record.arm.label for record in claimed_records(records)]


def test_an_arm_at_its_cards_tuned_settings_is_read_and_named_as_tuned(tmp_path: Path) -> None:
    tuned = dict(tuned_settings("organism")["safegrad"])
    others = (("kl_to_aligned", {"strength": 9.0}), ("lisa", {}))
    store = build_store(tmp_path, arms=(("safegrad", tuned), *others), seeds=(0,))
    build_store(tmp_path, arms=(("safegrad", {}),), seeds=(1,))
    records = [run.record for run in store.list_runs() if run.record is not None]
    named = {record.arm.title: record.run_id for record in records}
    both = {"SafeGrad (tuned)", "SafeGrad (default)"}
    assert set(named) == both | {"KL to aligned (strength=9.0)", "Lisa"}, "Lisa was not tuned here"
    run_id = named["SafeGrad (tuned)"]
    assert store.load(run_id).arm.tuned
    stored = (store.run_folder(run_id) / "run.json").read_text()
    assert '"tuned"' not in stored


def test_few_arms_of_a_list_come_at_their_defaults_first() -> None:
    few = arms("lisa (strength=1)", "lisa", "ewc")
    assert [arm.label for arm in default_arms(few)] == ["lisa", "ewc", "lisa (strength=1)"]
    assert [set(arm.changed) for arm in FIRST if arm.control] == [{"subspace"}, {"latents"}]
