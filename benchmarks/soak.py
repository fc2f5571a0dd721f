"""Two windows start and cancel runs while others read: what an hour of it does to the app.

    python benchmarks/soak.py --minutes 60
    python benchmarks/soak.py --minutes 2 --readers 4

It reports memory, descriptors, threads and processes of the server along the way, and failed loads
(an exception on a page, or no heading within the patience). Runs are of the bundled organism.
"""

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

# The benchmark of the pages, not the folder of them.
sys.path.insert(0, str(Path(__file__).parent))
from pages import HOME, chromium, fill

PATIENCE: Final = 120_000
"""Milliseconds for a heading or a button."""
EVERY: Final = 10.0
"""Seconds between two looks at the server."""
READ: Final = ("", "refusal", "weight_drift", "subspace_overlap", "sae_features", "prompt",
               "trade_off", "paper", "methods", "runs")  # fmt: skip


class Soak:
    """Windows on one server, and what became of it."""

    def __init__(self, address: str, server: psutil.Process, browser: Any, readers: int) -> None:
        self._address, self._server = address, server
        self._readers = [self._tab(browser) for _ in range(readers)]
        self._starters = [self._tab(browser) for _ in range(2)]
        self.loads = self.failed = self.started = self.cancelled = 0
        self.problems: list[str] = []
        self.looks: list[dict[str, float]] = []

    @staticmethod
    def _tab(browser: Any) -> Any:
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        return tab

    def go_on(self, seconds: float) -> None:
        """Read and start for so many seconds; bounded by the patience of the last round."""
        began, draw = time.monotonic(), random.Random(0)
        while time.monotonic() - began < seconds:
            for tab in self._readers:
                # All at once: nobody waits for the others.
                self._tried(lambda tab=tab: tab.goto(self._page(draw), wait_until="commit"))
            for tab in self._starters:
                self._tried(lambda tab=tab: self._start_or_cancel(tab))
            for tab in self._readers:
                self.loads += 1
                self._tried(lambda tab=tab: self._is_read(tab))
            if not self.looks or time.monotonic() - began - self.looks[-1]["s"] >= EVERY:
                self.looks.append({"s": time.monotonic() - began} | self.look())
                line = "  ".join(f"{name} {value:.0f}" for name, value in self.looks[-1].items())
                print(line, flush=True)

    def _page(self, draw: random.Random) -> str:
        return f"{self._address}/{draw.choice(READ)}"

    def _is_read(self, tab: Any) -> None:
        tab.get_by_role("heading", level=1).first.wait_for()
        if tab.get_by_test_id("stException").count():
            raise RuntimeError(f"an exception on {tab.url}")

    def _start_or_cancel(self, tab: Any) -> None:
        self.loads += 1
        if not tab.url.endswith("/run"):
            tab.goto(f"{self._address}/run", wait_until="commit")
        self._is_read(tab)
        cancel = tab.get_by_role("button", name="Cancel", exact=True)
        if cancel.count():
            cancel.first.click()
            self.cancelled += 1
            return
        tab.get_by_role("button", name="Start", exact=True).click()
        self.started += 1

    def _tried(self, step: Any) -> None:
        try:
            step()
        except Exception as problem:
            self.failed += 1
            self.problems.append(str(problem).splitlines()[0])

    def look(self) -> dict[str, float]:
        """Return what the server holds now."""
        children = self._server.children(recursive=True)
        with self._server.oneshot():
            return {
                "MB": self._server.memory_info().rss / 1e6,
                "descriptors": self._server.num_fds(),
                "threads": self._server.num_threads(),
                "processes": len(children),
            }


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
    asked = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        fill(root, asked.runs)
        with served(root) as (address, server), chromium(Path(folder) / "profile") as browser:
            soak = Soak(address, server, browser, asked.readers)
            soak.go_on(60 * asked.minutes)
    print(
        f"{soak.loads} loads, {soak.failed} failed; {soak.started} runs started, "
        f"{soak.cancelled} cancelled"
    )
    for problem in dict.fromkeys(soak.problems):
        print(f"failed {soak.problems.count(problem)} times: {problem}")
    return int(soak.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
