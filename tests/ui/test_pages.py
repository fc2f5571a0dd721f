"""Every page opens with stored runs, without any, and with broken ones."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from reading import as_read
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.ui.navigation import MOVED, PAGES, places

pytestmark = pytest.mark.usefixtures("unfolded")
OpenPage = Callable[..., AppTest]
PLACES = places()
SILENT = {
    "mechanism/causes",
    "mechanism/interventions",
    "mechanism/models",
    "results/attacks",
    "results/claims",
    "start/lesson",
}
"""Where the made-up store holds nothing to draw, or nothing is drawn before a prediction."""
TEXTS = {"reference/glossary", "reference/limits", "reference/cite"}
"""What is to be read whether or not anything is stored."""
NEED_RUNS = [place for place in PLACES if PAGES[place.partition("/")[0]].needs_runs]
READING = [place for place in NEED_RUNS if place not in SILENT]


def said(app: AppTest) -> str:
    """Everything a page says in words, as a reader sees it: without the marks of escaping."""
    kinds = ("title", "markdown", "caption", "info", "warning", "error", "code", "text")
    return as_read("\n".join(str(part.value) for kind in kinds for part in getattr(app, kind)))


@pytest.mark.parametrize("name", PLACES)
def test_page_opens_with_stored_runs(name: str, store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page(name, store.write_root)
    assert not app.exception
    assert PAGES[name.partition("/")[0]].title in app.title[0].value
    if name in READING:
        assert app.get("plotly_chart"), "a page about results shows a figure"


def one_each(places: Iterable[str]) -> list[str]:
    """One place of each page: what stands above the tabs is the same for all."""
    return list({place.partition("/")[0]: place for place in places}.values())


@pytest.mark.parametrize(
    "name",
    [*one_each(NEED_RUNS), *(p for p in PLACES if p not in NEED_RUNS and p not in TEXTS)],
)
def test_page_without_runs_says_what_to_do(name: str, tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page(name, tmp_path / "nothing")
    assert not app.exception
    assert "cwac run" in said(app) or "Runs page" in said(app)
    assert not app.get("plotly_chart")


@pytest.mark.parametrize("name", PLACES)
def test_page_with_broken_runs_names_them_and_shows_the_rest(
    name: str, broken_store: ArtifactStore, open_page: OpenPage
) -> None:
    broken = [run.run_id for run in broken_store.list_runs() if run.record is None]
    app = open_page(name, broken_store.write_root)
    assert not app.exception
    assert all(run_id in said(app) for run_id in broken)
    if name in READING:
        assert app.get("plotly_chart"), "the other runs are shown"


@pytest.mark.parametrize("name", one_each(READING))
def test_broken_table_is_named(name: str, broken_store: ArtifactStore, open_page: OpenPage) -> None:
    damaged = next(
        run.record
        for run in broken_store.list_runs()
        if run.record and broken_store.disk_use(run.run_id) < 20_000
    )
    link = {"experiment": damaged.experiment_id, "seed": str(damaged.config.seed)}
    # Most drift figures stand in the records; this one is read off a table.
    link |= {"figure": "weight_drift.functional_drift"} if name.endswith("/prediction") else {}
    app = open_page(name, broken_store.write_root, **link)
    assert not app.exception
    assert f"{damaged.run_id}: " in said(app)
    assert ".parquet is broken" in said(app)


@pytest.mark.parametrize("old", MOVED)
def test_links_to_earlier_pages_lead_to_the_new_ones(old: str) -> None:
    page, tab = MOVED[old]
    assert page in PAGES
    assert tab is None or tab in PAGES[page].tabs


def test_names_of_tabs_are_unique() -> None:
    names = [tab for page in PAGES.values() for tab in page.tabs]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_short_scripts(name: str) -> None:
    text = (Path(__file__).parents[2] / PAGES[name].path).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) < 80
    assert f'page_frame("{name}")' in text
    assert "unsafe_allow_html" not in text
