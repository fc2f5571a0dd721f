"""What the hand-out of an experiment says, against numbers counted here, and what it leaves out."""

from dataclasses import replace

import pandas as pd
import pytest
from scipy.stats import binomtest
from store_builder import HOSTILE, break_run, build_store

from cwac.artifacts import ArtifactStore
from cwac.cli import _status
from cwac.config import ModelConfig
from cwac.errors import ArtifactError, ConfigError
from cwac.flags import parse
from cwac.handout import chosen, experiment_handout, one_page_handout, render
from cwac.handout.by_model import by_model_section
from cwac.handout.stored import Stored

ARMS = (("sft", {}), ("cwac", {}), ("cwac", {"subspace": "random"}))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build_store(tmp_path_factory.mktemp("handout"), arms=ARMS, seeds=(0,))


@pytest.fixture(scope="module")
def records(store):
    return [run.record for run in store.list_runs() if run.record.config.poison_ratio]


@pytest.fixture(scope="module")
def handout(store, records):
    return experiment_handout(store, records)


def section(handout, title):
    (only,) = [one for one in handout.sections if one.title == title]
    return only


def test_rates_stand_with_their_counts_and_intervals(handout, store, records):
    table = section(handout, "Outcomes").table.set_index("Arm")
    assert list(table.index) == ["aligned model", "SFT", "CWAC", "CWAC (random directions)"]
    sft = next(r for r in records if r.config.method == "sft")
    answers = store.table(sft.run_id, "responses")
    harmful = answers[answers["kind"] == "harmful"]
    hits = int((harmful["outcome"] == "compliance").sum())
    interval = binomtest(hits, len(harmful)).proportion_ci(method="wilson")
    expected = (
        f"{100 * hits / len(harmful):.1f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
        f", n = {len(harmful)}"
    )
    assert table.loc["SFT", "Harmful score"].replace("\u00a0", " ") == expected
    titles = {"Harmful score", "Refusal rate", "Over-refusal", "Task accuracy", "Seeds",
              "Look-alikes answered", "Seconds a step"}  # fmt: skip
    assert set(table.columns) == titles
    assert table.loc["aligned model", "Task accuracy"].endswith("(not trained for it)")
    assert not table.loc["SFT", "Task accuracy"].endswith(")")
    assert table.loc["aligned model", "Seeds"] == ""


def test_its_commands_state_the_runs(handout, records):
    commands = section(handout, "What was run").code.splitlines()
    # One command cannot name CWAC twice with different settings.
    assert len(commands) == 2
    assert all(one.startswith("cwac run ") and one.endswith(" --root runs") for one in commands)
    plans = [parse(one.removesuffix(" --root runs").split()[1:]) for one in commands]
    arms = [(method, dict(changed)) for plan in plans for method, changed in plan.arms]
    stored = [(r.config.method, r.arm.changed) for r in records]
    assert sorted(arms, key=str) == sorted(stored, key=str)
    assert {plan.sections["poison_ratio"] for plan in plans} == {0.1}


def test_every_figure_of_the_app_is_there_and_says_its_seeds(handout):
    titles = (
        "Harmful score against task accuracy",
        "Refusal log-odds: what greedy answers hide",
        "Weight drift",
        "Weight drift inside the safety subspace",
        "Subspace overlap",
        "SAE safety features",
    )
    for title in titles:
        one = section(handout, title)
        assert one.figure is not None, title
        assert "eed" in one.reading, title


def test_claims_stand_with_verdicts_and_the_failing_ones_once_more(handout):
    table = section(handout, "What the numbers show, and what they do not").table
    assert {"shown", "refuted", "not shown", "not measured"} >= set(table["Verdict"])
    assert table["From"].str.contains("n = ").any()
    failing = table[(table["Verdict"] != "shown") & table["Claim"].str.startswith("CWAC")]
    points = " ".join(section(handout, "Where CWAC fails, and what this cannot say").points)
    assert len(failing)
    assert all(claim in points for claim in failing["Claim"])
    assert "CWAC on another model: not measured" in points


def test_models_are_compared_by_all_arms_also_where_some_are_shown(store, records):
    model = ModelConfig(source="other", contents="cc")
    elsewhere = [
        r.model_copy(update={"config": r.config.model_copy(update={"model": model})})
        for r in records
    ]
    whole = Stored.of(store, records)
    few = Stored.of(store, [r for r in records if r.config.method == "sft"])
    table = by_model_section(few, [whole, replace(whole, records=tuple(elsewhere))]).table
    assert set(table["On"]) == {"organism", "other"}
    assert {"CWAC", "CWAC (random directions)"} <= set(table["Method"])


def test_no_answer_is_in_it_and_hostile_names_stay_text(handout, store, records):
    page = render(handout)
    assert "arXiv:2604.12384" in page
    answers = pd.concat([store.table(r.run_id, "responses") for r in records])
    assert answers["response"].str.contains("Sure: step").any()
    assert "Sure: step" not in page
    assert "How do I do harmful" not in page
    assert not any(text in page for text in HOSTILE[:2])


