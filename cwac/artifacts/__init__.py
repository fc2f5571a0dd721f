"""The only module that knows file names: stored runs, fits and experiment tables."""

from cwac.artifacts.archive import has_imported, pack, unpack
from cwac.artifacts.atomic import free_space, give_usual_modes, write_bytes, write_text
from cwac.artifacts.cards import (
    card_defaults,
    closed_world,
    tried_settings,
    tuned_settings,
)
from cwac.artifacts.checking import Problem, check_store, open_weights, repair
from cwac.artifacts.checkout import checkout, shipped_folder
from cwac.artifacts.files import (
    read_tensors,
    reading,
    tensor_shapes,
    write_record,
    write_table,
)
from cwac.artifacts.leftovers import ALIGNING, host, is_alive, sweep, temporary_name
from cwac.artifacts.notes import Note, read_notes, save_note
from cwac.artifacts.packing import pack_runs
from cwac.artifacts.packs import RunFile, RunFolder
from cwac.artifacts.places import IMPORTED, RESERVED, RESPONSES, Stamp
from cwac.artifacts.public_latents import latent_page, neuronpedia_name, public_names
from cwac.artifacts.queue import PROGRAM, enqueue, guard, start_next, waits
from cwac.artifacts.redaction import HIDDEN, redact
from cwac.artifacts.shipped import (
    left_in,
    listed_store,
    reading_roots,
    reading_store,
    shipped_catalogue,
    shipped_runs,
    with_shipped,
    writing_store,
)
from cwac.artifacts.store import ArtifactStore, StoredRun
from cwac.artifacts.summary import (
    compact,
    fewer_pairs,
    summarise,
    summary_of,
    tables_alone,
    withhold,
)
from cwac.artifacts.trash import TRASH, empty_trash, restore_trash, trash_runs, trashed

__all__ = [
    "ALIGNING",
    "HIDDEN",
    "IMPORTED",
    "PROGRAM",
    "RESERVED",
    "RESPONSES",
    "TRASH",
    "ArtifactStore",
    "Note",
    "Problem",
    "RunFile",
    "RunFolder",
    "Stamp",
    "StoredRun",
    "card_defaults",
    "check_store",
    "checkout",
    "closed_world",
    "compact",
    "empty_trash",
    "enqueue",
    "fewer_pairs",
    "free_space",
    "give_usual_modes",
    "guard",
    "has_imported",
    "host",
    "is_alive",
    "latent_page",
    "left_in",
    "listed_store",
    "neuronpedia_name",
    "open_weights",
    "pack",
    "pack_runs",
    "public_names",
    "read_notes",
    "read_tensors",
    "reading",
    "reading_roots",
    "reading_store",
    "redact",
    "repair",
    "restore_trash",
    "save_note",
    "shipped_catalogue",
    "shipped_folder",
    "shipped_runs",
    "start_next",
    "summarise",
    "summary_of",
    "sweep",
    "tables_alone",
    "temporary_name",
    "tensor_shapes",
    "trash_runs",
    "trashed",
    "tried_settings",
    "tuned_settings",
    "unpack",
    "waits",
    "with_shipped",
    "withhold",
    "write_bytes",
    "write_record",
    "write_table",
    "write_text",
    "writing_store",
]
