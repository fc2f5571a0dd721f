"""Moving runs from their folders into packs, for a collection that many people copy."""

import io
import shutil
import zipfile
from pathlib import Path

from cwac.artifacts.atomic import write_bytes
from cwac.artifacts.files import RECORD, read_record
from cwac.artifacts.leftovers import DELETED, temporary_name
from cwac.artifacts.packs import PACKS, RunFolder, files_of, packed_runs
from cwac.errors import ArtifactError


def pack_runs(root: Path) -> tuple[int, int]:
    """Move the runs of a root from their folders into one pack per experiment.

    Packs that are there are written again with what joined. Broken runs, and runs that kept
    their model, stay as they are.

    Returns
    -------
    tuple of int
        How many runs were packed, and how many stayed folders.
    """
    experiments: dict[str, list[Path]] = {}
    stayed = 0
    for folder in sorted(path.parent for path in root.glob(f"[!.]*/{RECORD}")):
        try:
            experiment = read_record(folder).experiment_id
        except ArtifactError:
            experiment = ""
        if not experiment or any(path.is_dir() for path in folder.iterdir()):
            stayed += 1
        else:
            experiments.setdefault(experiment, []).append(folder)
    for experiment, folders in experiments.items():
        _write(root / PACKS / f"{experiment}.zip", folders)
        for folder in folders:
            # Renaming first, so that nobody reads a run of which half is gone.
            doomed = temporary_name(folder, DELETED)
            folder.rename(doomed)
            shutil.rmtree(doomed)
    return sum(map(len, experiments.values())), stayed


def _write(pack: Path, folders: list[Path]) -> None:
    runs: dict[str, RunFolder] = {}
    if pack.exists():
        if not zipfile.is_zipfile(pack):
            raise ArtifactError(f"{pack} is broken and is not replaced.")
        packed = [run for run in packed_runs(pack.parent.parent) if run.pack == pack]
        runs |= {run.name: run for run in packed}
    runs |= {folder.name: folder for folder in folders}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for run_id, folder in sorted(runs.items()):
            for name, path in files_of(folder).items():
                # A fixed time: equal runs make equal packs.
                archive.writestr(zipfile.ZipInfo(f"{run_id}/{name}"), path.read_bytes())
    pack.parent.mkdir(exist_ok=True)
    write_bytes(pack, buffer.getvalue())
