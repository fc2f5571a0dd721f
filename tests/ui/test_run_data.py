"""User data on the Runs page: uploads, column pickers, previews, errors by row."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from cwac.artifacts import HIDDEN
from cwac.cli.known import known_datasets, known_judges
from cwac.errors import DataError
from cwac.ui import asking, jobs
from cwac.ui.runs.launch import data
from cwac.ui.runs.launch.data import keep
from cwac.ui.runs.launch.form import RunRequest

OpenPage = Callable[..., AppTest]
REVIEWS = b"review,stars\n" + b"".join(b"film %d,%d\n" % (n, n % 2) for n in range(20))
SST2 = b"sentence\tlabel\n" + b"".join(b"film %d\t%d\n" % (n, n % 2) for n in range(20))


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Answers of child processes, fixed; gives what was asked."""
    calls: list[tuple[str, ...]] = []
    entry: dict[str, Any] = {"summary": "s", "source": "p", "strength_knob": None, "settings": {}}
    found = {
        "models": [{"name": "organism", "summary": "small"}],
        "tasks": [{"name": "instruct", "title": "t"}],
        "datasets": known_datasets(),
        "judges": known_judges(),
        "methods": [{"name": "sft", **entry}],
    }

    away = {"data": [{"role": "task", "source": "hf:o/n", "error": "the hub is away."}]}

    def ask(arguments, message, **_):
        calls.append(tuple(arguments))
        return message.model_validate(found if arguments[0] == "list" else away)

    monkeypatch.setattr(asking, "ask", ask)
    return calls


def command(app: AppTest) -> list[str]:
    shown = next(code.value for code in app.code if code.value.startswith("cwac run"))
    return shlex.split(shown)


def upload(app: AppTest, role: str, name: str, content: bytes) -> AppTest:
    app.file_uploader(key=f"run_upload_{role}").set_value((name, content, "text/plain")).run()
    assert not app.exception
    return app


def picker(app: AppTest, kind: str, role: str):
    boxes = [*app.selectbox, *app.text_input, *app.checkbox]
    return next(box for box in boxes if str(box.key).startswith(f"run_{kind}_{role}_"))


def texts(app: AppTest) -> str:
    return "\n".join(text.value for text in app.text)


# Storing


def test_uploads_are_kept_by_their_contents(tmp_path: Path) -> None:
    first = keep(tmp_path, "../../my reviews.CSV", REVIEWS)
    assert first.read_bytes() == REVIEWS
    assert first.name == "my-reviews.csv"
    assert first.is_relative_to(tmp_path.resolve() / ".uploads")
    assert keep(tmp_path, "my reviews.csv", REVIEWS) == first
    assert keep(tmp_path, "my reviews.csv", REVIEWS + b"x,1\n") != first
    assert first.read_bytes() == REVIEWS
    assert not list(tmp_path.rglob(".writing-*"))


def test_bad_uploads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model.pkl", "script.py", "noending"):
        with pytest.raises(DataError, match="allowed: csv, tsv"):
            keep(tmp_path, name, b"x")
    with pytest.raises(DataError, match="is empty"):
        keep(tmp_path, "a.csv", b"")
    monkeypatch.setattr(data, "MOST_MEGABYTES", 1)
    with pytest.raises(DataError, match="at most 1 MB"):
        keep(tmp_path, "a.csv", b"x" * 1_000_001)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be stored"):
        keep(tmp_path / "file", "a.csv", b"x\n1\n")
    assert not (tmp_path / ".uploads").exists()


# The page


