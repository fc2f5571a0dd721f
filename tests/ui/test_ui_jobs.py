"""Jobs: their state comes from disk and the process table, and cancel ends the whole tree."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from forked import ended, start

from cwac.artifacts import host, start_next
from cwac.cli import job as cli_job
from cwac.cli.job import Job as CliJob
from cwac.errors import ArtifactError
from cwac.jobs import ProgressLine
from cwac.ui import jobs
from cwac.ui.jobs import Job

PROGRAM = (sys.executable, str(Path(__file__).parent / "fake_worker.py"))


def begin(root: Path, mode: str) -> str:
    return jobs.start(["run", mode], root, title="a title", command="cwac run", program=PROGRAM)


def wait(root: Path, job_id: str, until: Callable[[Job], bool], seconds: float = 30) -> Job:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        job = jobs.read(root, job_id)
        if until(job):
            return job
        time.sleep(0.05)
    pytest.fail(f"the job is still {jobs.read(root, job_id)}")


def test_finished_job_is_done_and_lists_its_runs(tmp_path: Path) -> None:
    job = wait(tmp_path, begin(tmp_path, "done"), lambda job: not job.active)
    assert (job.state, job.run_ids, job.title) == ("done", ("a-run",), "a title")
    assert [line.step for line in jobs.progress(job.folder)] == [0, 10]
    assert jobs.elapsed(job) == 9.0


def test_failure_says_why(tmp_path: Path) -> None:
    job = wait(tmp_path, begin(tmp_path, "fail"), lambda job: not job.active)
    assert (job.state, job.message) == ("failed", "gradients are not finite")


def test_dead_worker_reads_failed_with_its_last_words(tmp_path: Path) -> None:
    job = wait(tmp_path, begin(tmp_path, "die"), lambda job: not job.active)
    assert (job.state, job.message) == ("failed", "Killed: no memory left")


def test_worker_that_talks_a_lot_is_not_blocked(tmp_path: Path) -> None:
    job = wait(tmp_path, begin(tmp_path, "loud"), lambda job: not job.active)
    assert job.state == "done"
    assert len(jobs.log_tail(job.folder)) <= 16_384


def test_cancel_ends_the_whole_tree(tmp_path: Path) -> None:
    job_id = begin(tmp_path, "sleep")
    job = wait(tmp_path, job_id, lambda job: (job.folder / "child").exists())
    child = int((job.folder / "child").read_text())
    jobs.cancel(jobs.read(tmp_path, job_id))
    for pid in (child, *(pid for pid, _ in job.pids)):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert jobs.read(tmp_path, job_id).state == "cancelled"


def test_state_survives_without_this_process_knowing_the_child(tmp_path: Path) -> None:
    """What a restarted server sees: files, and processes that are somebody else's children."""
    job_id = begin(tmp_path, "sleep")
    wait(tmp_path, job_id, lambda job: (job.folder / "child").exists())
    log = tmp_path / "log.txt"
    assert ended(start(cancel_elsewhere, tmp_path, job_id, log=log), 60) == 0
    assert log.read_text().split() == ["running", "cancelled"]


def cancel_elsewhere(root: Path, job_id: str) -> None:
    job = jobs.read(root, job_id)
    sys.stdout.write(f"{job.state}\n")
    jobs.cancel(job)
    sys.stdout.write(f"{jobs.read(root, job_id).state}\n")


def test_jobs_wait_without_a_process_and_follow_one_another(tmp_path: Path) -> None:
    first = begin(tmp_path, "sleep")
    wait(tmp_path, first, lambda job: (job.folder / "child").exists())
    later = [begin(tmp_path, "done") for _ in range(3)]
    for name in later:
        job = jobs.read(tmp_path, name)
        assert (job.state, job.message, job.pids) == ("queued", "waiting for another job", ())
    # One that waits can be cancelled too, and is then left out.
    jobs.cancel(jobs.read(tmp_path, later[0]))
    assert jobs.read(tmp_path, later[0]).state == "cancelled"
    child = int((jobs.read(tmp_path, first).folder / "child").read_text())
    psutil.Process(jobs.read(tmp_path, first).pids[0][0]).kill()
    psutil.Process(child).kill()
    for name in later[1:]:
        wait(tmp_path, name, lambda job: job.state == "done")
    assert jobs.read(tmp_path, later[0]).pids == ()


def test_a_worker_starts_the_next_job_when_the_app_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(jobs, "advance", lambda *_: None)
    begin(tmp_path, "done")
    started = []
    monkeypatch.setattr(cli_job, "start_next", lambda root, **given: started.append((root, given)))
    with CliJob(tmp_path / ".jobs" / "mine", tmp_path) as job:
        job.close({})
    assert started == [(tmp_path, {"ended": os.getpid()})]


def test_no_more_than_fifty_jobs_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "advance", lambda *_: None)
    for _ in range(50):
        begin(tmp_path, "done")
    with pytest.raises(ArtifactError, match="50 jobs wait already"):
        begin(tmp_path, "done")
    assert len(jobs.jobs(tmp_path)) == 50


@pytest.mark.parametrize(
    "request_",
    [{"host": "another", "arguments": ["run"]}, {"host": host(), "arguments": ["check"]}],
)
def test_a_queue_that_came_from_elsewhere_starts_nothing(
    tmp_path: Path, request_: dict[str, object]
) -> None:
    job = made_up(tmp_path, request_ | {"created": "2026-01-01T00:00:00+00:00"}, {})
    assert start_next(tmp_path, program=PROGRAM) is None
    assert job.state == "failed"


