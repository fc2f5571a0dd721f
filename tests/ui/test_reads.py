"""The app reads what the store gives, and hears of every change that the store would give."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, compact, pack_runs, shipped_runs, summarise, write_table
from cwac.errors import ArtifactError
from cwac.ui import reads
from cwac.ui.experiments import listing
from cwac.ui.requests import grid

OpenPage = Callable[..., AppTest]


@pytest.fixture
def compacted(own_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A store whose runs are compact: their requests stand with the reference alone."""
    for run in own_store.list_runs():
        compact(own_store, run.run_id)
    monkeypatch.setenv("CWAC_ROOTS", str(own_store.write_root))
    return own_store


def a_run(store: ArtifactStore) -> str:
    return store.list_runs()[0].run_id


def test_the_app_gives_the_answers_of_shipped_whole_runs_as_the_store_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = shipped_runs()
    assert shipped is not None
    monkeypatch.setenv("CWAC_ROOTS", str(shipped))
    store = ArtifactStore(shipped)
    whole = [
        run.run_id
        for run in store.list_runs()
        if run.record and not run.record.summary and "responses" in run.record.tables
    ]
    assert len(whole) > 50
    for run_id in whole:
        table = reads.table(run_id, "responses")
        pd.testing.assert_frame_equal(table, store.table(run_id, "responses"))
        # A real model's runs ship without the texts of their task.
        asked = table if run_id.startswith("organism") else table[table["kind"] != "task"]
        assert (asked["prompt"] != "").all()


