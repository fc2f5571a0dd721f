"""Every page on checkpoints that were measured and not trained: no trajectory, no clock."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import MEASURED, TrainingConfig
from cwac.ui import asking
from cwac.ui.navigation import PAGES

OpenPage = Callable[..., AppTest]
LEFT_OUT = {"trajectory", "probe_answers", "feature_ledger"}
CLOCK = ("train_seconds", "seconds_per_step", "seconds_per_step_p95")


@pytest.fixture(autouse=True)
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    method = {"summary": "s", "source": "p", "strength_knob": None, "settings": {}}
    method |= {"title": "t", "stage": "fine-tuning", "needs": [], "extra_passes": 0.0}
    method |= {"control": False, "adapters": ["full"]}
    found = {
        "models": [{"name": "organism", "summary": "m", "defaults": {}}],
        "tasks": [{"name": "instruct", "title": "t"}],
        "methods": [{"name": name, **method} for name in ("sft", "cwac")],
    }
    monkeypatch.setattr(asking, "ask", lambda _, message, **__: message.model_validate(found))


@pytest.fixture(scope="module")
def measured(store: ArtifactStore, tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """The made-up arms of seed 0 as checkpoints that someone else trained."""
    root = tmp_path_factory.mktemp("measured")
    (root / "fits").symlink_to(store.write_root / "fits")
    target = ArtifactStore(root)
    for run in store.list_runs():
        record = run.record
        assert record is not None
        if record.config.seed or record.config.poison_ratio == 0:
            continue
        settings = {"name": record.variant, "source": f"/far/{record.variant}", "contents": "cc"}
        config = record.config.model_copy(
            update={
                "method": MEASURED,
                "settings": settings,
                "training": TrainingConfig(),
                "poison_ratio": 0.0,
            }
        )
        blank = {n: record.metrics[n].model_copy(update={"value": None, "count": None})
                 for n in CLOCK if n in record.metrics}  # fmt: skip
        changed = record.model_copy(
            update={
                "run_id": config.run_id,
                "experiment_id": config.experiment_id,
                "variant": f"measured: {record.variant}",
                "arm": Arm(method=MEASURED, changed={"name": record.variant}),
                "config": config,
                "metrics": {**record.metrics, **blank},
            }
        )
        tables = {n: store.table(run.run_id, n) for n in record.tables if n not in LEFT_OUT}
        target.save_run(changed, tables)
    return target


@pytest.mark.parametrize("name", list(PAGES))
def test_page_opens_with_measured_checkpoints(
    name: str, measured: ArtifactStore, open_page: OpenPage
) -> None:
    # Nothing made up was taken apart: the page's first tab says so and draws nothing.
    app = open_page("mechanism/drift" if name == "mechanism" else name, measured.write_root)
    assert not app.exception
    assert PAGES[name].title in app.title[0].value
    assert not any("broken" in str(part.value) for part in app.error)
    if PAGES[name].needs_runs:
        assert app.get("plotly_chart")


def test_what_was_never_trained_has_no_steps_and_no_poison(
    measured: ArtifactStore, open_page: OpenPage
) -> None:
    app = open_page("runs/stored", measured.write_root)
    table = app.dataframe[0].value
    assert table["Arm"].str.startswith("measured: ").all()
    assert "Steps" not in table or table["Steps"].isna().all()
    assert "Poison" not in table or table["Poison"].isna().all()
