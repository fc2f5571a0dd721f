"""A disk that is full: one sentence, and nothing that was stored is lost."""

import errno
import os

import pytest
from store_builder import build_store
from wrong_calls import call

from cwac.artifacts import ArtifactStore
from cwac.records import TABLES

SMALL = {"harmful": 24, "harmless": 12, "lookalike": 12, "task": 12}


@pytest.fixture
def store(tmp_path):
    return build_store(
        tmp_path / "root", arms=(("sft", {}),), seeds=(0,), experiments=(("instruct", 0.1),),
        kinds=SMALL,
    )  # fmt: skip


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    # What is stored is made sure of before it takes its name.
    monkeypatch.setattr(os, "fsync", refuse)


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_run_that_cannot_be_replaced_stays(store, full_disk):
    before = contents(store.write_root)
    (run,) = store.list_runs()
    tables = {name: store.table(run.run_id, name) for name in run.record.tables if name in TABLES}
    with pytest.raises(OSError, match="No space left"):
        store.save_run(run.record, tables)
    assert contents(store.write_root) == before


@pytest.mark.parametrize("words", [("slim", "--keep-seed", "9"), ("pack", "{root}/pack.zip")])
def test_commands_say_a_sentence_and_lose_nothing(store, full_disk, words, capsys):
    root = store.write_root
    before = contents(root)
    outcome = call([w.format(root=root) for w in words] + ["--root", str(root)])
    assert outcome.defect is None
    after = contents(root)
    assert {name: after.get(name) for name in before} == before
    assert ArtifactStore(root).list_runs()[0].record is not None


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")  # noqa: PTH110
@pytest.mark.parametrize("words", [("table", "--out", "/dev/full")])
def test_a_device_that_is_full_is_a_sentence(store, words):
    outcome = call([*words, "--root", str(store.write_root)])
    assert outcome.defect is None
