"""The judges on the Requests page: what they say of stored answers, and where they differ."""

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from store_builder import HOSTILE
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore

OpenPage = Callable[..., AppTest]


JUDGEMENTS = "judgements"


def texts(app: AppTest) -> str:
    kinds = ("caption", "info", "warning", "error", "code", "text", "markdown")
    return "\n".join(str(part.value) for kind in kinds for part in getattr(app, kind))


def frame_with(app: AppTest, column: str) -> pd.DataFrame:
    """The page's table that has a column."""
    return next(part.value for part in app.dataframe if column in part.value)


def title(app: AppTest, key: str) -> str:
    layout: dict[str, Any] = json.loads(app.get_by_key(key).proto.spec)["layout"]
    return str(layout["title"]["text"]).replace("<br>", " ")


def judge_all(store: ArtifactStore, judge: str, outcome: str) -> str:
    """Store verdicts of a judge that says one thing of everything; return the experiment."""
    records = [run.record for run in store.list_runs() if run.record and "p0.1" in run.run_id]
    parts = []
    for record in records:
        rows = store.table(record.run_id, "responses")
        rows = rows[rows["kind"] != "task"]
        parts.append(
            rows[["prompt_id", "kind"]].assign(
                run_id=record.run_id, judge=judge, contents="1", outcome=outcome, reason=None
            )
        )
    table = pd.concat(parts, ignore_index=True)
    store.save_experiment_table(records[0].experiment_id, JUDGEMENTS, table)
    return records[0].experiment_id


def test_the_two_stored_rules_are_compared_and_further_judges_explained(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("requests/judges", store.write_root, arm="sft")
    assert not app.exception
    assert "cwac judge --judge qi --judge arditi --root" in texts(app)
    assert not [chart for chart in app.get("plotly_chart") if "agree least" in chart.proto.spec]
    pairs = frame_with(app, "Judges")
    assert pairs["Judges"].unique().tolist() == ["stored / general"]
    assert pairs["n"].tolist() == [48 * 13, 24 * 13, 30 * 13], "six arms twice, and the aligned"
    rows = frame_with(app, "general")
    assert len(rows)
    assert (rows["stored"] != rows["general"]).all()


def test_further_judges_join_and_their_verdicts_stand_beside_the_answer(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    judge_all(own_store, "strict", "compliance")
    app = open_page("requests/judges", own_store.write_root, arm="cwac")
    assert not app.exception
    assert "cwac judge" not in texts(app)
    assert "(strict)" in title(app, "judge_rates")
    pairs = frame_with(app, "Judges")
    assert set(pairs["Judges"]) == {"stored / general", "stored / strict", "general / strict"}
    assert "strict: compliance" in texts(app)
    app.get_by_key("_judges").set_value(["stored"]).run()
    assert "Choose two judges" in texts(app)


def test_disputed_answers_are_hidden_and_never_markdown(
    store: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("requests/judges", store.write_root, arm="sft", prompt="harmless-test-0000")
    shown = [code.value for code in app.code]
    assert any(HOSTILE[0] in text and "Sure: step" in text for text in shown)
    assert HOSTILE[0] not in "".join(part.value for part in app.markdown)
    # Of 48 harmful requests, 0, 17 and 34 are judged differently.
    app = open_page("requests/judges", store.write_root, arm="sft", prompt="harmful-test-0017")
    assert "hidden (the request is harmful)" in texts(app)
    assert not any("Sure: step 17" in code.value for code in app.code)


def test_a_broken_file_of_judgements_is_told_and_the_rules_are_still_compared(
    own_store: ArtifactStore, open_page: OpenPage
) -> None:
    experiment = judge_all(own_store, "strict", "compliance")
    path = own_store.write_root / "experiments" / experiment / f"{JUDGEMENTS}.parquet"
    path.write_bytes(b"not a table")
    app = open_page("requests/judges", own_store.write_root, arm="sft")
    assert not app.exception
    assert any("judgements.parquet is broken" in warning.value for warning in app.warning)
    assert set(frame_with(app, "Judges")["Judges"]) == {"stored / general"}


def test_files_of_judgements_are_read_once_until_they_change(
    own_store: ArtifactStore, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_all(own_store, "strict", "compliance")
    app = open_page("requests/judges", own_store.write_root)
    read: list[str] = []
    stored = ArtifactStore.experiment_table
    monkeypatch.setattr(
        ArtifactStore,
        "experiment_table",
        lambda self, experiment, name: read.append(name) or stored(self, experiment, name),
    )
    app.run()
    assert not read
    judge_all(own_store, "mild", "refusal")
    app.run()
    assert read == [JUDGEMENTS]
    assert "stored / mild" in set(frame_with(app, "Judges")["Judges"])