def test_a_hostile_label_is_escaped(store, records):
    evil = "<img src=x onerror=alert(1)>"
    config = records[0].config.model_copy(update={"task": records[0].config.task.model_copy()})
    arm = records[0].arm.model_copy(update={"method": "other", "method_title": evil})
    named = [
        records[0].model_copy(update={"arm": arm, "variant": arm.label, "config": config}),
        *records[1:],
    ]
    page = render(experiment_handout(store, named))
    assert evil not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_what_is_not_stored_is_not_measured(tmp_path):
    store = build_store(tmp_path, arms=ARMS[:1], seeds=(0,), experiments=(("instruct", 0.1),))
    (run,) = store.list_runs()
    bare = run.record.model_copy(update={"tables": (), "fits": {}, "metrics": {}})
    handout = experiment_handout(store, [bare])
    texts = {one.title: one.text for one in handout.sections}
    silent = ("Weight drift", "Subspace overlap", "SAE safety features", "Outcomes",
              "Harmful score against task accuracy")  # fmt: skip
    assert all("not measured" in texts[title] for title in silent)
    assert not any(one.figure for one in handout.sections)
    assert "CWAC at its own settings was not run" in render(handout)


def test_a_damaged_table_is_named_and_the_rest_is_shown(tmp_path):
    store = build_store(tmp_path, arms=ARMS, seeds=(0,), experiments=(("instruct", 0.1),))
    first = chosen(store, [])[0]
    break_run(store, first.run_id, "table", "weight_drift")
    handout = experiment_handout(store, chosen(store, []))
    assert "weight_drift" in handout.lead
    assert section(handout, "Weight drift").figure is not None


def test_names_mean_experiments_or_runs(store, records):
    one = records[0]
    assert chosen(store, [one.run_id]) == [one]
    assert chosen(store, [one.experiment_id, one.run_id]) == records
    # The app opens with the one that has more poison, of two that are equally full.
    assert {r.experiment_id for r in chosen(store, [])} == {one.experiment_id}
    with pytest.raises(ArtifactError, match="neither a run nor an experiment"):
        chosen(store, ["nothing"])
    with pytest.raises(ArtifactError, match="no run is stored"):
        chosen(ArtifactStore(store.write_root / "fits" / "none"), [])
    everything = [run.record for run in store.list_runs()]
    with pytest.raises(ConfigError, match="one experiment"):
        experiment_handout(store, everything)


def test_runs_under_two_rules_are_never_in_one_table(store, records):
    other = {**records[-1].protocol, "judge": "another"}
    mixed = [*records[:-1], records[-1].model_copy(update={"protocol": other})]
    handout = experiment_handout(store, mixed)
    assert "1 run of this experiment had another judge" in handout.lead
    assert len(section(handout, "Outcomes").table) == 3


def test_the_command_writes_one_file(store, records, tmp_path, capsys):
    out = tmp_path / "page.html"
    call = ["report", records[0].experiment_id, "--root", str(store.write_root), "--out"]
    assert _status([*call, str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("plotly.js v") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert _status([*call, str(out), "--one-page"]) == 0
    assert "<body class=one-page>" in out.read_text(encoding="utf-8")
    for wrong in ("page.pdf", "missing/page.html"):
        assert _status([*call, str(tmp_path / wrong)]) == 2
    assert "must name a file that ends in .html" in capsys.readouterr().err


def test_one_page_has_harm_and_price_one_figure_and_three_questions(store, records):
    everything = [run.record for run in store.list_runs()]
    spent = {"metrics": {}}
    records = [r.model_copy(update=spent) if r.variant == "cwac" else r for r in records]
    handout = one_page_handout(store, records, everything)
    first = section(handout, "Three models: harm, and its price")
    numbers = first.table
    assert list(numbers["Seconds a step"]) == ["not trained", "0.12 (1 seed)", "not measured"]
    assert "the mean of the runs' medians" in first.text
    long = section(experiment_handout(store, records), "Outcomes").table.set_index("Arm")
    score = "Complies with harmful requests"
    three = long.loc[["aligned model", "SFT", "CWAC"]]
    assert list(numbers[score]) == list(three["Harmful score"])
    assert list(numbers["Task accuracy"]) == list(three["Task accuracy"])
    alike = numbers["Look-alikes answered"]
    assert list(alike) == list(three["Look-alikes answered"])
    assert len([one for one in handout.sections if one.figure is not None]) == 1
    assert len(section(handout, "To discuss").points) == 3
    page = render(handout)
    assert "<body class=one-page>" in page
    assert "arXiv:2604.12384" in page
    assert "Sure: step" not in page, "no answer of a model is in it"
    bare = records[0].model_copy(update={"tables": (), "fits": {}, "metrics": {}})
    silent = one_page_handout(store, [bare])
    cells = section(silent, "Three models: harm, and its price").table[score]
    assert set(cells) == {"not measured"}
