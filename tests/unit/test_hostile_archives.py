"""An archive is data from elsewhere: it is measured, opened in whole, and kept apart."""

import io
import json
import random
import shutil
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import SUBSPACE, build_store, seal_store

from cwac.artifacts import (
    ArtifactStore,
    archive,
    pack,
    reading_roots,
    unpack,
    write_table,
    writing_store,
)
from cwac.errors import ArtifactError

SMALL = {"harmful": 24, "harmless": 12, "lookalike": 12, "task": 12}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("origin")
    store = seal_store(build_store(root, arms=(("sft", {}),), seeds=(0,), kinds=SMALL))
    run_id = store.list_runs()[0].run_id
    return run_id, pack(store, run_id)


def rewritten(content, change):
    """Return an archive whose members `change` gives anew: a name and bytes, or None to drop."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            for entry in change(name, old.read(name)):
                new.writestr(*entry)
    return buffer.getvalue()


def left(root):
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_is_imported_hides_nothing_and_no_run_reads_it(packed, tmp_path):
    run_id, content = packed
    own = ArtifactStore(tmp_path)
    with own.writing_fit(SUBSPACE) as folder:
        (folder / "mine.json").write_text("{}")
    unpack(own, content)
    everything = ArtifactStore(*reading_roots(tmp_path))
    assert everything.find_fit(SUBSPACE) == tmp_path / "fits" / SUBSPACE
    assert everything.load(run_id)
    later = writing_store(tmp_path)
    assert not later.has_run(run_id)
    assert all("imported" not in root.parts for root in later.roots)
    assert not any(run.root.name == "imported" for run in later.list_runs())


def test_a_fit_that_was_changed_is_not_taken(tmp_path):
    store = ArtifactStore(tmp_path)
    with store.writing_fit("subspace-1") as folder:
        (folder / "a.json").write_text("{}")
    assert store.verified_fit("subspace-1") is not None
    (tmp_path / "fits" / "subspace-1" / "a.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"a\.json is not what was stored"):
        store.verified_fit("subspace-1")


def test_a_reference_that_was_changed_is_not_read(packed, tmp_path):
    store = build_store(tmp_path, arms=(("sft", {}),), seeds=(0,), kinds=SMALL)
    run = store.list_runs()[0].record
    name = run.fits["reference"]
    answers = store.fit_table(name, "responses")
    # A sound table, and a sound record, of other contents.
    write_table(store.fit_folder(name), "responses", answers.assign(outcome="refusal"))
    with pytest.raises(ArtifactError, match=r"responses\.parquet is broken: its checksum"):
        store.fit_table(name, "responses")
    with pytest.raises(ArtifactError, match=r"responses\.parquet is not what was stored"):
        store.extend_fit(name, {"responses": answers})
    record = store.fit_folder(name) / "run.json"
    record.write_text(record.read_text() + " ")
    with pytest.raises(ArtifactError, match=r"run\.json is broken: its checksum"):
        store.fit_record(name)
    (store.fit_folder(name) / "checksums.json").unlink()
    assert set(store.fit_table(name, "responses")["outcome"]) == {"refusal"}, "none were recorded"


@pytest.mark.parametrize(
    ("limit", "message"),
    [("LARGEST", "unpacks to"), ("MOST_FILES", "files; allowed"), ("DEEPEST", "parts; allowed")],
)
def test_limits_hold_before_anything_is_written(packed, tmp_path, monkeypatch, limit, message):
    monkeypatch.setattr(archive, limit, 1)
    with pytest.raises(ArtifactError, match=message):
        unpack(ArtifactStore(tmp_path), packed[1])
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_refused_by_its_ratio(packed, tmp_path):
    bomb = rewritten(packed[1], lambda n, c: [(n, c)])
    buffer = io.BytesIO(bomb)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(f"{packed[0]}/model/x.safetensors", bytes(200 * 1024**2))
    with pytest.raises(ArtifactError, match="times its size"):
        unpack(ArtifactStore(tmp_path), buffer)
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_files_is_measured_before_it_is_read(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_LIST", 500)
    with pytest.raises(ArtifactError, match=r"list of the archive's files has [\d,]+ bytes"):
        unpack(ArtifactStore(tmp_path), packed[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.py", "x.pkl", "model/pytorch_model.bin", "x"])
def test_what_is_no_part_of_a_run_is_refused(packed, tmp_path, name):
    def add(member, content):
        return [(member, content)] + (
            [(f"{packed[0]}/{name}", b"x")] if member.endswith("run.json") and "fits" not in member
            else [])  # fmt: skip

    with pytest.raises(ArtifactError, match="no part of a run"):
        unpack(ArtifactStore(tmp_path), rewritten(packed[1], add))


def test_a_run_under_another_id_is_refused(packed, tmp_path):
    def lie(name, content):
        if name == f"{packed[0]}/run.json":
            record = json.loads(content)
            record["config"]["seed"] = 7
            content = json.dumps(record).encode()
        return [(name, content)]

    with pytest.raises(ArtifactError, match="does not fit its contents"):
        unpack(ArtifactStore(tmp_path), rewritten(packed[1], lie))
    assert left(tmp_path) == []


@settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
def test_damaged_archives_are_one_sentence_and_leave_nothing(packed, tmp_path_factory, seed):
    draw, content = random.Random(seed), bytearray(packed[1])
    root = tmp_path_factory.mktemp("root")
    way = draw.choice(("flip", "cut", "directory", "member"))
    if way == "cut":
        content = content[: draw.randrange(len(content))]
    elif way == "member":
        hit = draw.randrange(20)
        content = bytearray(rewritten(
            bytes(content), lambda n, c: [(n, c[: len(c) // 2] if draw.randrange(20) == hit else c)]
        ))  # fmt: skip
    else:
        low = len(content) - 3000 if way == "directory" else 0
        for _ in range(draw.choice((1, 10))):
            content[draw.randrange(low, len(content))] ^= 1 << draw.randrange(8)
    sentence = ""
    try:
        unpack(ArtifactStore(root), bytes(content))
    except ArtifactError as problem:
        sentence = str(problem)
    assert len(sentence) < 700
    assert not sentence or left(root) == []
    shutil.rmtree(root)
