"""The Mechanism page: causes of a dissected run, drift against harm, grids as differences."""

from collections.abc import Callable

import pytest
from dissected import dissection
from reading import as_read
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.figures.mechanism.interventions import VIEWS

OpenPage = Callable[..., AppTest]


@pytest.fixture
def dissected_store(own_store: ArtifactStore) -> ArtifactStore:
    """The made-up store with a dissection of its first SFT run."""
    record = next(
        run.record
        for run in own_store.list_runs()
        if run.record and run.record.variant == "sft" and run.record.config.poison_ratio
    )
    own_store.save_experiment_table(record.experiment_id, "dissection", dissection(record.run_id))
    return own_store


def titles(app: AppTest) -> str:
    """The titles of all figures, on one line."""
    specs = [chart.proto.spec for chart in app.get("plotly_chart")]
    return " ".join(specs).replace("<br>", " ").replace("\\u003cbr\\u003e", " ")


def test_causes_open_with_the_answer_and_its_control(
    dissected_store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism", dissected_store.write_root)
    assert not app.exception
    assert "Restoring layer 0 alone in SFT returns 70" in titles(app)
    assert "a random set of equal norm 2" in titles(app)
    assert "single maps, layer" not in titles(app), (
        "the made-up maps have other names than the store's"
    )
    assert next(iter(VIEWS)) == "transplant"
    assert "transplant" in [group.value for group in app.get("button_group")]


def test_path_is_walked_with_the_slider_and_the_link_keeps_the_place(
    dissected_store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism", dissected_store.write_root, intervention="path", dose="0.5")
    assert not app.exception
    said = [as_read(caption.value) for caption in app.caption]
    assert any("At 0.5: first token refuses for 20 of 40 requests; 12 of 24" in s for s in said)
    app.select_slider(key="_dose").set_value("0").run()
    assert app.query_params["dose"] == "0"
    said = [as_read(caption.value) for caption in app.caption]
    assert any("At 0: first token refuses for 40 of 40" in text for text in said)


def test_an_experiment_that_was_not_dissected_says_how(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism", store.write_root)
    assert any("cwac dissect --run" in code.value for code in app.code)
    assert not app.get("plotly_chart")


def test_drift_is_held_against_harm_over_every_arm(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism/prediction", store.write_root, figure="protected_energy")
    assert not app.exception
    said = titles(app)
    assert "rotected energy goes with more harm" in said
    assert "n = 6 arms of 4 methods" in said
    assert "drift figures have a correlation with harm" in said


def test_grids_are_differences_from_sft_and_the_link_keeps_the_switch(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism/overlap", store.write_root)
    assert not app.exception
    assert "Overlap against SFT, mean over layers" in titles(app)
    assert "overlaps most (" in titles(app)
    app = open_page("mechanism/drift", store.write_root, scale="as measured")
    assert not app.exception
    assert "Relative norm: largest in" in titles(app)
    app.segmented_control(key="_scale").set_value("difference from SFT").run()
    assert app.query_params["scale"] == "difference from SFT"
    assert "Relative norm against SFT" in titles(app)
