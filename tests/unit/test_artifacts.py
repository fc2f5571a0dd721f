import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from dissected import dissection
from dissected import line as line_of

from cwac.arms import Arm
from cwac.artifacts import HIDDEN, ArtifactStore, pack, reading_roots, redact, trash_runs, unpack
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.records import MetricValue, Provenance, RunRecord, now


def record_of(seed=0, **changes):
    config = ExperimentConfig(seed=seed)
    values = {
        "run_id": config.run_id,
        "experiment_id": config.experiment_id,
        "variant": "sft",
        "arm": Arm(method="sft"),
        "config": config,
        "provenance": Provenance(created=now(), versions={}),
        "protocol": {},
        "metrics": {"harmful_score": MetricValue(value=0.5, title="Harmful score")},
    }
    return RunRecord(**(values | changes))


def spectrum(value=1.0):
    return pd.DataFrame({"layer": [0], "map": ["m"], "index": [0], "value": [value]})


def save(store, seed=0, **changes):
    record = record_of(seed, **changes)
    store.save_run(
        record, {"singular_values": spectrum()}, {"bases": {"a": np.ones((2, 2), np.float16)}}
    )
    return record.run_id


def test_what_is_stored_is_read_back(tmp_path):
    store = ArtifactStore(tmp_path)
    run_id = save(store)
    record = store.load(run_id)
    assert record.tables == ("singular_values",)
    assert record.value("harmful_score") == 0.5
    assert store.table(run_id, "singular_values")["value"].tolist() == [1.0]
    assert store.arrays(run_id, "bases")["a"].dtype == np.float16
    assert [run.run_id for run in store.list_runs()] == [run_id]


def test_a_failure_while_writing_leaves_nothing(tmp_path):
    store = ArtifactStore(tmp_path)

    def broken(folder):
        folder.mkdir()
        (folder / "half").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.save_run(record_of(), {"singular_values": spectrum()}, save_model=broken)
    assert store.list_runs() == []
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_keeps_the_old_run(tmp_path):
    store = ArtifactStore(tmp_path)
    run_id = save(store)
    with pytest.raises(ArtifactError):
        store.save_run(record_of(), {"singular_values": spectrum().drop(columns="map")})
    assert store.table(run_id, "singular_values")["value"].tolist() == [1.0]


def test_half_written_folders_are_not_listed(tmp_path):
    store = ArtifactStore(tmp_path)
    run_id = save(store)
    (tmp_path / ".writing-abcd-run").mkdir()
    (tmp_path / "fits").mkdir(exist_ok=True)
    assert [run.run_id for run in store.list_runs()] == [run_id]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "run.json is missing"),
        ("{", "cannot be read"),
        ('{"schema_version": 99}', "schema version 99, this version reads 1"),
        ('{"schema_version": 1}', "run_id"),
    ],
)
def test_broken_runs_are_listed_with_the_reason(tmp_path, content, message):
    (tmp_path / "run").mkdir()
    if content is not None:
        (tmp_path / "run" / "run.json").write_text(content)
    (found,) = ArtifactStore(tmp_path).list_runs()
    assert found.record is None
    assert message in found.problem


def test_several_roots_read_as_one_and_only_the_first_is_written(tmp_path):
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    old = save(ArtifactStore(shipped), seed=1)
    store = ArtifactStore(own, shipped)
    new = save(store, seed=2)
    assert {run.run_id for run in store.list_runs()} == {old, new}
    assert (own / new).is_dir()
    with pytest.raises(ArtifactError, match="shipped with the lab"):
        trash_runs(store, [old])
    trash_runs(store, [new])
    assert [run.run_id for run in store.list_runs()] == [old]


def test_names_cannot_lead_outside(tmp_path):
    store = ArtifactStore(tmp_path / "root")
    (tmp_path / "secret").mkdir()
    for name in ("../secret", "/etc", ".", "..", "a/b", ""):
        with pytest.raises(ArtifactError):
            store.run_folder(name)


