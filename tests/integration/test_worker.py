"""The one worker of ``run``, ``sweep`` and ``measure``: what it opens, keeps and survives."""

import gc
import weakref

import pytest

from cwac.artifacts import ArtifactStore
from cwac.errors import (
    ArtifactError,
    CancelledError,
    CwacError,
    DataError,
    ModelError,
    TrainingError,
)
from cwac.runner import checks, resolve, worker
from cwac.runner.claims import Claims
from cwac.runner.measure import resolve_measured
from cwac.runner.worker import Outcome, Worker


def _configs(folder, **changes):
    raw = {"model": str(folder), "training": {"steps": 2}, **changes}
    return resolve(raw, ["sft"], [0, 1])


class FakeSession:
    """What a worker looks at of an opened experiment."""

    def __init__(self, config, contents=None):
        self.loaded = type("Loaded", (), {"contents": contents or config.model.contents})
        self._experiment = config.experiment_id

    def serves(self, config):
        return config.experiment_id == self._experiment


@pytest.fixture
def opened(monkeypatch):
    """Open and run nothing; remember which experiments were opened, and what was done."""
    calls = []

    def open_session(config, _store, _report):
        calls.append(("open", config.experiment_id))
        return FakeSession(config)

    def doing(kind):
        return lambda config, *_, **__: calls.append((kind, config.run_id))

    monkeypatch.setattr(worker, "open_session", open_session)
    monkeypatch.setattr(worker, "run_one", doing("train"))
    monkeypatch.setattr(worker, "measure_one", doing("measure"))
    return calls


def test_an_experiment_is_opened_once_and_a_measured_run_is_a_run(opened, tiny_folder, tmp_path):
    first, second = _configs(tiny_folder)
    measured = resolve_measured({"model": str(tiny_folder)}, tiny_folder / "base")
    one = Worker(ArtifactStore(tmp_path))
    assert {one.run(config).state for config in (first, second, measured)} == {"stored"}
    assert opened == [
        ("open", first.experiment_id),
        ("train", first.run_id),
        ("train", second.run_id),
        ("open", measured.experiment_id),
        ("measure", measured.run_id),
    ]
    assert list(Claims(tmp_path).folder.glob(f"{first.run_id}*")) == []


def test_the_old_experiment_is_gone_before_the_next_one_is_opened(
    opened, tiny_folder, tmp_path, monkeypatch
):
    first, other = _configs(tiny_folder)[0], _configs(tiny_folder, poison_ratio=0.5)[0]
    alive = []

    def open_session(config, _store, _report):
        gc.collect()
        assert not any(session() for session in alive)
        session = FakeSession(config)
        alive.append(weakref.ref(session))
        return session

    monkeypatch.setattr(worker, "open_session", open_session)
    one = Worker(ArtifactStore(tmp_path))
    assert [one.run(config).state for config in (first, other)] == ["stored", "stored"]
    assert len(alive) == 2


def test_an_experiment_that_cannot_be_opened_is_tried_once(
    opened, tiny_folder, tmp_path, monkeypatch
):
    tries = []

    def open_session(config, _store, _report):
        tries.append(config.run_id)
        raise DataError("there are no\nrequests.")

    monkeypatch.setattr(worker, "open_session", open_session)
    first, second = _configs(tiny_folder)
    one = Worker(ArtifactStore(tmp_path), survives=(Exception,))
    for config in (first, second):
        assert one.run(config) == Outcome(config.run_id, "failed", "there are no requests.")
    assert tries == [first.run_id]
    # A worker that survives only a training error lets it through.
    with pytest.raises(DataError, match="there are no"):
        Worker(ArtifactStore(tmp_path)).run(first)


def test_a_run_that_the_disk_has_no_room_for_is_not_begun(
    opened, tiny_folder, tmp_path, monkeypatch
):
    first, second = _configs(tiny_folder)
    monkeypatch.setattr(checks, "free_space", lambda _: checks.ROOM)
    with pytest.raises(ArtifactError, match=r"^16.0 MB are free .* a run with its weights takes"):
        Worker(ArtifactStore(tmp_path), keep_model=True).run(first)
    assert opened == []
    one = Worker(ArtifactStore(tmp_path))
    assert one.run(first).state == "stored"
    # What the first has taken, the second lacks.
    monkeypatch.setattr(checks, "free_space", lambda _: checks.ROOM - 1)
    with pytest.raises(ArtifactError, match="and a run takes at least 16 MB; make room"):
        one.run(second)
    assert opened == [("open", first.experiment_id), ("train", first.run_id)]


def test_another_model_under_the_same_name_is_refused(opened, tiny_folder, tmp_path, monkeypatch):
    (config, _) = _configs(tiny_folder)
    monkeypatch.setattr(worker, "open_session", lambda c, *_: FakeSession(c, "0" * 16))
    with pytest.raises(ModelError, match="has the contents 0000000000000000 here"):
        Worker(ArtifactStore(tmp_path)).run(config)
    assert opened == []


@pytest.mark.parametrize(
    ("problem", "survives", "reason"),
    [
        (TrainingError("no gradient."), (TrainingError,), "no gradient."),
        (DataError("no data."), (TrainingError,), None),
        (DataError("no data."), (Exception,), "no data."),
        (KeyError("x"), (TrainingError,), None),
        (KeyError("x"), (Exception,), "KeyError: 'x'"),
        (CancelledError("stop."), (Exception,), None),
    ],
)
def test_what_ends_a_run_without_ending_the_worker(
    opened, tiny_folder, tmp_path, monkeypatch, capsys, problem, survives, reason
):
    def run_one(*_, **__):
        raise problem

    monkeypatch.setattr(worker, "run_one", run_one)
    (config, _) = _configs(tiny_folder)
    one = Worker(ArtifactStore(tmp_path), survives=survives)
    if reason is None:
        with pytest.raises(type(problem)):
            one.run(config)
        return
    assert one.run(config) == Outcome(config.run_id, "failed", reason)
    # What nobody foresaw is shown in full.
    assert ("Traceback" in capsys.readouterr().err) == (not isinstance(problem, CwacError))
