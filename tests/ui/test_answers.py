"""Answers are read once per set of files, and what is about categories needs categories."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from streamlit.testing.v1 import AppTest

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore, write_table
from cwac.records import RunRecord
from cwac.ui import answers, reads
from cwac.ui.experiments import listing
from cwac.ui.frame import Frame
from cwac.ui.navigation import PAGES

OpenPage = Callable[..., AppTest]


def test_stored_answers_are_read_once_until_a_file_changes(
    own_store: ArtifactStore, open_page: OpenPage, monkeypatch
) -> None:
    read: list[str] = []
    stored = reads.table

    def counted(run_id: str, *asked: Any) -> pd.DataFrame:
        read.append(run_id)
        return stored(run_id, *asked)

    monkeypatch.setattr(reads, "table", counted)
    app = open_page("start", own_store.write_root)
    first = app.dataframe[0].value
    assert read
    read.clear()
    app.run()
    assert not read, "a rerun reads nothing again"

    record = next(r.record for r in own_store.list_runs() if r.record and r.record.variant == "sft"
                  and "p0.1" in r.run_id)  # fmt: skip
    path = own_store.run_folder(record.run_id) / "responses.parquet"
    changed = pd.read_parquet(path)
    changed.loc[changed["kind"] == "harmful", "outcome"] = "refusal"
    write_table(path.parent, "responses", changed)
    os.utime(path, ns=(1, 1))
    app.run()
    assert record.run_id in read
    second = app.dataframe[0].value
    assert (
        first.set_index("Arm").loc["SFT", "Harmful score"]
        != (second.set_index("Arm").loc["SFT", "Harmful score"])
    )


def test_runs_are_opened_once_and_known_rates_need_no_table(
    store: ArtifactStore, monkeypatch
) -> None:
    monkeypatch.setenv("CWAC_ROOTS", str(store.write_root))
    opened: list[str] = []
    one, many = ArtifactStore.table, ArtifactStore.tables

    def counted(self: ArtifactStore, run_id: str, *asked: Any) -> pd.DataFrame:
        opened.append(run_id)
        return one(self, run_id, *asked)

    def counted_together(
        self: ArtifactStore, run_ids: Sequence[str], *asked: Any
    ) -> list[pd.DataFrame]:
        opened.extend(run_ids)
        return many(self, run_ids, *asked)

    monkeypatch.setattr(ArtifactStore, "table", counted)
    monkeypatch.setattr(ArtifactStore, "tables", counted_together)
    records = [run.record for run in store.list_runs() if run.record and "p0.1" in run.run_id]
    for some in (records[:4], records):
        found = answers.answers_of(Frame(PAGES["start"], listing()), some, arms_of(some))
        rates = answers.rates_of_answers(found)
    assert sorted(opened) == sorted(record.run_id for record in records)
    answers._read.clear()
    monkeypatch.setattr(reads, "pile", None)
    pd.testing.assert_frame_equal(answers.rates_of_answers(found), rates)


def arms_of(records: Sequence[RunRecord]) -> dict[str, Arm]:
    return {record.run_id: record.arm for record in records}


def test_numbers_figure_and_table_show_the_same_intervals(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", store.write_root)
    table = app.dataframe[0].value.set_index("Arm")
    value, _, interval = table.loc["SFT", "Harmful score"].partition(" % ")
    assert {m.label: m.value for m in app.metric}["SFT, without a defence"] == f"{value} %"
    low, high = interval.strip("[]").split(", ")
    assert any(f"95 % interval {low} to {high} %" in part.value for part in app.caption)
    title = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]["title"]["text"]
    shown = f"SFT complies with {float(value):.0f}\u00a0% {interval} of harmful requests"
    assert shown in title.replace("<br>", " ")


def test_lead_names_its_experiment_and_the_figure_the_one_in_view(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("start", store.write_root)
    said = [text.value.replace("\\", "") for text in app.markdown]
    assert any(
        "poison 0 ·" in text and "Of another experiment, not in view" in text for text in said
    )
    assert any("In view: " in text and "poison 0.1" in text for text in said)


def test_requests_without_categories_get_a_line_instead_of_an_empty_chart(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    for path in Path(own_store.write_root).rglob("responses.parquet"):
        table = pd.read_parquet(path).assign(category=None, unseen_category=False)
        write_table(path.parent, "responses", table)
    app = open_page("requests/outcomes", own_store.write_root)
    assert not app.exception
    assert any("have no categories" in caption.value for caption in app.caption)
    charts = [chart.proto.id for chart in app.get("plotly_chart")]
    assert charts
    assert not any("rates_by_category" in name for name in charts)


def test_a_thinking_trace_is_folded_and_no_part_of_the_answer():
    def page():
        from cwac.ui.widgets import hidden_text

        hidden_text("No.", "a", harmful=False, thought="They want a lock picked.")
        hidden_text("<think>Hm.</think>Never.", "b", harmful=False)
        hidden_text("Sure.", "c", harmful=False)

    app = AppTest.from_function(page, default_timeout=60).run()
    assert [code.value for part in app.expander for code in part.code] == [
        "They want a lock picked.", "Hm.",
    ]  # fmt: skip
    assert not app.exception
    assert [code.value for code in app.code][-1] == "Sure."
    assert {"No.", "Never."} <= {code.value for code in app.code}
