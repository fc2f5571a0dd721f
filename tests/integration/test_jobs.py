"""``cwac run --job DIR``: the state on disk that the pages read."""

import json
import signal

import pytest
from forked import ended, kill, start, wait_for

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.records import TABLES


class Started:
    """A job in a process of its own."""

    def __init__(self, root, *arguments):
        self.folder = root / ".jobs" / "one"
        self.folder.mkdir(parents=True)
        words = ["run", *arguments, "--root", str(root), "--job", str(self.folder)]
        self.process = start(main, words, log=self.folder / "log.txt")

    def status(self):
        return json.loads((self.folder / "status.json").read_text())

    def lines(self):
        path = self.folder / "progress.jsonl"
        return [json.loads(x) for x in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture
def job_of(fitted_root, tiny_folder):
    jobs = []

    def begin(*arguments):
        jobs.append(Started(fitted_root, "--model", str(tiny_folder), *arguments))
        return jobs[-1]

    yield begin
    for job in jobs:
        kill(job.process)


def test_a_job_reports_until_it_is_done(job_of, fitted_root):
    job = job_of("--method", "sft")
    assert ended(job.process, 300) == 0
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


def test_a_terminated_job_ends_at_once_and_reads_cancelled(job_of, fitted_root):
    job = job_of("--method", "sft", "--steps", "100000")
    wait_for(lambda: any(line["phase"] == "training" for line in job.lines()))
    job.process.terminate()
    assert ended(job.process, 30) == 1
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
