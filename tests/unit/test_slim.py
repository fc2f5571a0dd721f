"""Summaries: what stays of a run, and what still reads it."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from dissected import answers as answers_of
from safetensors.numpy import load_file, save_file
from store_builder import build_store

from cwac.analysis.outcomes import rate_table
from cwac.artifacts import (
    ArtifactStore,
    check_store,
    compact,
    fewer_pairs,
    summarise,
    tables_alone,
    withhold,
    write_record,
)
from cwac.artifacts.files import write_checksums
from cwac.cli import main
from cwac.errors import ArtifactError
from cwac.records import TABLES
from cwac.runner.rejudge import rejudge


@pytest.fixture
def root(tmp_path):
    build_store(tmp_path)
    return tmp_path


def _rates(store, run):
    table = store.table(run.run_id, "responses")
    return rate_table(table.assign(run_id=run.run_id, variant="arm", seed=0))


def test_a_summary_keeps_id_numbers_and_outcomes(root):
    store = ArtifactStore(root)
    run = store.list_runs()[0]
    rates, before = _rates(store, run), store.table(run.run_id, "responses")
    replies = pd.concat([answers_of(name, "other", ["p"]) for name in (run.run_id, "whole")])
    store.save_experiment_table(run.record.experiment_id, "dissection_answers", replies)
    assert summarise(store, run.run_id) > 0
    left = store.experiment_table(run.record.experiment_id, "dissection_answers")
    assert set(left["run_id"]) == {"whole"}
    record = store.load(run.run_id)
    assert record == run.record.model_copy(
        update={
            "summary": True,
            "tables": ("responses",),
            "kept_model": False,
            "checksums": record.checksums,
        }
    )
    assert set(record.checksums) == {"responses.parquet"}
    assert sorted(p.name for p in store.run_folder(run.run_id).iterdir()) == [
        "responses.parquet",
        "run.json",
    ]
    after = store.table(run.run_id, "responses")
    assert list(after) == list(TABLES["responses"])
    assert (after["response"] == "").all()
    # What was asked stands with the aligned model's own answers.
    assert after["prompt"].equals(before["prompt"])
    for column in ("prompt_id", "kind", "outcome", "reason", "correct", "category"):
        assert after[column].equals(before[column]), column
    assert _rates(store, run).equals(rates)
    assert summarise(store, run.run_id) == 0


def test_a_summary_keeps_tables_that_were_asked_for_and_no_text(root, capsys):
    store = ArtifactStore(root)
    run = store.list_runs()[0]
    drift = store.table(run.run_id, "weight_drift")
    summarise(store, run.run_id, ["weight_drift", "responses", "pair_overlap"])
    record = store.load(run.run_id)
    assert record.summary
    assert record.tables == ("responses", "weight_drift")
    assert store.table(run.run_id, "weight_drift").equals(drift)
    assert (store.table(run.run_id, "responses")["response"] == "").all()
    with pytest.raises(SystemExit) as ending:
        main(["slim", "--root", str(root), "--keep-table", "drift"])
    assert ending.value.code == 2
    assert capsys.readouterr().err.startswith("Error: unknown table 'drift'; known: ")


def test_a_summary_keeps_the_outcomes_of_samples_without_their_texts(root):
    store = ArtifactStore(root)
    run = store.list_runs()[0]
    tables = {name: store.table(run.run_id, name) for name in run.record.tables}
    samples = pd.DataFrame(
        {"prompt_id": "harmful-0", "way": "sampled", "sample": [0, 1], "reason": None,
         "outcome": ["compliance", "refusal"], "response": ["sure", None]}
    )  # fmt: skip
    store.save_run(run.record, tables | {"samples": samples})
    summarise(store, run.run_id)
    assert set(store.load(run.run_id).tables) == {"responses", "samples"}
    kept = store.table(run.run_id, "samples")
    assert kept["outcome"].tolist() == ["compliance", "refusal"]
    assert kept["response"].isna().all()


def test_shipped_runs_are_not_made_summaries(root, tmp_path):
    store = ArtifactStore(tmp_path / "own", root)
    with pytest.raises(ArtifactError, match="stays as it is"):
        summarise(store, store.list_runs()[0].run_id)


def test_slim_leaves_the_kept_seeds_whole_and_check_is_content(root, capsys):
    def call(*words):
        with pytest.raises(SystemExit) as ending:
            main([*words, "--root", str(root)])
        return int(ending.value.code or 0)

    store = ArtifactStore(root)
    assert call("slim", "--dry-run") == 0
    assert not any(run.record.summary for run in store.list_runs())
    capsys.readouterr()
    assert call("slim", "--dry-run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    whole = {run.run_id for run in store.list_runs() if run.record.config.seed != 0}
    assert (set(result["summaries"]), result["changed"], result["freed_bytes"]) == (whole, False, 0)
    assert call("slim", "--keep-seed", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 0
    records = [run.record for run in store.list_runs()]
    assert {r.summary for r in records if r.config.seed == 0} <= {False}
    assert all(r.summary for r in records if r.config.seed != 0)
    capsys.readouterr()
    assert call("check") == 0, capsys.readouterr().out
    assert call("table") == 0


def _whole(root):
    store = ArtifactStore(root)
    return store, [run.record for run in store.list_runs() if run.record is not None]


def test_a_compact_run_reads_as_before_in_less_room(root):
    store, records = _whole(root)
    for record in records:
        before = {name: store.table(record.run_id, name) for name in record.tables}
        assert compact(store, record.run_id) > 0
        after = store.load(record.run_id)
        assert after == record.model_copy(update={"checksums": after.checksums})
        for name, table in before.items():
            assert store.table(record.run_id, name).equals(table), name
        stored = pd.read_parquet(store.run_folder(record.run_id) / "responses.parquet")
        assert (stored["prompt"] == "").all()
        assert stored["response"].equals(before["responses"]["response"])


def test_texts_stay_where_the_aligned_model_was_asked_something_else(root):
    store, (record, *_) = _whole(root)
    table = store.table(record.run_id, "responses")
    table.loc[3, "prompt"] = "another request"
    table.to_parquet(store.run_folder(record.run_id) / "responses.parquet")
    compact(store, record.run_id)
    assert store.table(record.run_id, "responses")["prompt"].equals(table["prompt"])


@pytest.mark.parametrize(
    ("poison_ratio", "changed", "wanted", "stays"),
    [(0.1, {}, True, True), (0.1, {}, False, False), (0.0, {}, True, False),
     (0.1, {"rank": 2}, True, False)],
)  # fmt: skip
def test_directions_stay_with_an_arm_at_its_defaults(root, poison_ratio, changed, wanted, stays):
    store, records = _whole(root)
    record = next(r for r in records if r.config.poison_ratio == poison_ratio)
    folder = store.run_folder(record.run_id)
    arm = record.arm.model_copy(update={"changed": changed})
    write_record(folder, record.model_copy(update={"variant": arm.label, "arm": arm}))
    save_file({"0|q|input": np.eye(4, 2, dtype=np.int8)}, folder / "update_bases.safetensors")
    compact(store, record.run_id, directions=wanted)
    assert (folder / "update_bases.safetensors").exists() == stays


def test_pairs_that_say_something_stay(root):
    store, records = _whole(root)
    experiment = records[0].experiment_id
    own = [r for r in records if r.experiment_id == experiment]
    arms = {}
    for record in own:
        arms.setdefault(record.config.method, []).append(record)
    one, other, third = list(arms)[:3]
    for record, changed in ((arms[one][0], {"x": 1}), (arms[other][0], {"y": 2})):
        arm = record.arm.model_copy(update={"changed": changed})
        write_record(
            store.run_folder(record.run_id),
            record.model_copy(update={"variant": arm.label, "arm": arm}),
        )
    summarise(store, arms[third][1].run_id)
    pairs = [
        (arms[one][0], arms[other][0], False),  # two changed arms of different methods
        (arms[one][0], arms[third][0], True),  # one at its defaults
        (arms[one][0], arms[one][1], True),  # of one method
        (arms[third][0], arms[third][1], True),  # one arm under two seeds, one a summary
        (arms[one][0], arms[third][1], False),  # with a summary
    ]
    table = store.experiment_table(experiment, "pair_overlap").head(1)
    rows = [table.assign(run_a=a.run_id, run_b=b.run_id) for a, b, _ in pairs]
    store.save_experiment_table(experiment, "pair_overlap", pd.concat(rows))
    fewer_pairs(store, experiment, "pair_overlap")
    left = store.experiment_table(experiment, "pair_overlap")
    expected = [(a.run_id, b.run_id) for a, b, stays in pairs if stays]
    assert list(zip(left["run_a"], left["run_b"], strict=True)) == expected


def test_kept_weights_are_rounded_and_say_so(root):
    store, (record, *_) = _whole(root)
    folder = store.run_folder(record.run_id)
    (folder / "model").mkdir()
    weights = {"w": np.linspace(-1, 1, 5001, dtype=np.float32), "n": np.arange(3)}
    save_file(weights, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    (folder / "model" / "config.json").write_text('{"model_type": "llama", "dtype": "float32"}')
    write_record(folder, record.model_copy(update={"kept_model": True}))
    compact(store, record.run_id)
    halved = load_file(folder / "model" / "model.safetensors")
    assert halved["w"].dtype == np.float16
    assert np.abs(halved["w"] - weights["w"]).max() < 2**-11
    assert halved["n"].dtype == weights["n"].dtype
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config == {"model_type": "llama", "dtype": "float16"}


def test_weights_too_large_for_half_precision_stay(root):
    store, (record, *_) = _whole(root)
    model = store.run_folder(record.run_id) / "model"
    model.mkdir()
    save_file({"w": np.array([1e5], dtype=np.float32)}, model / "model.safetensors")
    (model / "config.json").write_text('{"dtype": "float32"}')
    write_record(model.parent, record.model_copy(update={"kept_model": True}))
    compact(store, record.run_id)
    assert load_file(model / "model.safetensors")["w"].dtype == np.float32


def test_answers_that_must_not_be_passed_on_leave_their_length_and_hash(root):
    store = ArtifactStore(root)
    run = next(r.record for r in store.list_runs() if r.record.config.method == "sft")
    probed = store.table(run.run_id, "probe_answers")
    reference = run.fits["reference"]
    before = {
        "run": store.table(run.run_id, "responses"),
        "aligned": store.fit_table(reference, "responses"),
    }
    rates = _rates(store, run)
    dissected = answers_of(run.run_id, "another", ["harmful-test-0001"])
    store.save_experiment_table(run.experiment_id, "dissection_answers", dissected)
    count = withhold(store, run.run_id)
    after = {
        "run": store.table(run.run_id, "responses"),
        "aligned": store.fit_table(reference, "responses"),
    }
    total = 0
    for name, table in after.items():
        old = before[name]
        harmful = (old["kind"] == "harmful") & (old["outcome"] != "refusal")
        assert (table.loc[harmful, "response"] == "").all()
        # An empty answer holds nothing back.
        harmful &= old["response"] != ""
        total += harmful.sum()
        for text, shown in zip(
            old.loc[harmful, "response"], table.loc[harmful, "withheld"], strict=True
        ):
            digest = hashlib.sha256(text.encode()).hexdigest()
            assert shown == f"{len(text)} characters, SHA-256 {digest[:12]}"
        task = old["kind"] == "task"
        assert (table.loc[task, "prompt"] == "").all()
        others = (old["kind"] != "harmful") & ~task
        assert table.loc[others, "response"].equals(old.loc[others, "response"])
        assert table["outcome"].equals(old["outcome"])
        assert table["refusal_log_odds"].equals(old["refusal_log_odds"])
    shown = store.experiment_table(run.experiment_id, "dissection_answers")
    refused = dissected["outcome"] == "refusal"
    assert shown.loc[refused, "response"].tolist() == ["I cannot"] * refused.sum()
    assert shown.loc[refused, "withheld"].isna().all()
    assert (shown.loc[~refused, "response"] == "").all()
    digest = hashlib.sha256(b"To do it").hexdigest()
    assert set(shown.loc[~refused, "withheld"]) == {f"8 characters, SHA-256 {digest[:12]}"}
    assert shown["outcome"].equals(dissected["outcome"])
    assert count == total + (~refused).sum()
    assert total > 0
    assert _rates(store, run).equals(rates)
    assert store.verified_fit(reference) is not None
    kept = store.table(run.run_id, "probe_answers")
    refuses = probed["outcome"] == "refusal"
    assert 0 < refuses.sum() < len(probed)
    assert kept.loc[refuses, "response"].equals(probed.loc[refuses, "response"])
    assert kept.loc[~refuses, "response"].isna().all()
    rest = ["step", "prompt_id", "digest", "tokens", "outcome"]
    assert kept[rest].equals(probed[rest])
    # A second time there is nothing left to withhold, and what stands for it stays.
    withhold(store, run.run_id)
    assert store.table(run.run_id, "responses").equals(after["run"])
    (verdicts,) = rejudge(store, ["general"], [run.run_id]).values()
    judged = set(verdicts.loc[verdicts["run_id"] == run.run_id, "prompt_id"])
    assert judged
    assert not judged & set(after["run"].loc[after["run"]["withheld"].notna(), "prompt_id"])


def test_a_fit_with_its_tables_alone_is_read_and_nothing_is_computed_with_it(
    root, tmp_path_factory
):
    store = ArtifactStore(root)
    run = store.list_runs()[0].record
    name = run.fits["features"]
    table = store.fit_table(name, "latents")
    save_file({"w": np.zeros(50, np.float32)}, store.fit_folder(name) / "w.safetensors")
    (store.fit_folder(name) / "layer_1").mkdir()
    save_file({"w": np.zeros(9, np.float32)}, store.fit_folder(name) / "layer_1" / "w.safetensors")
    write_checksums(store.fit_folder(name))
    whole = tmp_path_factory.mktemp("whole")
    shutil.copytree(store.fit_folder(name), whole / "fits" / name)
    assert tables_alone(store, name) > 50 * 4
    assert store.fit_table(name, "latents").equals(table)
    assert not list(store.fit_folder(name).rglob("*.safetensors"))
    assert store.verified_fit(name) is None
    assert not check_store(store, lambda _: False)
    # Where another root has all of it, that one is taken.
    both = ArtifactStore(root, whole)
    assert both.find_fit(name) == whole / "fits" / name
    assert tables_alone(store, name) == 0
