"""Fixtures of the page tests: made-up stores, and a page opened on one of them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from store_builder import ARMS, CONTROLS, break_run, build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore, shipped_catalogue
from cwac.ui import asking
from cwac.ui.readonly import read_only

APP = Path(__file__).parents[2] / "app.py"
OpenPage = Callable[..., AppTest]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A valid store: two experiments, six arms, two seeds. Read it, do not change it."""
    return build_store(tmp_path_factory.mktemp("store"), arms=ARMS + CONTROLS)


@pytest.fixture
def own_store(store: ArtifactStore, tmp_path: Path) -> ArtifactStore:
    """A copy of the valid store that a test may change."""
    shutil.copytree(store.write_root, tmp_path / "own")
    return ArtifactStore(tmp_path / "own")


@pytest.fixture
def broken_store(own_store: ArtifactStore) -> ArtifactStore:
    """A store in which one run's record, and another's tables, are damaged."""
    first, second, *_ = [run.run_id for run in own_store.list_runs() if "p0.1" in run.run_id]
    break_run(own_store, first, "record")
    for path in own_store.run_folder(second).glob("*.parquet"):
        break_run(own_store, second, "table", path.stem)
    return own_store


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    """Streamlit's caches outlive an app under test."""
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def catalogue_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process would load torch to say what can be chosen; what ships says the same."""
    ask = asking.ask

    def told(arguments: Sequence[str], message: Any, **options: Any) -> Any:
        if list(arguments) == ["list", "all"] and not read_only():
            return shipped_catalogue()
        return ask(arguments, message, **options)

    monkeypatch.setattr(asking, "ask", told)


@pytest.fixture
def unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open every part that a page folds away, so that it is computed and can be read."""
    fold = st.expander

    def opened(label: str, **options: Any) -> Any:
        st.session_state[options["key"]] = True
        return fold(label, **options)

    monkeypatch.setattr(st, "expander", opened)


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """Open a page on a root, and a tab of it: ``open_page("mechanism/drift", root, seed="1")``."""

    def opened(place: str, *roots: Path, **link: str) -> AppTest:
        name, _, tab = place.partition("/")
        link |= {"tab": tab} if tab else {}
        monkeypatch.setenv("CWAC_ROOTS", ":".join(str(root) for root in roots))
        app = AppTest.from_file(str(APP), default_timeout=120)
        for key, value in link.items():
            app.query_params[key] = value
        if name != "start":
            return app.switch_page(f"pages/{name}.py").run()
        return app.run()

    return opened
