"""Theme, selection, frame and widgets."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from named_arms import arm
from reading import as_read, runs_table
from store_builder import HOSTILE, experiment_config
from streamlit.testing.v1 import AppTest

from cwac.analysis.readable import Quantity, readable
from cwac.analysis.typeset import latex, markdown
from cwac.arms import Arm
from cwac.artifacts import HIDDEN, ArtifactStore, redact, trash_runs
from cwac.config import LoraConfig
from cwac.figures.style import GREY, arm_style, axis_title, dress, escape
from cwac.records import RunRecord
from cwac.ui import experiments, reads, slide
from cwac.ui.exports import FILE_WIDTH, to_csv, to_html, to_text, units_of
from cwac.ui.look import LARGER
from cwac.ui.navigation import PAGES, sections
from cwac.ui.widgets import plain

OpenPage = Callable[..., AppTest]


def experiment_id(poison: float) -> str:
    return experiment_config("instruct", poison).experiment_id


# Theme


def test_an_arms_colour_is_its_methods_whatever_its_settings() -> None:
    default, stronger = arm_style(arm("cwac")), arm_style(arm("cwac (strength=2)"))
    assert default.colour == stronger.colour
    assert default.dash != stronger.dash
    assert default.symbol != stronger.symbol


def test_aligned_is_grey_dashed_and_controls_grey_dotted() -> None:
    aligned = arm_style(arm("aligned"))
    assert aligned.dash == "dash"
    labels = ("cwac (subspace=random)", "cwac (subspace=trailing)")
    styles = [arm_style(arm(label)) for label in labels]
    assert {style.dash for style in styles} == {"dot"}
    assert {style.colour for style in styles} == {aligned.colour}
    assert styles[0].symbol != styles[1].symbol
    assert arm_style(arm("weight_only (subspace=random)")).colour != styles[0].colour
    assert all(style.control for style in styles)


@pytest.mark.parametrize("name", ["gradient-surgery-7b", "random-walk"])
def test_a_checkpoints_name_and_the_literal_form_are_drawn_as_no_control(name: str) -> None:
    measured = Arm(method="measured", changed={"name": name})
    for style in (arm_style(measured), arm_style(arm("cwac (projection=gradient)"))):
        assert not style.control
        assert style.colour != GREY
        assert style.dash != "dot"


def test_arms_have_one_name_for_people() -> None:
    assert arm_style(arm("sft")).label == arm("sft").title == "SFT"
    assert arm("cwac (strength=2) @ topic p0.1").title == "CWAC (strength=2) on topic p0.1"


def test_compared_experiment_keeps_the_arms_colour_with_another_dash() -> None:
    here, there = arm_style(arm("cwac")), arm_style(arm("cwac @ topic p0.1"))
    assert here.colour == there.colour
    assert here.dash != there.dash


def test_axis_titles_carry_unit_and_direction() -> None:
    assert axis_title("Refusal rate", "%", "higher") == "Refusal rate (%), ↑ better"


@pytest.mark.parametrize("text", HOSTILE)
def test_hover_text_holds_no_tags(text: str) -> None:
    assert "<" not in escape(text)


def test_dressing_keeps_data_colours() -> None:
    figure = go.Figure(go.Scatter(x=[0], y=[0], marker={"color": "#009E73"}))
    light = dress(go.Figure(figure), dark=False)
    dark = dress(go.Figure(figure), dark=True)
    assert light.data[0].marker.color == dark.data[0].marker.color == "#009E73"
    assert light.layout.template.layout.font.color != dark.layout.template.layout.font.color


def test_whiskers_can_be_seen_on_a_dark_page() -> None:
    bars = {"type": "data", "array": [1, 1]}
    many = go.Scatter(x=[0, 1], y=[0, 1], error_x=bars, marker={"color": ["#D55E00", "#0072B2"]})
    one = go.Scatter(x=[0, 1], y=[0, 1], error_x=bars, marker={"color": "#D55E00"})
    upright = go.Bar(y=[1, 2], error_y=bars)
    figure = dress(go.Figure([many, go.Bar(x=[1, 2], error_x=bars), one, upright]), dark=True)
    text = figure.layout.template.layout.font.color
    assert [trace.error_x.color for trace in figure.data] == [text, text, None, None]
    assert figure.data[3].error_y.color == text


# Navigation and words


def test_paths_in_the_working_folder_are_shown_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert reads.shown(str(tmp_path / "runs")) == "runs"
    assert reads.shown("/elsewhere/runs") == "/elsewhere/runs"


def test_pages_have_files_and_emoji_icons() -> None:
    home = Path(__file__).parents[2]
    for page in PAGES.values():
        assert (home / page.path).is_file()
        assert ":material" not in page.icon
    assert [page.name for part in sections().values() for page in part] == list(PAGES)


def test_the_sidebar_is_told_what_acts_on_which_tab() -> None:
    for page in PAGES.values():
        assert set(page.uses) <= {"experiment", "overlay", "seed", "reveal"}
        assert {tab for tabs in page.uses.values() for tab in tabs} <= set(page.tabs)
    reference = PAGES["reference"]
    assert reference.used("paper") == {"experiment", "overlay"}
    # The first tab is open where the link names none, or one of another page.
    assert reference.used(None) == reference.used("drift") == {"experiment"}
    assert reference.used("glossary") == frozenset()


def test_router_is_short() -> None:
    lines = (Path(__file__).parents[2] / "app.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 10


# Widgets


def test_markdown_marks_are_shown_as_they_are() -> None:
    assert plain("a_b [x](y) `c` $d$") == r"a\_b \[x\](y) \`c\` \$d\$"


def test_a_number_stays_with_its_unit() -> None:
    assert plain("1\u00a0% of\n\u2028 9") == "1\u00a0% of 9"


def test_exports_leave_out_answers_to_harmful_requests_unless_asked() -> None:
    table = pd.DataFrame({"kind": ["harmful", "harmless"], "response": ["bad", "good"]})
    assert redact(table)["response"].tolist() == [HIDDEN, "good"]
    assert "bad" not in to_csv(table, {})
    assert "bad" in to_csv(table, {}, reveal=True)
    assert table["response"].tolist() == ["bad", "good"]


def test_a_csv_names_arms_for_people_beside_their_labels() -> None:
    table = pd.DataFrame({"variant": ["weight_only", "later"], "seed": [0, 1]})
    text = to_csv(table, {"weight_only": "Weight only"})
    assert text.splitlines() == ["variant,arm,seed", "weight_only,Weight only,0", "later,later,1"]
    assert list(table) == ["variant", "seed"]


def test_a_csv_says_its_units_and_its_counts_are_whole() -> None:
    rates = pd.DataFrame(
        {
            "variant": ["sft", "cwac"],
            "rate": "harmful_score",
            "value": [0.5, 0.25],
            "low": 0.1,
            "high": 0.6,
            "n": [10.0, None],
            "seeds": [3.0, 1.0],
        }
    )
    assert to_csv(rates, {}, units_of(rates, None)).splitlines() == [
        "variant,arm,rate,value (fraction),low (fraction),high (fraction),n,seeds",
        "sft,sft,harmful_score,0.5,0.1,0.6,10,3",
        "cwac,cwac,harmful_score,0.25,0.1,0.6,,1",
    ]
    odds = partial(readable, rates, (), Quantity("value", "Odds", "nats"))
    assert units_of(rates, odds) == {"value": "nats", "low": "nats", "high": "nats"}


def test_what_is_said_of_a_table_stands_with_it_and_answers_do_not():
    said = ("In view: instruct\nat 10 %.",)
    answers = pd.DataFrame({"kind": ["harmful"], "response": ["bad"]})
    assert "bad" not in to_text(answers, markdown, said)
    assert to_text(answers, markdown, said).endswith("|\n\nIn view: instruct at 10 %.\n")
    assert to_text(answers, latex, said).startswith("% In view: instruct at 10 %.\n% needs ")


def test_exported_figure_is_self_contained() -> None:
    beneath = ("Seeds 0 & 1. " * 20, "In view: instruct.", "http://here/mechanism?arm=sft")
    text = to_html(go.Figure(go.Scatter(x=[0], y=[0]), layout={"height": 510}), *beneath)
    assert "cdn.plot.ly" not in text.split("Plotly.newPlot")[-1]
    assert len(text) > 1_000_000
    # Two lines of 20 px and one each of the others, 8 px beneath each.
    assert f"@page {{ size: {FILE_WIDTH}px 614px" in text.partition("<body>")[0]
    assert text.count("<p>") == 3
    assert "Seeds 0 &amp; 1." in text.rpartition("</script>")[2]
    assert "<p>http://here/mechanism?arm=sft</p>" in text


def test_a_slide_names_nothing_but_its_figure() -> None:
    sheet = slide.style("intervention_</style><b>", 600, 200)
    assert sheet.count("</style>") == 1
    assert "<b>" not in sheet
    assert "st-key-figure_intervention_--style--b-" in sheet


# Frame and selection


def test_opens_with_the_fullest_experiment_of_higher_poison(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", store.write_root)
    assert app.selectbox(key="_experiment").value == experiment_id(0.1)
    named = {caption.value for caption in app.sidebar.caption}
    assert any("instruct · poison 0.1" in name.replace("\\", "") for name in named), "uncut"
    assert app.query_params["experiment"] == experiment_id(0.1)


def test_what_is_judged_by_todays_rules_comes_first_and_titles_say_what_differs(
    store: ArtifactStore,
) -> None:
    records = [run.record for run in store.list_runs() if run.record is not None]
    few = next(r for r in records if r.config.poison_ratio == 0.0)
    told = few.metrics["harmful_score"].model_copy(update={"title": "Hybrids"})
    training = few.config.training.model_copy(update={"train_embeddings": False})
    config = few.config.model_copy(update={"training": training})
    ids = {"run_id": config.run_id, "experiment_id": config.experiment_id, "config": config}
    held = few.model_copy(update={**ids, "metrics": few.metrics | {"hybrid_rate": told}})
    groups: dict[str, list[RunRecord]] = {}
    for record in [*records, held]:
        plain = {name: m for name, m in record.metrics.items() if name != "hybrid_rate"}
        earlier = record.model_copy(update={"metrics": plain})
        groups.setdefault(record.experiment_id, []).append(record if record is held else earlier)
    made = experiments._listing.__wrapped__((), groups, ("", ())).experiments
    assert made[0].experiment_id == held.experiment_id
    titles = {one.experiment_id: one.title for one in made}
    assert titles[held.experiment_id].endswith("· embedding held")
    assert titles[few.experiment_id].endswith("· embedding trained")
    assert "embedding" not in titles[experiment_id(0.1)]


def test_selection_survives_a_page_switch(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("requests", store.write_root)
    app.selectbox(key="_experiment").set_value(experiment_id(0.0)).run()
    app.selectbox(key="_seed").set_value(1).run()
    # A click on the menu empties the query string, as here.
    app.query_params.clear()
    app.switch_page("pages/mechanism.py").run()
    assert app.selectbox(key="_experiment").value == experiment_id(0.0)
    assert app.query_params["seed"] == "1"
    drawn = [box.key for box in app.sidebar.selectbox]
    assert drawn == ["_experiment"], "no single-run view on this page: no seed to choose"


def test_link_decides_what_is_shown(store: ArtifactStore, open_page: OpenPage) -> None:
    link = {"experiment": experiment_id(0.0), "seed": "1", "layer": "not a number"}
    app = open_page("requests", store.write_root, **link)
    assert not app.exception
    assert app.selectbox(key="_experiment").value == experiment_id(0.0)
    assert app.selectbox(key="_seed").value == 1


def test_a_slide_is_in_the_link_larger_and_says_what_it_is_of(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", store.write_root)
    before = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]["height"]
    app.button(key="outcomes_slide").click().run()
    assert app.query_params["slide"] == "outcomes"
    after = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]["height"]
    assert after == pytest.approx(LARGER * before)
    assert any("In view: instruct · poison 0.1" in as_read(c.value) for c in app.caption)
    app.button(key="leave_slide").click().run()
    assert "slide" not in app.query_params
    assert not app.exception


def test_link_to_an_experiment_that_is_gone(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("start", store.write_root, experiment="gone")
    assert not app.exception
    first = app.session_state["selection"].experiment
    for _ in range(2):
        (told,) = [as_read(w.value) for w in app.warning]
        assert "the experiment 'gone', which is not stored; shown is instruct" in told
        app.run()
    assert first in app.query_params["experiment"]


def test_a_link_to_what_is_not_here_says_what_is_shown_instead(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("runs", store.write_root, tab="nowhere", marked="away", arm="sft2", method="m")
    told = [as_read(warning.value) for warning in app.warning]
    assert len(told) == 4
    assert told[0].endswith("tab 'nowhere', which is none of this app's; shown is Stored runs.")
    assert "the arm 'sft2', which is not stored" in told[1]
    assert "the method 'm', which no stored run has" in told[2]
    assert "the run 'away', which is not stored" in told[3]
    app = open_page("runs", store.write_root, tab="causes", arm="sft", method="sft")
    assert not app.warning, "a tab of another page was left open there"


def test_overlay_of_an_unlike_protocol_warns_with_what_differs(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    for run in own_store.list_runs():
        if run.record.config.poison_ratio == 0:
            path = own_store.run_folder(run.run_id) / "run.json"
            path.write_text(path.read_text().replace("5e6f", "7788"))
    app = open_page(
        "start", own_store.write_root, experiment=experiment_id(0.1), overlay=experiment_id(0.0)
    )
    assert not app.exception
    assert [w.value for w in app.warning if "differ in judge" in w.value]


def test_full_and_lora_runs_of_a_method_are_told_apart(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    for run in own_store.list_runs():
        record = run.record
        if record.config.poison_ratio == 0:
            continue
        training = record.config.training.model_copy(update={"adapter": LoraConfig(rank=4)})
        config = record.config.model_copy(update={"training": training})
        other = {"run_id": config.run_id, "experiment_id": config.experiment_id, "config": config}
        table = own_store.table(run.run_id, "responses")
        own_store.save_run(record.model_copy(update=other), {"responses": table})
    lora = config.experiment_id
    assert lora != experiment_id(0.1)
    app = open_page("start", own_store.write_root, experiment=experiment_id(0.1), overlay=lora)
    assert not app.exception
    arms = list(app.dataframe[0].value["Arm"])
    assert "CWAC" in arms
    assert f"CWAC on instruct p0.1 LoRA {lora[-4:]}" in arms
    titles = app.sidebar.selectbox[0].options
    assert any("LoRA rank 4" in title for title in titles)


def test_like_protocols_do_not_warn(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page(
        "start", store.write_root, experiment=experiment_id(0.1), overlay=experiment_id(0.0)
    )
    assert not app.exception
    assert not app.warning


def test_new_run_appears_at_once(own_store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("runs/stored", own_store.write_root, rows="every run")
    assert not [*app.sidebar.selectbox, *app.sidebar.multiselect, *app.sidebar.toggle][1:], (
        "nothing of the sidebar acts on the list of runs but how it looks"
    )
    before = len(runs_table(app).value)
    trash_runs(own_store, [own_store.list_runs()[0].run_id])
    app.run()
    assert len(runs_table(app).value) == before - 1


def test_several_roots_are_one_listing(
    store: ArtifactStore, tmp_path: Path, open_page: OpenPage
) -> None:
    app = open_page("runs/stored", tmp_path / "own", store.write_root)
    assert set(runs_table(app).value["Origin"]) == {"shipped"}
