"""What single stored files are: exact, small, and readable like any other."""

import io
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from cwac.artifacts.files import give_usual_modes, read_table, write_table, writing_folder


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
