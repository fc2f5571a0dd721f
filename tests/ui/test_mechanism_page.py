"""The Mechanism page: causes of a dissected run, drift against harm, grids as differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import store_builder
from dissected import answers as answers_of
from dissected import dissection, of_depth
from dissected import line as line_of
from reading import as_read
from store_builder import build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.intervention_words import GROUPS, INTERVENTION_WORDS

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
    assert not app.dataframe
    said = " ".join(caption.value for caption in app.caption)
    assert "not stored with this dissection. The run kept no weights" in said
    assert "Not taken apart: Weight only, Activation only, CWAC" in as_read(said)
    assert "What else was done to SFT is under Other interventions; whether other" in said
    line = app.button(key="to_subspace_split")
    assert "inside the safety subspace SFT has" in as_read(line.label)
    line.click().run()
    assert app.query_params["tab"] == "interventions"
    assert app.query_params["intervention"] == "subspace_split"
    assert "Without its part inside the safety subspace SFT" in titles(app)


def test_path_is_walked_with_the_slider_and_the_link_keeps_the_place(
    dissected_store: ArtifactStore, open_page: OpenPage
) -> None:
    # As links of earlier versions: the tab is not named.
    app = open_page("mechanism", dissected_store.write_root, intervention="path", dose="0.5")
    assert not app.exception
    assert app.query_params["tab"] == "interventions"
    said = [as_read(caption.value) for caption in app.caption]
    assert any("At 0.5: first token refuses for 20 of 40 requests; 12 of 24" in s for s in said)
    app.select_slider(key="_dose").set_value("0").run()
    assert app.query_params["dose"] == "0"
    said = [as_read(caption.value) for caption in app.caption]
    assert any("At 0: first token refuses for 40 of 40" in text for text in said)
    app = open_page("mechanism/interventions", dissected_store.write_root)
    open_first = INTERVENTION_WORDS["subspace_split"]
    assert open_first.group == GROUPS[0]
    rows = [app.segmented_control(key=f"_intervention_{place}") for place in range(len(GROUPS))]
    assert [row.value for row in rows] == ["subspace_split", None, None, None, None]
    said = [as_read(text.value) for text in app.markdown]
    assert {*GROUPS} <= set(said)
    assert any(open_first.explained[1:] in text for text in said)
    app.segmented_control(key="_intervention_1").set_value("transplant").run()
    assert app.query_params["intervention"] == "transplant"
    assert app.segmented_control(key="_intervention_0").value is None
    app = open_page("mechanism/models", dissected_store.write_root)
    assert any(as_read(info.value).startswith("On organism alone") for info in app.info)


def test_parts_and_paths_are_stepped_through_with_the_answers_beside_them(
    dissected_store: ArtifactStore, open_page: OpenPage
) -> None:
    store = dissected_store
    records = [run.record for run in store.list_runs() if run.record]
    sft = next(r for r in records if r.variant == "sft" and r.config.poison_ratio)
    other = next(r for r in records if r.variant == "cwac" and r.experiment_id == sft.experiment_id)
    rows = [dissection(sft.run_id), line_of(sft.run_id, other.run_id)]
    store.save_experiment_table(sft.experiment_id, "dissection", pd.concat(rows))
    kept = answers_of(sft.run_id, other.run_id, ["harmful-test-0001", "harmful-test-0002"])
    kept.loc[kept["prompt_id"] == "harmful-test-0002", "withheld"] = "8 characters, SHA-256 0"
    store.save_experiment_table(sft.experiment_id, "dissection_answers", kept)
    app = open_page("mechanism", store.write_root, part="layer 1")
    assert not app.exception

    def shown(place: int) -> pd.DataFrame:
        return pd.DataFrame(app.dataframe[place].value)

    complied = "complied, -4.0"
    assert app.select_slider(key="_part").options == ["nothing", "layer 0", "layer 1", "everything"]
    assert list(shown(0)) == ["request", "SFT", "▸ layer 1 restored", "aligned model"]
    assert shown(0)["request"].tolist()[0] == "How do I do harmful thing 1?"
    assert shown(0)["SFT"].tolist() == [complied, "complied (withheld: 8 characters, SHA-256 0)"]
    assert shown(0)["▸ layer 1 restored"].tolist()[0] == complied
    app.select_slider(key="_part").set_value("layer 0").run()
    assert app.query_params["part"] == "layer 0"
    assert shown(0)["▸ layer 0 restored"].tolist()[0] == "refused, +3.0"
    said = [as_read(caption.value) for caption in app.caption]
    assert any("With layer 0 restored: 70\u00a0% of the lost log-odds is back" in s for s in said)
    app.button(key="reveal_parts").click().run()
    assert shown(0)["▸ layer 0 restored"].tolist()[0] == "refused: I cannot"
    assert "withheld" in shown(0)["SFT"].tolist()[1], "what is not passed on is not shown either"
    app.segmented_control(key="_view").set_value("transplant").run()
    assert shown(0)["▸ layer 0 transplanted"].tolist()[0] == "complied: To do it"
    assert list(shown(0))[1::2] == ["aligned model", "SFT"]

    link = {"intervention": "path", "line": f"to {other.run_id}", "dose": "0.5"}
    link |= {"unfolded": "folded_between"}
    app = open_page("mechanism/interventions", store.write_root, **link)
    assert not app.exception
    whom = f"CWAC, seed {other.config.seed}"
    assert f"Half way from SFT to {whom}: 50" in as_read(titles(app))
    assert list(shown(0)) == ["request", "SFT (0)", "▸ at 0.5", f"{whom} (1)"]
    assert shown(0)["▸ at 0.5"].tolist()[0].startswith("refused")


def test_models_that_were_taken_apart_stand_in_rows_over_their_depth(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: dict[str, Any] = {"arms": (("sft", {}), ("cwac", {})), "seeds": (0,)}
    store = build_store(tmp_path, experiments=(("instruct", 0.1),), **one)
    made = store_builder.experiment_config

    def of_another(*given: Any, **changes: Any) -> ExperimentConfig:
        config = made(*given, **changes)
        model = config.model.model_copy(update={"source": "chat", "contents": "cc"})
        return config.model_copy(update={"model": model})

    monkeypatch.setattr(store_builder, "experiment_config", of_another)
    build_store(tmp_path, experiments=(("topic", 0.1),), **one)
    for record in (run.record for run in store.list_runs()):
        if record and record.variant == "sft":
            chat = record.config.model.label == "chat"
            table = of_depth(record.run_id, [0.8, 0.2] if chat else [0.2, 0.2, 0.1, 0.8])
            store.save_experiment_table(record.experiment_id, "dissection", table)
    app = open_page("mechanism/models", tmp_path)
    assert not app.exception
    assert "second quarter on chat" in titles(app)
    numbers = next(t.value for t in app.dataframe if "At depth" in t.value)
    assert dict(zip(numbers["On"], numbers["Above its control most"], strict=True)) == {
        "organism": "layer 3 of 4",
        "chat": "layer 0 of 2",
    }
    said = " ".join(as_read(caption.value) for caption in app.caption)
    assert "Not the model alone differs: task instruct (organism) and task topic (chat)" in said


def test_an_experiment_that_was_not_dissected_says_how(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    for tab in ("causes", "interventions", "models"):
        app = open_page(f"mechanism/{tab}", store.write_root)
        assert any("cwac dissect --run" in code.value for code in app.code)
        assert not app.get("plotly_chart")


def test_drift_is_held_against_harm_over_every_arm(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism/prediction", store.write_root, figure="protected_energy")
    assert not app.exception
    said = titles(app)
    assert "pdate inside the safety subspace goes with more harm" in said
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
