"""How long the pages take with many runs in the store, in a real Chromium.

    python benchmarks/pages.py --runs 100
    python benchmarks/pages.py --runs 500 --check

The store is made up (the page tests' builder) and valid. The peer of the first chart is an empty
Streamlit page with one bar: what Streamlit and plotly take by themselves on this machine.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

HOME: Final = Path(__file__).parents[1]
sys.path.insert(0, str(HOME / "tests"))
CHART: Final = ".js-plotly-plot .main-svg"
PAGES: Final = ("Refusal", "Weight drift", "Subspace overlap", "SAE features", "Prompt", "Runs")
EMPTY: Final = """import plotly.graph_objects as go, streamlit as st
st.title("empty")
st.plotly_chart(go.Figure(go.Bar(x=[1, 2], y=[1, 2])))
"""
BUDGETS: Final = {
    "first chart (s)": 1.5,
    "page switch (s)": 0.5,
    "click to figure (s)": 0.3,
    "app memory (MB)": 500.0,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a line per budget."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=100, help="about as many runs in the store")
    options.add_argument("--rounds", type=int, default=5, help="tabs opened, pages switched")
    options.add_argument("--check", action="store_true", help="exit 1 on a missed budget")
    asked = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        count = fill(store, asked.runs)
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY, encoding="utf-8")
        with chromium(Path(folder) / "profile") as browser:
            with serving(empty, store) as (address, _):
                floor = statistics.median(opened(browser, address, asked.rounds))
            with serving(HOME / "app.py", store) as (address, server):
                figures = {
                    "first chart (s)": statistics.median(opened(browser, address, asked.rounds))
                }
                figures |= walked(browser, address, asked.rounds)
                process = psutil.Process(server.pid)
                figures["app memory (MB)"] = process.memory_info().rss / 1e6
                torch = any("/torch/" in part.path for part in process.memory_maps())
    print(f"{count} runs; an empty page with one bar takes {floor:.2f} s to its chart")
    missed = torch
    for name, value in figures.items():
        missed |= value > BUDGETS[name]
        verdict = "missed" if value > BUDGETS[name] else "met"
        print(f"{name:22} {value:8.2f}   budget {BUDGETS[name]:g}: {verdict}")
    print(f"first chart over the empty page's: {figures['first chart (s)'] / floor:.2f}")
    print(f"torch loaded: {'yes, missed' if torch else 'no'}")
    return int(asked.check and missed)


def fill(root: Path, runs: int) -> int:
    """Write a made-up store of about so many runs; two experiments hold them."""
    from store_builder import ARMS, CONTROLS, build_store  # noqa: PLC0415 - found by path

    arms = ARMS + CONTROLS
    seeds = range(max(1, round(runs / (2 * len(arms)))))
    store = build_store(root, arms=arms, seeds=tuple(seeds))
    return len(store.list_runs())


@contextmanager
def serving(script: Path, root: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Run an app on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)],
        cwd=HOME,
        env=os.environ | {"CWAC_ROOTS": str(root), "PYTHONPATH": str(HOME)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.25)
        yield address, server
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """Open Chromium with a profile of its own, so that its cache works as a user's does."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only here

    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise SystemExit("no Chromium on this machine: this benchmark needs one.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu"],
            viewport={"width": 1440, "height": 900},
        )
        yield browser
        browser.close()


def opened(browser: Any, address: str, rounds: int) -> list[float]:
    """Return the seconds to the first chart of new tabs; the first ones warm server and cache."""
    taken = []
    for _ in range(rounds + 2):
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(address)
        page.wait_for_selector(CHART, timeout=60_000)
        taken.append(time.perf_counter() - began)
        page.wait_for_timeout(1500)
        page.close()
    return taken[2:]


def walked(browser: Any, address: str, rounds: int) -> dict[str, float]:
    """Return the seconds to another page's heading, and from a click to the figure it changes."""
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector(CHART, timeout=60_000)
    switches, clicks = [], []
    heading = "name => document.querySelector('h1')?.innerText.includes(name)"
    for turn in range(rounds):
        for name in PAGES:
            page.wait_for_timeout(1500)
            began = time.perf_counter()
            page.get_by_role("link", name=name, exact=False).first.click()
            page.wait_for_function(heading, arg=name, timeout=60_000)
            if turn:
                switches.append(time.perf_counter() - began)
            if turn and name == "Weight drift":
                clicks += _clicked(page)
    page.close()
    return {
        "page switch (s)": statistics.median(switches),
        "click to figure (s)": statistics.median(clicks),
    }


def _clicked(page: Any) -> list[float]:
    """Click cells of the first heatmap, each until the spectrum beneath it is another one."""
    page.wait_for_selector(CHART, timeout=60_000)
    page.wait_for_timeout(2500)
    titles = "() => [...document.querySelectorAll('.gtitle')].map(t => t.textContent).join('|')"
    taken = []
    for across, down in ((0.85, 0.25), (0.15, 0.75), (0.85, 0.75), (0.15, 0.25)):
        before = page.evaluate(titles)
        cells = page.locator(".js-plotly-plot").nth(0).locator(".nsewdrag").first.bounding_box()
        x, y = cells["x"] + across * cells["width"], cells["y"] + down * cells["height"]
        began = time.perf_counter()
        page.mouse.click(x, y)
        page.wait_for_function(f"old => ({titles})() !== old", arg=before, timeout=30_000)
        taken.append(time.perf_counter() - began)
        page.wait_for_timeout(1500)
    return taken


if __name__ == "__main__":
    sys.exit(main())
