"""A run killed at any moment leaves nothing half-written in the listing, and resumes."""

import signal
import subprocess
import sys
import time

import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import main


def _command(folder, root):
    return [
        "run", "--model", str(folder), "--method", "sft", "--method", "cwac",
        "--steps", "40", "--root", str(root),
    ]  # fmt: skip


def _wait_for(condition, seconds=500.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def _call(arguments):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return int(ending.value.code or 0)


def test_the_same_command_resumes_after_a_kill(fitted_root, tiny_folder, tmp_path, capsys):
    log = tmp_path / "log.txt"
    store = ArtifactStore(fitted_root)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cwac", *_command(tiny_folder, fitted_root)],
            stdout=output,
            stderr=output,
        )
        try:
            _wait_for(lambda: "cwac seed 0: step   13" in log.read_text())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    (first,) = store.list_runs()
    assert first.record.config.method == "sft"
    assert _call(["check", "--root", str(fitted_root)]) == 0
    assert _call(_command(tiny_folder, fitted_root)) == 0
    assert f"{first.run_id}: complete already" in capsys.readouterr().err
    assert len(store.list_runs()) == 2
    assert store.load(first.run_id).provenance == first.record.provenance
    assert _call(["check", "--root", str(fitted_root)]) == 0


DIE_WHILE_WRITING = """
import os, signal, sys
import cwac.artifacts.store as module
real, count = module.write_table, [0]
def write_table(*arguments):
    real(*arguments)
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
module.write_table = write_table
from cwac.cli import main
main(sys.argv[1:])
"""


def test_a_kill_while_writing_leaves_no_half_run(fitted_root, tiny_folder):
    done = subprocess.run(
        [sys.executable, "-c", DIE_WHILE_WRITING, *_command(tiny_folder, fitted_root)[:-4],
         "--root", str(fitted_root)],
        capture_output=True, timeout=550, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert ArtifactStore(fitted_root).list_runs() == []
    assert any(path.name.startswith(".writing-") for path in fitted_root.iterdir())