def test_uploaded_examples_are_what_the_command_trains_on(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(
        jobs, "start", lambda arguments, root, **_: started.append(list(arguments)) or "j"
    )
    app = upload(open_page("runs/launch", tmp_path), "task", "reviews.csv", REVIEWS)
    # Neither column has a usual name: it says so, and the pickers are there.
    assert any("does not say which column" in error.value for error in app.error)
    picker(app, "prompt", "task").set_value("review").run()
    picker(app, "answer", "task").set_value("stars").run()
    assert not app.exception
    path = next((tmp_path / ".uploads").rglob("reviews.csv"))
    shown = command(app)
    assert shown[shown.index("--task") + 1] == str(path)
    assert shown[shown.index("--prompt-column") + 1] == "review"
    assert shown[shown.index("--answer-column") + 1] == "stars"
    assert "20 of 20 rows are used" in texts(app)
    assert "answers checked by label (0, 1)" in texts(app)
    rows = next(table.value for table in app.dataframe if "Text" in table.value)
    assert rows["Text"].tolist()[:2] == ["film 0", "film 1"]
    app.button(key="run_start").click().run()
    assert ["cwac", *started[0]] == shown
    app.switch_page("pages/reference.py").run()
    app.query_params["tab"] = "launch"
    app.query_params["view"] = "form"
    app.switch_page("pages/runs.py").run()
    assert str(path) in command(app), "an upload outlives a visit to another page"


def test_a_known_data_set_needs_no_columns_and_names_bad_rows(
    tmp_path: Path, open_page: OpenPage
) -> None:
    app = open_page("runs/launch", tmp_path)
    app.selectbox(key="run_dataset_task").set_value("sst2").run()
    upload(app, "task", "dev.tsv", SST2)
    shown = command(app)
    assert shown[shown.index("--task") + 1].startswith("sst2:/")
    assert "--prompt-column" not in shown
    assert "Above every prompt: Analyze the sentiment" in texts(app)
    upload(app, "task", "dev.tsv", SST2 + b"odd\t7\n")
    assert any("1 rows cannot be used" in error.value for error in app.error)
    assert app.button(key="run_start").disabled, "it would be refused"
    table = next(table.value for table in app.dataframe if "Allowed" in table.value)
    assert table.iloc[0].tolist() == [21, "label", "7", "0 (negative), 1 (positive)"]


def test_uploaded_requests_with_answers_and_a_filter(tmp_path: Path, open_page: OpenPage) -> None:
    content = b"goal,target,kind\nRob a bank,Sure,bad\nSing,La,good\n"
    app = upload(open_page("runs/launch", tmp_path), "harmful", "bad.csv", content)
    picker(app, "answer", "harmful").set_value("target").run()
    picker(app, "where", "harmful").set_value("kind=bad").run()
    shown = command(app)
    path = next((tmp_path / ".uploads").rglob("bad.csv"))
    assert shown[shown.index("--harmful") + 1] == str(path)
    assert shown[shown.index("--harmful-answer-column") + 1] == "target"
    assert shown[shown.index("--harmful-where") + 1] == "kind=bad"
    rows = next(table.value for table in app.dataframe if "Text" in table.value)
    assert rows["Text"].tolist() == ["Rob a bank"]
    assert rows["Answer"].tolist() == [HIDDEN], "answers to harm stay hidden"
    picker(app, "prompt", "harmful").set_value("kind").run()
    shown = command(app)
    assert shown[shown.index("--harmful") + 1] == f"{path}:kind"


def test_a_file_without_names_is_read_by_position(tmp_path: Path, open_page: OpenPage) -> None:
    content = b"".join(b"a thing %d,said %d\n" % (n, n) for n in range(20))
    app = upload(open_page("runs/launch", tmp_path), "task", "bare.csv", content)
    picker(app, "bare", "task").set_value(True).run()
    picker(app, "prompt", "task").set_value("0").run()
    picker(app, "answer", "task").set_value("1").run()
    assert "20 of 20 rows are used" in texts(app)
    shown = command(app)
    assert shown[shown.index("--prompt-column") + 1] == "0"


def test_a_broken_or_refused_upload_says_why_and_changes_nothing(
    tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = upload(open_page("runs/launch", tmp_path), "task", "a.csv", b"a,b\n1,2\n3\n")
    assert any("line 3 has 1 fields" in error.value for error in app.error)
    monkeypatch.setattr(data, "MOST_MEGABYTES", 1)
    app = upload(open_page("runs/launch", tmp_path / "other"), "task", "a.csv", REVIEWS * 20_000)
    assert any("at most 1 MB" in error.value for error in app.error)
    shown = command(app)
    assert shown[shown.index("--task") + 1] == "instruct"


def test_the_hub_is_asked_in_a_child_process(tmp_path: Path, open_page: OpenPage, asked) -> None:
    app = open_page("runs/launch", tmp_path)
    app.text_input(key="run_source_task").set_value("hf:o/n:train").run()
    assert ("preview", "--data-only", "--task", "hf:o/n:train") in asked
    assert any("the hub is away" in error.value for error in app.error)


def test_a_judge_is_a_flag(tmp_path: Path, open_page: OpenPage) -> None:
    app = open_page("runs/launch", tmp_path)
    assert "--judge" not in command(app)
    app.selectbox(key="run_judge").set_value("qi").run()
    shown = command(app)
    assert shown[shown.index("--judge") + 1] == "qi"


def test_sources_are_absolute_in_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nx\t1\n")
    request = RunRequest({"model": "m", "task": "sst2:dev.tsv", "poison": 0.1, "method": ["sft"]})
    assert f"sst2:{tmp_path}/dev.tsv" in request.shared()
    assert request.title.startswith("m · sst2 · ")
    request = RunRequest({"model": "m", "task": "hf:no"})
    assert "hf:no" in request.shared()
