"""``cwac app`` opens the pages; ``cwac doctor`` looks at the machine."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final

import typer

from cwac.cli.output import print_json, print_table
from cwac.errors import ArtifactError, ConfigError
from cwac.flags import AsJson
from cwac.intake import shown

_LOCAL: Final = ("127.0.0.1", "localhost")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="app")(open_app)
    app.command()(doctor)


def open_app(
    root: Annotated[
        list[Path] | None,
        typer.Option("--root", help="Folder of runs; the first is written to.  [runs, shipped]"),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Port of the server.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            metavar="NAME",
            help="A further name by which browsers may reach it, as of a proxy; repeatable.",
        ),
    ] = None,
) -> int:
    """Open the app in the browser; only this machine can reach it."""
    from cwac.artifacts import reading_store, shipped_folder  # noqa: PLC0415 - keeps --help fast

    script = shipped_folder() / "app.py"
    if not script.is_file():
        raise ArtifactError(f"the app is not at {script}; install the lab again.")
    command = [sys.executable, "-m", "cwac.ui.server"]
    command += [f"--host={name}" for name in allowed_hosts(allowed_host or ())]
    if port is not None:
        command.append(f"--port={port}")
    environment = dict(os.environ)
    if root:
        folders = [folder.expanduser().resolve() for folder in root]
        environment["CWAC_ROOTS"] = os.pathsep.join(map(str, folders))
        for folder in filter(Path.is_dir, folders):
            reading_store(folder)
    if os.name != "nt":
        # It takes this process's place: a signal that is sent to the command reaches the server.
        sys.stdout.flush()
        os.execve(sys.executable, command, environment)
    return subprocess.run(command, env=environment, check=False).returncode


def allowed_hosts(named: Sequence[str]) -> list[str]:
    """Return the names that a browser's Host header may have: this machine's own, and those named.

    A page elsewhere whose name is made to point here (DNS rebinding) is not among them.

    Raises
    ------
    ConfigError
        One is no host name.
    """
    for name in named:
        if not _HOST.fullmatch(name):
            raise ConfigError(
                f"--allowed-host {shown(name)} is not allowed: a host name, without a port or *."
            )
    return [*_LOCAL, *named]


def doctor(as_json: AsJson = False) -> None:
    """Show versions and devices, what is missing, and what would make a run slow."""
    facts = [*_versions(), *_machine(), *_parts()]
    if as_json:
        print_json([{"what": w, "found": f, "advice": a} for w, f, a in facts])
        return
    print_table("doctor", ["what", "found", "advice"], [list(fact) for fact in facts])


Fact = tuple[str, str, str]


def _versions() -> list[Fact]:
    facts: list[Fact] = [("python", sys.version.split()[0], "")]
    try:
        requirements = metadata.requires("cwac-lab") or []
    except metadata.PackageNotFoundError:
        return [*facts, ("cwac-lab", "not installed", "pip install . in the repository")]
    for requirement in requirements:
        if "extra ==" in requirement:
            continue
        name = requirement.split(";")[0].strip()
        for mark in "<>=!~ [":
            name = name.split(mark)[0]
        try:
            facts.append((name, metadata.version(name), ""))
        except metadata.PackageNotFoundError:
            facts.append((name, "missing", f"pip install '{requirement}'"))
    return facts


def _machine() -> list[Fact]:
    import psutil  # noqa: PLC0415 - keeps --help fast

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    busy = psutil.getloadavg()[0]
    facts: list[Fact] = [
        ("cores", str(cores), "" if (cores or 1) >= 2 else "runs are planned for two cores"),
        (
            "free memory",
            f"{memory.available / 1e9:.1f} GB",
            "" if memory.available > 2e9 else "a run of the organism needs about 1.5 GB",
        ),
        (
            "load",
            f"{busy:.1f}",
            "other programs are using the cores; runs will be slow" if busy > (cores or 1) else "",
        ),
    ]
    if importlib.util.find_spec("torch") is not None:
        facts += _torch_facts(cores or 1)
    return facts


def _torch_facts(cores: int) -> list[Fact]:
    import torch  # noqa: PLC0415 - 1.5 s

    threads = torch.get_num_threads()
    device = (
        torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none, runs use the CPU"
    )
    slow = threads < cores
    advice = "OMP_NUM_THREADS or the like keeps torch from using all cores" if slow else ""
    return [("torch threads", str(threads), advice), ("GPU", device, "")]


def _parts() -> list[Fact]:
    from cwac.artifacts import shipped_runs  # noqa: PLC0415 - loads torch
    from cwac.errors import CwacError  # noqa: PLC0415
    from cwac.models.loading import resolve_folder  # noqa: PLC0415

    facts: list[Fact] = []
    try:
        facts.append(("organism", str(resolve_folder("organism")), ""))
    except CwacError as problem:
        facts.append(("organism", "missing", str(problem)))
    runs = shipped_runs()
    facts.append(("shipped runs", str(runs or "missing"), ""))
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    facts.append(
        ("browser for tests", browser or "missing", "" if browser else "browser tests are skipped")
    )
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    facts.append(("HF_HUB_OFFLINE", offline or "not set", ""))
    return facts
