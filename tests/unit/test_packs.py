import io
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from store_builder import KINDS, build_store

from cwac.artifacts import (
    ArtifactStore,
    compact,
    pack,
    pack_runs,
    reading_roots,
    trash_runs,
    unpack,
)
from cwac.cli import main
from cwac.errors import ArtifactError

NAME = "update_bases"


@pytest.fixture
def root(tmp_path):
    """Two experiments of two arms and two seeds."""
    arms = (("sft", {}), ("cwac", {}))
    store = build_store(tmp_path / "root", arms=arms, kinds=dict.fromkeys(KINDS, 12))
    folder = store.run_folder(store.list_runs()[0].run_id)
    save_file({"a": np.ones((2, 2), np.float16)}, folder / f"{NAME}.safetensors")
    return tmp_path / "root"


def everything(store):
    """All that the store reads of its runs, and how large they are."""
    tables = {
        (run.run_id, name): store.table(run.run_id, name)
        for run in store.list_runs()
        for name in run.record.tables
    }
    arrays = {
        run.run_id: {name: array.tolist() for name, array in store.arrays(run.run_id, NAME).items()}
        for run in store.list_runs()
        if (store.run_folder(run.run_id) / f"{NAME}.safetensors").is_file()
    }
    sizes = [store.disk_use(run.run_id) for run in store.list_runs()]
    return store.list_runs(), tables, arrays, sizes


def test_packed_runs_are_read_as_folders_are(root):
    store = ArtifactStore(root)
    listing, tables, arrays, sizes = everything(store)
    assert arrays == {listing[0].run_id: {"a": [[1, 1], [1, 1]]}}
    stamp = store.stamp()
    assert pack_runs(root) == (len(listing), 0)
    assert len(list((root / "packs").iterdir())) == 2
    assert not any((root / run.run_id).exists() for run in listing)
    packed_listing, packed_tables, packed_arrays, packed_sizes = everything(store)
    assert packed_listing == listing
    assert not any(store.broken_files(run.run_id) for run in listing)
    assert packed_tables.keys() == tables.keys()
    for key, table in tables.items():
        pd.testing.assert_frame_equal(packed_tables[key], table)
    assert (packed_arrays, packed_sizes) == (arrays, sizes)
    assert store.stamp() != stamp
    run_id = listing[0].run_id
    assert store.has_run(run_id)
    columns = ["prompt_id", "response"]
    assert list(store.table(run_id, "responses", columns)) == columns


def test_a_packed_run_leaves_as_an_archive(root, tmp_path):
    run_id = ArtifactStore(root).list_runs()[0].run_id
    archive = pack(ArtifactStore(root), run_id)
    pack_runs(root)
    other = ArtifactStore(tmp_path / "other")
    assert unpack(other, pack(ArtifactStore(root), run_id)) == [run_id]
    with zipfile.ZipFile(io.BytesIO(archive)) as before:
        for name in before.namelist():
            assert (tmp_path / "other" / "imported" / name).read_bytes() == before.read(name)


def test_a_packed_runs_answers_can_be_redacted(root, tmp_path):
    pack_runs(root)
    store, other = ArtifactStore(root), ArtifactStore(tmp_path / "other")
    run_id = store.list_runs()[0].run_id
    unpack(other, pack(store, run_id, answers=lambda table: table.assign(response="hidden")))
    other = ArtifactStore(*reading_roots(other.write_root))
    assert set(other.table(run_id, "responses")["response"]) == {"hidden"}
    reference = other.fit_table(other.load(run_id).fits["reference"], "responses")
    assert set(reference["response"]) == {"hidden"}


def test_packs_grow_and_are_the_same_for_the_same_runs(root, tmp_path):
    again, aside = tmp_path / "again", tmp_path / "aside"
    shutil.copytree(root, again)
    aside.mkdir()
    later = sorted(root.glob("*cwac*"))
    for folder in later:
        folder.rename(aside / folder.name)
    assert pack_runs(root) == (4, 0)
    for folder in later:
        (aside / folder.name).rename(folder)
    assert pack_runs(root) == (4, 0)
    assert pack_runs(again) == (8, 0)
    for path in (again / "packs").iterdir():
        assert (root / "packs" / path.name).read_bytes() == path.read_bytes()


