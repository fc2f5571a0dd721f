"""Rows of a user's file as a table of text, with a clear sentence for what is wrong with it."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from cwac.errors import DataError, first_line
from cwac.intake import check_plain, is_text
from cwac.prompts.packing import LINES, PACKED_LINES, read_text

FORMATS: Final = (".txt", ".csv", ".tsv", ".json", LINES, PACKED_LINES, ".parquet")
_MOST_NAMES: Final = 10
"""Columns that a message names."""
MOST_BYTES: Final = 1_000_000_000
"""A Parquet file that unpacks to more than this is not read."""
MOST_CELLS: Final = 20_000_000
"""Rows times columns of a file; what is missing in a row takes as much room as what is there."""
_BATCH: Final = 1_000
USUAL_COLUMNS: Final = (
    "text",
    "prompt",
    "instruction",
    "question",
    "request",
    "goal",
    "sentence",
)
"""Columns taken, in this order, where none is named."""


def read_rows(path: Path | str, *, header: bool = True) -> pd.DataFrame:
    """Read a file of prompts or examples; every value as text, missing ones as None.

    Parameters
    ----------
    path : Path
        A ``.txt`` (one row a line, column ``text``), ``.csv``, ``.tsv``, ``.json`` (a list),
        ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file.
    header : bool
        Whether the first row of a CSV or TSV file names its columns; without one they are
        named by position: "0", "1", ...

    Raises
    ------
    DataError
        The file is missing, of another type, empty, or has a broken row (with its number).
    """
    path = Path(path)
    if _format_of(path) not in FORMATS:
        allowed = ", ".join(FORMATS)
        raise DataError(f"{path} has type {path.suffix or 'none'!r}; allowed: {allowed}.")
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    table = _read(path, header=header)
    if table.empty:
        raise DataError(f"{path} holds no rows.")
    return table


def _format_of(path: Path) -> str:
    return PACKED_LINES if path.name.lower().endswith(PACKED_LINES) else path.suffix.lower()


def _read(path: Path, *, header: bool) -> pd.DataFrame:
    suffix = _format_of(path)
    if suffix == ".parquet":
        return _read_parquet(path)
    text = read_text(path, encoding="utf-8-sig")
    # A row has a line or a bracket of its own.
    _check_cells(path, max(map(text.count, "\n{[")), 1)
    if suffix == ".txt":
        lines = text.rstrip("\n").split("\n")
        return as_table(path, [{"text": line.strip()} for line in lines])
    if suffix in {".csv", ".tsv"}:
        return _read_delimited(path, text, "," if suffix == ".csv" else "\t", header=header)
    rows = _json_rows(path, text) if suffix == ".json" else _json_line_rows(path, text)
    return as_table(path, rows)


def _check_cells(path: Path | str, rows: int, columns: int) -> None:
    if rows * columns > MOST_CELLS:
        of_each = f" of {columns:,} columns" if columns > 1 else ""
        raise DataError(
            f"{path} has {rows:,} rows{of_each}; at most {MOST_CELLS:,} values are read."
        )


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        check_plain(path)
        with parquet.ParquetFile(path) as file:
            about = file.metadata
            groups = map(about.row_group, range(about.num_row_groups))
            _check_unpacked(path, sum(group.total_byte_size for group in groups))
            _check_cells(path, about.num_rows, about.num_columns)
            batches, unpacked = [], 0
            for batch in file.iter_batches(batch_size=_BATCH):
                # What stands in the file once can be each row's value.
                unpacked += batch.nbytes
                _check_unpacked(path, unpacked)
                batches.append(batch)
            table = pa.Table.from_batches(batches, file.schema_arrow).to_pandas()
    except (OSError, ValueError) as problem:
        raise DataError(f"cannot read {path} as a parquet file: {first_line(problem)}.") from None
    rows = [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]
    return as_table(path, rows)


def _check_unpacked(path: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise DataError(
            f"{path} unpacks to {size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:g} GB are read."
        )


def _read_delimited(path: Path, text: str, delimiter: str, *, header: bool) -> pd.DataFrame:
    try:
        rows = _delimited_rows(path, text, delimiter, quoting=csv.QUOTE_MINIMAL)
    except DataError:
        # GLUE's and others' TSV files hold bare quotes that mean nothing.
        if delimiter != "\t":
            raise
        rows = _delimited_rows(path, text, delimiter, quoting=csv.QUOTE_NONE)
    if not rows:
        return pd.DataFrame()
    names = rows[0] if header else [str(index) for index in range(len(rows[0]))]
    return as_table(path, [dict(zip(names, row, strict=True)) for row in rows[header:]])


def _delimited_rows(path: Path, text: str, delimiter: str, *, quoting: Any) -> list[list[str]]:
    # Strict: a stray quote is an error, not a field that swallows the following lines.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"{path}: line {reader.line_num} has {len(row)} fields, "
                    f"the first row has {len(rows[0])}."
                )
            rows.append(row)
            _check_cells(path, len(rows), len(row))
    except csv.Error as problem:
        raise DataError(
            f"{path}: line {reader.line_num} is broken: {first_line(problem)}."
        ) from None
    return rows


def _json_rows(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is not JSON: {first_line(problem)}.") from None
    if isinstance(content, dict) and content and all(map(_is_object, content.values())):
        # Rows by their name, as PubMedQA's authors give them.
        return [{"id": str(name), **entry} for name, entry in content.items()]
    if not isinstance(content, list):
        kind = type(content).__name__
        raise DataError(f"{path} must hold a JSON list of objects, not a {kind}.")
    return [_as_row(path, f"entry {number}", entry) for number, entry in enumerate(content, 1)]


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _json_line_rows(path: Path, text: str) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as problem:
            raise DataError(f"{path}: line {number} is not JSON: {first_line(problem)}.") from None
        rows.append(_as_row(path, f"line {number}", entry))
    return rows


def _as_row(path: Path, where: str, entry: Any) -> dict[str, Any]:
    if not is_text(json.dumps(entry, ensure_ascii=False)):
        # JSON can spell half a character, which no file of answers could hold.
        raise DataError(f"{path}: {where} holds text that cannot be written as UTF-8.")
    if isinstance(entry, dict):
        return {str(key): value for key, value in entry.items()}
    if isinstance(entry, str):
        return {"text": entry}
    raise DataError(f"{path}: {where} is a {type(entry).__name__}, not an object or a text.")


def as_table(path: Path | str, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table of text with a column for every key; missing values are None.

    Raises
    ------
    DataError
        It would have too many cells: names the path.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    _check_cells(path, len(rows), len(columns))
    values = [[_as_text(row.get(column)) for column in columns] for row in rows]
    return pd.DataFrame(values, columns=columns, dtype=object)


def _as_text(value: Any) -> str | None:
    # Numbers stay as they are written: a label 1 must not become 1.0.
    if value is None or (isinstance(value, float) and value != value):  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def column_of(rows: pd.DataFrame, column: str | None, path: Path | str) -> str:
    """Return the column to read: the one named, a usual name, or the only one.

    Raises
    ------
    DataError
        The file has no such column (its columns are listed), or it is not clear which is meant.
    """
    names = [str(name) for name in rows.columns]
    if column is not None:
        if column in names:
            return column
        raise DataError(f"{path} has no column {column!r}; its columns: {_listed(names)}")
    if len(names) == 1:
        return names[0]
    for usual in USUAL_COLUMNS:
        if usual in names:
            return usual
    raise DataError(
        f"{path} does not say which column to read: name it, as in {path}:{names[0][:20]}; "
        f"its columns: {_listed(names)}"
    )


def _listed(names: Sequence[str]) -> str:
    first = names[:_MOST_NAMES]
    shown = ", ".join(repr(name if len(name) <= 40 else name[:40] + "...") for name in first)
    if len(names) > _MOST_NAMES:
        shown += f" and {len(names) - _MOST_NAMES:,} more"
    if any(len(name) > 40 or name.isdigit() or not name for name in names):
        # A header that reads like data is data.
        return f"{shown}. The first row looks like data: name columns by position (0, 1, ...)."
    return f"{shown}."


def matching(rows: pd.DataFrame, where: str | None, path: Path | str) -> pd.DataFrame:
    """Return the rows that a filter ``column=value`` keeps (``column=`` keeps empty values).

    Raises
    ------
    DataError
        The filter has no ``=``, names no column of the file, or keeps nothing.
    """
    if where is None:
        return rows
    column, sign, value = where.partition("=")
    if not sign:
        raise DataError(f"the filter {where!r} must have the form column=value.")
    values = rows[column_of(rows, column.strip(), path)].map(lambda cell: (cell or "").strip())
    kept = rows[values == value.strip()]
    if kept.empty:
        shown = ", ".join(repr(str(v)[:30]) for v in list(dict.fromkeys(values))[:6])
        raise DataError(f"{path}: no row has {where}; values of {column!r}: {shown}.")
    return kept


def texts_of(rows: pd.DataFrame, column: str) -> "pd.Series[str]":
    """Return a column's texts, stripped, empty where missing.

    Alpaca's files keep part of a request in a column ``input``: it is put below the instruction.
    """
    texts = rows[column].map(_stripped)
    if column == "instruction" and "input" in rows.columns:
        further = rows["input"].map(_stripped)
        texts = texts.where(further == "", texts + "\n" + further)
    return texts


def _stripped(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()
