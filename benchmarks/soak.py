"""Two windows start and cancel runs while others read: what an hour of it does to the app.

    python benchmarks/soak.py --minutes 60
    python benchmarks/soak.py --minutes 20 --readers 4 --log soak.jsonl

It reports memory, descriptors, threads and processes of the server at the beginning, in the middle
and at the end, the most of each, and failed loads (an exception on a page, or a page that has not
settled within the patience). Runs are of the bundled organism. It ends when its minutes are over,
whatever a page still waits for; interrupted, it reports what it has seen. Every look is also a line
of the log, which `--report` prints as the same table.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psutil

# The benchmark of the pages, not the folder of them.
sys.path.insert(0, str(Path(__file__).parent))
from pages import HOME, chromium, fill

EVERY: Final = 10.0
"""Seconds between two looks at the server, at least: a page may be waited for in between."""
LAUNCH: Final = "runs?tab=launch"
SETTLED: Final = """() => document.querySelector('h1')
    && (document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'
        || document.querySelector('[data-testid=stException]'))"""
Look = Mapping[str, float]


def reading_places() -> list[str]:
    """Return the addresses of every tab of every page but the one that starts runs."""
    from cwac.ui.navigation import PAGES, places  # noqa: PLC0415 - found by path

    first = next(iter(PAGES))
    pairs = (place.partition("/") for place in places())
    links = (f"{'' if page == first else page}?tab={tab}" for page, _, tab in pairs)
    return [link for link in links if link != LAUNCH]


class Soak:
    """Windows on one server, and what became of it."""

    def __init__(
        self, address: str, server: psutil.Process, browser: Any, readers: int, patience: float
    ) -> None:
        self._address, self._server, self._patience = address, server, patience
        self._readers = [browser.new_page() for _ in range(readers)]
        self._starters = [browser.new_page() for _ in range(2)]
        self._places = reading_places()
        self._end = float("inf")
        self._opened: dict[Any, float] = {}
        self.loads = self.failed = self.started = self.cancelled = 0
        self.problems: list[str] = []

    def go_on(self, seconds: float) -> Iterator[Look]:
        """Read and start for so many seconds; give a look at the server now and then."""
        began, seen = time.monotonic(), -EVERY
        self._end = began + seconds
        for step, tab in self._steps():
            left = self._end - time.monotonic()
            if left > 0:
                tab.set_default_timeout(1000 * min(self._patience, left))
                self._tried(step)
            spent = time.monotonic() - began
            if spent - seen >= EVERY or left <= 0:
                seen = spent
                yield {"minute": spent / 60} | self.look()
            if left <= 0:
                return

    def _steps(self) -> Iterator[tuple[Callable[[], None], Any]]:
        draw = random.Random(0)
        while True:
            for tab in self._readers:
                # All at once: nobody waits for the others.
                place = f"{self._address}/{draw.choice(self._places)}"
                yield partial(tab.goto, place, wait_until="commit"), tab
            for tab in self._starters:
                yield partial(self._start_or_cancel, tab), tab
            for tab in self._readers:
                yield partial(self._is_read, tab), tab

    def _is_read(self, tab: Any) -> None:
        self.loads += 1
        tab.wait_for_function(SETTLED)
        _check(tab)

    def _start_or_cancel(self, tab: Any) -> None:
        if LAUNCH not in tab.url:
            tab.goto(f"{self._address}/{LAUNCH}", wait_until="commit")
            self._opened[tab] = time.monotonic()
        _check(tab)
        cancel, start, again = (
            tab.get_by_role("button", name=name, exact=name != "Start a run")
            for name in ("Cancel", "Start", "Start a run")
        )
        if cancel.count():
            cancel.first.click()
            self.cancelled += 1
        elif start.count():
            if tab in self._opened:
                self.loads += 1
                del self._opened[tab]
            start.click()
            self.started += 1
        elif tab not in self._opened:
            # The run that was started or cancelled has ended; the drawer is closed.
            if again.count():
                again.first.click()
                self._opened[tab] = time.monotonic()
        # The form waits for what the lab can run: the readers need not.
        elif time.monotonic() - self._opened.get(tab, time.monotonic()) > self._patience:
            self._opened[tab] = time.monotonic()
            raise RuntimeError("the form to start a run does not come")

    def _tried(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as problem:
            # What the end of time cuts off is no failure.
            if time.monotonic() < self._end:
                self.failed += 1
                self.problems.append(str(problem).splitlines()[0])

    def look(self) -> Look:
        """Return what the server holds now, and what was done so far."""
        workers = self._server.children(recursive=True)
        used = 0
        for worker in workers:
            with contextlib.suppress(psutil.Error):
                used += worker.memory_info().rss
        with self._server.oneshot():
            return {
                "MB": self._server.memory_info().rss / 1e6,
                "descriptors": self._server.num_fds(),
                "threads": self._server.num_threads(),
                "workers": len(workers),
                "workers' MB": used / 1e6,
                "loads": self.loads,
                "failed": self.failed,
                "started": self.started,
                "cancelled": self.cancelled,
            }


def _check(tab: Any) -> None:
    if tab.get_by_test_id("stException").count():
        raise RuntimeError(f"an exception on {tab.url}")


def report(looks: Sequence[Look]) -> str:
    """Return the looks at the beginning, in the middle and at the end, and the most of each."""
    if not looks:
        return "nothing was seen"
    half = looks[-1]["minute"] / 2
    middle = min(looks, key=lambda look: abs(look["minute"] - half))
    most = {name: max(look[name] for look in looks) for name in looks[0]}
    rows = {"start": looks[0], "middle": middle, "end": looks[-1], "most": most}
    lines = ["| | " + " | ".join(most) + " |", "|---" * (len(most) + 1) + "|"]
    for name, look in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.0f}" for value in look.values()) + " |")
    return "\n".join(lines)


@contextmanager
def served(root: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run ``cwac app`` on a free port; what it leaves behind when it ends is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "cwac", "app", "--root", str(root), "--port", str(port)],
        env=os.environ | {"PYTHONPATH": str(HOME)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    process = psutil.Process(server.pid)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.25)
        yield f"http://127.0.0.1:{port}", process
    finally:
        workers = process.children(recursive=True)
        server.terminate()
        print(f"SIGTERM ended the server after {_seconds(server.wait):.1f} s")
        for worker in workers:
            if worker.is_running():
                worker.kill()


def _seconds(wait: Any) -> float:
    began = time.monotonic()
    wait(timeout=60)
    return time.monotonic() - began


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak the app and report; exit 1 where a load failed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=60.0)
    options.add_argument("--readers", type=int, default=20, help="windows that read")
    options.add_argument("--runs", type=int, default=24, help="about as many runs in the store")
    options.add_argument(
        "--patience", type=float, default=120.0, help="seconds until a load has failed"
    )
    options.add_argument("--log", type=Path, help="a line of JSON for every look")
    options.add_argument("--report", type=Path, help="only print what such a log has")
    asked = options.parse_args(arguments)
    if asked.report is not None:
        print(report([json.loads(line) for line in asked.report.read_text().splitlines()]))
        return 0
    # What is stopped from outside says what it has seen, as after Ctrl+C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    looks: list[Look] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        fill(root, asked.runs)
        with served(root) as (address, server), chromium(Path(folder) / "profile") as browser:
            soak = Soak(address, server, browser, asked.readers, asked.patience)
            with contextlib.suppress(KeyboardInterrupt):
                for look in soak.go_on(60 * asked.minutes):
                    looks.append(look)
                    line = json.dumps({name: round(value, 2) for name, value in look.items()})
                    print(line, flush=True)
                    if asked.log is not None:
                        with asked.log.open("a") as file:
                            file.write(f"{line}\n")
    print(report(looks))
    print(f"{asked.readers} readers, {soak.loads} loads, {soak.failed} failed; "
          f"{soak.started} runs started, {soak.cancelled} cancelled")  # fmt: skip
    for problem in dict.fromkeys(soak.problems):
        print(f"failed {soak.problems.count(problem)} times: {problem}")
    return int(soak.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
