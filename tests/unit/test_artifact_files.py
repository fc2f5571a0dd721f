"""What single stored files are: exact, small, and readable like any other."""

import io
import os
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from forked import ended, start
from safetensors.torch import save_file

from cwac.artifacts import ArtifactStore
from cwac.artifacts.atomic import give_usual_modes, writing_folder
from cwac.artifacts.files import read_table, write_table


@pytest.mark.parametrize(("distinct", "by_byte"), [(2000, True), (7, False)])
def test_tables_come_back_exactly_and_smaller_than_with_dictionaries(tmp_path, distinct, by_byte):
    values = np.resize(np.random.default_rng(0).normal(size=distinct), 2000).astype(np.float32)
    table = pd.DataFrame(
        {"layer": 1, "map": ["up", "down"] * 1000, "index": np.arange(2000), "value": values}
    )
    write_table(tmp_path, "singular_values", table)
    path = tmp_path / "singular_values.parquet"
    back = read_table(path)
    assert back["map"].tolist() == table["map"].tolist()
    assert back["index"].tolist() == table["index"].tolist()
    np.testing.assert_array_equal(back["value"].to_numpy(), values)
    usual = io.BytesIO()
    back.to_parquet(usual, compression="zstd", compression_level=19, index=False)
    assert path.stat().st_size < 0.5 * len(usual.getvalue())
    column = pq.ParquetFile(path).metadata.row_group(0).column(3)
    assert ("BYTE_STREAM_SPLIT" in column.encodings) == by_byte


@pytest.fixture(params=[0o002, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777
            for path in (folder, *folder.rglob("*"))}  # fmt: skip


def test_a_stored_folder_is_as_readable_as_the_umask_says(tmp_path, umask):
    with writing_folder(tmp_path / "run") as folder:
        (folder / "model").mkdir()
        save_file({"a": torch.ones(2)}, folder / "model" / "model.safetensors")
        # What safetensors itself does has changed between its versions.
        (folder / "model" / "model.safetensors").chmod(0o600)
        (folder / "run.json").write_text("{}")
    assert modes(tmp_path / "run") == {
        ".": 0o777 & ~umask,
        "model": 0o777 & ~umask,
        "model/model.safetensors": 0o666 & ~umask,
        "run.json": 0o666 & ~umask,
    }


def test_a_private_folder_becomes_a_usual_one(tmp_path, umask):
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "a").write_text("a")
    (folder / "a").chmod(0o400)
    give_usual_modes(folder)
    assert modes(folder) == {".": 0o777 & ~umask, "a": 0o666 & ~umask}


def _store_forty(root, number):
    store = ArtifactStore(root)
    for turn in range(40):
        with store.writing_fit(f"subspace-{turn}") as folder:
            for part in ("a", "b"):
                (folder / part).write_text(str(number))
            # Both processes finish each folder at the same time, as near as it goes.
            (root / f"{turn}-{number}").touch()
            while not (root / f"{turn}-{1 - number}").exists():
                time.sleep(0.0005)


def test_two_processes_store_one_fit_and_the_first_one_stays(tmp_path):
    logs = [tmp_path / "0.txt", tmp_path / "1.txt"]
    both = [start(_store_forty, tmp_path, n, log=log) for n, log in enumerate(logs)]
    assert [ended(process, 60) for process in both] == [0, 0]
    assert [log.read_text() for log in logs] == ["", ""]
    fits = sorted(tmp_path.glob("fits/*"))
    assert len(fits) == 40, "no leftover of either"
    assert len(list(tmp_path.glob("fits/.*"))) == 0
    for fit in fits:
        assert (fit / "a").read_text() == (fit / "b").read_text()
    with ArtifactStore(tmp_path).writing_fit("subspace-0") as folder:
        (folder / "late").touch()
    assert not (fits[0] / "late").exists()


def test_a_run_that_is_stored_again_takes_the_place_of_the_first(tmp_path):
    for text in ("first", "second"):
        with writing_folder(tmp_path / "run") as folder:
            (folder / text).write_text(text)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(ZeroDivisionError), writing_folder(tmp_path / "run"):
        _ = 1 / 0
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["second"]
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), writing_folder(tmp_path / "file"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "run"]


def test_a_column_that_came_later_reads_as_not_measured(tmp_path):
    path = tmp_path / "subspace_quality.parquet"
    stored = {
        "layer": [0], "map": ["up"], "d_in": [4], "rank": [2], "tokens": [9],
        "outside_energy_fit": [0.01], "outside_energy_heldout": [0.07],
    }  # fmt: skip
    pd.DataFrame(stored).to_parquet(path)
    assert read_table(path)["outside_energy_heldout_fitted"].isna().all()
    columns = ["outside_energy_heldout_fitted", "layer"]
    assert list(read_table(path, columns).columns) == columns
    assert list(read_table(path, ["layer"]).columns) == ["layer"]
    pd.DataFrame(stored | {"outside_energy_heldout_fitted": [0.01]}).to_parquet(path)
    assert read_table(path)["outside_energy_heldout_fitted"].tolist() == [0.01]
