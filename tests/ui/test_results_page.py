"""The Results page: a tab per question, what each shows, and what it says of what is missing."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import store_builder
import streamlit as st
from store_builder import ARMS, build_store, experiment_config
from streamlit.testing.v1 import AppTest

from cwac.analysis.operating import matched
from cwac.artifacts import ArtifactStore, write_record, write_table
from cwac.cli import main
from cwac.config import ExperimentConfig
from cwac.handout import experiment_handout
from cwac.messages import Catalogue
from cwac.ui import asking
from cwac.ui.navigation import MOVED_TABS
from cwac.ui.results import cost

OpenPage = Callable[..., AppTest]
KNOBS = {"sft": None, "weight_only": "tail_energy", "activation_only": "strength",
         "cwac": "strength", "lisa": "strength"}  # fmt: skip


@pytest.fixture(autouse=True)
def known_knobs(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = [{"name": name, "strength_knob": knob} for name, knob in KNOBS.items()]
    found = Catalogue.model_validate({"models": [], "tasks": [], "methods": methods})
    monkeypatch.setattr(asking, "shipped", lambda: found)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    arms = (*ARMS, ("cwac", {"strength": 4.0}), ("cwac", {"subspace": "random"}))
    return build_store(tmp_path_factory.mktemp("swept"), arms=arms)


def words(app: AppTest) -> str:
    kinds = ("markdown", "caption", "info", "warning", "text")
    said = "\n".join(str(part.value) for kind in kinds for part in getattr(app, kind))
    return said.replace("\\:", ":")


def charts(app: AppTest) -> list[str]:
    return [chart.key for chart in app.get("plotly_chart")]


def test_choices_of_a_method_have_their_tab(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/choices", swept.write_root)
    assert charts(app) == ["choices"]
    spec = app.get("plotly_chart")[0].proto.spec
    assert "random" in spec
    assert "strength" not in spec, "the strengths have a tab of their own"


def test_harm_and_cost(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert charts(app) == ["trade_off", "matched"]
    assert "Methods without a run in this experiment: Lisa." in words(app)
    assert "Methods at one strength alone, no curve: Weight only, Activation only." in words(app)
    assert app.selectbox(key="_cost").value == "task_accuracy", "it tells some of the arms apart"
    app.selectbox(key="_cost").set_value("lookalikes_answered").run()
    assert app.query_params["cost"] == "lookalikes_answered"
    app.selectbox(key="_cost").set_value("task_accuracy").run()
    app.slider(key="trade_off_target").set_value(10).run()
    assert not app.exception
    assert app.query_params["target"] == "10"
    assert "Not comparable at" not in words(app), "every arm is more accurate than that"
    app.multiselect(key="trade_off_arms").set_value(["sft", "cwac"]).run()
    assert app.query_params["arms"] == ["sft", "cwac"]
    assert "other methods" in app.get("plotly_chart")[0].proto.spec


def test_a_link_keeps_accuracy_and_variants(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/cost", swept.write_root, target="37", all_settings="1")
    assert app.slider(key="trade_off_target").value == 37
    assert app.toggle(key="trade_off_variants").value
    assert "random directions" in app.get("plotly_chart")[0].proto.spec


def test_beyond_greedy_answers(swept: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("results/hidden", swept.write_root)
    assert charts(app) == ["hidden"]
    assert "Sampled and begun answers were not measured in these runs" in words(app)


def test_tabs_of_earlier_versions_are_parts_of_one(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    for old, now in MOVED_TABS.items():
        app = open_page(f"results/{old}", swept.write_root, view="settings")
        assert (app.query_params["tab"], app.query_params["view"]) == now
        assert old in charts(app)


def test_the_halves_are_tested_first_on_the_scale_without_ends(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("results/coupling", swept.write_root)
    assert charts(app) == ["coupling_margin", "coupling"]
    shown = words(app)
    assert shown.index("nats of refusal log-odds") < shown.index("as a difference of rates")
    assert "harmful requests under 2 seeds that all four share" in shown
    assert "n = 48 requests under 2 seeds" in shown


def test_a_chart_is_saved_opaque_at_twice_its_size(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("results/choices", swept.write_root)

    def saved() -> tuple[dict[str, object], str]:
        chart = app.get("plotly_chart")[0].proto
        look = json.loads(chart.spec)["layout"]["template"]["layout"]
        return json.loads(chart.config)["toImageButtonOptions"], look["paper_bgcolor"]

    options, paper = saved()
    reading, counted, setting = options.pop("beneath")
    assert (options, paper) == ({"format": "png", "filename": "choices", "scale": 2}, "#FFFFFF")
    assert reading.endswith("2 seeds an arm."), "what the HTML file says"
    assert counted.startswith("n = 24 to 48")
    assert setting.startswith("In view: instruct")
    labels = {button.key: button.label for button in app.button}
    assert labels["image_png_choices"] == "Image (PNG)"
    assert labels["image_svg_choices"] == "Image (SVG)"


def test_methods_below_the_accuracy_are_named(
    swept: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_comes(found: object, target: float, *rest: str) -> object:
        return matched(found, target + 1.0, *rest)

    monkeypatch.setattr(cost, "matched", none_comes)
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert "SFT (nearest: SFT at" in words(app)
    assert "matched" not in charts(app)


def test_variants_are_left_out_until_they_are_asked_for(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("results/cost", swept.write_root)
    toggle = app.toggle(key="trade_off_variants")
    assert "the 1 variants" in toggle.label
    assert not toggle.value
    before = app.get("plotly_chart")[0].proto.spec
    toggle.set_value(True).run()
    assert not app.exception
    after = app.get("plotly_chart")[0].proto.spec
    assert ("random directions" in before, "random directions" in after) == (False, True)


def test_only_arms_at_several_ratios_are_read_for_their_figure(
    tmp_path: Path, open_page: OpenPage
) -> None:
    build_store(tmp_path, arms=(("sft", {}), ("lisa", {})), experiments=(("instruct", 0.1),))
    build_store(tmp_path, arms=(("sft", {}),), experiments=(("instruct", 0.0),))
    chosen = experiment_config("instruct", 0.1).experiment_id
    app = open_page("results/poison", tmp_path, experiment=chosen)
    assert not app.exception
    spec = app.get("plotly_chart")[charts(app).index("poison")].proto.spec
    assert ("SFT" in spec, "Lisa" in spec) == (True, False)


@pytest.mark.parametrize(
    ("tab", "sentence", "command"),
    [
        ("cost", "with one seed only: SFT, CWAC.", ""),
        ("poison", "Any arm at a second poison ratio", "study_poison.toml"),
        ("coupling", "Weight only, Activation only besides", ""),
        ("strengths", "Any method at a second strength was not measured", "study_strengths.toml"),
        ("choices", "Any method with a setting other than its default", "cwac.subspace=random"),
        ("attacks", "Any attacker but the one in view was not measured", "grids/attacks.toml"),
        ("tasks", "No other model was run in this way", "grids/study.toml"),
    ],
)
def test_what_is_missing_is_said_with_what_would_fill_it(
    tab: str, sentence: str, command: str, two_arms: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page(f"results/{tab}", two_arms.write_root)
    assert not app.exception
    assert sentence in words(app)
    assert any(command in block.value for block in app.code) or not command


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    root = tmp_path_factory.mktemp("two")
    arms = (("sft", {}), ("cwac", {}))
    return build_store(root, arms=arms, seeds=(0,), experiments=(("instruct", 0.1),))


def test_page_stands_without_the_methods_knobs(
    swept: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise asking.AskingError("'cwac list' failed: no torch")

    monkeypatch.setattr(asking, "ask", fails)
    app = open_page("results/cost", swept.write_root)
    assert not app.warning, "what ships says it: no process is started"
    # A method that joined is not among what ships.
    monkeypatch.setattr(asking, "shipped", lambda: None)
    app = open_page("results/cost", swept.write_root)
    assert not app.exception
    assert "no point is joined" in words(app)
    assert "trade_off" in charts(app)


def test_each_defence_under_its_worst_attacker(
    tmp_path: Path,
    open_page: OpenPage,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = experiment_config

    def longer(*given: object, **changes: object) -> ExperimentConfig:
        config = made(*given, **changes)  # type: ignore[arg-type]
        training = config.training.model_copy(update={"steps": 200})
        return config.model_copy(update={"training": training})

    one = {"arms": (("sft", {}), ("cwac", {})), "seeds": (0,), "experiments": (("instruct", 0.1),)}
    build_store(tmp_path, **one)  # type: ignore[arg-type]
    app = open_page("results/attacks", tmp_path)
    assert not charts(app), "nobody attacked otherwise"
    monkeypatch.setattr(store_builder, "experiment_config", longer)
    build_store(tmp_path, **one)  # type: ignore[arg-type]
    app = open_page("results/attacks", tmp_path)
    assert not app.exception
    with pytest.raises(SystemExit) as ending:
        main(["table", "--worst-case", "--json", "--root", str(tmp_path)])
    assert not ending.value.code
    rows = [r for r in json.loads(capsys.readouterr().out) if r["attackers"] == 2]
    assert {row["variant"] for row in rows} == {"sft", "cwac"}
    # The page draws what the table has, and nothing where no attack counts.
    assert ("worst_case" in charts(app)) == any(row["value"] is not None for row in rows)
    assert ("attackers" in charts(app)) == ("worst_case" in charts(app))
    # Start says it where most refusals are lost, and nothing where they are not.
    lost = any(row["variant"] == "cwac" and (row["value"] or 0) >= 0.5 for row in rows)
    assert lost == ("Under another attacker" in words(open_page("start", tmp_path)))


def test_tasks_of_one_rule_stand_together_and_another_rule_is_offered(
    tmp_path: Path, open_page: OpenPage
) -> None:
    tasks = (("instruct", 0.1), ("sentiment", 0.1), ("topic", 0.1), ("topic", 0.5))
    arms = (("sft", {}), ("cwac", {}))
    store = build_store(tmp_path, arms=arms, seeds=(0,), experiments=tasks)
    first = experiment_config("instruct", 0.1).experiment_id
    app = open_page("results/tasks", tmp_path, experiment=first)
    assert charts(app) == ["tasks"]
    table = app.dataframe[0].value
    assert set(table["On"]) == {"instruct", "sentiment", "topic"}
    assert "on 0 of 3 tasks" in words(app).replace("none", "0")
    for run in store.list_runs():
        if run.record is not None and run.record.config.task.label == "instruct":
            protocol = run.record.protocol | {"judge": "9f8e7d6c5b4a", "hybrids": "told"}
            record = run.record.model_copy(update={"protocol": protocol})
            write_record(store.run_folder(run.run_id), record)
    app = open_page("results/tasks", tmp_path, experiment=first)
    assert set(app.dataframe[0].value["On"]) == {"instruct"}, "rules are never pooled"
    assert "2 (sentiment, topic) were judged by " in words(app), words(app)
    app.button(key="matrix_other_rule").click().run()
    assert set(app.dataframe[0].value["On"]) == {"sentiment", "topic"}


def test_models_stand_side_by_side_and_what_else_differs_is_named(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"arms": (("sft", {}), ("cwac", {})), "seeds": (0,)}
    store = build_store(tmp_path, experiments=(("instruct", 0.1),), **one)  # type: ignore[arg-type]
    made = experiment_config

    def of_another(name: str, **training: object) -> Callable[..., ExperimentConfig]:
        def config(*given: object, **changes: object) -> ExperimentConfig:
            other = made(*given, **changes)  # type: ignore[arg-type]
            model = other.model.model_copy(update={"source": name, "contents": name})
            parts = {"model": model, "training": other.training.model_copy(update=training)}
            return other.model_copy(update=parts)

        return config

    for name, task, training in (("other", "instruct", {}), ("chat", "topic", {"steps": 30})):
        monkeypatch.setattr(store_builder, "experiment_config", of_another(name, **training))
        build_store(tmp_path, experiments=((task, 0.1),), **one)  # type: ignore[arg-type]
    for run in store.list_runs():
        if run.run_id.startswith("chat"):
            # Of a real model's answers no text is passed on.
            answers = store.table(run.run_id, "responses").assign(response="")
            write_table(store.run_folder(run.run_id), "responses", answers)
    files: dict[str, Callable[[], str]] = {}
    monkeypatch.setattr(
        st, "download_button", lambda _, data, *, file_name, **__: files.update({file_name: data})
    )
    app = open_page("results/tasks", tmp_path)
    assert not app.exception
    assert charts(app) == ["tasks", "by_model"]
    numbers = app.dataframe[1].value
    # For a paper the table that is shown, for a spreadsheet every raw number.
    assert files["by_model.md"]().startswith(f"| {' | '.join(numbers.columns)} |")
    assert "harmful_score_low" in files["by_model.csv"]().splitlines()[0]
    assert {"organism", "other", "chat"} == set(numbers["On"])
    assert "holds" in set(numbers[numbers["On"] == "chat"]["Verdict"])
    assert "mean over the 2 models with equal settings" in words(app)
    assert "task topic, 30 steps (chat)" in words(app)
    assert "1 of 1 arm (1 method) gets the same verdict on chat as on organism." in words(app)
    # A hand-out says the same.
    everything = [run.record for run in store.list_runs() if run.record]
    mine = [record for record in everything if record.config.model.label == "organism"]
    handout = experiment_handout(store, mine, everything)
    (section,) = [one for one in handout.sections if one.title == "Does it hold on other models?"]
    assert section.table is not None
    pd.testing.assert_frame_equal(section.table, numbers[list(section.table)])
    assert "1 of 1 arm (1 method) gets the same verdict" in section.text
    assert section.text.split("\n\n")[0] in handout.lead, "who reads no further learns it too"
    drawn = json.loads(app.get("plotly_chart")[1].proto.spec)["layout"]["title"]["text"]
    assert section.figure is not None
    assert section.figure.layout.title.text == drawn
    (fails,) = [one for one in handout.sections if one.title.startswith("Where CWAC fails")]
    assert any("With the same settings on other, CWAC complies with" in p for p in fails.points)


def test_the_central_claim_comes_first_and_failing_ones_are_in_the_list(
    swept: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("results/claims", swept.write_root)
    labels = [part.label for part in app.expander]
    assert "badge[" in labels[0]
    assert "CWAC complies with fewer harmful requests than SFT" in labels[0]
    assert any("-badge[shown]" in label for label in labels)
    assert any("-badge[shown]" not in label for label in labels)
    assert f"Of {len(labels)} claims about this experiment" in words(app)
