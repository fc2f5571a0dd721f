"""How long the pages take with many runs in the store, in a real Chromium.

    python benchmarks/pages.py --runs 100
    python benchmarks/pages.py --store cached_artifacts/runs --check
    python benchmarks/pages.py --store cached_artifacts/runs --against ../before

The store is made up (the page tests' builder) and valid, or one that is there. The peer is an empty
app of two pages with one bar each: what Streamlit, plotly and the browser take by themselves on
this machine. A page has settled when its heading stands, its script has ended and nothing waits to
be drawn. Where another checkout is named, its app takes every turn beside this one, so that both
see the same machine, and the table has the ratio.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
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
PATIENCE: Final = 300_000
"""Milliseconds: a machine may be busy."""
Times = dict[str, dict[str, float]]
"""Of an app, then of a tab: seconds."""
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
    options.add_argument("--store", type=Path, help="this root of runs instead; only read")
    options.add_argument("--against", type=Path, help="another checkout, measured beside this one")
    options.add_argument("--only", nargs="+", help="these tabs alone, by title")
    options.add_argument("--rounds", type=int, default=5, help="tabs opened, pages switched")
    options.add_argument("--check", action="store_true", help="exit 1 on a missed budget")
    asked = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = asked.store.resolve() if asked.store else Path(folder) / "runs"
        count = _count(store) if asked.store else fill(store, asked.runs)
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY, encoding="utf-8")
        apps = {"empty": empty, "app": HOME / "app.py"}
        apps |= {"before": asked.against.resolve() / "app.py"} if asked.against else {}
        with chromium(Path(folder) / "profile") as browser, ExitStack() as stack:
            served = {name: stack.enter_context(serving(app, store)) for name, app in apps.items()}
            addresses = {name: address for name, (address, _) in served.items()}
            first = opened(browser, addresses, asked.rounds)
            # The empty app has two pages: it takes a turn with every tab of the others.
            wanted = [p for p in _places() if not asked.only or p[1] in asked.only]
            places = dict.fromkeys(addresses, wanted)
            places["empty"] = ([("one", ""), ("two", "")] * len(wanted))[: len(wanted)]
            visits, later = walked(browser, addresses, places, asked.rounds)
            del addresses["empty"]
            experiment = switched(browser, addresses, asked.rounds)
            process = psutil.Process(served["app"][1].pid)
            memory = process.memory_info().rss / 1e6
            torch = any("/torch/" in part.path for part in process.memory_maps())
    switch = statistics.median(later["empty"].values())
    print(f"{count} runs; an empty page: {first['empty']:.2f} s to its chart, {switch:.2f} s after "
          "a switch")  # fmt: skip
    _tell(visits, later)
    over = {
        name: (
            first[name] - first["empty"],
            max(later[name].values()) - switch,
            seconds - switch,
        )
        for name, seconds in experiment.items()
    }
    missed = torch
    for place, (name, budget) in enumerate(BUDGETS.items()):
        value = over["app"][place] if place < 3 else memory
        beside = f"   before {over['before'][place]:.2f}" if "before" in over and place < 3 else ""
        missed |= value > budget
        verdict = "missed" if value > budget else "met"
        print(f"{name:44} {value:8.2f}   budget {budget:g}: {verdict}{beside}")
    print(f"torch loaded: {'yes, missed' if torch else 'no'}")
    return int(asked.check and missed)


def _count(root: Path) -> int:
    from cwac.artifacts import ArtifactStore  # noqa: PLC0415 - found by path

    return len(ArtifactStore(root).list_runs())


def _tell(visits: "Times", later: "Times") -> None:
    """Print a line per tab: the first visit, which reads and computes, and the median after it."""
    print(f"  {'':24} {'first':>8} {'later':>8}" + ("    ratio to before" * ("before" in later)))
    for place, seconds in sorted(later["app"].items(), key=lambda pair: -pair[1]):
        line = f"  {place:24} {visits['app'][place]:6.2f} s {seconds:6.2f} s"
        if place in later.get("before", {}):
            ratios = (each["app"][place] / each["before"][place] for each in (visits, later))
            line += "    " + " ".join(f"{ratio:6.2f}" for ratio in ratios)
        print(line)


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
    home = script.parent if script.name == "app.py" else HOME
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)],
        cwd=home,
        env=os.environ | {"CWAC_ROOTS": str(root), "PYTHONPATH": str(home)},
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


def _note(what: str, seconds: float) -> None:
    """Say what was measured as it goes: of a run that is cut short this is what is left."""
    print(f"{what} {seconds:.2f} s", file=sys.stderr, flush=True)


def opened(browser: Any, addresses: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Return the median seconds to the first chart of new tabs; the first ones warm the servers."""
    taken: dict[str, list[float]] = {name: [] for name in addresses}
    for _ in range(rounds + 2):
        for name, address in addresses.items():
            page = browser.new_page()
            began = time.perf_counter()
            page.goto(address)
            page.wait_for_selector(CHART, timeout=PATIENCE)
            taken[name].append(time.perf_counter() - began)
            _note(f"{name}: a new tab", taken[name][-1])
            page.wait_for_timeout(1500)
            page.close()
    return {name: statistics.median(seconds[2:]) for name, seconds in taken.items()}


