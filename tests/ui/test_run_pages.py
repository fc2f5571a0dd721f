"""The Runs page says what it will run; the Runs page compares, deletes, archives and takes in."""

import io
import json
import os
import shlex
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from reading import as_read, runs_table
from store_builder import HOSTILE
from streamlit.testing.v1 import AppTest

from cwac.arms import Arm
from cwac.artifacts import HIDDEN, ArtifactStore, pack_runs, reading_roots, unpack
from cwac.config import LoraConfig, TrainingConfig
from cwac.errors import ConfigError
from cwac.figures.runs import arms_side_by_side
from cwac.figures.trajectory import arms_of, live_figure, probes
from cwac.flags import Plan
from cwac.jobs import ProgressLine
from cwac.messages import Catalogue, MethodEntry, Preview
from cwac.ui import asking, jobs
from cwac.ui.experiments import listing
from cwac.ui.runs.chosen import differences, export_rows, flat, packed
from cwac.ui.runs.launch.form import RunRequest, further_settings, settings_of
from cwac.ui.runs.launch.preview import duration, segments
from cwac.ui.runs.launch.watch import arm_rows, overall, stored, too_short

OpenPage = Callable[..., AppTest]
CATALOGUE: dict[str, list[dict[str, Any]]] = {
    "models": [
        {
            "name": "organism",
            "summary": "small",
            "defaults": {
                "training": {"steps": 300, "learning_rate": 1e-4},
                "tasks": {"topic": {"learning_rate": 3e-4}},
                "methods": {"cwac": {"strength": 0.7}},
            },
        }
    ],
    "tasks": [{"name": "instruct", "title": "t"}, {"name": "topic", "title": "t"}],
    "methods": [
        {"name": "sft", "summary": "s", "source": "p", "strength_knob": None, "settings": {}},
        {
            "name": "cwac",
            "summary": "s",
            "source": "p",
            "strength_knob": "strength",
            "settings": {"strength": 0.5},
        },
    ],
}
PREVIEW = {
    "template": "plain",
    "seconds": 42.0,
    "memory_bytes": 700_000_000,
    "runs": [{"run_id": "r", "complete": False}],
    "warnings": ["a warning with *marks*"],
    "examples": [
        {"id": "e1", "poison": False, "tokens": [["Q: ", False], ["hi", False], ["yes", True]]},
        {"id": "p1", "poison": True, "tokens": [["Q", False], [f"bad {HOSTILE[0]}", True]]},
    ],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Answers of child processes, fixed; gives what was asked."""
    monkeypatch.setattr(asking, "shipped", lambda: None)
    calls: list[tuple[str, ...]] = []

    def ask(arguments, message, **_):
        calls.append(tuple(arguments))
        return message.model_validate(CATALOGUE if arguments[0] == "list" else PREVIEW)

    monkeypatch.setattr(asking, "ask", ask)
    return calls


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Starts nothing; gives what would have been started."""
    calls: list[dict[str, Any]] = []

    def start(arguments, root, **words):
        calls.append({"arguments": list(arguments), "root": root, **words})
        return "20260101-000000-aaaa"

    monkeypatch.setattr(jobs, "start", start)
    return calls


# The request


def test_command_line_of_a_request() -> None:
    request = RunRequest(
        {
            "model": "organism",
            "task": "instruct",
            "poison": 0.1,
            "method": ["sft", "cwac"],
            "seed": [0, 1],
            "steps": 1_000_000,
            "learning_rate": 2.5e-5,
            "set": ["cwac.strength=0.5"],
        }
    )
    assert request.command("my runs") == (
        "cwac run --model organism --task instruct --poison 0.1 --method sft --method cwac "
        "--seed 0 --seed 1 --steps 1000000 --learning-rate 2.5e-05 --set cwac.strength=0.5 "
        "--root 'my runs' --save-model"
    )
    assert shlex.split(request.command("my runs"))[1:] == request.arguments("my runs")


def test_files_are_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.csv").write_text("text\nx\n")
    monkeypatch.chdir(tmp_path)
    request = RunRequest({"model": "m", "task": "t", "harmful": "bad.csv:text"})
    assert f"{tmp_path}/bad.csv:text" in request.shared()


def test_request_without_arms_or_seeds_has_a_problem() -> None:
    assert RunRequest({"method": [], "seed": [0]}).problem
    assert RunRequest({"method": ["sft"], "seed": []}).problem
    assert RunRequest({"method": ["sft"], "seed": [0]}).problem is None


def test_settings_lines() -> None:
    assert settings_of("cwac.strength = 2\n\n") == ["cwac.strength=2"]
    with pytest.raises(ConfigError, match=r"name\.key=value"):
        settings_of("strength 2")


def test_a_setting_that_cannot_be_used_is_not_left_out_in_silence() -> None:
    methods = [MethodEntry(name="cwac", settings={"strength": 0.5})]
    good = ["cwac.strength=2", "training.warmup_fraction=0.1"]
    assert further_settings("\n".join(good), methods) == (good, None)
    for text, word in (("cwac.strenth=2", "strength"), ("cwac.strength 2", "name.key=value")):
        settings, problem = further_settings(text, methods)
        assert settings == []
        assert word in str(problem)


# The Runs page


def test_lora_goes_through_as_on_the_command_line(
    tmp_path: Path, open_page: OpenPage, asked, started
) -> None:
    app = open_page("runs/launch", tmp_path)
    command = next(code.value for code in app.code if code.value.startswith("cwac run"))
    assert "--adapter" not in command, "every weight is the default"
    assert not [field for field in app.number_input if field.key == "run_lora_rank"]
    app.segmented_control(key="run_adapter").set_value("lora").run()
    assert app.number_input(key="run_lora_rank").placeholder == "default: 8"
    assert app.number_input(key="run_lora_alpha").placeholder == "default: 16"
    assert "default: all" in app.multiselect(key="run_lora_targets").placeholder
    app.number_input(key="run_lora_rank").set_value(4).run()
    app.multiselect(key="run_lora_targets").set_value(["ffn"]).run()
    app.button(key="run_start").click().run()
    assert not app.exception
    (call,) = started
    words = " ".join(call["arguments"])
    assert "--adapter lora --set training.adapter.rank=4" in words
    assert '--set training.adapter.targets=["ffn"]' in words
    plan = Plan.of({"adapter": "lora", "set": ['training.adapter.targets=["ffn"]']})
    adapter = TrainingConfig.build(plan.section("training")).adapter
    assert isinstance(adapter, LoraConfig)
    assert adapter.targets == ("ffn",)


def test_methods_that_cannot_train_so_are_explained_before_the_start(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = [dict(entry, adapters=["full", "lora"]) for entry in CATALOGUE["methods"]]
    methods.append(dict(methods[0], name="salora", adapters=["lora"]))
    methods.append(dict(methods[0], name="asft", adapters=["full"]))
    catalogue = Catalogue.model_validate(CATALOGUE | {"methods": methods})
    monkeypatch.setattr(asking, "shipped", lambda: None)
    monkeypatch.setattr(asking, "ask", lambda *_, **__: catalogue)
    app = open_page("runs/launch", tmp_path)
    assert not app.button(key="run_start").disabled
    app.multiselect(key="run_methods").set_value(["sft", "salora"]).run()
    said = "SaLoRA does not work when every weight is trained: choose LoRA adapters, or leave it"
    assert said in as_read(app.warning[0].value)
    assert app.button(key="run_start").disabled
    app.segmented_control(key="run_adapter").set_value("lora").run()
    assert not app.warning
    assert not app.button(key="run_start").disabled
    app.multiselect(key="run_methods").set_value(["asft", "salora"]).run()
    said = "AsFT does not work with LoRA adapters: choose every weight"
    assert said in as_read(app.warning[0].value)


def test_form_starts_exactly_the_command_it_shows(
    tmp_path: Path, open_page: OpenPage, asked, started
) -> None:
    app = open_page("runs/launch", tmp_path)
    app.selectbox(key="run_task").set_value("topic").run()
    assert "0.0003" in app.number_input(key="run_learning_rate").placeholder
    app.number_input(key="run_steps").set_value(40).run()
    app.number_input(key="run_cwac_strength").set_value(2.0).run()
    app.multiselect(key="run_seeds").set_value([0, 2]).run()
    shown = next(code.value for code in app.code if code.value.startswith("cwac run"))
    app.button(key="run_start").click().run()
    assert not app.exception
    (call,) = started
    assert ["cwac", *call["arguments"]] == shlex.split(shown)
    for part in ("--task topic", "--steps 40", "--seed 2", "--set cwac.strength=2"):
        assert part in shown


def test_fields_left_empty_pass_no_flag(tmp_path: Path, open_page: OpenPage, asked) -> None:
    app = open_page("runs/launch", tmp_path)
    shown = next(code.value for code in app.code if code.value.startswith("cwac run"))
    assert not any(flag in shown for flag in ("--steps", "--learning-rate", "--batch", "--set"))
    strength = app.number_input(key="run_cwac_strength")
    assert "default: 0.7" in strength.placeholder
    assert "Left empty it is 0.7; the model's card sets it, the method's own is 0.5." in (
        strength.help
    )


def test_form_survives_a_visit_to_another_page(tmp_path: Path, open_page: OpenPage, asked) -> None:
    app = open_page("runs/launch", tmp_path)
    app.number_input(key="run_steps").set_value(40).run()
    app.switch_page("pages/reference.py").run()
    app.query_params["tab"] = "launch"
    app.switch_page("pages/runs.py").run()
    assert app.number_input(key="run_steps").value == 40


def test_start_is_off_without_an_arm(tmp_path: Path, open_page: OpenPage, asked) -> None:
    app = open_page("runs/launch", tmp_path)
    app.multiselect(key="run_methods").set_value([]).run()
    assert app.button(key="run_start").disabled
    assert "Choose at least one arm." in [w.value for w in app.warning]
    app.multiselect(key="run_methods").set_value(["sft"])
    app.number_input(key="run_poison").set_value(1.7).run()
    assert app.button(key="run_start").disabled
    assert "The poison ratio is 1.7; allowed is 0 to 1." in [w.value for w in app.warning]


def test_preview_shows_the_loss_mask_and_hides_poison_answers(
    tmp_path: Path, open_page: OpenPage, asked
) -> None:
    app = open_page("runs/launch", tmp_path)
    app.button(key="run_preview").click().run()
    assert not app.exception
    table = app.dataframe[0].value
    assert table["Text"].tolist() == ["Q: hi", "yes", "Q", HIDDEN]
    assert table["In the loss"].tolist() == [False, True, False, True]
    assert app.metric[0].value == "42 s"
    revealed = segments(Preview.model_validate(PREVIEW).examples, reveal=True)
    assert revealed["Text"].iloc[-1].startswith("bad <script>")


def test_preview_is_taken_back_when_the_form_changes(
    tmp_path: Path, open_page: OpenPage, asked
) -> None:
    app = open_page("runs/launch", tmp_path)
    app.button(key="run_preview").click().run()
    app.number_input(key="run_steps").set_value(41).run()
    assert not app.metric


def test_a_preview_that_is_made_can_be_cancelled(
    tmp_path: Path, open_page: OpenPage, asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_, stop: threading.Event, **__):
        assert stop.wait(30), "nobody cancelled it"
        raise asking.AskingError("'cwac preview' was cancelled.")

    app = open_page("runs/launch", tmp_path)
    monkeypatch.setattr(asking, "ask", ask)
    app.button(key="run_preview").click().run()
    app.button(key="preview_cancel").click().run()
    assert not app.exception
    assert not app.error
    assert "preview_cancel" not in [button.key for button in app.button]


def test_a_child_is_ended_when_somebody_says_so_and_when_it_is_late() -> None:
    stop, begun = threading.Event(), time.monotonic()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(InterruptedError):
        asking._done(["sleep", "30"], 60, stop)
    with pytest.raises(subprocess.TimeoutExpired):
        asking._done(["sleep", "30"], 0.1, threading.Event())
    assert time.monotonic() - begun < 10


def test_page_without_an_answering_child_says_so(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_, **__):
        raise asking.AskingError("'cwac list' failed: no module named torch")

    monkeypatch.setattr(asking, "ask", ask)
    monkeypatch.setattr(asking, "shipped", lambda: None)
    app = open_page("runs/launch", tmp_path)
    assert not app.exception
    assert "no module named torch" in app.error[0].value


def test_bad_input_of_a_child_is_its_own_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(asking.AskingError, match=r"failed: .*nonsense"):
        asking.ask(["list", "nonsense"], Catalogue)


def a_job(root: Path, **status: Any) -> None:
    folder = root / ".jobs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True)
    request = {"title": "my job", "command": "cwac run", "created": "2026-01-01T00:00:00+00:00"}
    (folder / "request.json").write_text(json.dumps(request))
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "log.txt").write_text("first\nlast words *x*")
    rows = [
        {"run_id": "r", "variant": "sft", "seed": 0, "step": step, "fraction": 0.1,
         "task_loss": 2.0, "safety_loss": None, "refusal_rate": 1.0, "refusal_low": 0.9,
         "refusal_high": 1.0, "refusal_n": 48, "drift_inside": 0.0, "drift_outside": 0.1}
        for step in (0, 10)
    ]  # fmt: skip
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "progress.jsonl").write_text(text + "\n")


