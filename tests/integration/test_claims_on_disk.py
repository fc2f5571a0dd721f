"""``cwac run`` beside another process that does the same runs."""

import threading
import time

import pytest

from cwac.artifacts import ArtifactStore
from cwac.errors import CancelledError
from cwac.runner import resolve, run_grid
from cwac.runner.claims import Claims


@pytest.fixture
def configs(tiny_folder):
    return resolve({"model": str(tiny_folder), "training": {"steps": 2}}, ["sft"], [0, 1])


def test_a_run_that_another_is_at_is_waited_for_and_not_run_twice(configs, fitted_root):
    first, second = configs
    store = ArtifactStore(fitted_root)
    claimed = threading.Event()
    events = []

    def other():
        with Claims(fitted_root).take(first.run_id):
            claimed.set()
            # Stores its run only when the rest is done and that it is waited for.
            while not any("another process does this run" in e.message for e in events):
                time.sleep(0.01)
            record = store.load(second.run_id)
            changed = {"run_id": first.run_id, "config": first, "warnings": ("by the other",)}
            tables = {name: store.table(second.run_id, name) for name in record.tables}
            store.save_run(record.model_copy(update=changed), tables)

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    assert claimed.wait(10)
    result = run_grid(configs, store, listener=events.append)
    thread.join(60)
    assert result.skipped == [first.run_id]
    assert [r.run_id for r in result.records] == [first.run_id, second.run_id]
    assert result.records[0].warnings == ("by the other",)
    assert list(Claims(fitted_root).folder.glob(f"{second.run_id}*")) == []


def test_a_run_that_another_gave_up_is_run_here(configs, fitted_root):
    claim = Claims(fitted_root).take(configs[0].run_id)
    events = []

    def listen(event):
        events.append(event.message)
        if "another process does this run" in event.message:
            claim.__exit__(None, None, None)

    result = run_grid(configs[:1], ArtifactStore(fitted_root), listener=listen)
    assert [r.run_id for r in result.records] == [configs[0].run_id]
    assert result.skipped == []
    assert "another process does this run; waiting for it" in events


def test_waiting_can_be_cancelled(configs, fitted_root):
    events = []
    with Claims(fitted_root).take(configs[0].run_id), pytest.raises(CancelledError):
        run_grid(
            configs[:1],
            ArtifactStore(fitted_root),
            listener=events.append,
            stop=lambda: len(events) > 1,
        )
    assert len(events) == 2
