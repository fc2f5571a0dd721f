"""``cwac sweep --engine ray`` on the tiny model, on a Ray of two processors on this machine."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.errors import ArtifactError, ConfigError
from cwac.runner.sweep import Cluster, GridFile, cluster, run_sweep

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason='ray is not installed; pip install -e ".[ray]" brings it',
)
TITLE = "ray::RayWorker"


@pytest.fixture(scope="module")
def two_processors():
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        logging_level="WARNING",
    )
    yield
    ray.shutdown()


@pytest.fixture
def grid(tmp_path, tiny_folder):
    def write(**changes):
        values = {"model": str(tiny_folder), "methods": ["sft"], "training": {"steps": 2}}
        path = tmp_path / "grid.json"
        path.write_text(json.dumps({**values, **changes}))
        return path

    return write


def _call(capsys, *arguments):
    with pytest.raises(SystemExit) as ending:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(ending.value.code or 0), captured.out, captured.err


def _metrics(root):
    # Seconds differ from run to run.
    return {
        run.run_id: {n: m for n, m in run.record.metrics.items() if "second" not in n}
        for run in ArtifactStore(root).list_runs()
    }


@needs_ray
def test_two_workers_store_what_one_process_does(grid, tiny_root, fitted_root, two_processors):
    # Such a strength gives gradients that are not finite.
    bad = {"method": "cwac", "strengths": [1e30]}
    configs = GridFile.read(grid(methods=["sft", bad], training={})).expand()
    heard, events = [], []
    result = run_sweep(
        configs,
        ArtifactStore(fitted_root),
        cluster=Cluster(),
        listener=events.append,
        heard=heard.append,
    )
    assert sorted(result.failed) == sorted(c.run_id for c in configs if c.method == "cwac")
    assert all("gradient" in reason for reason in result.failed.values())
    assert len(heard) == 2
    assert len(result.stored) == 1
    found = _metrics(fitted_root)
    assert sorted(found) == sorted(result.stored)
    assert {e.run_id for e in events if e.phase == "done"} == set(result.stored)
    assert {e.run_id for e in events if e.row} >= set(result.stored), "probes are heard of"
    assert list((fitted_root / ".claims").glob("*.seen")) == []
    # Numbers do not depend on where they are made.
    alone = _metrics(tiny_root)
    assert found == {run_id: alone[run_id] for run_id in result.stored}


@needs_ray
def test_a_machine_that_does_not_see_the_root_ends_the_sweep(
    grid, fitted_root, two_processors, monkeypatch
):
    monkeypatch.setattr(cluster, "CLAIMS", ".elsewhere")
    configs = GridFile.read(grid()).expand()
    with pytest.raises(ArtifactError, match="does not see the folder"):
        run_sweep(configs, ArtifactStore(fitted_root), cluster=Cluster(workers=1))
    assert _metrics(fitted_root) == {}


@needs_ray
def test_more_than_the_cluster_has_is_refused_before_anything_starts(
    grid, fitted_root, two_processors
):
    configs = GridFile.read(grid()).expand()
    # One test, so that no other process of the suite starts a Ray for half of it.
    for asked, message in (
        (Cluster(gpus=1), "1 worker of 1 processor and 1 GPUs do not fit on the cluster"),
        (Cluster(workers=3), "which has room for 2: its machines have 2 processors and 0 GPUs"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_sweep(configs, ArtifactStore(fitted_root), cluster=asked)
    assert _metrics(fitted_root) == {}


@pytest.mark.parametrize(
    ("machines", "gpus", "workers", "fits"),
    [
        ([{"CPU": 4.0, "GPU": 1.0}], 0.25, 4, True),
        ([{"CPU": 4.0, "GPU": 1.0}], 0.25, 5, False),
        ([{"CPU": 4.0, "GPU": 1.0}], 1 / 3, 3, True),
        # A worker lives on one machine.
        ([{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}], 2, None, False),
        ([{"CPU": 4.0, "GPU": 1.0}, {"CPU": 4.0, "GPU": 1.0}], 1, 2, True),
        ([{"GPU": 8.0}], 1, None, False),
        ([], 0, None, False),
    ],
)
def test_room_on_a_cluster_is_counted_machine_by_machine(machines, gpus, workers, fits):
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    nodes.append({"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}})
    asked = Cluster(workers=workers, gpus=gpus)
    if fits:
        cluster.check_room(nodes, asked)
    else:
        with pytest.raises(ConfigError, match="lower --gpus or --processes"):
            cluster.check_room(nodes, asked)


@pytest.mark.slow
@needs_ray
def test_a_killed_worker_costs_its_run_alone(grid, fitted_root, two_processors):
    import ray

    (raylet,) = [p for p in psutil.Process().children(recursive=True) if p.name() == "raylet"]
    killed = []

    def kill(event):
        if event.phase == "training" and not killed:
            killed.append(event.run_id)
            (worker,) = [p for p in raylet.children() if p.cmdline()[0].startswith(TITLE)]
            worker.kill()

    configs = GridFile.read(grid(seeds=[0, 1], training={"steps": 400})).expand()
    result = run_sweep(
        configs, ArtifactStore(fitted_root), cluster=Cluster(workers=1), listener=kill
    )
    assert ray.is_initialized(), "a Ray that was there before stays"
    assert list(result.failed) == killed
    assert result.failed[killed[0]].startswith("its worker died: ")
    assert result.stored == [c.run_id for c in configs if c.run_id != killed[0]]


@pytest.mark.slow
@needs_ray
def test_ctrl_c_leaves_no_process(grid, fitted_root, tmp_path):
    log = tmp_path / "log.txt"
    # A suite that runs in the background inherits that Ctrl-C is ignored.
    code = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('cwac', run_name='__main__')"
    )
    path = grid(training={"steps": 5000}, seeds=[0, 1])
    command = ["sweep", path, "--root", fitted_root, "--engine", "ray", "--address", "local"]
    command += ["--processes", 1]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *(str(word) for word in command)],
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 300
        while ": training; then" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        started = psutil.Process(process.pid).children(recursive=True)
        assert any(p.cmdline()[:1] and p.cmdline()[0].startswith(TITLE) for p in started)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 1
    finally:
        if process.poll() is None:
            process.kill()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert log.read_text().rstrip().endswith("goes on with what is not stored yet.")
    assert _metrics(fitted_root) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "slurm"], "unknown engine 'slurm'; known: local, ray."),
        (["--address", "auto"], "--address and --gpus are about a ray cluster"),
        pytest.param(
            ["--engine", "ray", "--address", "127.0.0.1:1"],
            "no Ray cluster answers at '127.0.0.1:1': ",
            marks=needs_ray,
        ),
        pytest.param(
            ["--engine", "ray", "--address", "nonsense"],
            "no Ray cluster answers at 'nonsense': ",
            marks=needs_ray,
        ),
        (["--engine", "ray", "--gpus", "1.5"], "--gpus 1.5 is not allowed"),
        (["--gpus", "1"], "--address and --gpus are about a ray cluster"),
    ],
)
def test_a_wrong_engine_is_one_sentence(capsys, grid, tmp_path, words, message):
    code, out, err = _call(capsys, "sweep", grid(), "--root", tmp_path / "none", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {message}")
    assert err.count("\n") == 1


def test_without_ray_it_says_what_to_install(capsys, grid, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "ray" else real(name, *rest),
    )
    code, out, err = _call(capsys, "sweep", grid(), "--root", tmp_path / "none", "--engine", "ray")
    assert (code, out) == (2, "")
    assert "'ray' needs the package ray" in err
    assert 'pip install -e ".[ray]"' in err
    assert err.count("\n") == 1
    assert not (tmp_path / "none").exists()