def test_exported_answers_have_their_requests(
    compacted: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[pd.DataFrame] = []
    monkeypatch.setattr(grid, "download_table", lambda data, *_: exported.append(data))
    app = open_page("requests/one", compacted.write_root)
    assert not app.exception
    (answers,) = exported
    assert set(answers["variant"]) > {"aligned", "sft", "cwac"}
    assert (answers["prompt"] != "").all()


def test_packed_runs_are_read_as_folders_are(compacted: ArtifactStore) -> None:
    listed = listing()
    names = [
        (r.run_id, name) for r in compacted.list_runs() if r.record for name in r.record.tables
    ]
    before = {key: reads.table(*key) for key in names}
    stamps = {key: reads.table_stamp(*key) for key in names}
    pack_runs(compacted.write_root)
    assert not isinstance(compacted.run_folder(a_run(compacted)), Path)
    assert listing() == listed
    for key, table in before.items():
        assert reads.table_stamp(*key) != stamps[key]
        pd.testing.assert_frame_equal(reads.table(*key), table)
    answers = reads.table(a_run(compacted), "responses")
    assert (answers["prompt"] != "").all()


def test_a_pack_written_again_is_read_anew(compacted: ArtifactStore) -> None:
    root = compacted.write_root
    record = compacted.list_runs()[0].record
    assert record is not None
    pack_runs(root)
    table = reads.table(record.run_id, "responses")
    before, listed = reads.table_stamp(record.run_id, "responses"), reads.store().stamp()
    assert reads.table_stamp(record.run_id, "responses") == before
    compacted.save_run(record, {"responses": table.assign(category="another one")})
    pack_runs(root)
    assert reads.table_stamp(record.run_id, "responses") != before
    assert reads.store().stamp() != listed
    assert set(reads.table(record.run_id, "responses")["category"]) == {"another one"}


def test_a_pack_replaced_in_its_place_changes_the_listing(compacted: ArtifactStore) -> None:
    pack_runs(compacted.write_root)
    before = compacted.stamp()
    pack, *_ = (compacted.write_root / "packs").iterdir()
    os.utime(pack, ns=(1, 1))
    assert compacted.stamp() != before


def test_a_changed_reference_changes_the_answers_of_a_packed_run(
    compacted: ArtifactStore,
) -> None:
    pack_runs(compacted.write_root)
    test_a_changed_reference_changes_the_answers_that_rest_on_it(compacted)


@pytest.mark.parametrize("columns", [("prompt",), ("expected",), ("outcome", "prompt")])
def test_requests_are_filled_in_whichever_columns_are_read(
    compacted: ArtifactStore, columns: tuple[str, ...]
) -> None:
    run_id = a_run(compacted)
    some = reads.table(run_id, "responses", columns)
    assert tuple(some.columns) == columns
    pd.testing.assert_frame_equal(some, reads.table(run_id, "responses")[list(columns)])
    assert some[columns[-1]].fillna("").ne("").any()


def test_a_changed_reference_changes_the_answers_that_rest_on_it(compacted: ArtifactStore) -> None:
    run_id = a_run(compacted)
    name = compacted.load(run_id).fits["reference"]
    before = reads.table_stamp(run_id, "responses")
    assert "another request" not in set(reads.table(run_id, "responses")["prompt"])
    answers = compacted.fit_table(name, "responses").assign(prompt="another request")
    compacted.extend_fit(name, {"responses": answers})
    assert reads.table_stamp(run_id, "responses") != before
    assert set(reads.table(run_id, "responses")["prompt"]) == {"another request"}


def test_a_summary_that_replaces_a_run_is_read_anew(
    own_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(own_store.write_root))
    run_id = a_run(own_store)
    assert reads.table(run_id, "responses")["response"].ne("").any()
    summarise(own_store, run_id)
    assert not reads.table(run_id, "responses")["response"].ne("").any()


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("responses", ("prompt_id", "outcome", "correct")),
        ("responses", None),
        ("weight_drift", None),
    ],
)
def test_tables_read_at_once_are_those_of_each_run(
    own_store: ArtifactStore, name: str, columns: tuple[str, ...] | None
) -> None:
    runs = [run.run_id for run in own_store.list_runs()][:4]
    # Nothing is missing in this one: pandas takes another type for its marks.
    path = own_store.run_folder(runs[1]) / "responses.parquet"
    answers = pd.read_parquet(path)
    write_table(path.parent, "responses", answers[answers["kind"] == "task"])
    each = [own_store.table(run_id, name, columns) for run_id in runs]
    at_once = own_store.tables(runs, name, columns)
    for one, other in zip(each, at_once, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_one_wrong_table_among_many_is_told_and_the_rest_are_read(
    own_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(own_store.write_root))
    runs = [run.run_id for run in own_store.list_runs()][:3]
    asked = ("prompt_id", "outcome")
    path = own_store.run_folder(runs[1]) / "responses.parquet"
    answers = pd.read_parquet(path)
    pq.write_table(pa.Table.from_pandas(pd.concat([answers, answers.head(1)])), path)
    with pytest.raises(ArtifactError, match="some rows stand twice"):
        own_store.tables(runs, "responses", asked)
    parts = [(run_id, "sft", 0, None) for run_id in runs]
    table, problems = reads.stacked(parts, "responses", asked)
    assert [runs[1] in problem for problem in problems] == [True]
    assert table is not None
    assert list(table["run_id"].unique()) == [runs[0], runs[2]]


def test_a_caller_may_change_what_it_read(compacted: ArtifactStore) -> None:
    run_id = a_run(compacted)
    table = reads.table(run_id, "responses")
    table.loc[:, "prompt"] = "scribble"
    assert "scribble" not in set(reads.table(run_id, "responses")["prompt"])


def test_a_table_about_an_experiment_is_read_once_until_it_changes(
    own_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(own_store.write_root))
    experiment = own_store.load(a_run(own_store)).experiment_id
    stored, read = ArtifactStore.experiment_table, []

    def counted(store: ArtifactStore, *names: str) -> pd.DataFrame | None:
        read.append(names)
        return stored(store, *names)

    monkeypatch.setattr(ArtifactStore, "experiment_table", counted)
    pairs = [reads.experiment_table(experiment, "pair_overlap") for _ in range(2)][1]
    assert (len(read), len(pairs) > 1) == (1, True)
    own_store.save_experiment_table(experiment, "pair_overlap", pairs.head(1))
    assert len(reads.experiment_table(experiment, "pair_overlap")) == 1


def test_a_broken_reference_leaves_the_outcomes_readable(compacted: ArtifactStore) -> None:
    run_id = a_run(compacted)
    name = compacted.load(run_id).fits["reference"]
    (compacted.fit_folder(name) / "responses.parquet").write_bytes(b"x")
    table = reads.table(run_id, "responses")
    assert table["outcome"].notna().all()
    assert (table["prompt"] == "").all()
    with pytest.raises(ArtifactError, match=r"responses\.parquet is broken"):
        reads.fit_table(name, "responses")


def test_what_is_missing_has_a_stamp_too(own_store: ArtifactStore, tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "empty")
    assert store.table_stamp("none", "responses") == store.fit_stamp("none") == ""
    assert store.experiment_stamp("none", "pair_overlap").endswith("pair_overlap.parquet:0")
    run_id = a_run(own_store)
    before = own_store.table_stamp(run_id, "features")
    (own_store.run_folder(run_id) / "features.parquet").unlink()
    assert own_store.table_stamp(run_id, "features") != before


def test_a_record_replaced_by_hand_changes_the_listing(own_store: ArtifactStore) -> None:
    before = own_store.stamp()
    record = own_store.run_folder(a_run(own_store)) / "run.json"
    os.utime(record, ns=(1, 1))
    assert own_store.stamp() != before
