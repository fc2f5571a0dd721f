"""What is stored of dissections: tables with the experiment, from several runs and calls."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.artifacts import ArtifactStore
from cwac.interfaces import Grain, Intervention
from cwac.interventions import INTERVENTIONS
from cwac.records import TABLES, RunRecord, line_to
from cwac.runner.claims import Claims

DISSECTION: Final = "dissection"
"""The table that an experiment gets; many rows per run and intervention."""
REQUESTS: Final = "dissection_requests"
"""What became of each request, of some interventions."""
ANSWERS: Final = "dissection_answers"
"""What a few requests were answered, of some interventions."""
NEITHER: Final = "layer"
"""The grain under which interventions are stored that do not depend on it."""


def grain_of(kind: type[Intervention] | Intervention, grain: Grain) -> Grain:
    """Return the grain under which an intervention is stored."""
    return grain if kind.by_grain else NEITHER


def rows_of(store: ArtifactStore, record: RunRecord, grain: Grain) -> pd.DataFrame:
    """Return a run's stored rows: in a grain, and those that have none."""
    table = store.experiment_table(record.experiment_id, DISSECTION)
    if table is None:
        return pd.DataFrame(columns=list(TABLES[DISSECTION]))
    mine = table[(table["run_id"] == record.run_id) & (table["grain"].isin([grain, NEITHER]))]
    return mine.reset_index(drop=True)


def stored(store: ArtifactStore, record: RunRecord, grain: Grain, sets: Sequence[str]) -> set[str]:
    """Return the interventions that are complete, made by the present rules."""
    tables = {DISSECTION: rows_of(store, record, grain)}
    for kept in (REQUESTS, ANSWERS):
        table = store.experiment_table(record.experiment_id, kept)
        if table is not None:
            tables[kept] = table[table["run_id"] == record.run_id]

    def holds(name: str, kind: type[Intervention], table: pd.DataFrame | None) -> bool:
        if table is None:
            return False
        mine = table[
            (table["intervention"] == name)
            & (table["version"] == kind.version)
            & (table["grain"] == grain_of(kind, grain))
        ]
        return set(sets) <= set(mine["part"]) if sets else len(mine) > 0

    return {
        name
        for name, kind in INTERVENTIONS.items()
        if holds(name, kind, tables[DISSECTION])
        # Runs that were taken apart before these were kept get them with the next call.
        and (not kind.keeps_requests(grain) or holds(name, kind, tables.get(REQUESTS)))
        and (not kind.keeps_answers(grain) or holds(name, kind, tables.get(ANSWERS)))
    }


def leads_to(store: ArtifactStore, record: RunRecord, other: str) -> bool:
    """Whether the line from a run to another one is stored, made by the present rules."""
    rows = rows_of(store, record, NEITHER)
    line = (rows["part"] == line_to(other)) & (rows["version"] == INTERVENTIONS["path"].version)
    return bool(line.any())


def save(
    store: ArtifactStore,
    record: RunRecord,
    intervention: Intervention,
    grain: Grain,
    rows: Sequence[dict[str, Any]],
    name: str = DISSECTION,
) -> None:
    """Put an intervention's rows in the place of earlier ones; other runs' and sets' rows stay."""
    names = {
        "run_id": record.run_id,
        "intervention": intervention.name,
        "version": intervention.version,
        "grain": grain,
    }
    new = table_of([{**row, **names} for row in rows], name)
    # Read anew each time: another process may have stored another run's rows meanwhile.
    written = ArtifactStore(store.write_root)
    with Claims(store.write_root).adding(record.experiment_id):
        earlier = written.experiment_table(record.experiment_id, name)
        kept = None if earlier is None else _kept(earlier, new, intervention, names)
        if kept is not None and len(kept):
            new = pd.concat([kept, new], ignore_index=True)
        store.save_experiment_table(record.experiment_id, name, new)


def _kept(
    earlier: pd.DataFrame, new: pd.DataFrame, intervention: Intervention, names: dict[str, Any]
) -> pd.DataFrame:
    """Return the earlier rows that new ones of an intervention stand beside."""
    keys = ["run_id", "intervention", "grain"]
    again = (earlier[keys] == [names[key] for key in keys]).all(axis=1)
    beside = earlier["variant"].isin(intervention.adds_up) & ~earlier["part"].isin(new["part"])
    again &= ~(beside & (earlier["version"] == intervention.version))
    if names["grain"] == "set":
        again &= earlier["part"].isin(new["part"])
    return earlier[~again]


def table_of(rows: Sequence[dict[str, Any]], name: str = DISSECTION) -> pd.DataFrame:
    """Return rows as a table of its schema's columns."""
    table = pd.DataFrame(rows, columns=list(TABLES[name]))
    for column, kind in TABLES[name].items():
        if kind.endswith("?") and kind[0] in "if":
            # A column of None alone has no kind of its own.
            table[column] = table[column].astype(np.float64)
    return table