def made_up(root: Path, request: dict[str, object], status: dict[str, object]) -> Job:
    folder = root / ".jobs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True)
    (folder / "request.json").write_text(json.dumps(request))
    if status:
        (folder / "status.json").write_text(json.dumps(status))
    return jobs.read(root, folder.name)


def test_number_given_away_again_is_not_the_worker(tmp_path: Path) -> None:
    me = psutil.Process()
    status = {"state": "running", "pid": me.pid, "pid_created": me.create_time() - 1000}
    assert made_up(tmp_path, {}, status).state == "failed"


def test_number_without_a_time_is_not_the_worker(tmp_path: Path) -> None:
    job = made_up(tmp_path, {}, {"state": "running", "pid": os.getpid()})
    assert (job.state, job.pids) == ("failed", ())


def test_job_without_any_process_has_failed(tmp_path: Path) -> None:
    job = made_up(tmp_path, {"created": "2026-01-01T00:00:00+00:00"}, {})
    assert (job.state, job.message) == ("failed", "the worker ended without a word")


def test_half_written_progress_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text('{"step": 0}\n{"step": 1')
    assert jobs.progress(tmp_path) == [ProgressLine(step=0)]


def test_damaged_progress_lines_are_left_out(tmp_path: Path) -> None:
    assert jobs.progress(tmp_path) == []
    lines = [
        b'{"step": 0}',
        b"\xff\xfe",
        b"[1]",
        b'{"step": "x"}',
        b'{"arm": {}}',
        b"[" * 100_000,
        b'{"step": 9}',
    ]
    (tmp_path / "progress.jsonl").write_bytes(b"\n".join(lines))
    assert [line.step for line in jobs.progress(tmp_path)] == [0, 9]
    (tmp_path / "progress.jsonl").unlink()
    (tmp_path / "progress.jsonl").mkdir()
    assert jobs.progress(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"state": "running"', "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "Invalid JSON: recursion limit"),
        (b"[]", "Input should be an object"),
        (b'{"state": "flying"}', "state: Input should be 'queued'"),
        (b'{"state": "running", "pid": -1}', "pid: Input should be greater"),
        (b'{"state": "running", "pid": "x"}', "pid: Input should be a valid integer"),
        (b'{"started": 1e40}', "started: Input should be a valid datetime"),
        (b'{"started": "2026-01-01T00:00:00"}', "started: Input should have timezone"),
        (b'{"runs": 3}', "runs: Input should be a valid"),
    ],
)
def test_a_damaged_status_is_a_failed_job_that_says_so(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    folder = tmp_path / ".jobs" / "20260101-000000-aaaa"
    folder.mkdir(parents=True)
    (folder / "status.json").write_bytes(content)
    (job,) = jobs.jobs(tmp_path)
    assert job.state == "failed"
    assert job.message.startswith(f"status.json cannot be read: {reason}")
    assert jobs.elapsed(job) is None
    jobs.delete(job)


def test_a_status_that_is_a_folder_is_a_failed_job(tmp_path: Path) -> None:
    (tmp_path / ".jobs" / "20260101-000000-aaaa" / "status.json").mkdir(parents=True)
    (job,) = jobs.jobs(tmp_path)
    assert (job.state, job.message) == ("failed", "status.json cannot be read: Is a directory.")


@pytest.mark.parametrize("content", [b"{", b'{"pid": "x"}', b'{"created": "yesterday"}', b"\xff"])
def test_a_damaged_request_leaves_the_status_as_it_is(tmp_path: Path, content: bytes) -> None:
    made_up(tmp_path, {}, {"state": "done", "runs": ["r"]})
    folder = tmp_path / ".jobs" / "20260101-000000-aaaa"
    (folder / "request.json").write_bytes(content)
    job = jobs.read(tmp_path, folder.name)
    assert (job.state, job.title, job.run_ids) == ("done", folder.name, ("r",))


def test_job_folders_of_earlier_versions_load(tmp_path: Path) -> None:
    request = {"title": "t", "command": "c", "created": "2026-01-01T00:00:00+00:00", "pid": 7,
               "pid_created": 1.5}  # fmt: skip
    status = {"state": "done", "pid": 7, "pid_created": 1.5, "message": "done", "runs": ["r"],
              "started": "2026-01-01T00:00:01+00:00", "ended": "2026-01-01T00:00:03+00:00",
              "position": None}  # fmt: skip
    job = made_up(tmp_path, request, status)
    assert (job.state, job.title, job.run_ids) == ("done", "t", ("r",))
    assert jobs.elapsed(job) == 2.0
    assert job.pids == ((7, 1.5), (7, 1.5))


def test_log_tail_shows_the_last_state_of_progress_bars(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"one\n10%\r20%\r\x1b[32m30%\x1b[0m\n\n")
    assert jobs.log_tail(tmp_path) == "one\n30%"


def test_only_ended_jobs_can_be_removed(tmp_path: Path) -> None:
    job_id = begin(tmp_path, "sleep")
    wait(tmp_path, job_id, lambda job: (job.folder / "child").exists())
    with pytest.raises(ArtifactError, match="still running"):
        jobs.delete(jobs.read(tmp_path, job_id))
    jobs.cancel(jobs.read(tmp_path, job_id))
    jobs.delete(jobs.read(tmp_path, job_id))
    assert jobs.jobs(tmp_path) == []


@pytest.mark.parametrize("name", ["", "..", "../x", "missing"])
def test_unknown_job_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / ".jobs").mkdir()
    with pytest.raises(ArtifactError, match="there is no job"):
        jobs.read(tmp_path, name)
