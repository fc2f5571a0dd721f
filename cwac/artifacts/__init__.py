"""The only module that knows file names: stored runs, fits and experiment tables."""

from cwac.artifacts.archive import pack, unpack
from cwac.artifacts.files import (
    RECORD,
    give_usual_modes,
    reading,
    write_record,
    write_table,
    write_text,
)
from cwac.artifacts.store import RESERVED, ArtifactStore, StoredRun

__all__ = [
    "RECORD",
    "RESERVED",
    "ArtifactStore",
    "StoredRun",
    "give_usual_modes",
    "pack",
    "reading",
    "unpack",
    "write_record",
    "write_table",
    "write_text",
]
