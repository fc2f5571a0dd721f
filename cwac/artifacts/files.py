"""Reading and writing what a store holds: records, tables, arrays, checksums; all checked."""

import hashlib
import io
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import load, load_file

from cwac.arms import arm_of_old_record
from cwac.artifacts.atomic import write_bytes, write_text
from cwac.artifacts.packs import RunFile, RunFolder, files_of
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, ConfigError, first_line
from cwac.intake import check_plain, check_storable, read_json, shown
from cwac.records import (
    LATER_COLUMNS,
    SCHEMA_VERSION,
    TABLES,
    RunRecord,
    check_columns,
    check_table,
)

RECORD: Final = "run.json"
CHECKSUMS: Final = "checksums.json"
"""Of a fit, which has no record of its own."""
LARGEST_TABLE: Final = 2 * 1024**3
"""Bytes of a table in memory; ours have a few megabytes."""


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Check a table against its schema and write it atomically as Parquet."""
    write_bytes(folder / table_file(name), table_bytes(name, table))


def table_file(name: str) -> str:
    """Return the name of the file that holds a table."""
    return f"{name}.parquet"


def table_bytes(name: str, table: pd.DataFrame) -> bytes:
    """Check a table against its schema and return it as Parquet."""
    gaps = {
        column: table[column].replace([np.inf, -np.inf], np.nan)
        for column, kind in TABLES.get(name, {}).items()
        # What is infinite was not measured; where nothing may be missing it is refused below.
        if kind == "f?" and column in table and table[column].dtype.kind == "f"
    }
    return _smallest(_compact(name, check_table(name, table.assign(**gaps))))


def _compact(name: str, table: pd.DataFrame) -> pa.Table:
    """Return a table in four-byte numbers, without the description that pandas adds.

    Tables are small and many: the description alone would be half of most files.
    """
    kinds = TABLES[name]
    sizes = {
        column: "float32" if kind[0] == "f" else "int32"
        for column, kind in kinds.items()
        if kind[0] == "f" or (kind[0] == "i" and not table[column].isna().any())
    }
    arrow = pa.Table.from_pandas(table.astype(sizes), preserve_index=False)
    return arrow.replace_schema_metadata(None)


def _smallest(table: pa.Table) -> bytes:
    """Return a table as Parquet, floats by value or by byte, whichever is smaller.

    Dictionaries hide the repetitions that zstd finds: without them a run's tables are an eighth
    smaller.
    """
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    integers = [field.name for field in table.schema if pa.types.is_integer(field.type)]
    written = []
    for by_byte in (integers, integers + floats):
        buffer = io.BytesIO()
        pq.write_table(
            table,
            buffer,
            compression="zstd",
            compression_level=19,
            write_statistics=False,
            store_schema=False,
            use_dictionary=False,
            use_byte_stream_split=by_byte,
        )
        written.append(buffer.getvalue())
    return min(written, key=len)


def write_record(folder: Path, record: RunRecord, *, indent: int | None = 1) -> None:
    """Write a record atomically, for people to read or, without `indent`, as small as it goes."""
    write_text(folder / RECORD, record.model_dump_json(indent=indent))


def seal(folder: Path, record: RunRecord, *, indent: int | None = 1) -> None:
    """Write a record with the checksums of all in its folder, as the last of its files."""
    write_record(
        folder, record.model_copy(update={"checksums": checksums_of(folder)}), indent=indent
    )


def checksums_of(folder: RunFolder, keeper: str = RECORD) -> dict[str, str]:
    """Return the SHA-256 of each file of a run or fit but the one that keeps them."""
    return {name: checksum(path) for name, path in files_of(folder).items() if name != keeper}


def checksum(path: RunFile) -> str:
    """Return a file's SHA-256; files of any size are read piece by piece."""
    if not isinstance(path, Path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    check_plain(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(folder: RunFolder, sums: Mapping[str, str]) -> list[str]:
    """Return what of a folder does not fit its checksums: a sentence each, none where none are."""
    if not sums:
        return []
    # The file that keeps them, of a run or of a fit, is the only one without.
    keeper = CHECKSUMS if (folder / CHECKSUMS).is_file() else RECORD
    files = {name: path for name, path in files_of(folder).items() if name != keeper}
    problems = [f"{name} is missing" for name in sorted(set(sums) - set(files))]
    problems += [f"{name} does not belong to it" for name in sorted(set(files) - set(sums))]
    for name in sorted(set(files) & set(sums)):
        try:
            if checksum(files[name]) != sums[name]:
                problems.append(f"{name} is not what was stored (its checksum differs)")
        except OSError as problem:
            problems.append(f"{name} cannot be read: {first_line(problem)}")
    return problems


def write_checksums(folder: Path) -> None:
    """Write the checksums of a fit's files, as the last of them."""
    write_text(folder / CHECKSUMS, json.dumps(checksums_of(folder, CHECKSUMS), indent=1))


def read_checksums(folder: Path) -> dict[str, str]:
    """Return the checksums of a fit's files, none where none were recorded.

    Raises
    ------
    ArtifactError
        They cannot be read.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    with reading(f"{folder.name}: {CHECKSUMS}"):
        sums = read_json(path)
        return {str(name): str(value) for name, value in dict(sums).items()}


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Say in one sentence that a named thing cannot be read, whatever the block meets in its files.

    Raises
    ------
    ArtifactError
        A file is missing, broken, or lacks what it must hold.
    """
    try:
        yield
    except ArtifactError:
        raise
    except Exception as problem:
        # Libraries that parse damaged bytes raise whatever they come upon.
        raise ArtifactError(f"{name} cannot be read: {first_line(problem)}.") from None


def read_record(folder: RunFolder) -> RunRecord:
    """Read and validate the record in a folder."""
    path = folder / RECORD
    try:
        raw = read_json(path)
        check_storable(raw)
    except FileNotFoundError:
        raise ArtifactError(f"{folder.name}: {RECORD} is missing.") from None
    except (OSError, ValueError) as problem:
        raise ArtifactError(
            f"{folder.name}: {RECORD} cannot be read: {first_line(problem)}."
        ) from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{folder.name}: schema version {shown(version)}, this version reads {SCHEMA_VERSION}."
        )
    try:
        return RunRecord.model_validate(_with_arm(raw))
    except ValidationError as report:
        first = report.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{folder.name}: {RECORD}: {where}: {first['msg']}.") from None
    except (TypeError, ValueError, ConfigError) as problem:
        raise ArtifactError(f"{folder.name}: {RECORD}: {first_line(problem)}.") from None


def read_run(folder: RunFolder) -> RunRecord:
    """Read the record of a run, which must be that of its folder."""
    return check_id(folder, read_record(folder))


def check_id(folder: RunFolder, record: RunRecord) -> RunRecord:
    """Refuse a record that is not its folder's: everything is found by the id."""
    if record.run_id != folder.name:
        raise ArtifactError(f"{folder.name}: {RECORD} is that of the run {record.run_id!r}.")
    return record


def _with_arm(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its arm, which records of version 0.1 did not hold."""
    if "arm" in raw or not {"config", "variant"} <= raw.keys():
        return raw
    # A wrong configuration is reported by the record's own validation.
    with suppress(ValidationError):
        config = ExperimentConfig.model_validate(raw["config"])
        return {**raw, "config": config, "arm": arm_of_old_record(config, str(raw["variant"]))}
    return raw


def is_table(path: RunFile) -> bool:
    """Whether a file ends as a Parquet table does; of a folder's file nothing else is read."""
    try:
        check_plain(path) if isinstance(path, Path) else None
        pq.read_metadata(_source(path))
    except (OSError, ValueError):
        return False
    return True


def read_table(path: RunFile, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table and check it, or say in one sentence why it cannot be read.

    What a file name promises is what callers get: the columns of :data:`cwac.records.TABLES`, of
    their kinds, without gaps where none are allowed.
    """
    with _reading_table(path):
        return _checked(path.stem, [_arrow(path, columns)], columns)


def read_tables(
    paths: Sequence[RunFile], columns: Sequence[str] | None = None
) -> list[pd.DataFrame]:
    """Read the tables of one name of many runs, each as :func:`read_table` gives it.

    To make a DataFrame of a small table and to check it takes ten times as long as to read it:
    tables of one form are made and checked as one, of which each is a part.

    Raises
    ------
    ArtifactError
        One of them cannot be read; where its contents are wrong, `read_table` says which.
    """
    forms: dict[Hashable, list[tuple[int, pa.Table]]] = {}
    for place, path in enumerate(paths):
        with _reading_table(path):
            arrow = _arrow(path, columns)
            # Where something is missing pandas takes another type.
            gaps = tuple(column.null_count > 0 for column in arrow.columns)
            forms.setdefault((str(arrow.schema), gaps), []).append((place, arrow))
    tables: list[pd.DataFrame] = [pd.DataFrame()] * len(paths)
    for form in forms.values():
        with _reading_table(paths[form[0][0]]):
            pile = _checked(paths[0].stem, [arrow for _, arrow in form], columns)
        start = 0
        for place, arrow in form:
            tables[place] = pile.iloc[start : start + len(arrow)].reset_index(drop=True)
            start += len(arrow)
    return tables


@contextmanager
def _reading_table(path: RunFile) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent.name}: the table {path.stem!r} is not stored.") from None
    except ArtifactError as problem:
        raise ArtifactError(f"{path.parent.name}: {path.name} is broken: {problem}") from None
    except Exception as problem:
        # Libraries that parse damaged bytes raise whatever they come upon.
        raise ArtifactError(
            f"{path.parent.name}: {path.name} is broken: {first_line(problem)}."
        ) from None


def _arrow(path: RunFile, columns: Sequence[str] | None) -> pa.Table:
    """Read a table, with what joined the schema later as missing numbers."""
    if isinstance(path, Path):
        check_plain(path)
    # Small tables, by the hundred: what is meant for large ones takes longer than to read one.
    file = pq.ParquetFile(_source(path), pre_buffer=False)
    _check_size(file.metadata)
    lacking = set(LATER_COLUMNS.get(path.stem, ())).difference(file.schema_arrow.names)
    needed = None if columns is None else [name for name in columns if name not in lacking]
    arrow = file.read(needed, use_threads=False)
    arrow.validate(full=True)
    # pandas' own description of a table could ask for an index or for other names.
    arrow = arrow.replace_schema_metadata(None)
    if needed is not None:
        arrow = arrow.select(needed)
    for name in sorted(lacking if columns is None else lacking.intersection(columns)):
        arrow = arrow.append_column(name, pa.nulls(len(arrow), pa.float64()))
    return arrow


def _checked(name: str, arrows: Sequence[pa.Table], columns: Sequence[str] | None) -> pd.DataFrame:
    """Return tables of one form as one, with each row once in its own table."""
    table = pa.concat_tables(arrows).to_pandas(use_threads=False)
    lengths = [len(arrow) for arrow in arrows]
    if columns is None:
        return check_table(name, table, lengths)
    return check_columns(name, table[list(columns)], lengths)


def _check_size(about: pq.FileMetaData) -> None:
    size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    if size > LARGEST_TABLE or about.num_rows > LARGEST_TABLE:
        raise ArtifactError(f"it claims to hold {size:,} bytes.")


def _source(path: RunFile) -> Path | io.BytesIO:
    return path if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a safetensors file as torch's tensors by name; only processes with torch call it.

    It is called where :func:`reading` says what could not be read.
    """
    from safetensors.torch import load_file  # noqa: PLC0415 - torch, which views do without

    check_plain(path)
    return dict(load_file(path))


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a safetensors file by name, from its header; as `read_tensors`."""
    check_plain(path)
    with safe_open(path, framework="np") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def read_arrays(path: RunFile) -> dict[str, np.ndarray]:
    """Read a safetensors file as arrays by name."""
    try:
        if isinstance(path, Path):
            check_plain(path)
        return dict(load_file(path) if isinstance(path, Path) else load(path.read_bytes()))
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent.name}: {path.name} is not stored.") from None
    except Exception as problem:
        # A header that is no UTF-8, a kind of number that NumPy lacks, offsets past the end.
        raise ArtifactError(
            f"{path.parent.name}: {path.name} is broken: {first_line(problem)}."
        ) from None
