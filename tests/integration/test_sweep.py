"""``cwac sweep`` on the tiny model: resumed, over two processes, with failures and Ctrl-C."""

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from forked import ended, kill, start, wait_for

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.runner.claims import CLAIMS
from cwac.runner.progress import ignore
from cwac.runner.sweep import GridFile, Schedule, local
from cwac.runner.worker import Worker

STAND_IN = (sys.executable, str(Path(__file__).parent / "fake_child.py"))


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
    path = grid(methods=["sft", bad])
    code, out, err = cwac("sweep", path, "--root", fitted_root, "--processes", 2, "--json")
    found = json.loads(out)
    assert code == 1, err
    assert len(found["stored"]) == 1
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


@pytest.mark.parametrize(
    ("processes", "child"),
    [
        pytest.param(1, local.CHILD, marks=pytest.mark.slow, id="here"),
        pytest.param(2, local.CHILD, marks=pytest.mark.slow, id="real"),
        pytest.param(2, (*STAND_IN, "never"), id="stand-ins"),
    ],
)
def test_ctrl_c_ends_everything(grid, fitted_root, tmp_path, monkeypatch, processes, child):
    monkeypatch.setattr(local, "CHILD", child)
    log = tmp_path / "log.txt"
    path = grid(training={"steps": 5000}, seeds=[0, 1])
    words = ["sweep", path, "--root", fitted_root, "--processes", processes]
    process = start(main, [str(word) for word in words], log=log)
    try:
        training = ": training; then"
        wait_for(lambda: log.read_text().count(training) >= processes or not process.is_alive())
        assert process.is_alive(), log.read_text()
        workers = [child.pid for child in psutil.Process(process.pid).children()]
        assert len(workers) == (0 if processes == 1 else 2)
        os.killpg(process.pid, signal.SIGINT)
        assert ended(process, 30) == 1
    finally:
        kill(process)
    assert not any(psutil.pid_exists(worker) for worker in workers)
    assert log.read_text().rstrip().endswith("goes on with what is not stored yet.")
    assert _runs(fitted_root) == {}


@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_worker_costs_its_run_alone(grid, tmp_path, monkeypatch, count):
    real = local._Children.start
    started = []

    def first_is_killed(children):
        number = real(children)
        started.append(number)
        if len(started) == 1:
            children._processes[number].kill()
        return number

    monkeypatch.setattr(local._Children, "start", first_is_killed)
    monkeypatch.setattr(local, "CHILD", (*STAND_IN, "stored"))
    configs = GridFile.read(grid(seeds=[0, 1, 2])).expand()
    heard = []
    local.run_in_processes(Schedule(configs), count, [str(tmp_path)], False, ignore, heard.append)
    ends = {outcome.run_id: (outcome.state, outcome.reason) for outcome in heard}
    assert ends == {
        configs[0].run_id: ("failed", "its process ended with signal 9."),
        "sft-1": ("stored", ""),
        "sft-2": ("stored", ""),
    }


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
