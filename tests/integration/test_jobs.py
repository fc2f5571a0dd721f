"""``cwac run --job DIR``: the state on disk that the pages read."""

import json
import signal
import subprocess
import sys
import time

import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.records import TABLES


def _wait_for(condition, seconds=500.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


class Started:
    """A job in a process of its own."""

    def __init__(self, root, *arguments):
        self.folder = root / ".jobs" / "one"
        self.folder.mkdir(parents=True)
        self.log = (self.folder / "log.txt").open("w")
        command = [sys.executable, "-m", "cwac", "run", *arguments, "--root", str(root)]
        self.process = subprocess.Popen(
            [*command, "--job", str(self.folder)], stdout=self.log, stderr=self.log
        )

    def status(self):
        return json.loads((self.folder / "status.json").read_text())

    def lines(self):
        path = self.folder / "progress.jsonl"
        return [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def start(fitted_root, tiny_folder):
    jobs = []

    def begin(*arguments):
        jobs.append(Started(fitted_root, "--model", str(tiny_folder), *arguments))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.close()


def test_a_job_reports_until_it_is_done(start, fitted_root):
    job = start("--method", "sft")
    assert job.process.wait(300) == 0
    status = job.status()
    (run,) = ArtifactStore(fitted_root).list_runs()
    assert (status["state"], status["runs"]) == ("done", [run.run_id])
    lines = job.lines()
    assert list(dict.fromkeys(line["phase"] for line in lines)) == [
        "setup", "training", "measuring", "done",
    ]  # fmt: skip
    probes = [line for line in lines if "step" in line]
    assert [line["step"] for line in probes] == [0, 2, 4, 6]
    for line in probes:
        assert set(line) >= set(TABLES["trajectory"])
        assert line["run_id"] == run.run_id
    assert all(0 <= line["fraction"] <= 1 for line in lines)
    assert "aligned" in (job.folder / "log.txt").read_text()


def test_a_terminated_job_ends_at_once_and_reads_cancelled(start, fitted_root):
    job = start("--method", "sft", "--steps", "100000")
    _wait_for(lambda: any(line["phase"] == "training" for line in job.lines()))
    job.process.terminate()
    job.process.wait(30)
    assert job.process.returncode == 1
    assert job.status()["state"] == "cancelled"
    assert ArtifactStore(fitted_root).list_runs() == []


def test_bad_input_reads_failed_with_the_sentence(tmp_path, monkeypatch):
    # In this process: its handler of signals stays out.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = tmp_path / ".jobs" / "one"
    with pytest.raises(SystemExit) as ending:
        main(["run", "--method", "swt", "--root", str(tmp_path), "--job", str(folder)])
    assert ending.value.code == 2
    status = json.loads((folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert status["message"].startswith("unknown method 'swt'")
    first, *_ = (folder / "progress.jsonl").read_text().splitlines()
    assert json.loads(first)["phase"] == "setup"
