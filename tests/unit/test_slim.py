"""Summaries: what stays of a run, and what still reads it."""

import pytest
from store_builder import build_store

from cwac.artifacts import ArtifactStore, summarise
from cwac.cli import main
from cwac.errors import ArtifactError
from cwac.figures.outcomes import rate_table
from cwac.records import TABLES


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
    assert summarise(store, run.run_id) > 0
    record = store.load(run.run_id)
    assert record == run.record.model_copy(
        update={"summary": True, "tables": ("responses",), "kept_model": False}
    )
    assert sorted(p.name for p in store.run_folder(run.run_id).iterdir()) == [
        "responses.parquet",
        "run.json",
    ]
    after = store.table(run.run_id, "responses")
    assert list(after) == list(TABLES["responses"])
    assert (after[["prompt", "response"]] == "").all(axis=None)
    for column in ("prompt_id", "kind", "outcome", "reason", "correct", "category"):
        assert after[column].equals(before[column]), column
    assert _rates(store, run).equals(rates)
    assert summarise(store, run.run_id) == 0


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
    assert call("slim", "--keep-seed", "0") == 0
    records = [run.record for run in store.list_runs()]
    assert {r.summary for r in records if r.config.seed == 0} <= {False}
    assert all(r.summary for r in records if r.config.seed != 0)
    capsys.readouterr()
    assert call("check") == 0, capsys.readouterr().out
    assert call("table") == 0