def walked(
    browser: Any,
    addresses: Mapping[str, str],
    places: Mapping[str, Sequence[tuple[str, str]]],
    rounds: int,
) -> tuple[Times, Times]:
    """Return the seconds until each tab has settled: the first time, and the median after it."""
    pages = {name: browser.new_page() for name in addresses}
    for name, page in pages.items():
        page.goto(addresses[name])
        page.wait_for_selector(CHART, timeout=PATIENCE)
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in addresses}
    for _ in range(rounds + 1):
        # Turn by turn: whatever else the machine does, it does to all of them.
        for turn in zip_longest(*(places[name] for name in pages)):
            for (name, page), place in zip(pages.items(), turn, strict=True):
                if place is not None:
                    title = " / ".join(filter(None, place))
                    seconds = taken[name].setdefault(title, [])
                    seconds.append(_settled(page, *place))
                    _note(f"{name}: {title}", seconds[-1])
    for page in pages.values():
        page.close()
    return (
        {name: {place: each[0] for place, each in by.items()} for name, by in taken.items()},
        {
            name: {place: statistics.median(each[1:]) for place, each in by.items()}
            for name, by in taken.items()
        },
    )


def _settled(page: Any, title: str, tab: str) -> float:
    page.bring_to_front()
    # A drawer that opened by itself would take the click.
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    link = page.get_by_test_id("stSidebarNavLink").filter(has_text=title).first
    opens = page.get_by_role("tab", name=tab, exact=True) if tab else link
    began = time.perf_counter()
    # A tab of the page that is open costs a click of its own, another page's the switch.
    if tab and page.locator("h1").first.inner_text().endswith(title):
        opens.click()
    else:
        link.click()
    page.wait_for_timeout(50)
    page.wait_for_function(SETTLED, arg=title.lower(), timeout=PATIENCE)
    return time.perf_counter() - began


def switched(browser: Any, addresses: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Return the median seconds until the first page has settled on another experiment.

    Every experiment is seen for the first time: nothing of it is read or computed yet.
    """
    pages = {name: browser.new_page() for name in addresses}
    for name, page in pages.items():
        page.goto(addresses[name])
        page.wait_for_selector(CHART, timeout=PATIENCE)
    taken: dict[str, list[float]] = {name: [] for name in addresses}
    for turn in range(rounds):
        for name, page in pages.items():
            page.bring_to_front()
            page.wait_for_timeout(500)
            page.get_by_role("combobox", name="Experiment").click()
            options = page.get_by_role("option")
            began = time.perf_counter()
            options.nth(min(turn + 1, options.count() - 1)).click()
            page.wait_for_timeout(50)
            page.wait_for_function(SETTLED, arg="start", timeout=PATIENCE)
            taken[name].append(time.perf_counter() - began)
            _note(f"{name}: another experiment", taken[name][-1])
    for page in pages.values():
        page.close()
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    sys.exit(main())
