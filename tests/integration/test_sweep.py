"""``cwac sweep`` on the tiny model: resumed, over two processes, with failures and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from filelock import FileLock

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.runner.claims import CLAIMS
from cwac.runner.sweep import GridFile
from cwac.runner.worker import Worker


@pytest.fixture
def cwac(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def grid(tmp_path, tiny_folder):
    def write(**changes):
        values = {
            "model": str(tiny_folder),
            "methods": ["sft"],
            "training": {"steps": 2},
            **changes,
        }
        path = tmp_path / "grid.json"
        path.write_text(json.dumps(values))
        return path

    return write


def _runs(root):
    return {run.run_id: run.record.provenance for run in ArtifactStore(root).list_runs()}


def test_what_is_stored_is_skipped(cwac, grid, fitted_root):
    code, out, err = cwac("sweep", grid(), "--root", fitted_root, "--json")
    assert code == 0, err
    (first,) = json.loads(out)["stored"]
    assert "1 runs, 0 of them stored already" in err
    before = _runs(fitted_root)
    wider = grid(seeds=[0, 1], methods=["sft", {"method": "weight_only", "strengths": [0.01]}])
    code, out, err = cwac("sweep", wider, "--root", fitted_root, "--estimate", "--json")
    expected = json.loads(out)
    assert (code, expected["runs"], expected["stored"], expected["measured"]) == (0, 4, 1, 0)
    assert 0 < expected["seconds"] < 600
    assert _runs(fitted_root) == before, "an estimate starts nothing"
    code, out, err = cwac("sweep", wider, "--root", fitted_root, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["skipped"] == [first]
    assert len(found["stored"]) == 3
    assert _runs(fitted_root)[first] == before[first]
    pairs = next(fitted_root.glob("experiments/*/pair_overlap.parquet"))
    code, out, err = cwac("sweep", wider, "--root", fitted_root)
    assert (code, out) == (0, "")
    assert "4 runs, 4 of them stored already; nothing to run." in err
    assert pairs.is_file()
    assert cwac("check", "--root", fitted_root)[0] == 0


def test_two_processes_share_a_grid_and_one_failure_leaves_the_others(cwac, grid, fitted_root):
    # Such a strength gives gradients that are not finite.
    bad = {"method": "cwac", "strengths": [1e30]}
    path = grid(methods=["sft", bad], poison_ratios=[0.0, 0.5])
    code, out, err = cwac("sweep", path, "--root", fitted_root, "--processes", 2, "--json")
    found = json.loads(out)
    assert code == 1, err
    assert len(found["stored"]) == 2
    assert sorted(found["failed"]) == sorted(
        c.run_id for c in GridFile.read(path).expand() if c.method == "cwac"
    )
    assert sorted(_runs(fitted_root)) == sorted(found["stored"])
    assert {p.threads for p in _runs(fitted_root).values()} == {1}
    for run_id, reason in found["failed"].items():
        assert f"{run_id} failed: {reason}" in err


def test_a_run_in_other_hands_is_left_there(grid, fitted_root):
    (config,) = GridFile.read(grid()).expand()
    (fitted_root / CLAIMS).mkdir()
    worker = Worker(ArtifactStore(fitted_root))
    with FileLock(fitted_root / CLAIMS / f"{config.run_id}.lock"):
        assert worker.run(config).state == "elsewhere"
    assert _runs(fitted_root) == {}


# ``python -m cwac``; a suite that runs in the background inherits that Ctrl-C is ignored.
HEARS_CTRL_C = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('cwac', run_name='__main__')"
)


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ctrl_c_ends_everything(grid, fitted_root, tmp_path, processes):
    log = tmp_path / "log.txt"
    path = grid(training={"steps": 5000}, seeds=[0, 1])
    command = ["sweep", path, "--root", fitted_root, "--processes", processes]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", HEARS_CTRL_C, *(str(word) for word in command)],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while log.read_text().count(": training; then") < processes:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        workers = [child.pid for child in psutil.Process(process.pid).children()]
        assert len(workers) == (0 if processes == 1 else 2)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 1
    finally:
        if process.poll() is None:
            process.kill()
    assert not any(psutil.pid_exists(worker) for worker in workers)
    assert log.read_text().rstrip().endswith("goes on with what is not stored yet.")
    assert _runs(fitted_root) == {}


def test_a_killed_worker_costs_its_run_alone(grid, fitted_root, monkeypatch):
    from cwac.runner.sweep import local, run_sweep

    real = local._Children.start
    started = []

    def start(children):
        number = real(children)
        started.append(number)
        if len(started) == 1:
            children._processes[number].kill()
        return number

    monkeypatch.setattr(local._Children, "start", start)
    configs = GridFile.read(grid(seeds=[0, 1])).expand()
    result = run_sweep(configs, ArtifactStore(fitted_root), processes=2)
    assert len(result.stored) == 1
    assert list(result.failed.values()) == ["its process ended with signal 9."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seedz": [1]}, "unknown key 'seedz' in grid.json; did you mean 'seeds'?"),
        ({"methods": ["cwca"]}, "unknown method 'cwca' (did you mean 'cwac'?)"),
        ({"tasks": ["instruc"]}, "unknown task 'instruc' (did you mean 'instruct'?)"),
        ({"training": {"step": 1}}, "unknown key 'step' in training; did you mean 'steps'?"),
        ({"methods": [{"method": "cwac", "strengths": ["x"]}]}, "cwac.strength = 'x'"),
    ],
)
def test_a_bad_grid_is_one_sentence_and_status_2(cwac, grid, tmp_path, changes, message):
    code, out, err = cwac("sweep", grid(**changes), "--root", tmp_path / "none")
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "none").exists()
