"""The button that gives an experiment away: built when asked for, about the arms in view."""

from collections.abc import Callable

import pytest
from store_builder import ARMS, build_store
from streamlit.testing.v1 import AppTest

from cwac.ui import handout


def test_the_button_gives_the_page_of_the_experiment_in_view(
    tmp_path, open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = build_store(tmp_path, arms=ARMS[:2], seeds=(0,), experiments=(("instruct", 0.1),))
    offered = {}

    def taken(_label: str, data: Callable[[], str], **given: object) -> None:
        offered[given["file_name"]] = data

    monkeypatch.setattr(handout.st, "download_button", taken)
    app = open_page("start", store.write_root)
    assert not app.exception
    (record, *_) = (run.record for run in store.list_runs())
    name = f"{record.experiment_id}.html"
    page = offered[name]()
    assert page.startswith("<!DOCTYPE html>")
    assert "<h1>instruct · poison 0.1 · organism</h1>" in page
    assert all(run.run_id in page for run in store.list_runs())
    sheet = offered[f"{record.experiment_id}-one-page.html"]()
    assert "<body class=one-page>" in sheet
    assert record.experiment_id in sheet
