"""The Reference page: with runs, without, and with too few methods in common."""

from collections.abc import Callable
from pathlib import Path

import pytest
from store_builder import build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore

pytestmark = pytest.mark.usefixtures("unfolded")
OpenPage = Callable[..., AppTest]


def words(app: AppTest) -> str:
    kinds = ("markdown", "caption", "info")
    return "\n".join(str(part.value) for kind in kinds for part in getattr(app, kind))


def test_orderings_averages_and_limits(store: ArtifactStore, open_page: OpenPage) -> None:
    app = open_page("reference/paper", store.write_root)
    assert not app.exception
    assert len(app.get("plotly_chart")) == 2
    assert "arXiv 2604.12384" in words(app)
    assert "**24 of 132** printed averages" in words(app)
    assert "At most 4 methods are in both." in words(app)
    assert "once in 24 orders" in words(app)
    assert "In the paper, not in the runs in view" in words(app)
    app.segmented_control(key="_rate").set_value("task_accuracy").run()
    assert not app.exception
    assert len(app.get("plotly_chart")) == 2


def test_without_runs_the_papers_own_numbers_are_still_checked(
    tmp_path: Path, open_page: OpenPage
) -> None:
    app = open_page("reference/paper", tmp_path)
    assert not app.exception
    assert "No run is stored yet" in words(app)
    assert not app.get("plotly_chart")
    assert len(app.dataframe) == 3


def test_two_methods_are_no_ordering(tmp_path: Path, open_page: OpenPage) -> None:
    arms = (("sft", {}), ("cwac", {}), ("cwac", {"strength": 2.0}))
    build_store(tmp_path, arms=arms, seeds=(0,), experiments=(("instruct", 0.1),))
    app = open_page("reference/paper", tmp_path)
    assert not app.exception
    assert "An ordering takes 3 methods in common" in words(app)
    assert len(app.get("plotly_chart")) == 1
