"""The picker of arms: all of a few, the ones to look at first of many."""

from collections.abc import Callable

import pytest
from named_arms import arms
from store_builder import ARMS, CONTROLS, Arm, build_store
from streamlit.testing.v1 import AppTest

from cwac.arms import FIRST, MANY, default_arms
from cwac.artifacts import ArtifactStore

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


def test_first_come_the_claim_a_control_of_each_half_and_rivals_that_hold() -> None:
    assert len(FIRST) == MANY
    assert {"kl_to_aligned", "safegrad"} <= {arm.method for arm in FIRST}
    assert [set(arm.changed) for arm in FIRST if arm.control] == [{"subspace"}, {"latents"}]
    everything = [*FIRST, *arms("lisa", "ewc", *(f"lisa (strength={s})" for s in range(9)))]
    assert default_arms(everything) == list(FIRST)
    few = arms("lisa (strength=1)", "lisa", "ewc")
    assert [arm.label for arm in default_arms(few)] == ["lisa", "ewc", "lisa (strength=1)"]
