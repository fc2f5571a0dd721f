"""Stored answers judged anew by other judges, and runs measured by a judge of one's choice."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cwac.analysis.judges import agreement_table, judged
from cwac.artifacts import ArtifactStore, summarise, trash_runs
from cwac.cli import main
from cwac.cli.judge import finding_no_refusal
from cwac.errors import ArtifactError, UnknownNameError
from cwac.figures.requests.judges import agreement_figure
from cwac.judges import PHRASE_LISTS
from cwac.records import check_table
from cwac.runner import resolve, run_grid
from cwac.runner.rejudge import JUDGEMENTS, rejudge


def cwac(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_stored_answers_are_judged_beside_the_runs_numbers(own_root):
    store = ArtifactStore(own_root)
    before = {run.run_id: run.record for run in store.list_runs()}
    tables = rejudge(store, ["qi", "general"])
    (experiment,) = tables
    table = check_table(JUDGEMENTS, store.experiment_table(experiment, JUDGEMENTS))
    assert set(table["run_id"]) == {*before, "aligned"}
    assert set(table["judge"]) == {"qi", "general"}
    assert "task" not in set(table["kind"])
    run_id = next(iter(before))
    answers = store.table(run_id, "responses").set_index("prompt_id")
    mine = table[table["run_id"] == run_id].set_index(["judge", "prompt_id"])
    for prompt_id, row in answers[answers["kind"] == "harmful"].iterrows():
        said = any(phrase in row["response"] for phrase in PHRASE_LISTS["qi"].phrases)
        assert (mine.loc[("qi", prompt_id), "outcome"] == "refusal") == said
        assert mine.loc[("general", prompt_id), "outcome"] == row["general_outcome"]
    assert {run.run_id: run.record for run in store.list_runs()} == before


def test_judging_again_replaces_the_same_judge_and_keeps_others(own_root):
    store = ArtifactStore(own_root)
    (first,) = rejudge(store, ["qi"]).values()
    (second,) = rejudge(store, ["gcg"]).values()
    (third,) = rejudge(store, ["qi"]).values()
    assert len(second) == len(third) == 2 * len(first)
    assert not third.duplicated(["run_id", "prompt_id", "kind", "judge"]).any()
    one = store.list_runs()[0].run_id
    (fourth,) = rejudge(store, ["arditi"], [one]).values()
    assert set(fourth[fourth["judge"] == "arditi"]["run_id"]) == {one, "aligned"}


def test_what_cannot_be_judged(own_root, tmp_path):
    with pytest.raises(UnknownNameError, match="unknown judge 'nobody'"):
        rejudge(ArtifactStore(own_root), ["nobody"])
    with pytest.raises(UnknownNameError, match="unknown judge 'nobody'"):
        rejudge(ArtifactStore(tmp_path / "empty"), ["nobody"])
    with pytest.raises(ArtifactError, match="holds no runs"):
        rejudge(ArtifactStore(tmp_path / "empty"), ["qi"])


def test_a_summary_has_no_answers_to_judge_and_keeps_what_was_said_of_them(own_root):
    store = ArtifactStore(own_root)
    run_ids = [run.run_id for run in store.list_runs()]
    (before,) = rejudge(store, ["qi"]).values()
    summarise(store, run_ids[0])
    if run_ids[1:]:
        (after,) = rejudge(store, ["qi"]).values()
        keys = ["run_id", "prompt_id", "kind"]
        said = [table.set_index(keys)["outcome"].sort_index() for table in (before, after)]
        pd.testing.assert_series_equal(*said)
    with pytest.raises(ArtifactError, match="is a summary"):
        rejudge(store, ["qi"], [run_ids[0]])
    for run_id in run_ids[1:]:
        summarise(store, run_id)
    with pytest.raises(ArtifactError, match="holds no runs to judge"):
        rejudge(store, ["qi"])


def test_a_run_that_was_deleted_after_it_was_judged_is_left_out(own_root, capsys):
    store = ArtifactStore(own_root)
    first, second = [run.run_id for run in store.list_runs()][:2]
    rejudge(store, ["qi"])
    trash_runs(store, [first])
    assert cwac("judge", "--root", own_root, "--judge", "gcg", "--run", second, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rates"]


def test_a_run_with_a_broken_table_is_left_out_and_the_others_are_judged(own_root, capsys):
    store = ArtifactStore(own_root)
    broken, *others = [run.run_id for run in store.list_runs()]
    (own_root / broken / "responses.parquet").write_bytes(b"x")
    assert cwac("judge", "--root", own_root, "--judge", "qi") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(said) == 1
    assert said[0].startswith(f"left out: {broken}: responses.parquet is broken")
    experiment = store.load(broken).experiment_id
    table = store.experiment_table(experiment, JUDGEMENTS)
    assert set(table["run_id"]) == {*others, "aligned"}
    assert cwac("judge", "--root", own_root, "--judge", "qi", "--run", broken) == 2
    assert "Error: " in capsys.readouterr().err


def test_the_command_shows_rates_and_agreement(own_root, capsys):
    assert cwac("judge", "--root", own_root, "--judge", "qi", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    pairs = {(row["first"], row["second"]) for row in found["agreement"]}
    assert pairs == {("stored", "general"), ("stored", "qi"), ("general", "qi")}
    for row in found["agreement"]:
        assert row["same"] <= row["n"]
        assert row["raw"] == pytest.approx(row["same"] / row["n"])
        assert row["kappa"] is None or -1 <= row["kappa"] <= 1
    assert {row["judge"] for row in found["rates"]} == {"stored", "general", "qi"}
    assert cwac("judge", "--root", own_root, "--judge", "qi") == 0
    assert "stored / qi" in capsys.readouterr().out
    assert cwac("judge", "--root", own_root, "--judge", "classifier") == 2
    assert "needs a model" in capsys.readouterr().err


def test_agreement_counts_what_both_judged():
    responses = pd.DataFrame(
        {
            "run_id": "r",
            "prompt_id": ["a", "b", "c", "t"],
            "kind": ["harmful", "harmful", "harmless", "task"],
            "unseen_category": False,
            "novel_template": False,
            "outcome": ["refusal", "compliance", "compliance", "undetermined"],
            "general_outcome": ["refusal", "refusal", "compliance", "undetermined"],
        }
    )
    judgements = pd.DataFrame(
        {"run_id": "r", "prompt_id": ["a", "b"], "kind": "harmful", "judge": "harmbench",
         "outcome": ["undetermined", "compliance"]}
    )  # fmt: skip
    wide = judged(responses, judgements)
    assert wide["judge:harmbench"].isna().tolist() == [False, False, True]
    table = agreement_table(wide).set_index(["group", "first", "second"])
    assert table.loc[("harmful requests", "stored", "harmbench"), "same"] == 1
    assert table.loc[("harmful requests", "stored", "general"), "n"] == 2
    assert ("harmless requests", "stored", "harmbench") not in table.index
    figure = agreement_figure(table.reset_index())
    assert "agree least" in figure.layout.title.text
    assert "1 of 2" in str(figure.data[0].hovertext)
    assert agreement_figure(agreement_table(wide.iloc[:0])).layout.title.text


def test_a_run_is_measured_by_the_judge_it_names(tiny_folder, fitted_root):
    store = ArtifactStore(Path(fitted_root))
    (plain,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    (named,) = resolve({"model": str(tiny_folder), "evaluation": {"judge": "qi"}}, ["sft"], [0])
    assert "judge" not in plain.evaluation.model_dump()
    assert named.run_id != plain.run_id
    (record,) = run_grid([named], store).records
    answers = store.table(record.run_id, "responses")
    harmful = answers[answers["kind"] == "harmful"]
    says = harmful["response"].map(lambda t: any(p in t for p in PHRASE_LISTS["qi"].phrases))
    assert ((harmful["outcome"] == "refusal") == says).all()
    assert record.config.evaluation.judge == "qi"
    reference = store.fit_record(record.fits["reference"])
    assert reference.protocol["judge"] == record.protocol["judge"]
    with pytest.raises(UnknownNameError, match="unknown judge"):
        resolve({"model": str(tiny_folder), "evaluation": {"judge": "q"}}, ["sft"], [0])


def test_a_judge_whose_rules_miss_every_refusal_is_named():
    rates = [
        {"judge": name, "kind": "harmful", "refusal": refusal}
        for name, refusal in (("stored", 0.9), ("gcg", 0.0), ("qi", 0.4))
    ]
    assert finding_no_refusal(rates) == ["gcg"]
    assert finding_no_refusal([row | {"refusal": 0.0} for row in rates]) == []
