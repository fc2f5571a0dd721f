"""The only module that knows file names: stored runs, fits and experiment tables."""

from cwac.artifacts.archive import pack, unpack
from cwac.artifacts.files import (
    give_usual_modes,
    reading,
    write_bytes,
    write_record,
    write_table,
    write_text,
)
from cwac.artifacts.packing import pack_runs
from cwac.artifacts.packs import RunFile, RunFolder
from cwac.artifacts.shipped import (
    checkout,
    listed_store,
    reading_store,
    shipped_folder,
    shipped_runs,
    writing_store,
)
from cwac.artifacts.store import RESERVED, ArtifactStore, Stamp, StoredRun
from cwac.artifacts.summary import compact, fewer_pairs, summarise, summary_of

__all__ = [
    "RESERVED",
    "ArtifactStore",
    "RunFile",
    "RunFolder",
    "Stamp",
    "StoredRun",
    "checkout",
    "compact",
    "fewer_pairs",
    "give_usual_modes",
    "listed_store",
    "pack",
    "pack_runs",
    "reading",
    "reading_store",
    "shipped_folder",
    "shipped_runs",
    "summarise",
    "summary_of",
    "unpack",
    "write_bytes",
    "write_record",
    "write_table",
    "write_text",
    "writing_store",
]
