"""What single stored files are: exact, small, and readable like any other."""

import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

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