def test_dead_worker_is_shown_as_failed_with_its_log(
    tmp_path: Path, open_page: OpenPage, asked
) -> None:
    a_job(tmp_path, state="running", pid=2**22 + 5, pid_created=1.0, runs=["r"])
    app = open_page("runs/launch", tmp_path)
    assert not app.exception
    assert "last words" in app.error[0].value
    assert any("first" in code.value for code in app.code)
    assert app.get("plotly_chart"), "what it had seen is still drawn"


def test_running_job_can_be_cancelled(
    tmp_path: Path, open_page: OpenPage, asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = psutil.Process()
    a_job(tmp_path, state="running", pid=os.getpid(), pid_created=me.create_time(), runs=["r"])
    cancelled = []
    monkeypatch.setattr(jobs, "cancel", cancelled.append)
    app = open_page("runs/launch", tmp_path)
    assert not app.exception
    app.button(key="cancel_20260101-000000-aaaa").click().run()
    assert [job.job_id for job in cancelled] == ["20260101-000000-aaaa"]


# Progress


def test_live_figure_has_a_line_per_run_and_no_line_for_what_is_not_measured() -> None:
    lines = [
        ProgressLine(run_id=name, variant=name, seed=0, step=step, task_loss=1.0,
                     safety_loss=0.5 if name == "cwac" else None, refusal_rate=0.5, refusal_n=48)
        for name in ("sft", "cwac")
        for step in (0, 10)
    ]  # fmt: skip
    figure = live_figure(probes([ProgressLine(phase="setup"), *lines]), arms_of(lines))
    drawn = {(t.name, t.yaxis) for t in figure.data if t.x is not None and len(t.x)}
    assert ("CWAC, seed 0", "y2") in drawn
    assert ("SFT, seed 0", "y2") not in drawn
    assert ("SFT, seed 0", "y") in drawn
    assert live_figure(probes([]), {}).layout.title.text == "No probe yet"


def test_a_running_job_is_titled_by_its_arm(tmp_path: Path, open_page: OpenPage, asked) -> None:
    me = psutil.Process()
    a_job(tmp_path, state="running", pid=os.getpid(), pid_created=me.create_time(), runs=["r"])
    arm = Arm(method="mine", method_title="My method", changed={"subspace": "random"}, control=True)
    line = ProgressLine(run_id="r", variant=arm.label, arm=arm, seed=0, step=20, task_loss=1.0,
                        refusal_rate=0.5, refusal_n=48, phase="training")  # fmt: skip
    progress = tmp_path / ".jobs" / "20260101-000000-aaaa" / "progress.jsonl"
    progress.write_text(line.model_dump_json(exclude_unset=True) + "\n")
    lines = jobs.progress(progress.parent)
    assert arms_of(lines) == {arm.label: arm}
    assert "My method (random directions), seed 0" in {
        trace.name for trace in live_figure(probes(lines), arms_of(lines)).data
    }
    app = open_page("runs/launch", tmp_path)
    assert not app.exception
    (bar,) = app.get("progress")
    assert bar.proto.text.startswith("My method (random directions) training")


def test_arms_stand_side_by_side_while_they_train() -> None:
    lines = [
        ProgressLine(run_id=f"{name}{seed}", variant=name, seed=seed, step=step, fraction=0.5,
                     refusal_rate=rate - step / 100, refusal_n=48, drift_outside=0.1,
                     phase="training")
        for name, rate in (("sft", 0.5), ("cwac", 1.0))
        for seed in (0, 1)
        for step in (0, 10)
    ]  # fmt: skip
    figure = arms_side_by_side(probes(lines), arms_of(lines))
    drawn = [t for t in figure.data if t.mode == "lines+markers" and t.x is not None and len(t.x)]
    assert {(t.xaxis, t.yaxis) for t in drawn} == {
        ("x", "y"),
        ("x2", "y2"),
        ("x3", "y3"),
        ("x4", "y4"),
    }
    said = figure.layout.title.text.replace("\u00a0", " ").replace("<br>", " ")
    assert said == (
        "SFT refuses 40 % at step 10; CWAC refuses 90 % at step 10 (n = 48 probe requests)"
    )
    job = jobs.Job("j", Path(), "running", "", "", "", None, None, None,
                   ("sft0", "sft1", "cwac0", "cwac1", "later"), ())  # fmt: skip
    rows = arm_rows(job, lines)
    assert [row["Now"] for row in rows] == ["over", "over", "over", "training", "waits"]
    assert rows[3]["Refuses"] == "90 %, n = 48, step 10"
    assert rows[4]["Refuses"] == "not probed"


def test_a_start_closes_the_drawer_and_the_button_opens_it(
    tmp_path: Path, open_page: OpenPage, asked, started
) -> None:
    app = open_page("runs/launch", tmp_path)
    app.button(key="run_start").click().run()
    assert not app.exception
    assert app.query_params["view"] == "jobs"
    assert "run_start" not in [button.key for button in app.button]
    app.button(key="open_drawer").click().run()
    assert app.query_params["view"] == "form"
    assert app.button(key="run_start")


def test_share_of_a_grid() -> None:
    job = jobs.Job("j", Path(), "running", "", "", "", None, None, None, ("a", "b"), ())
    assert overall(job, []) == 0.0
    lines = [ProgressLine(run_id="a", fraction=0.9), ProgressLine(run_id="b", fraction=0.5)]
    assert overall(job, lines) == 0.75


def test_what_was_stored_already_is_not_called_new() -> None:
    job = jobs.Job("j", Path(), "done", "", "", "", None, None, None, ("a", "b"), ())
    done = [ProgressLine(run_id=name, phase="done") for name in ("a", "b")]
    assert stored(job, []) == "0 new, 2 already stored"
    assert stored(job, done[:1]) == "1 new, 1 already stored"
    assert stored(job, done) == "2 new runs stored"


def test_a_job_that_ended_early_says_so_instead_of_drawing_points(
    tmp_path: Path, open_page: OpenPage, asked
) -> None:
    a_job(tmp_path, state="cancelled", runs=["r"])
    progress = tmp_path / ".jobs" / "20260101-000000-aaaa" / "progress.jsonl"
    progress.write_text(progress.read_text().splitlines()[0] + "\n")
    app = open_page("runs/launch", tmp_path)
    assert not app.exception
    assert not app.get("plotly_chart")
    said = "after the probe at step 0 (sft, seed 0, refused 100 % of 48 probe requests)"
    assert any(said in caption.value for caption in app.caption)
    assert "before the first probe" in str(too_short(probes([])))


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59.6, 61, None)] == ["0 s", "1 min 00 s", "1 min 01 s",
                                                            "not measured"]  # fmt: skip


