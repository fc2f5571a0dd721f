"""An archive that version 0.1 made of one of its runs (tests/data/run-0.1.zip).

The run is CWAC on the tests' tiny model (tests/folders.py, ``resolve({"model": ...}, ["cwac"],
[0])``), packed by ``cwac.artifacts.pack``. It stays as it is, whatever later versions write.
"""

from pathlib import Path

import pytest

from cwac.artifacts import ArtifactStore, reading_roots, unpack
from cwac.cli import main
from cwac.features import SafetyFeatures
from cwac.records import check_table
from cwac.subspace import SafetySubspace

ARCHIVE = Path(__file__).parents[1] / "data" / "run-0.1.zip"
RUN = "tiny-instruct-p0.1-cwac-s0-bad4371c"


@pytest.fixture
def store(tmp_path):
    store = ArtifactStore(tmp_path)
    assert unpack(store, ARCHIVE.read_bytes()) == [RUN]
    return ArtifactStore(*reading_roots(tmp_path))


def test_a_run_of_version_0_1_keeps_its_id_and_its_numbers(store):
    record = store.load(RUN)
    assert record.provenance.versions["cwac-lab"] == "0.1.0"
    # Hashed again from its settings: what was added to them since changes no stored id.
    assert record.config.earlier_ids[0] == record.run_id == RUN
    assert record.config.earlier_ids[1] == record.experiment_id
    assert record.value("refusal_rate") == 1.0
    assert record.value("task_accuracy") == 0.0
    assert record.value("unseen_harmful_score") is None


def test_its_tables_arrays_and_fits_are_read(store):
    record = store.load(RUN)
    assert len(record.tables) == 12
    for name in record.tables:
        table = store.table(RUN, name)
        check_table(name, table)
        assert len(table)
    assert store.table(RUN, "responses")["prompt"].str.len().min() > 0
    assert store.arrays(RUN, "update_bases")
    subspace = SafetySubspace.load(store.fit_folder(record.fits["subspace"]))
    features = SafetyFeatures.load(store.fit_folder(record.fits["features"]))
    assert subspace.maps
    assert features.layers
    assert store.fit_record(record.fits["reference"]).value("refusal_rate") is not None


def test_check_has_nothing_to_say_about_it(store, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["check", "--root", str(store.write_root)])
    assert capsys.readouterr().err.strip().endswith("0 problems")
    assert ending.value.code == 0
