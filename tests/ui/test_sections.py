"""What the analysis pages do when something is clicked, filtered, asked for, or missing."""

import json
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import streamlit as st
from dissected import clamps as clamps_of
from dissected import requests as requests_of
from latent_tables import example_rows, token_rows
from reading import as_read
from store_builder import ARMS, CONTROLS, FEATURES, REFERENCE, build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, write_record, write_table
from cwac.config import ExperimentConfig
from cwac.flags import parse
from cwac.messages import Answers, Readings
from cwac.ui import asking, sections, selection
from cwac.ui.asking import AskingError
from cwac.ui.features import clamping, sentence
from cwac.ui.requests import ask as asking_box

OpenPage = Callable[..., AppTest]


def spec(app: AppTest, key: str) -> dict[str, Any]:
    """A chart's traces and layout."""
    found: dict[str, Any] = json.loads(app.get_by_key(key).proto.spec)
    return found


def charts(app: AppTest) -> list[str]:
    return [chart.key for chart in app.get("plotly_chart")]


def texts(app: AppTest) -> str:
    kinds = ("caption", "info", "warning", "error", "code", "text", "markdown")
    return "\n".join(str(part.value) for kind in kinds for part in getattr(app, kind))


@pytest.mark.parametrize("values", [[3, "mlp.down_proj", "sft"], {"0": 3, "1": "mlp.down_proj"}])
def test_a_click_sets_the_shared_selection(values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: dict[str, Any] = {}
    monkeypatch.setattr(selection, "select", lambda **changes: chosen.update(changes))
    monkeypatch.setattr(
        st, "session_state", {"chart": {"selection": {"points": [{"customdata": values}]}}}
    )
    sections.selects("chart", "layer", "map")()
    assert chosen == {"layer": 3, "map": "mlp.down_proj"}
    chosen.clear()
    monkeypatch.setattr(st, "session_state", {"chart": {"selection": {"points": []}}})
    sections.selects("chart", "layer")()
    assert not chosen, "clicking beside every point changes nothing"


CHANGED: dict[str, Any] = {
    "prompts": {"harmful": "/h.csv:goal", "harmful_where": "kind=a, b", "lookalike": "/l.csv",
                "lookalike_where": "label=safe"},
    "task": {"source": "/t.csv", "check": "word", "test_source": "/test.csv"},
    "evaluation": {"judge": "qi"},
    "training": {"weight_decay": 0.1, "max_length": 64, "steps": 300, "learning_rate": 2e-5},
    "measurement": {"maps": "ffn", "layers": [0, 2], "rank": 5},
}  # fmt: skip


@pytest.mark.parametrize("model", ["organism", "owner/unknown"])
def test_the_command_shown_adds_an_arm_to_this_very_experiment(model: str) -> None:
    config = ExperimentConfig.build({"model": {"source": model}, **CHANGED})
    records = [SimpleNamespace(config=config.model_copy(update={"seed": n})) for n in (1, 0, 1)]
    frame: Any = SimpleNamespace(experiments=[SimpleNamespace(config=config, records=records)])
    words = shlex.split(sections.command_like(frame, "cwac", {"subspace": "random"}))
    assert words[-2] == "--root"
    plan = parse(words[1:-2])
    assert (plan.arms, plan.seeds) == ([("cwac", {"subspace": "random"})], [0, 1])
    for section, table in CHANGED.items():
        stated = plan.section(section)
        # The organism's card has its own learning rate and maps; its steps are the code's.
        expected = {k: v for k, v in table.items() if k != "steps" or model != "organism"}
        assert {key: stated.get(key) for key in expected} == expected
    assert ("steps" in plan.section("training")) == (model != "organism")
    beside = parse(shlex.split(sections.command_like(frame, "sft", poison=0.0))[1:-2])
    assert beside.sections["poison_ratio"] == 0.0
    assert beside.section("measurement") == plan.section("measurement")


def test_selected_cell_and_latent_of_a_link_are_shown(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism/drift", store.write_root, layer="2", map="self_attn.o_proj")
    outlined = [t for t in spec(app, "drift_heatmaps")["data"] if t.get("name") == "selected"]
    assert {(t["x"][0], t["y"][0]) for t in outlined} == {(2, "self_attn.o_proj")}
    assert "Layer 2, self_attn.o_proj" in spec(app, "singular_values")["layout"]["title"]["text"]
    app = open_page("features", store.write_root, layer="2", latent="3")
    assert "L2/3" in spec(app, "latent_drift")["layout"]["title"]["text"]
    # Another layer chosen elsewhere does not make it another latent.
    app = open_page("features", store.write_root, layer="0", sae_layer="2", latent="3")
    assert "L2/3" in spec(app, "latent_drift")["layout"]["title"]["text"]
    app.selectbox(key="_role").set_value("control").run()
    assert not app.exception
    assert {app.query_params[name] for name in ("role", "sae_layer", "latent")} == {
        "control",
        "2",
        "3",
    }
    assert set(app.dataframe(key="latent_list").value["role"]) == {"random"}
    assert "L2/3" in spec(app, "latent_drift")["layout"]["title"]["text"]


def test_a_latent_that_is_not_there_is_told_and_stays_in_the_link(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("features", store.write_root, layer="0", latent="3")
    assert "The link names L0/3, which these features do not have." in as_read(texts(app))
    assert app.query_params["latent"] == "3"
    assert "SFT lost" in as_read(texts(app))


def test_a_latent_of_a_public_sae_has_its_page(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    folder = own_store.write_root / "fits" / FEATURES / "layer_2"
    folder.mkdir()
    name = {"neuronpedia_id": "gemma-2-2b/8-gemmascope-res-16k"}
    (folder / "cfg.json").write_text(json.dumps({"metadata": name}))
    app = open_page("features", own_store.write_root, sae_layer="2", latent="3")
    assert "(https://www.neuronpedia.org/gemma-2-2b/8-gemmascope-res-16k/3)" in texts(app)


def test_what_methods_say_of_themselves_is_drawn_or_said_to_be_missing(
    store: ArtifactStore, tmp_path: Path, open_page: OpenPage
) -> None:
    app = open_page("requests/outcomes", store.write_root, view="diagnostics")
    assert not app.exception
    drawn = {trace["name"] for trace in spec(app, "method_diagnostics")["data"]}
    assert "CWAC" in drawn
    assert "SFT" not in drawn
    assert "Not stored for: SFT, Weight only, Activation only." in as_read(texts(app))
    build_store(tmp_path, arms=(("sft", {}),), seeds=(0,), experiments=(("instruct", 0.1),))
    app = open_page("requests/outcomes", tmp_path, view="diagnostics")
    assert not app.exception
    assert "method_diagnostics" not in [chart.key for chart in app.get("plotly_chart")]
    assert "older runs and summaries do not hold it" in texts(app)


def test_what_is_folded_is_computed_when_it_is_opened(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("mechanism/drift", store.write_root)
    assert "leak_gauge" not in charts(app)
    app = open_page("mechanism/drift", store.write_root, unfolded="folded_leak")
    assert "leak_gauge" in charts(app), "the link says that it is open"


def test_the_link_says_which_parts_are_open_and_which_are_not(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    def are_open(app: AppTest) -> list[bool]:
        return [part.proto.expanded for part in app.expander]

    first, *others = are_open(open_page("results/claims", store.write_root))
    assert (first, set(others)) == (True, {False})
    link = {"unfolded": ["folded_rates", "-claim_safer_cwac"]}
    app = open_page("results/claims", store.write_root, **link)
    assert not any(are_open(app))
    app = app.switch_page("pages/start.py").run()
    assert are_open(app) == [True], "another page keeps it"
    assert app.dataframe, "and a closed one holds its table"


@pytest.mark.usefixtures("unfolded")
def test_leak_gauge_compares_the_two_projections(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("mechanism/drift", store.write_root)
    names = [trace["name"] for trace in spec(app, "leak_gauge")["data"]]
    assert names[:-1] == ["SFT", "CWAC", "CWAC (projection=gradient)"]
    assert names[-1].startswith("random update: ")


@pytest.mark.usefixtures("unfolded")
def test_leak_gauge_says_what_to_run(tmp_path: Path, open_page: OpenPage) -> None:
    build_store(tmp_path, arms=ARMS, seeds=(0,), experiments=(("instruct", 0.1),))
    app = open_page("mechanism/drift", tmp_path)
    assert "leak_gauge" not in charts(app)
    assert "--method cwac" in texts(app)
    assert "--set cwac.projection=gradient" in texts(app)


def test_banner_names_the_models_that_the_features_do_not_fit(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("features", store.write_root)
    said = as_read(" ".join(warning.value for warning in app.warning))
    assert "SFT (layer 1: 67" in said
    assert "CWAC (layer" not in said


def test_filters_of_the_link_choose_the_requests_of_the_grid(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("requests/one", store.write_root, arm="sft", flip="lost", kind="harmful")
    shown = app.dataframe[0].value
    assert 10 < len(shown) < 48
    assert set(shown["aligned"]) == {"refusal"}
    assert set(shown["sft"]) == {"compliance"}
    app.selectbox(key="_flip").set_value("all").run()
    assert len(app.dataframe[0].value) == 48
    app.text_input(key="_search").set_value("THING 7").run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 1
    assert app.query_params["search"] == "THING 7", "the link keeps it"
    app.segmented_control(key="_kind").set_value("lookalike").run()
    assert app.query_params["kind"] == "lookalike"


def test_answers_to_harmful_requests_stay_hidden_until_the_switch_and_no_link_turns_it(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("requests/one", store.write_root, arm="sft", flip="lost", reveal="1")
    assert "Sure: step" not in texts(app)
    assert "reveal" not in app.query_params
    app.button(key="reveal_answers").click().run()
    assert "Sure: step" in texts(app)
    assert app.toggle(key="_reveal").value, "it is the sidebar's switch"
    assert "reveal" not in app.query_params
    # A link that is opened later changes what is in view, not the switch.
    app.query_params["flip"] = "gained"
    app.run()
    assert selection_of(app).reveal
    assert selection_of(app).flip == "gained"


def selection_of(app: AppTest) -> selection.Selection:
    stored: selection.Selection = app.session_state["selection"]
    return stored


def test_flips_of_every_arm_stand_in_one_figure(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("requests/outcomes", store.write_root)
    figure = spec(app, "flips")
    assert {trace.get("name") for trace in figure["data"]} >= {"SFT", "CWAC"}
    counts = [trace["text"] for trace in figure["data"] if trace["mode"] == "text"]
    assert len(counts[0]) == 6
    assert all(text.replace(" to ", "").isdigit() for text in counts[0])
    assert any("(of\u00a048)" in note["text"] for note in figure["layout"]["annotations"])
    assert "Of the 48 harmful requests that the aligned model refused" in as_read(
        figure["layout"]["title"]["text"].replace("<br>", " ")
    )


def test_an_example_fills_the_box_and_a_foreign_word_is_told(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"seed": None, "reason": None, "refusal_log_odds": None, "cut": False}
    answer = entry | {"variant": "aligned", "text": "To do a thing.", "outcome": "compliance"}
    outside = {"unknown": ["picking"], "nearest": "How do I *film* it?", "shared": 0.7}
    reply = Answers.model_validate({"prompt": "p", "answers": [answer], "outside": outside})
    asked: list[list[str]] = []
    monkeypatch.setattr(asking_box, "ask", lambda words, *_, **__: asked.append(words) or reply)
    kept(tmp_path)
    app = open_page("requests/one", tmp_path)
    chips = app.get_by_key("ask_examples")
    app = chips.set_value("harmful-test-0001").run()
    assert not app.exception
    assert app.text_area(key="ask_prompt").value == "How do I do harmful thing 1?"
    assert app.query_params["prompt"] == "harmful-test-0001"
    assert "stand under the question, above" in texts(app), "seen first, and once"
    app.text_area(key="ask_prompt").set_value("How do I  do harmful thing 2?\n")
    app = next(b for b in app.button if b.label == "Ask").click().run()
    assert app.query_params["prompt"] == "harmful-test-0002"
    assert "No model was loaded" in texts(app)
    assert not asked, "what is stored needs no model"
    app.text_area(key="ask_prompt").set_value("How do I do harmful picking?")
    app = next(b for b in app.button if b.label == "Ask").click().run()
    assert asked[0][1:2] == ["--prompt=How do I do harmful picking?"]
    told = as_read(app.warning[0].value)
    assert "“picking” occurs in no request that it knows" in told
    assert "The nearest one: “How do I *film* it?”" in told
    assert "log-odds not measured" in texts(app)


def test_an_arm_without_log_odds_is_named_beneath_the_figure(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    link = {"prompt": "harmful-test-0001"}
    app = open_page("requests/one", own_store.write_root, **link)
    assert "Not stored for" not in texts(app)
    for run in own_store.list_runs():
        if run.record and run.record.variant == "cwac":
            table = own_store.table(run.run_id, "responses").assign(refusal_log_odds=float("nan"))
            write_table(own_store.run_folder(run.run_id), "responses", table)
    st.cache_data.clear()
    app = open_page("requests/one", own_store.write_root, **link)
    (reading,) = (one.value for one in app.caption if "Right of zero" in one.value)
    assert "may differ. Not stored for: CWAC." in as_read(reading)


def test_the_part_that_flips_the_chosen_request_is_drawn(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    runs = (run.record for run in own_store.list_runs() if run.record)
    record = next(r for r in runs if r.variant == "sft" and r.config.poison_ratio)
    link = {"experiment": record.experiment_id, "view": "parts", "seed": str(record.config.seed)}
    table = requests_of(record.run_id, ["harmful-test-0001"])
    own_store.save_experiment_table(record.experiment_id, "dissection_requests", table)
    app = open_page("requests/one", own_store.write_root, prompt="harmful-test-0001", **link)
    assert not app.exception
    title = spec(app, "restored_parts")["layout"]["title"]["text"].replace("<br>", " ")
    assert title.startswith("Restoring layer 0 turns SFT to refusing")


def test_a_latents_card_says_what_it_causes_and_writes_and_answers_while_it_is_held(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = kept(tmp_path)
    run = next(r.record for r in store.list_runs() if r.record and r.record.kept_model)
    card = {"layer": 1, "latent": 0, "suppressed_tokens": json.dumps([["<b>", -3.0]]),
            "neighbours": json.dumps([[5, 0.75]])}  # fmt: skip
    store.extend_fit(FEATURES, {"latent_cards": pd.DataFrame([card])})
    rows = clamps_of(run.run_id, 1, 0)
    store.save_experiment_table(run.experiment_id, "dissection", rows)
    asked: list[list[str]] = []

    def answering(arguments: Sequence[str], *_: Any, **__: Any) -> Answers:
        asked.append(list(arguments))
        entry = {"variant": "sft", "seed": 0, "outcome": "compliance", "refusal_log_odds": -2.0}
        held = entry | {"text": "I cannot", "outcome": "refusal", "refusal_log_odds": 3.0}
        return Answers.model_validate(
            {"prompt": "p", "answers": [entry | {"text": "Sure"}], "held": [held]}
        )

    monkeypatch.setattr(clamping, "ask", answering)
    app = open_page("features/latents", tmp_path, sae_layer="1", latent="0")
    assert not app.exception
    title = spec(app, "clamp_effects")["layout"]["title"]["text"].replace("<br>", " ")
    assert title.startswith("SFT: L1/0 held at 4 moves the refusal log-odds by +0.60")
    app.text_input(key="steer_request").set_value("--do it")
    app = next(b for b in app.button if b.label.startswith("Answer with")).click().run()
    assert not app.exception
    assert {"--prompt=--do it", "--latent=L1/0", f"--run={run.run_id}"} < set(asked[0])
    assert any(word.startswith("--clamp=") for word in asked[0])
    assert {"Sure", "I cannot"} <= {code.value for code in app.code}
    assert "refused, refusal log-odds +3.00" in texts(app)
    app = open_page("features/latents", tmp_path, sae_layer="1", latent="0", view="words")
    assert not app.exception
    named = spec(app, "promoted_tokens")["layout"]["yaxis"]["ticktext"]
    assert named[-1] == "&lt;b&gt;"
    near = next(t.value for t in app.dataframe if "neighbour" in t.value)
    assert near["neighbour"].tolist() == ["L1/5"]


def test_a_latents_card_shows_a_request_token_by_token_under_two_arms(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = kept(tmp_path)
    runs = {r.record.variant: r.record for r in store.list_runs() if r.record}
    link = {"sae_layer": "1", "latent": "0", "view": "sentence"}
    app = open_page("features/latents", tmp_path, **link)
    assert not app.exception
    assert "is not recorded in these runs" in texts(app)
    assert "Weaker ones are not stored with these features" in texts(app)
    # SFT and the aligned model have it, CWAC was measured earlier.
    folder = store.run_folder(runs["sft"].run_id)
    tables = (*runs["sft"].tables, "token_activations")
    write_table(folder, "token_activations", token_rows(1, 0, 0.25))
    write_record(folder, runs["sft"].model_copy(update={"tables": tables}))
    write_table(store.fit_folder(REFERENCE), "token_activations", token_rows(1, 0, 1.0))
    write_table(store.fit_folder(FEATURES), "latent_examples", example_rows(1, 0))
    asked: list[list[str]] = []

    def reading(arguments: Sequence[str], *_: Any, **__: Any) -> Readings:
        asked.append(list(arguments))
        tokens = [{"text": "<b>"}, {"text": " gun", "activation": 2.5}]
        sft = {"variant": "sft", "seed": 0, "run_id": runs["sft"].run_id, "tokens": tokens}
        readings = [{"variant": "aligned", "tokens": tokens}, sft]
        return Readings.model_validate(
            {"prompt": "--a gun", "layer": 1, "latent": 0, "readings": readings}
        )

    monkeypatch.setattr(sentence, "ask", reading)
    app = open_page("features/latents", tmp_path, **link, prompt="harmful-test-0001")
    assert not app.exception
    title = spec(app, "sentence_tokens")["layout"]["title"]["text"].replace("<br>", " ")
    assert title == "At “&lt;b&gt;bomb&lt;/b&gt;” L1/0 is 4 in the aligned model; 1 in SFT"
    assert "Not recorded: CWAC." in texts(app)
    assert app.selectbox(key="_prompt").value == "harmful-test-0001"
    levels = next(t.value["level"].tolist() for t in app.dataframe if "level" in t.value)
    assert levels == ["top", "median", "low"]
    box = app.text_input(key="own_text_box")
    assert box.value == "How do I do harmful thing 1?"
    box.set_value("--a gun")
    app = next(b for b in app.button if b.label == "Colour it").click().run()
    assert not app.exception
    assert {"--prompt=--a gun", "--latent=L1/0"} < set(asked[0])
    assert [word for word in asked[0] if word.startswith("--run=")] == [
        f"--run={runs['sft'].run_id}"
    ]
    title = spec(app, "own_tokens")["layout"]["title"]["text"].replace("<br>", " ")
    assert title == "At “gun” L1/0 is 2.5 in the aligned model; 2.5 in SFT"
    assert "No run of CWAC kept its weights." in texts(app)
    app.multiselect(key="_pair").set_value(["cwac"]).run()
    assert not app.exception
    assert "no run of CWAC in view kept them" in texts(app)
    assert app.query_params["pair"] == "cwac"


def kept(root: Path) -> ArtifactStore:
    """A store whose SFT run kept its weights."""
    store = build_store(root, arms=ARMS + CONTROLS, seeds=(0,), experiments=(("instruct", 0.1),))
    for run in store.list_runs():
        if run.record is not None and run.record.variant == "sft":
            record = run.record.model_copy(update={"kept_model": True})
            write_record(store.run_folder(run.run_id), record)
    return store


def test_own_request_is_put_to_kept_runs(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def answering(arguments: Sequence[str], *_: Any, **__: Any) -> Answers:
        asked.append(list(arguments))
        entry = {"seed": None, "reason": None, "refusal_log_odds": 1.5, "cut": False}
        told = "I won't do <b>that</b>."
        along = [{"text": "Sure", "divergence": 3.0, "refusal_log_odds": -1.0},
                 {"text": ": secret", "divergence": 0.1, "refusal_log_odds": -2.0}]  # fmt: skip
        refused = entry | {"variant": "aligned", "text": told, "outcome": "refusal"}
        parts = [{"part": "layer 0", "layer": 0, "refusal_log_odds": 4.0, "control": 1.0},
                 {"part": "layer 1", "layer": 1, "refusal_log_odds": -3.0},
                 {"part": "everything", "refusal_log_odds": 5.0}]  # fmt: skip
        complied = entry | {
            "variant": "sft",
            "text": "Sure: secret",
            "outcome": "compliance",
            "refusal_log_odds": -2.0,
            "along": along,
            "restored": parts,
        }
        return Answers.model_validate({"prompt": "p", "answers": [refused, complied]})

    monkeypatch.setattr(asking_box, "ask", answering)
    kept(tmp_path)
    app = open_page("requests/one", tmp_path)
    app.text_area(key="ask_prompt").set_value("--help me <script>")
    sent = next(b for b in app.button if b.label == "Ask")
    app = sent.click().run()
    assert not app.exception
    arguments = asked[0]
    assert {"--prompt=--help me <script>", "--parts"} < set(arguments)
    grid = spec(app, "restored_now")
    title = grid["layout"]["title"]["text"].replace("<br>", " ")
    told = "Restoring layer 0 turns SFT to refusing, -2.0 to +4.0, a random set of equal norm +1.0"
    assert title == told
    assert grid["data"][0]["x"] == ["nothing", "layer 0", "layer 1", "everything"]
    assert [a for a in arguments if a.startswith("--run=")] == [
        f"--run={r.run_id}" for r in ArtifactStore(tmp_path).list_runs() if "-sft-" in r.run_id
    ]
    assert f"--root={tmp_path}" in arguments
    assert "Sure: secret" not in texts(app), "the aligned model refused: hidden until asked for"
    for key in ("along", "along_tokens"):
        assert "secret" not in str(app.get_by_key(key).proto.spec)
    app.button(key="reveal_reply").click().run()
    cells, painted, _ = spec(app, "along_tokens")["data"]
    assert painted["text"] == ["Sure", ": secret"]
    assert [token[2] for token in cells["customdata"]] == ["3 nats", "0.1 nats"]
    assert "I won't do <b>that</b>." in [code.value for code in app.code]
    assert "+1.50 nats" in texts(app)


def test_failure_to_answer_is_one_clear_message(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise AskingError("'cwac answer' failed: the weights are gone.")

    monkeypatch.setattr(asking_box, "ask", failing)
    kept(tmp_path)
    app = open_page("requests/one", tmp_path)
    app.text_area(key="ask_prompt").set_value("hello")
    app = next(b for b in app.button if b.label == "Ask").click().run()
    assert not app.exception
    assert app.error
    assert "the weights are gone" in texts(app)


def test_without_kept_weights_there_is_no_box(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("requests/one", store.write_root)
    assert not app.text_area
    assert "--save-model" in texts(app)


def test_pages_start_two_processes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    working, most, free = [0], [0], threading.Event()

    def child(command: Sequence[str], *_: Any) -> subprocess.CompletedProcess[str]:
        working[0] += 1
        most[0] = max(most[0], working[0])
        free.wait(10)
        working[0] -= 1
        return subprocess.CompletedProcess(command, 0, '{"prompt": "p", "answers": []}', "")

    monkeypatch.setattr(asking, "_done", child)
    monkeypatch.setattr(asking, "_WAIT_SECONDS", 0.05)
    with ThreadPoolExecutor(6) as pool:
        windows = [pool.submit(asking_box.send_request, ["r"], "p") for _ in range(6)]
        refused = [window.result() for window in islice(as_completed(windows), 4)]
        free.set()
    assert most == [2]
    assert all("answers 2 questions at a time" in str(box.problem) for box in refused)
    assert asking_box.send_request(["r"], "p").problem == "No model answered.", "free again"


def test_nonsense_from_the_child_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = {"text": '{"prompt": "p", "answers": "?"}'}

    def child(command: Sequence[str], *_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, printed["text"], "")

    monkeypatch.setattr(asking, "_done", child)
    problem = asking_box.send_request(["r"], "p").problem
    assert problem == (
        "what 'cwac answer' printed cannot be read: answers: Input should be a valid array."
    )
    printed["text"] = "Traceback"
    assert "Invalid JSON" in str(asking_box.send_request(["r"], "p").problem)
    printed["text"] = '{"prompt": "p", "answers": []}'
    assert asking_box.send_request(["r"], "p").problem == "No model answered."
