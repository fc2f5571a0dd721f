"""A read-only app shows what is stored; nothing in it starts, asks, adds or deletes."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from reading import as_read
from store_builder import ARMS, build_store
from streamlit.testing.v1 import AppTest

from cwac.artifacts import ArtifactStore
from cwac.errors import CwacError
from cwac.ui import asking, jobs, reads
from cwac.ui.readonly import SENTENCE, VARIABLE, ReadOnlyError, read_only
from cwac.ui.requests.ask import send_request
from cwac.ui.runs import chosen, deleting
from cwac.ui.runs.launch.data import keep
from cwac.ui.runs.launch.watch import start

OpenPage = Callable[..., AppTest]
CONTROLS = ("run_start", "run_preview", "jobs_cancel", "jobs_delete", "runs_delete", "runs_undo",
            "runs_empty", "cancel_")  # fmt: skip
"""Keys, or beginnings of keys, of what starts, cancels, deletes or asks."""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """A store with one job that ended, under a read-only app that no process may leave."""
    store = build_store(
        tmp_path, arms=ARMS[:2], seeds=(0,), experiments=(("instruct", 0.1),),
    )  # fmt: skip
    job = tmp_path / ".jobs" / "20260101-000000-aaaa"
    job.mkdir(parents=True)
    (job / "status.json").write_text('{"state": "failed", "message": "no memory"}')
    monkeypatch.setenv(VARIABLE, "1")
    for name in ("Popen", "run"):
        monkeypatch.setattr(subprocess, name, _never)
    return store


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a read-only app starts no process")


def files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


CHANGING = ["runs/stored", "runs/launch", "requests/one"]
"""The pages that start, delete, add or ask where the app is not read-only."""
ASKING = ["reference/methods"]
"""The pages that ask the command line what there is."""


@pytest.mark.parametrize("name", CHANGING + ASKING)
def test_no_page_has_a_control_that_changes_anything(
    name: str, small: ArtifactStore, open_page: OpenPage
) -> None:
    before = files(small.write_root)
    app = open_page(name, small.write_root)
    assert not app.exception
    keys = [str(button.key) for button in app.button if not button.disabled]
    assert not [key for key in keys if key.startswith(CONTROLS)]
    assert not app.get("file_uploader")
    assert files(small.write_root) == before
    # Where the controls were, a sentence stands.
    shown = [as_read(str(part.value)) for part in app.info]
    assert shown.count(SENTENCE) == (name in CHANGING)
    if name in ASKING:
        assert not app.error


def test_what_would_change_something_refuses(small: ArtifactStore) -> None:
    root = small.write_root
    (job,) = jobs.jobs(root)
    before = files(root)
    calls: list[Callable[[], object]] = [
        lambda: jobs.start(["run"], root, title="t", command="c"),
        lambda: jobs.advance(root),
        lambda: jobs.cancel(job),
        lambda: jobs.delete(job),
        lambda: keep(root, "a.csv", b"text\nx"),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match="read-only"):
            call()
    with pytest.raises(CwacError, match="read-only"):
        asking.preview((), str(root)).result()
    with pytest.raises(CwacError, match="read-only"):
        asking.data(("--task", "hf:a/b"))
    assert send_request(["a"], "Hello").problem == SENTENCE
    assert files(root) == before


def test_callbacks_leave_a_message_instead(
    small: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    state: dict[str, object] = {"runs_upload": io.BytesIO(b"PK")}
    monkeypatch.setattr("streamlit.session_state", state)
    monkeypatch.setenv("CWAC_ROOTS", str(small.write_root))
    run = small.list_runs()[0].run_id
    before = files(small.write_root)
    for call in (
        lambda: deleting._delete((run,)),
        deleting._restore,
        deleting._empty,
        chosen._take_upload,
    ):
        call()
        assert state.pop("runs_problem") == SENTENCE
    start(["run"], str(small.write_root), title="t", command="c")
    assert SENTENCE in str(state["run_problem"])
    assert files(small.write_root) == before
    assert reads.store().has_run(run)


def test_the_catalogue_is_the_shipped_one(small: ArtifactStore) -> None:
    entries = {entry.name: entry for entry in asking.catalogue().methods}
    assert entries["cwac"].strength_knob == "strength"


@pytest.mark.parametrize(("value", "wanted"), [("", False), ("0", False), ("1", True)])
def test_the_variable_decides(value: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert read_only() is wanted
