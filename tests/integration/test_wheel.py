"""The lab as it is installed: a wheel from the source distribution, used from an empty folder."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from cwac import __version__

HOME = Path(__file__).parents[2]
SHIPPED = (".streamlit", "pages", "cached_artifacts", "docs")
FILES = ("app.py", "pyproject.toml", "setup.py", "MANIFEST.in")
TEXTS = ("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff")
# What pip asks of the project; its files, which hardly shrink, are packed without squeezing them.
BUILD = """
import sys, tarfile
from setuptools import build_meta
kind, out = sys.argv[1:]
if kind == "sdist":
    opened = tarfile.TarFile.gzopen.__func__
    tarfile.TarFile.gzopen = classmethod(lambda *a, **k: opened(*a, **{**k, "compresslevel": 0}))
    build_meta.build_sdist(out)
else:
    build_meta.build_wheel(out, {"--build-option": ["--compression=stored"]})
"""
LOOK = """
import cwac
from streamlit.testing.v1 import AppTest
from cwac.artifacts import shipped_catalogue, shipped_folder
from cwac.cli import _status
app = AppTest.from_file(str(shipped_folder() / "app.py"), default_timeout=60).run()
print("MODELS", *(entry.name for entry in shipped_catalogue().models))
print("STATUS", _status(["list", "runs"]))
print("EXCEPTIONS", [e.value for e in app.exception], "TITLES", len(app.title))
print(cwac.__file__)
"""


def call(*command: object, cwd: Path, seconds: float = 240) -> str:
    """Run a command that knows nothing of the checkout; return what it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def environment() -> dict[str, str]:
    hidden = ("PYTHONPATH", "CWAC_ROOTS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built, without the network, from a source distribution of a copy of the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("build")
    copy, out = folder / "copy", folder / "out"
    for name in ("cwac", *SHIPPED):
        shutil.copytree(HOME / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*FILES, *TEXTS):
        shutil.copy(HOME / name, copy / name)
    # What a checkout may hold and nobody wants to install.
    (copy / "cached_artifacts" / "runs" / ".jobs").mkdir()
    (copy / "cached_artifacts" / "runs" / ".jobs" / "log.txt").write_text("unfinished")
    call(sys.executable, "-c", BUILD, "sdist", out, cwd=copy)
    (archive,) = out.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        # Python has the filter since 3.11.4; the archive is our own.
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        packed.extractall(folder / "source", **safe)
    (source,) = (folder / "source").iterdir()
    call(sys.executable, "-c", BUILD, "wheel", out, cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def cwac(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that sees this one's packages but not this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-index")
    call(*pip, "--no-deps", "--no-compile", wheel, cwd=folder)
    packages = folder / f"lib/python{sysconfig.get_python_version()}/site-packages"
    # Files of this kind that lie in an added folder are not read, so that what an editable
    # install left there does not lead back here.
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "dependencies.pth").write_text("\n".join(sorted(here)) + "\n")
    return folder / "bin" / "cwac"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def travelling(name: str) -> list[str]:
    """The files below a top-level folder that are meant to be installed."""
    files = [path for path in (HOME / name).rglob("*") if path.is_file()]
    names = [path.relative_to(HOME).as_posix() for path in files]
    return [n for n in names if not any(p.startswith((".", "__")) for p in n.split("/")[1:])]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_wheel_holds_every_shipped_file_once(wheel: Path, name: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    prefix = "cwac/_shipped/"
    inside = sorted(n.removeprefix(prefix) for n in names if n.startswith(f"{prefix}{name}/"))
    assert inside == sorted(travelling(name))
    assert inside
    assert f"{prefix}app.py" in names
    assert wheel.name.startswith(f"cwac_lab-{__version__}-")


def test_the_installed_package_answers_and_shows_the_shipped_runs(cwac: Path, empty: Path) -> None:
    assert "advbench" in call(cwac, "list", "datasets", cwd=empty)
    # One process for the rest: each takes seconds to import.
    shown = call(cwac.with_name("python"), "-c", LOOK, cwd=empty)
    *runs, first_page, place = shown.strip().splitlines()
    assert Path(place).is_relative_to(cwac.parents[1])
    assert first_page == "EXCEPTIONS [] TITLES 1"
    assert "STATUS 0" in runs
    assert any(line.startswith("MODELS organism ") for line in runs)
    assert any("organism-instruct-p0.1-cwac-s0" in line for line in runs)
    assert list(empty.iterdir()) == []


@pytest.mark.slow
def test_a_run_of_the_organism_works_from_an_empty_folder(cwac: Path, empty: Path) -> None:
    few = ("task.test_limit=2", "evaluation.prompt_limit=10")
    settings = [part for setting in few for part in ("--set", setting)]
    call(cwac, "run", "--model", "organism", "--method", "sft", "--steps", 2, *settings, cwd=empty)
    (run,) = [path for path in (empty / "runs").iterdir() if path.name.startswith("organism-")]
    assert (run / "responses.parquet").is_file()


def test_the_app_opens_from_an_empty_folder(cwac: Path, empty: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [cwac, "app", "--port", str(port)],
        cwd=empty,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert answer(f"http://127.0.0.1:{port}/_stcore/health", server) == "ok"
        assert "<title>Streamlit</title>" in answer(f"http://127.0.0.1:{port}/methods", server)
    finally:
        # The command and the server that it started.
        os.killpg(server.pid, signal.SIGINT)
        server.wait(timeout=20)


def answer(address: str, server: "subprocess.Popen[bytes]", seconds: float = 60) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {address}")
