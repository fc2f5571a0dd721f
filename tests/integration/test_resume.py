"""A run killed at any moment leaves nothing half-written in the listing, and resumes."""

import os
import signal

import pytest
from forked import ended, kill, start, wait_for

from cwac.artifacts import ArtifactStore, store
from cwac.cli import main


def _command(folder, root):
    return [
        "run", "--model", str(folder), "--method", "sft", "--method", "cwac",
        "--steps", "40", "--root", str(root),
    ]  # fmt: skip


def _call(arguments):
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return int(ending.value.code or 0)


def test_the_same_command_resumes_after_a_kill(fitted_root, tiny_folder, tmp_path, capsys):
    log = tmp_path / "log.txt"
    runs = ArtifactStore(fitted_root)
    process = start(main, _command(tiny_folder, fitted_root), log=log)
    try:
        wait_for(lambda: "cwac seed 0: step   13" in log.read_text())
    finally:
        kill(process)
    (first,) = runs.list_runs()
    assert first.record.config.method == "sft"
    assert _call(["check", "--root", str(fitted_root)]) == 0
    assert _call(_command(tiny_folder, fitted_root)) == 0
    assert f"{first.run_id}: complete already" in capsys.readouterr().err
    assert len(runs.list_runs()) == 2
    assert runs.load(first.run_id).provenance == first.record.provenance
    assert _call(["check", "--root", str(fitted_root)]) == 0


def _killed_at_the_third_table(words):
    written = store.write_table

    def write_table(*arguments):
        written(*arguments)
        write_table.count += 1
        if write_table.count == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    write_table.count = 0
    store.write_table = write_table
    main(words)


def test_a_kill_while_writing_leaves_no_half_run(fitted_root, tiny_folder, tmp_path):
    words = ["run", "--model", str(tiny_folder), "--method", "sft", "--root", str(fitted_root)]
    process = start(_killed_at_the_third_table, words, log=tmp_path / "log.txt")
    assert ended(process, 550) == -signal.SIGKILL
    assert ArtifactStore(fitted_root).list_runs() == []
    assert any(path.name.startswith(".writing-") for path in fitted_root.iterdir())