def test_a_folder_hides_a_packed_run_of_the_same_id(root):
    store = ArtifactStore(root)
    record = store.list_runs()[0].record
    pack_runs(root)
    changed = record.model_copy(update={"summary": True})
    store.save_run(changed, {"responses": store.table(record.run_id, "responses")})
    assert store.load(record.run_id).summary
    assert [run.record.summary for run in store.list_runs() if run.run_id == record.run_id] == [
        True
    ]


def test_runs_with_a_model_and_broken_runs_stay_folders(root):
    store = ArtifactStore(root)
    kept, broken, *_ = [run.run_id for run in store.list_runs()]
    (root / kept / "model").mkdir()
    (root / broken / "run.json").write_text("{")
    assert pack_runs(root) == (6, 2)
    assert store.model_folder(kept) == root / kept / "model"
    assert [run.run_id for run in store.list_runs() if run.problem] == [broken]


def test_packed_runs_are_not_changed(root):
    store = ArtifactStore(root)
    run_id = store.list_runs()[0].run_id
    pack_runs(root)
    with pytest.raises(ArtifactError, match="cannot be deleted alone"):
        trash_runs(store, [run_id])
    with pytest.raises(ArtifactError, match="stays as it is"):
        compact(store, run_id)
    with pytest.raises(ArtifactError, match="kept no weights"):
        store.model_folder(run_id)
    with pytest.raises(ArtifactError, match="'nothing' is not stored"):
        store.table(run_id, "nothing")


def test_a_damaged_pack_is_said_to_be(root):
    store = ArtifactStore(root)
    pack_runs(root)
    first, second = sorted((root / "packs").iterdir())
    first.write_bytes(b"no archive")
    content = bytearray(second.read_bytes())
    with zipfile.ZipFile(second) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("responses.parquet"))
    content[entry.header_offset + 200] ^= 1
    second.write_bytes(content)
    problems = [run.problem for run in store.list_runs() if run.problem]
    assert problems == [f"{first.stem}: run.json cannot be read: the pack {first.name} is broken."]
    with pytest.raises(ArtifactError, match=r"responses\.parquet is broken: it does not fit"):
        store.table(entry.filename.split("/")[0], "responses")
    assert store.broken_files(entry.filename.split("/")[0]) == ["responses.parquet"]
    assert pack_runs(root) == (0, 0)


def test_a_pack_of_another_version_is_one_broken_run(tmp_path):
    (tmp_path / "packs").mkdir()
    pack = tmp_path / "packs" / "x.zip"
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("a/run.json", "{}")
    content = bytearray(pack.read_bytes())
    # What of the directory's entry says which version is needed to read it.
    content[content.index(b"PK\x01\x02") + 6] = 84
    pack.write_bytes(bytes(content))
    (broken,) = ArtifactStore(tmp_path).list_runs()
    assert (broken.run_id, broken.record) == ("x", None)
    assert "the pack x.zip is broken" in broken.problem


@pytest.mark.parametrize("name", ["../run/run.json", "run/model/x", "/run/run.json", "run.json"])
def test_other_names_in_a_pack_are_not_read(tmp_path, name):
    (tmp_path / "packs").mkdir()
    with zipfile.ZipFile(tmp_path / "packs" / "x.zip", "w") as archive:
        archive.writestr(name, "{}")
    store = ArtifactStore(tmp_path)
    assert [run.run_id for run in store.list_runs()] == ["x"]
    assert not store.has_run("run")


def test_the_command_packs(root, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["pack", "--root", str(root)])
    assert ending.value.code == 0
    assert "8 runs packed, 0 stay folders" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ending:
        main(["check", "--root", str(root)])
    assert "8 runs checked" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["table", "--root", str(root)])
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 9
    assert "broken" not in printed.err
