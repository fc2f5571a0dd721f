"""Runs that keep their numbers and outcomes alone, for a collection that must stay small.

A summary has its record, with all metrics, and of each test request what became of it: enough
for rates, claims, trade-offs and tests. Texts, curves, tables per matrix or latent and weights
are gone. The run keeps its id, so that what is a summary here may be whole elsewhere.
"""

from typing import Final

import pandas as pd

from cwac.artifacts.files import write_record, write_table, writing_folder
from cwac.artifacts.store import ArtifactStore
from cwac.errors import ArtifactError

KEPT: Final = "responses"
"""The one table that stays."""
_TEXTS: Final = ("prompt", "response")
_MISSING: Final = ("refusal_log_odds", "expected")


def summary_of(responses: pd.DataFrame) -> pd.DataFrame:
    """Return ``responses`` with what became of each request, and nothing that was said.

    The texts are empty, also where the answer was not: an answer that was empty has that as its
    ``reason``. The requests' texts stand in the aligned model's own answers.
    """
    return responses.assign(**dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_MISSING))


def summarise(store: ArtifactStore, run_id: str) -> int:
    """Turn a stored run into a summary, in one step, and return the bytes that this freed.

    Raises
    ------
    ArtifactError
        The run is not in the writable root, cannot be read, or has no outcomes to keep.
    """
    folder = store.run_folder(run_id)
    if folder.parent != store.write_root:
        raise ArtifactError(f"run {run_id!r} is not in {store.write_root} and stays as it is.")
    record = store.load(run_id)
    if record.summary:
        return 0
    if KEPT not in record.tables:
        raise ArtifactError(f"run {run_id!r} has no table {KEPT!r}, of which nothing would stay.")
    before = store.disk_use(run_id)
    responses = summary_of(store.table(run_id, KEPT))
    changed = {"summary": True, "tables": (KEPT,), "kept_model": False}
    with writing_folder(folder) as temporary:
        write_table(temporary, KEPT, responses)
        write_record(temporary, record.model_copy(update=changed), indent=None)
    return before - store.disk_use(run_id)
