"""``cwac app`` opens the pages; ``cwac doctor`` looks at the machine."""

import importlib.util
import os
import re
import shutil
import socket
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
from cwac.hosts import ipv4, is_loopback
from cwac.intake import shown

_LOCAL: Final = ("127.0.0.1", "localhost")
_EVERYWHERE: Final = "0.0.0.0"
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
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Where it listens; any address but this machine's own loopback, as 0.0.0.0, needs "
            "--read-only.",
        ),
    ] = "127.0.0.1",
    read_only: Annotated[
        bool,
        typer.Option(
            "--read-only", help="Show what is stored; start, ask, add and delete nothing."
        ),
    ] = False,
) -> int:
    """Open the app in the browser; without --host only this machine can reach it."""
    check_address(host, read_only=read_only)
    from cwac.artifacts import reading_store, shipped_folder  # noqa: PLC0415 - keeps --help fast

    script = shipped_folder() / "app.py"
    if not script.is_file():
        raise ArtifactError(f"the app is not at {script}; install the lab again.")
    command = [sys.executable, "-m", "cwac.ui.server"]
    command += [f"--host={name}" for name in allowed_hosts(allowed_host or (), host)]
    command.append(f"--address={host}")
    if port is not None:
        command.append(f"--port={port}")
    environment = dict(os.environ)
    if root:
        folders = [folder.expanduser().resolve() for folder in root]
        environment["CWAC_ROOTS"] = os.pathsep.join(map(str, folders))
        missing = [folder for folder in folders if not folder.is_dir()]
        if read_only and missing:
            raise ArtifactError(f"there is no folder {missing[0]}, and --read-only makes none.")
        # Opening a store removes what dead processes left in it.
        for folder in () if read_only else filter(Path.is_dir, folders):
            reading_store(folder)
    if read_only:
        environment["CWAC_READ_ONLY"] = "1"
    if os.name != "nt":
        # It takes this process's place: a signal that is sent to the command reaches the server.
        sys.stdout.flush()
        os.execve(sys.executable, command, environment)
    return subprocess.run(command, env=environment, check=False).returncode


def check_address(host: str, *, read_only: bool) -> None:
    """Do nothing where the app may listen at an address.

    Raises
    ------
    ConfigError
        It is no IPv4 address or host name, others could change something here through it, or it
        is not one of this machine's.
    """
    # A bare number would be taken for an address, 0 for all of them.
    named = _HOST.fullmatch(host) and not host[0].isdigit()
    if not named and ipv4(host) is None:
        raise ConfigError(
            f"--host {shown(host)} is not allowed: an IPv4 address or a host name, without a port."
        )
    if not read_only and not is_loopback(host):
        raise ConfigError(
            f"--host {shown(host)} can be reached from elsewhere: it needs --read-only, or anybody "
            "there could start runs on this machine."
        )
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError as problem:
        reason = (problem.strerror or "unknown").lower()
        raise ConfigError(
            f"--host {shown(host)} is no address of this machine: {reason}."
        ) from None


def allowed_hosts(named: Sequence[str], host: str = _LOCAL[0]) -> list[str]:
    """Return the names that a browser's Host header may have: this machine's own, and those named.

    A page elsewhere whose name is made to point here (DNS rebinding) is not among them.

    Parameters
    ----------
    named : sequence of str
        Further names.
    host : str
        The address that is listened at; 0.0.0.0 stands for the name of this machine and for each
        of its addresses.

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
    mine = _own_names() if host == _EVERYWHERE else [host]
    return list(dict.fromkeys([*_LOCAL, *mine, *named]))


def _own_names() -> list[str]:
    import psutil  # noqa: PLC0415 - keeps --help fast

    cards = psutil.net_if_addrs().values()
    addresses = [one.address for card in cards for one in card if one.family == socket.AF_INET]
    return [socket.gethostname(), *addresses]


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
    from cwac.artifacts import shipped_runs  # noqa: PLC0415 - loads pandas

    facts: list[Fact] = [("organism", *_organism())]
    runs = shipped_runs()
    facts.append(("shipped runs", str(runs or "missing"), ""))
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    facts.append(
        ("browser for tests", browser or "missing", "" if browser else "browser tests are skipped")
    )
    offline = os.environ.get("HF_HUB_OFFLINE", "")
    facts.append(("HF_HUB_OFFLINE", offline or "not set", ""))
    return facts


def _organism() -> tuple[str, str]:
    if importlib.util.find_spec("torch") is None:
        return "not looked at", "a model needs torch; stored runs are shown without"
    from cwac.errors import CwacError  # noqa: PLC0415
    from cwac.models.folders import resolve_folder  # noqa: PLC0415 - loads torch

    try:
        return str(resolve_folder("organism")), ""
    except CwacError as problem:
        return "missing", str(problem)
