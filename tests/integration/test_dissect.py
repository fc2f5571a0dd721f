"""`cwac dissect`: stored with the experiment, taken up where it ended, refused in a sentence."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import _status
from cwac.errors import CancelledError, ConfigError, ModelError, UnknownNameError
from cwac.interventions import bench, path
from cwac.interventions.ends import Ends
from cwac.records import check_table
from cwac.runner import dissect as module
from cwac.runner.answering import answer_request
from cwac.runner.dissect import dissect
from cwac.runner.dissect_steps import FOLDER
from cwac.runner.dissected import ANSWERS, DISSECTION, REQUESTS, rows_of, save

ENDS = ["ends", "restore"]


def run_of(root, method="sft"):
    runs = (run.record for run in ArtifactStore(root).list_runs())
    return next(r for r in runs if r.config.method == method)


def test_rows_are_stored_with_the_experiment_and_taken_up(own_root, monkeypatch):
    store, record = ArtifactStore(own_root), run_of(own_root)
    estimates = []
    table = dissect(store, record.run_id, ENDS, sample=4, told=estimates.append)
    assert set(estimates[0].costs) == set(ENDS)
    assert estimates[0].seconds() > 0
    stored = store.experiment_table(record.experiment_id, DISSECTION)
    pd.testing.assert_frame_equal(check_table(DISSECTION, stored), table)
    odds = store.fit_table(record.fits["reference"], "responses").query("kind == 'harmful'")
    ends = table[table["measure"] == "refusal_log_odds"].set_index(["intervention", "variant"])
    ends = ends.loc["ends"]
    assert ends.loc["aligned", "value"] == pytest.approx(odds["refusal_log_odds"].mean(), rel=1e-4)
    own = store.table(record.run_id, "responses").query("kind == 'harmful'")
    assert ends.loc["tuned", "value"] == pytest.approx(own["refusal_log_odds"].mean(), rel=1e-4)
    assert ends["n"].tolist() == [len(odds)] * 2

    two = dissect(store, record.run_id, [*ENDS, "decomposition"], sample=4, told=estimates.append)
    assert set(estimates[1].costs) == {"decomposition"}, "what is stored is not made again"
    assert set(two["intervention"]) == {*ENDS, "decomposition"}
    pd.testing.assert_frame_equal(two[two["intervention"].isin(ENDS)], table)

    def opened(*_, **__):
        raise AssertionError("nothing is due")

    monkeypatch.setattr(module, "open_session", opened)
    pd.testing.assert_frame_equal(dissect(store, record.run_id, ENDS), two)


def test_what_became_of_each_request_adds_up_to_the_rows(own_root):
    store, record = ArtifactStore(own_root), run_of(own_root)
    rows = dissect(store, record.run_id, ENDS, sample=4)
    kept = check_table(REQUESTS, store.experiment_table(record.experiment_id, REQUESTS))
    keys = ["intervention", "part", "variant"]
    odds = rows[rows["measure"] == "refusal_log_odds"].set_index(keys)
    parts = dict(tuple(kept.groupby(keys)))
    assert set(parts) == set(odds.index)
    for key, mine in parts.items():
        assert mine["prompt_id"].nunique() == len(mine) == odds.loc[key, "n"]
        assert mine["refusal_log_odds"].mean() == pytest.approx(odds.loc[key, "value"], abs=0.01)
        counts = mine["outcome"].value_counts()
        if mine["control"].any():
            assert counts.sum() == 0, "controls are read by their log-odds"
            assert pd.isna(odds.loc[key, "refusal"])
            continue
        assert counts.sum() == 4
        assert counts.get("refusal", 0) == odds.loc[key, "refusal"]

    # What the app asks of one request is what was stored of it.
    name = kept["prompt_id"].iloc[-1]
    asked = store.table(record.run_id, "responses").set_index("prompt_id").loc[name, "prompt"]
    plain, tuned = answer_request(store, [record.run_id], asked, parts=True).answers
    assert not plain.restored
    *restored, whole = tuned.restored
    mine = kept[(kept["prompt_id"] == name) & (kept["intervention"] == "restore")]
    theirs = mine.set_index(["part", "control"])["refusal_log_odds"]
    assert [part.part for part in restored] == list(dict.fromkeys(mine["part"]))
    for part in restored:
        assert part.refusal_log_odds == pytest.approx(theirs[part.part, False], abs=0.01)
        assert part.control == pytest.approx(theirs[part.part, True], abs=0.01)
    assert whole.refusal_log_odds == pytest.approx(plain.refusal_log_odds, abs=1e-4)

    replies = check_table(ANSWERS, store.experiment_table(record.experiment_id, ANSWERS))
    assert set(replies["part"]) == set(kept["part"]), "every part, and both ends"
    same = replies.merge(kept, on=[*keys, "prompt_id"], suffixes=("", "_there"))
    assert len(same) == len(replies) == 4 * replies["part"].nunique()
    for column in ("outcome", "refusal_log_odds"):
        assert same[column].equals(same[f"{column}_there"])

    # Runs that were taken apart before requests were kept get them, and lose nothing.
    (own_root / "experiments" / record.experiment_id / f"{ANSWERS}.parquet").unlink()
    estimates = []
    again = dissect(store, record.run_id, ["ends"], sample=4, told=estimates.append)
    assert set(estimates[0].costs) == {"ends"}
    pd.testing.assert_frame_equal(again.sort_values(keys, ignore_index=True),
                                  rows.sort_values(keys, ignore_index=True))  # fmt: skip
    assert set(store.experiment_table(record.experiment_id, ANSWERS)["intervention"]) == {"ends"}


def test_other_runs_grains_and_versions_stay_apart(own_root, monkeypatch):
    store = ArtifactStore(own_root)
    sft, cwac = run_of(own_root), run_of(own_root, "cwac")
    first = dissect(store, sft.run_id, ["restore"], sample=2)
    by_map = dissect(store, sft.run_id, ["restore"], grain="map", sample=2)
    assert len(by_map[by_map["grain"] == "map"]) > len(first)
    dissect(store, cwac.run_id, ["ends"], sample=2)
    assert len(rows_of(store, sft, "layer")) == len(first)
    stored = store.experiment_table(sft.experiment_id, DISSECTION)
    assert set(stored["run_id"]) == {sft.run_id, cwac.run_id}
    monkeypatch.setattr(module.INTERVENTIONS["restore"], "version", 2)
    again = dissect(store, sft.run_id, ["restore"], sample=2)
    assert set(again["version"]) == {2}
    assert len(again) == len(first)


def test_what_was_complete_is_stored_when_it_is_cancelled(own_root):
    store, record = ArtifactStore(own_root), run_of(own_root)
    calls = iter(range(100))
    with pytest.raises(CancelledError, match="what was complete is stored"):
        dissect(store, record.run_id, ENDS, sample=2, stop=lambda: next(calls) > 4)
    stored = store.experiment_table(record.experiment_id, DISSECTION)
    assert set(stored["intervention"]) == {"ends"}


def test_trials_of_an_interrupted_intervention_are_not_made_again(own_root, monkeypatch):
    store, record = ArtifactStore(own_root), run_of(own_root)
    measured, calls = bench.measured, []

    def counted(context, trial, **options):
        calls.append(trial.part.name)
        if len(calls) == 4:
            raise CancelledError("enough")
        return measured(context, trial, **options)

    monkeypatch.setattr(bench, "measured", counted)
    with pytest.raises(CancelledError):
        dissect(store, record.run_id, ["restore"], sample=2)
    kept = own_root / FOLDER / f"{record.run_id}.restore.layer.jsonl"
    assert len(kept.read_text().splitlines()) == 1 + 3
    assert store.experiment_table(record.experiment_id, DISSECTION) is None
    rows = dissect(store, record.run_id, ["restore"], sample=2)
    trials = len(rows[rows["measure"] == "refusal_log_odds"])
    assert len(calls) == 4 + trials - 3
    assert not kept.exists()
    requests = store.experiment_table(record.experiment_id, REQUESTS)
    again = dissect(store, record.run_id, ["restore"], sample=2, again=True)
    assert len(calls) == 4 + trials - 3 + trials
    pd.testing.assert_frame_equal(again, rows)
    theirs = store.experiment_table(record.experiment_id, REQUESTS)
    pd.testing.assert_frame_equal(theirs, requests)


def test_sets_that_are_named_stand_beside_the_parts(own_root, capsys):
    store, record = ArtifactStore(own_root), run_of(own_root)
    parts = dissect(store, record.run_id, ["restore"], sample=2, requests=6)
    assert set(parts.loc[parts["measure"] == "refusal_log_odds", "n"]) == {6}
    both = ["layer 0, layer 1", "embedding"]
    first = dissect(store, record.run_id, ["restore"], sample=2, parts=both[:1])
    first = first[first["grain"] == "set"]
    assert set(first["part"]) == {both[0]}
    table = dissect(store, record.run_id, sample=2, parts=both)
    sets = table[table["grain"] == "set"]
    assert set(sets["part"]) == set(both)
    assert set(sets["intervention"]) == {"restore", "transplant"}
    mine = table[table["grain"] == "layer"]
    pd.testing.assert_frame_equal(mine, parts, check_dtype=False)
    command = ["dissect", "--run", record.run_id, "--root", str(own_root)]
    assert _status([*command, "--part", "layer 7"]) == 2
    assert "--part 'layer 7' is no part of this model" in capsys.readouterr().err
    assert _status([*command, "--part", "layer 0", "--only", "path"]) == 2
    assert "path cannot act on parts that are named" in capsys.readouterr().err


def test_two_processes_that_store_at_once_lose_no_rows(own_root, monkeypatch):
    store, record = ArtifactStore(own_root), run_of(own_root)
    read = ArtifactStore.experiment_table

    def slowly(*given):
        table = read(*given)
        time.sleep(0.1)
        return table

    monkeypatch.setattr(ArtifactStore, "experiment_table", slowly)
    row = bench.WHOLE.row("x", value=1.0, n=1)
    runs = [record.model_copy(update={"run_id": f"{record.run_id}{n}"}) for n in range(3)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: save(store, run, Ends(), "layer", [row]), runs))
    stored = read(store, record.experiment_id, DISSECTION)
    assert set(stored["run_id"]) == {run.run_id for run in runs}


def test_a_measured_checkpoint_is_taken_apart_like_its_run(own_root, tiny_folder, tmp_path, capsys):
    store, record = ArtifactStore(own_root), run_of(own_root)
    folder = shutil.copytree(store.model_folder(record.run_id), tmp_path / "mine")
    root = ["--root", str(own_root)]
    named = ["--aligned", str(tiny_folder), "--tuned", str(folder), "--name", "mine"]
    assert _status(["measure", *named, *root]) == 0
    measured = next(r.record for r in store.list_runs() if r.record and r.record.config.is_measured)
    capsys.readouterr()
    command = ["dissect", "--run", measured.run_id, "--only", "ends", "--sample", "2", *root]
    assert _status([*command, "--json"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    own = dissect(store, record.run_id, ["ends"], sample=2)
    odds = own[own["measure"] == "refusal_log_odds"]
    measured_odds = [row["value"] for row in theirs if row["measure"] == "refusal_log_odds"]
    assert measured_odds == pytest.approx(odds["value"].tolist())
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    with pytest.raises(ModelError, match="measure it again"):
        dissect(store, measured.run_id, ["restore"])
    assert _status([*command]) == 2


def test_a_path_answers_at_its_ends_as_both_models_and_leads_to_several_arms(own_root, monkeypatch):
    store = ArtifactStore(own_root)
    sft, cwac = run_of(own_root), run_of(own_root, "cwac")
    table = dissect(store, sft.run_id, ["path"], sample=2, other=cwac.run_id)
    line = table[(table["part"] == f"to {cwac.run_id}") & (table["measure"] != "task_accuracy")]
    own = store.table(cwac.run_id, "responses").query("kind == 'harmful'")
    end = line[line["dose"] == 1]["value"].item()
    assert end == pytest.approx(own["refusal_log_odds"].mean(), rel=1e-4)

    answers = store.experiment_table(sft.experiment_id, ANSWERS)
    assert answers["dose"].nunique() == 9
    for part, dose, responses in (
        ("whole update", 0, store.fit_table(sft.fits["reference"], "responses")),
        ("whole update", 1, store.table(sft.run_id, "responses")),
        (f"to {cwac.run_id}", 0, store.table(sft.run_id, "responses")),
        (f"to {cwac.run_id}", 1, own),
    ):
        mine = answers[(answers["part"] == part) & (answers["dose"] == dose)]
        theirs = responses.set_index("prompt_id").loc[mine["prompt_id"]]
        assert len(mine) == 2
        for column in ("response", "outcome"):
            assert mine[column].tolist() == theirs[column].tolist()

    # A line to a further arm joins; one that is stored is not walked again.
    for name in ("DOSES", "BETWEEN"):
        monkeypatch.setattr(path, name, (0.0, 1.0))
    monkeypatch.setattr(path, "RANDOM", (1.0,))
    both = dissect(store, sft.run_id, ["path"], sample=2, other=sft.run_id)
    assert {f"to {r.run_id}" for r in (sft, cwac)} < set(both["part"])
    kept = both[both["part"] == f"to {cwac.run_id}"].reset_index(drop=True)
    first = table[table["part"] == f"to {cwac.run_id}"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)
    assert set(both.loc[both["part"] == "whole update", "dose"]) == {0.0, 1.0}
    monkeypatch.setattr(module, "open_session", None)
    pd.testing.assert_frame_equal(
        dissect(store, sft.run_id, ["path"], sample=2, other=cwac.run_id), both
    )


def test_wrong_calls_end_in_a_sentence(own_root, capsys):
    store, record = ArtifactStore(own_root), run_of(own_root)
    with pytest.raises(UnknownNameError, match=r"unknown intervention 'restor' .*'restore'"):
        dissect(store, record.run_id, ["restor"])
    with pytest.raises(ConfigError, match="a sample of 0"):
        dissect(store, record.run_id, sample=0)
    with pytest.raises(ConfigError, match="log-odds on 0 requests are not possible"):
        dissect(store, record.run_id, requests=0)
    command = ["dissect", "--run", record.run_id, "--root", str(own_root)]
    assert _status([*command, "--by", "head"]) == 2
    assert "--by 'head' is not allowed; layer or map." in capsys.readouterr().err
    shutil.rmtree(own_root / record.run_id / "model")
    assert _status(command) == 2
    assert "kept no weights (start it with --save-model)" in capsys.readouterr().err
    assert _status(["dissect", "--run", "nothing", "--root", str(own_root)]) == 2
    assert "no run 'nothing'" in capsys.readouterr().err