def test_broken_tables_and_arrays_are_one_sentence(tmp_path):
    store = ArtifactStore(tmp_path)
    run_id = save(store)
    (tmp_path / run_id / "singular_values.parquet").write_bytes(b"nothing")
    (tmp_path / run_id / "bases.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"singular_values\.parquet is broken") as found:
        store.table(run_id, "singular_values")
    assert str(found.value).endswith(".")
    assert not str(found.value).endswith("..")
    with pytest.raises(ArtifactError, match=r"bases\.safetensors is broken"):
        store.arrays(run_id, "bases")
    with pytest.raises(ArtifactError, match="not stored"):
        store.table(run_id, "responses")
    with pytest.raises(ArtifactError, match="kept no weights"):
        store.model_folder(run_id)


def test_fits_appear_when_complete(tmp_path):
    store = ArtifactStore(tmp_path)

    def fail():
        with store.writing_fit("subspace-1") as folder:
            (folder / "half").write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert store.find_fit("subspace-1") is None
    with store.writing_fit("subspace-1") as folder:
        (folder / "whole").write_text("whole")
    assert (store.fit_folder("subspace-1") / "whole").is_file()


def test_a_fit_of_another_folder_is_copied(tmp_path):
    store = ArtifactStore(tmp_path / "runs")
    original = tmp_path / "model" / "fits" / "subspace-1" / "layer_0"
    original.mkdir(parents=True)
    (original / "whole").write_text("whole")
    (original / "whole").chmod(0o444)
    assert store.adopt_fit("subspace-2", tmp_path / "model") is None
    assert store.find_fit("subspace-2") is None
    adopted = store.adopt_fit("subspace-1", tmp_path / "model")
    assert adopted == store.find_fit("subspace-1") == tmp_path / "runs" / "fits" / "subspace-1"
    assert (adopted / "layer_0" / "whole").read_text() == "whole"
    assert (adopted / "layer_0" / "whole").stat().st_mode & 0o200
    with pytest.raises(ArtifactError, match="not the name"):
        store.adopt_fit("../x", tmp_path / "model")


def test_the_stamp_changes_when_a_run_joins(tmp_path):
    store = ArtifactStore(tmp_path)
    save(store, seed=0)
    before = store.stamp()
    save(store, seed=1)
    assert store.stamp() != before


def test_an_archive_opens_elsewhere(tmp_path):
    store = ArtifactStore(tmp_path / "a")
    with store.writing_fit("subspace-1") as folder:
        (folder / "x.json").write_text("{}")
    run_id = save(store, fits={"subspace": "subspace-1"})
    other = ArtifactStore(tmp_path / "b")
    assert unpack(other, pack(store, run_id)) == [run_id]
    assert not other.has_run(run_id), "what is imported is no run of the root's own"
    seen = ArtifactStore(*reading_roots(other.write_root))
    assert seen.load(run_id) == store.load(run_id)
    assert other.find_fit("subspace-1") is None
    assert seen.find_fit("subspace-1") is not None
    with pytest.raises(ArtifactError, match="stored already"):
        unpack(other, pack(store, run_id))
    trash_runs(seen, [run_id])
    assert unpack(other, pack(store, run_id)) == [run_id]


def test_an_archive_hides_every_answer_to_a_harmful_request(tmp_path):
    store = ArtifactStore(tmp_path / "a")
    # The first answer of each way is kept, of later samples the outcome alone.
    samples = pd.DataFrame(
        {"prompt_id": ["h1", "h1"], "way": "sampled", "sample": [0, 1], "outcome": "compliance",
         "reason": None, "response": ["do this", None]}
    )  # fmt: skip
    record = record_of()
    store.save_run(record, {"samples": samples, "singular_values": spectrum()})
    other = ArtifactStore(tmp_path / "b")
    assert unpack(other, pack(store, record.run_id, answers=redact)) == [record.run_id]
    seen = ArtifactStore(*reading_roots(other.write_root))
    shown = seen.table(record.run_id, "samples")["response"]
    assert [None if pd.isna(text) else text for text in shown] == [HIDDEN, None]


@pytest.mark.parametrize("name", ["../evil", "/evil", "run/../../evil", "a\\..\\evil", ".jobs/x"])
def test_unsafe_archives_are_refused(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run/run.json", json.dumps({}))
        archive.writestr(name, "x")
    with pytest.raises(ArtifactError, match="unsafe path"):
        unpack(ArtifactStore(tmp_path / "root"), buffer.getvalue())
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["packs", "experiments"])
def test_an_archive_brings_runs_and_fits_alone(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("run/run.json", json.dumps({}))
        archive.writestr(f"{name}/run.json", json.dumps({}))
        archive.writestr(f"{name}/x.json", "x")
    with pytest.raises(ArtifactError, match="no complete run"):
        unpack(ArtifactStore(tmp_path / "root"), buffer.getvalue())
    assert not (tmp_path / "root").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="not a ZIP"):
        unpack(ArtifactStore(tmp_path), b"hello")


def test_pair_tables_of_all_roots_complete_each_other_and_own_rows_win(tmp_path):
    own, shipped = ArtifactStore(tmp_path / "a"), ArtifactStore(tmp_path / "b")
    row = {
        "run_a": "x",
        "run_b": "y",
        "layer": 0,
        "map": "m",
        "side": "input",
        "mso": 0.1,
        "haar_baseline": 0.1,
        "mean_degrees": 80.0,
    }
    again = [row | {"run_a": "y", "run_b": "x", "layer": layer, "mso": 0.9} for layer in (0, 1)]
    own.save_experiment_table("e", "pair_overlap", pd.DataFrame([row]))
    shipped.save_experiment_table(
        "e", "pair_overlap", pd.DataFrame([*again, row | {"run_b": "z", "mso": 0.5}])
    )
    both = ArtifactStore(tmp_path / "a", tmp_path / "b")
    found = both.experiment_table("e", "pair_overlap")
    assert found[["run_a", "run_b"]].values.tolist() == [["x", "y"], ["x", "z"]]
    assert found["mso"].tolist() == pytest.approx([0.1, 0.5])
    assert both.experiment_table("other", "pair_overlap") is None


def test_lines_to_several_arms_complete_each_other_and_a_run_taken_apart_anew_wins(tmp_path):
    parts = {"a": ["to x", "to y"], "b": ["to y", "to z"]}
    for root, others in parts.items():
        lines = pd.concat([line_of("r", other.removeprefix("to ")) for other in others])
        table = pd.concat([dissection("r"), lines]).assign(value=0.0 if root == "a" else 1.0)
        ArtifactStore(tmp_path / root).save_experiment_table("e", "dissection", table)
    both = ArtifactStore(tmp_path / "a", tmp_path / "b").experiment_table("e", "dissection")
    lines = both[both["variant"] == "between arms"].groupby("part")["value"].unique()
    assert lines.map(list).to_dict() == {"to x": [0.0], "to y": [0.0], "to z": [1.0]}
    assert (both.loc[both["variant"] != "between arms", "value"] == 0).all()


def test_own_judgements_win_over_shipped_ones_of_the_same_run_and_judge(tmp_path):
    own, shipped = ArtifactStore(tmp_path / "a"), ArtifactStore(tmp_path / "b")
    row = {"run_id": "r", "prompt_id": "p", "kind": "harmful", "judge": "qi", "contents": "1"}
    row |= {"outcome": "refusal", "reason": None}
    own.save_experiment_table("e", "judgements", pd.DataFrame([row]))
    others = [row | {"outcome": "compliance", "prompt_id": p} for p in ("p", "q")]
    others += [row | {"run_id": "s"}, row | {"judge": "gcg"}]
    shipped.save_experiment_table("e", "judgements", pd.DataFrame(others))
    found = ArtifactStore(tmp_path / "a", tmp_path / "b").experiment_table("e", "judgements")
    assert found[["run_id", "judge", "outcome"]].values.tolist() == [
        ["r", "qi", "refusal"],
        ["s", "qi", "refusal"],
        ["r", "gcg", "refusal"],
    ]
