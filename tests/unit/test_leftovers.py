"""What a killed process leaves: named after its writer, swept once that is dead."""

import os
import sys
import time

import pytest
from forked import kill, start, wait_for

from cwac.artifacts import ArtifactStore, reading_store, sweep, temporary_name, writing_store
from cwac.artifacts.atomic import _exchanged, _take_name
from cwac.artifacts.leftovers import is_abandoned
from cwac.cli import main
from cwac.models.folders import resolve_folder


def _write(folder):
    for kind in ("writing", "align", "old", "deleted"):
        path = temporary_name(folder / "run", kind)
        path.mkdir()
        (path / "file").write_text(kind)
    time.sleep(60)


@pytest.fixture
def writer(tmp_path, tmp_path_factory):
    """A process that is not through with what it writes."""
    process = start(_write, tmp_path, log=tmp_path_factory.mktemp("log") / "log.txt")
    wait_for(lambda: list(tmp_path.glob(".deleted-*/file")), 60)
    yield process
    kill(process)


def test_what_align_left_goes_with_the_next_command_here(writer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for living in (True, False):
        if not living:
            kill(writer)
        with pytest.raises(SystemExit):
            main(["list", "tasks"])
        assert bool(list(tmp_path.glob(".align-*"))) is living


def test_what_align_left_beside_a_model_goes_when_the_model_is_named(writer, tmp_path):
    kill(writer)
    (tmp_path / "model").mkdir()
    resolve_folder(tmp_path / "model")
    assert not list(tmp_path.glob(".align-*"))


@pytest.mark.parametrize("kept", [True, False])
def test_leftovers_go_once_their_writer_is_dead_and_what_was_replaced_comes_back(
    writer, tmp_path, kept
):
    if kept:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").write_text("new")
    before = sorted(tmp_path.iterdir())
    writing_store(tmp_path)
    assert sorted(tmp_path.iterdir()) == before, "a living writer's folders stay"
    kill(writer)
    reading_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "file").read_text() == ("new" if kept else "old")


@pytest.mark.parametrize("place", ["", "fits", ".notes", ".jobs/a", "imported", "imported/fits"])
@pytest.mark.parametrize("open_store", [writing_store, reading_store])
def test_leftovers_go_wherever_something_is_written(tmp_path, place, open_store):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    left = tmp_path / place / ".writing-0a1b2c3d-x"
    left.touch()
    os.utime(left, (time.time() - 7200,) * 2)
    open_store(tmp_path)
    assert not left.exists()


def test_a_number_that_was_given_away_again_is_another_process(tmp_path):
    mine = temporary_name(tmp_path / "run")
    mine.mkdir()
    assert not is_abandoned(mine)
    host, _pid, born = mine.name.split("-")[1].split(".")
    earlier = tmp_path / mine.name.replace(f".{born}-", f".{int(born) - 100}-")
    earlier.mkdir()
    assert is_abandoned(earlier)
    other = tmp_path / mine.name.replace(host, "0" * 6)
    other.mkdir()
    assert not is_abandoned(other), "another machine's processes cannot be seen"
    os.utime(other, (time.time() - 7200,) * 2)
    assert is_abandoned(other)
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_names_of_earlier_versions_are_swept_by_age_and_others_never(tmp_path):
    for name in (".writing-0a1b2c3d-run", ".align-k3_x9abc", ".jobs", ".mine-at-home", "run"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".jobs", ".mine-at-home", "run"]


@pytest.mark.parametrize("one_step", [True, False])
def test_replacing_leaves_the_new_folder_alone(tmp_path, monkeypatch, one_step):
    if not one_step:
        monkeypatch.setattr("cwac.artifacts.atomic._exchanged", lambda *_: False)
    for name in ("new", "run"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    _take_name(tmp_path / "new", tmp_path / "run", keep_first=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["new"]
    assert not list(tmp_path.glob(".old-*"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems replace in two steps")
def test_replacing_is_one_step_here(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert _exchanged(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").is_file()
    assert not _exchanged(tmp_path / "a", tmp_path / "missing")


def test_a_folder_that_may_only_be_read_is_left_as_it_is(tmp_path):
    old = tmp_path / ".writing-0a1b2c3d-run"
    old.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    tmp_path.chmod(0o500)
    try:
        assert ArtifactStore(tmp_path).list_runs() == []
        reading_store(tmp_path)
    finally:
        tmp_path.chmod(0o700)
