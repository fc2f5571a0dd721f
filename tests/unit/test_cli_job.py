import json
import os
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from forked import ended, kill, start, wait_for

from cwac.cli.job import Job
from cwac.errors import CancelledError, ModelError
from cwac.runner.progress import Event


def _status(folder: Path) -> dict:
    return json.loads((folder / "status.json").read_text())


def _lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


@pytest.fixture
def root(tmp_path, monkeypatch):
    import signal

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return tmp_path


def _event(**changes):
    values = {
        "run_id": "r",
        "variant": "sft",
        "seed": 0,
        "phase": "training",
        "fraction": 0.5,
        "message": "probe",
    }
    return Event(**(values | changes))


def test_a_job_tells_its_life_in_files(root):
    folder = root / ".jobs" / "one"
    with Job(folder, root) as job:
        running = _status(folder)
        assert running["state"] == "running"
        assert running["pid"] == os.getpid()
        assert running["pid_created"] == psutil.Process().create_time()
        job.plan(["r"])
        job.listen(_event(row={"step": 3, "refusal_rate": 0.5}))
        job.close({})
    ended = _status(folder)
    assert ended["state"] == "done"
    assert ended["runs"] == ["r"]
    assert ended["ended"] is not None
    first, probe = _lines(folder)
    assert first["phase"] == "setup"
    assert (probe["run_id"], probe["step"], probe["refusal_rate"]) == ("r", 3, 0.5)


@pytest.mark.parametrize(
    ("problem", "state", "message"),
    [
        (ModelError("no model here."), "failed", "no model here."),
        (RuntimeError("out of\nmemory"), "failed", "out of memory"),
        (CancelledError("stop"), "cancelled", "cancelled"),
    ],
)
def test_how_a_job_ended_is_kept(root, problem, state, message):
    folder = root / ".jobs" / "one"
    with pytest.raises(type(problem)), Job(folder, root):
        raise problem
    assert (_status(folder)["state"], _status(folder)["message"]) == (state, message)


def test_a_run_that_did_not_train_fails_the_job(root):
    folder = root / ".jobs" / "one"
    with Job(folder, root) as job:
        job.close({"r": "every gradient is zero"})
    assert _status(folder)["state"] == "failed"
    assert "every gradient is zero" in _status(folder)["message"]


def test_a_status_tells_some_failures_and_how_many_there_are(root):
    folder = root / ".jobs" / "one"
    with Job(folder, root) as job:
        job.close({f"run-{number}": "no memory" for number in range(1000)})
    message = _status(folder)["message"]
    assert "run-4: no memory; and 995 more" in message
    assert len(message) < 200


def test_probes_and_new_phases_are_always_written_steps_are_thinned(root):
    folder = root / ".jobs" / "one"
    now = time.time()
    with Job(folder, root) as job:
        for number in range(50):
            job.listen(_event(time=now + number / 100, message=f"step {number}"))
        job.listen(_event(time=now + 0.51, phase="measuring"))
        job.listen(_event(time=now + 0.52, phase="measuring", row={"step": 1}))
        job.close({})
    assert [line["phase"] for line in _lines(folder)] == [
        "setup",
        "training",
        "measuring",
        "measuring",
    ]


def _wait(folder, root):
    with Job(folder, root) as job:
        job.close({})


@pytest.fixture
def waiting(tmp_path):
    """A job that waits because another process holds the root's lock."""
    folder = tmp_path / ".jobs" / "second"
    (tmp_path / ".jobs").mkdir()
    lock = FileLock(tmp_path / ".jobs" / "lock")
    lock.acquire()
    process = start(_wait, folder, tmp_path, log=tmp_path / "log.txt")
    try:
        wait_for((folder / "status.json").is_file)
        yield folder, process, lock
    finally:
        lock.release(force=True)
        kill(process)


def test_jobs_wait_for_each_other(waiting):
    folder, process, lock = waiting
    assert _status(folder)["state"] == "queued"
    lock.release()
    assert ended(process, 20) == 0
    assert _status(folder)["state"] == "done"


def test_a_waiting_job_can_be_cancelled(waiting):
    folder, process, _lock = waiting
    process.terminate()
    assert ended(process, 5) == 1
    assert _status(folder)["state"] == "cancelled"
