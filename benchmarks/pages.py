"""How long the pages take with many runs in the store, in a real Chromium.

    python benchmarks/pages.py --runs 100
    python benchmarks/pages.py --runs 500 --check

The store is made up (the page tests' builder) and valid. The peer is an empty app of two pages with
one bar each: what Streamlit, plotly and the browser take by themselves on this machine. A page has
settled when its heading stands, its script has ended and nothing waits to be drawn.
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
sys.path[:0] = [str(HOME), str(HOME / "tests")]
CHART: Final = ".js-plotly-plot .main-svg"
EMPTY: Final = """import plotly.graph_objects as go, streamlit as st

def one():
    st.title("one")
    st.plotly_chart(go.Figure(go.Bar(x=[1, 2], y=[1, 2])))

def two():
    st.title("two")
    st.plotly_chart(go.Figure(go.Bar(x=[1, 2], y=[2, 1])))

st.navigation([st.Page(one), st.Page(two)]).run()
"""
SETTLED: Final = """name => document.querySelector('h1')?.innerText.toLowerCase().includes(name)
    && document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-testid=stSpinner]')"""
BUDGETS: Final = {
    "first chart over an empty page's (s)": 1.5,
    "slowest page over an empty page's (s)": 1.0,
    "experiment switch over an empty page's (s)": 1.5,
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
                first = statistics.median(opened(browser, address, asked.rounds))
                switch = max(
                    walked(browser, address, [("one", ""), ("two", "")], asked.rounds).values()
                )
            with serving(HOME / "app.py", store) as (address, server):
                chart = statistics.median(opened(browser, address, asked.rounds))
                pages = walked(browser, address, _places(), asked.rounds)
                experiment = switched(browser, address, asked.rounds)
                process = psutil.Process(server.pid)
                memory = process.memory_info().rss / 1e6
                torch = any("/torch/" in part.path for part in process.memory_maps())
    print(f"{count} runs; an empty page: {first:.2f} s to its chart, {switch:.2f} s after a switch")
    for place, seconds in sorted(pages.items(), key=lambda pair: -pair[1]):
        print(f"  {place:24} {seconds:6.2f} s")
    figures = dict(
        zip(
            BUDGETS,
            (chart - first, max(pages.values()) - switch, experiment - switch, memory),
            strict=True,
        )
    )
    missed = torch
    for name, value in figures.items():
        missed |= value > BUDGETS[name]
        verdict = "missed" if value > BUDGETS[name] else "met"
        print(f"{name:44} {value:8.2f}   budget {BUDGETS[name]:g}: {verdict}")
    print(f"torch loaded: {'yes, missed' if torch else 'no'}")
    return int(asked.check and missed)


def _places() -> list[tuple[str, str]]:
    """Return title of page and of tab, for every tab of every page."""
    from cwac.ui.navigation import PAGES  # noqa: PLC0415 - found by path

    return [(page.title, tab) for page in PAGES.values() for tab in page.tabs.values() or [""]]


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


def walked(
    browser: Any, address: str, places: Sequence[tuple[str, str]], rounds: int
) -> dict[str, float]:
    """Return the median seconds until each page, and each of its tabs, has settled."""
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector(CHART, timeout=60_000)
    taken: dict[str, list[float]] = {}
    for turn in range(rounds + 1):
        for title, tab in places:
            page.wait_for_timeout(500)
            began = time.perf_counter()
            link = page.get_by_test_id("stSidebarNavLink").filter(has_text=title).first
            opens = page.get_by_role("tab", name=tab) if tab else link
            # A tab of the page that is open costs a click of its own, another page's the switch.
            if tab and page.locator("h1").first.inner_text().endswith(title):
                opens.click()
            else:
                link.click()
            page.wait_for_timeout(50)
            page.wait_for_function(SETTLED, arg=title.lower(), timeout=60_000)
            if turn:
                taken.setdefault(f"{title} / {tab}".rstrip(" /"), []).append(
                    time.perf_counter() - began
                )
    page.close()
    return {place: statistics.median(seconds) for place, seconds in taken.items()}


def switched(browser: Any, address: str, rounds: int) -> float:
    """Return the median seconds until the first page has settled on another experiment."""
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector(CHART, timeout=60_000)
    taken = []
    for turn in range(rounds + 1):
        page.wait_for_timeout(500)
        box = page.get_by_role("combobox", name="Experiment")
        shown = box.input_value()
        box.click()
        options = page.get_by_role("option")
        texts = options.all_inner_texts()
        began = time.perf_counter()
        options.nth(next(i for i, text in enumerate(texts) if text != shown)).click()
        page.wait_for_timeout(50)
        page.wait_for_function(SETTLED, arg="start", timeout=60_000)
        if turn:
            taken.append(time.perf_counter() - began)
    page.close()
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
