"""Stands in for ``python -m cwac run``: writes a job's files the way the command line does.

``fake_worker.py run MODE --job FOLDER`` with MODE: ``done``, ``fail``, ``die`` (ends without a
word), ``sleep`` (with a child of its own; both ignore the polite signal), ``loud`` (much output).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil


def main(mode: str, folder: Path) -> None:
    """Do what `mode` says."""
    status = {
        "state": "running",
        "pid": os.getpid(),
        "pid_created": psutil.Process().create_time(),
        "message": "",
        "runs": ["a-run"],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": None,
    }
    write(folder, status)
    if mode == "die":
        sys.stdout.write("about to fall over\nKilled: no memory left\n")
        sys.stdout.flush()
        os._exit(137)
    if mode == "fail":
        write(folder, status | {"state": "failed", "message": "gradients are not finite"})
        sys.exit(1)
    if mode == "loud":
        sys.stdout.write("x" * 500_000)
    if mode == "sleep":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code])
        (folder / "child").write_text(str(child.pid))
        time.sleep(60)
    for step in (0, 10):
        row = {"run_id": "a-run", "variant": "sft", "seed": 0, "step": step, "fraction": step / 10}
        with (folder / "progress.jsonl").open("a") as file:
            file.write(json.dumps(row | {"task_loss": 2.0, "refusal_rate": 1.0}) + "\n")
    write(folder, status | {"state": "done", "ended": "2026-01-01T00:00:09+00:00"})


def write(folder: Path, status: dict[str, object]) -> None:
    """Replace the status in one step."""
    (folder / "status.tmp").write_text(json.dumps(status))
    (folder / "status.tmp").replace(folder / "status.json")


if __name__ == "__main__":
    main(sys.argv[2], Path(sys.argv[4]))