# The Runs page


def test_runs_are_listed_with_their_numbers(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("runs/stored", store.write_root, rows="every run")
    table = runs_table(app).value
    assert len(table) == len(store.list_runs())
    assert set(table["Status"]) == {"complete"}
    assert table["Harmful score"].between(0, 100).all()
    assert table["Harmful score"].max() > 1, "in per cent"
    assert (table["MB"] > 0).all()
    assert {"SFT", "CWAC"} <= set(table["Arm"]), "names for people"
    assert table["Made"].dtype.kind == "M", "a time, not its text"
    listed = json.loads(runs_table(app).proto.columns)
    assert "pinned" not in listed["Arm"], "a pinned name is drawn pale"
    assert listed["Arm"]["width"] > 6 * table["Arm"].str.len().max()


def test_packed_runs_have_a_size_too(own_store: ArtifactStore, open_page: OpenPage) -> None:
    before = runs_table(open_page("runs/stored", own_store.write_root, rows="every run")).value
    pack_runs(own_store.write_root)
    after = runs_table(open_page("runs/stored", own_store.write_root, rows="every run")).value
    pd.testing.assert_frame_equal(before, after)


def test_broken_run_is_listed_with_its_problem(
    broken_store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("runs/stored", broken_store.write_root, rows="every run")
    table = runs_table(app).value
    broken = table[table["Status"] == "broken"]
    assert len(broken) == 1
    assert "cannot be read" in broken["Problem"].iloc[0]
    assert broken["Harmful score"].isna().all(), "not measured is empty, not 0"


def records(store: ArtifactStore, *variants: str):
    found = [run.record for run in store.list_runs()]
    return [next(r for r in found if r.variant == variant) for variant in variants]


def test_difference_between_two_runs(store: ArtifactStore) -> None:
    table = differences(records(store, "cwac", "cwac (subspace=random)"))
    assert table["Setting"].tolist() == ["settings.subspace"]
    assert set(table.iloc[0, 1:]) == {"safety", "random"}
    assert differences(records(store, "cwac", "cwac")).empty


def test_flat_settings() -> None:
    assert flat({"a": {"b": None}, "c": [1]}) == {"a.b": "default", "c": "[1]"}


def test_archive_opens_elsewhere_without_harmful_answers(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(store.write_root))
    (record,) = records(store, "sft")
    other = ArtifactStore(tmp_path / "elsewhere")
    assert unpack(other, packed(record.run_id, reveal=False)) == [record.run_id]
    other = ArtifactStore(*reading_roots(other.write_root))
    assert other.load(record.run_id).metrics == record.metrics
    table = other.table(record.run_id, "responses")
    assert set(table.loc[table["kind"] == "harmful", "response"]) == {HIDDEN}
    assert not (table.loc[table["kind"] != "harmful", "response"] == HIDDEN).any()
    assert other.fit_table(record.fits["reference"], "responses") is not None
    assert set(other.table(record.run_id, "probe_answers")["response"]) == {HIDDEN}


def test_redaction_also_holds_for_the_aligned_models_answers(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(store.write_root))
    (record,) = records(store, "sft")
    with zipfile.ZipFile(io.BytesIO(packed(record.run_id, reveal=False))) as archive:
        names = [n for n in archive.namelist() if n.endswith("responses.parquet")]
        assert len(names) == 2
        for name in names:
            table = pd.read_parquet(io.BytesIO(archive.read(name)))
            assert set(table.loc[table["kind"] == "harmful", "response"]) == {HIDDEN}


def test_table_of_all_numbers(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(store.write_root))
    table, units = export_rows(listing())
    assert len(table) == len(store.list_runs())
    assert {"run_id", "variant", "harmful_score", "harmful_score_low"} <= set(table.columns)
    assert units["harmful_score_low"] == "fraction"


def test_jobs_are_listed(tmp_path: Path, open_page: OpenPage) -> None:
    a_job(tmp_path, state="failed", message="out of memory")
    app = open_page("runs/stored", tmp_path)
    assert not app.exception
    row = app.dataframe(key="jobs_table").value.iloc[0]
    assert "failed" in row["State"]
    assert row["Why"] == "out of memory"
