"""Deleted runs can be put back until the next are deleted; notes stand beside the runs."""

import os

import pytest
from store_builder import build_store

from cwac.artifacts import (
    ArtifactStore,
    Note,
    check_store,
    empty_trash,
    read_notes,
    reading_store,
    restore_trash,
    save_note,
    trash_runs,
    trashed,
)
from cwac.artifacts.trash import AGE, TRASH
from cwac.errors import ArtifactError

CELL = {"arms": (("sft", {}),), "experiments": (("instruct", 0.1),)}


@pytest.fixture
def store(tmp_path):
    return build_store(tmp_path / "own", seeds=(0, 1, 2), **CELL)


def ids(store):
    return [run.run_id for run in store.list_runs()]


def test_what_was_deleted_is_back_after_undoing_byte_for_byte(store):
    before = ids(store)
    record = (store.write_root / before[0] / "run.json").read_bytes()
    assert trash_runs(store, before[:2]) == before[:2]
    assert ids(store) == before[2:]
    assert trashed(store.write_root) == before[:2]
    assert check_store(store, lambda _: True) == []
    assert restore_trash(store.write_root) == before[:2]
    assert ids(store) == before
    assert (store.write_root / before[0] / "run.json").read_bytes() == record
    assert not (store.write_root / TRASH).exists()


def test_the_next_deletion_empties_the_trash(store):
    first, second, third = ids(store)
    trash_runs(store, [first])
    trash_runs(store, [second])
    assert restore_trash(store.write_root) == [second]
    assert ids(store) == [second, third]


def test_nothing_is_moved_where_one_run_may_not_be(store, tmp_path):
    shipped = build_store(tmp_path / "shipped", seeds=(7,), **CELL)
    both = ArtifactStore(store.write_root, shipped.write_root)
    before = ids(both)
    with pytest.raises(ArtifactError, match="shipped with the lab"):
        trash_runs(both, [ids(store)[0], ids(shipped)[0]])
    assert ids(both) == before
    assert trashed(store.write_root) == []


def test_a_run_that_was_stored_again_is_not_replaced(store):
    first = ids(store)[0]
    trash_runs(store, [first])
    (store.write_root / first).mkdir()
    assert restore_trash(store.write_root) == []
    assert trashed(store.write_root) == [first]


def test_an_imported_run_goes_back_to_the_imports(store, tmp_path):
    first = ids(store)[0]
    imported = store.write_root / "imported"
    imported.mkdir()
    (store.write_root / first).rename(imported / first)
    both = ArtifactStore(store.write_root, imported)
    trash_runs(both, [first])
    restore_trash(store.write_root)
    assert (imported / first / "run.json").is_file()


def test_age_empties_the_trash(store):
    first = ids(store)[0]
    trash_runs(store, [first])
    reading_store(store.write_root)
    assert trashed(store.write_root) == [first]
    (batch,) = (store.write_root / TRASH).iterdir()
    old = batch.stat().st_mtime - AGE - 60
    os.utime(batch, (old, old))
    reading_store(store.write_root)
    assert not (store.write_root / TRASH).exists()
    empty_trash(store.write_root)


def test_notes_are_kept_beside_the_runs(store):
    first = ids(store)[0]
    record = (store.write_root / first / "run.json").read_bytes()
    note = Note("learns *fast*, \u00e9", ("good", "for the talk"))
    save_note(store.write_root, first, note)
    save_note(store.write_root, "a-shipped-run", Note(tags=("old",)))
    assert read_notes(store.write_root) == {first: note, "a-shipped-run": Note(tags=("old",))}
    assert (store.write_root / first / "run.json").read_bytes() == record
    assert len(ids(store)) == 3
    save_note(store.write_root, first, Note())
    assert list(read_notes(store.write_root)) == ["a-shipped-run"]


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (Note("x" * 2001), "at most 2,000 characters; this has 2,001"),
        (Note(tags=("",)), "1 to 40 characters"),
        (Note(tags=tuple("abcdefghijklm")), "at most 12 tags, not 13"),
    ],
)
def test_notes_have_bounds(store, note, message):
    with pytest.raises(ArtifactError, match=message):
        save_note(store.write_root, ids(store)[0], note)
    with pytest.raises(ArtifactError, match="not the name of a run"):
        save_note(store.write_root, "../elsewhere", Note("a"))


@pytest.mark.parametrize("content", ["", "[]", '{"text": 3, "tags": []}', '{"text": "a"}'])
def test_a_broken_note_is_left_out_and_found_by_check(store, content):
    folder = store.write_root / ".notes"
    folder.mkdir()
    (folder / "r.json").write_text(content)
    assert read_notes(store.write_root) == {}
    (problem,) = check_store(store, lambda _: True)
    assert ".notes/r.json cannot be read" in problem.sentence
