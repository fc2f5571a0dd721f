"""Runs in experiment trackers: what each tracker kept, read back with its own reader."""

import importlib.util
import json
import shutil
import sqlite3
import struct

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.errors import ConfigError
from cwac.runner import resolve, run_grid
from cwac.runner.progress import Event, ignore
from cwac.runner.tracking import TRACKERS, Tracking

HERE = [name for name in TRACKERS if importlib.util.find_spec(name) is not None]


def _stay_here(patch: pytest.MonkeyPatch, root) -> None:
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("WANDB_SILENT", "true")
    patch.setenv("TRACKIO_DIR", str(root / ".logs" / "trackio"))
    if "wandb" in HERE:
        # It reads these once in a process, which another test may have made it do before.
        importlib.import_module("wandb").teardown()


@pytest.fixture(scope="module")
def followed(tiny_root, tiny_folder, tmp_path_factory):
    """SFT and CWAC, followed in every tracker that is installed: root, records, warnings."""
    root = tmp_path_factory.mktemp("followed")
    shutil.copytree(tiny_root / "fits", root / "fits")
    configs = resolve({"model": str(tiny_folder)}, ["sft", "cwac"], [0])
    warnings: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        _stay_here(patch, root)
        with Tracking(HERE, root, configs, warnings.append) as tracking:
            result = run_grid(configs, ArtifactStore(root), listener=tracking.beside(ignore))
    return root, result.records, warnings


def _expected(root, record) -> dict[tuple[str, int], float]:
    """Everything that a tracker must hold of a run, from what the store holds."""
    steps = record.config.training.steps
    wanted = {
        (f"final/{name}", steps): metric.value
        for name, metric in record.metrics.items()
        if metric.value is not None
    }
    for row in ArtifactStore(root).table(record.run_id, "trajectory").to_dict("records"):
        step = row.pop("step")
        wanted |= {(f"probe/{name}", step): value for name, value in row.items()}
    return {place: value for place, value in wanted.items() if not np.isnan(value)}


def _agrees(held, root, record) -> None:
    wanted = _expected(root, record)
    assert len(wanted) > 40
    assert {place: held.get(place) for place in wanted} == pytest.approx(wanted, rel=1e-6)
    steps = range(1, record.config.training.steps + 1)
    assert all((f"train/{name}", step) in held for name in ("loss", "grad_norm") for step in steps)
    # The method's own figure goes along, of CWAC alone.
    assert (("train/safety_loss", 1) in held) == (record.config.method == "cwac")
    assert len({name for name, _ in held if name.startswith("probe/")}) > 6


def test_nothing_was_lost_on_the_way(followed):
    _, records, warnings = followed
    assert [record.config.method for record in records] == ["sft", "cwac"]
    assert warnings == []


def test_the_runs_are_the_same_without_trackers(followed, tiny_root):
    _, records, _ = followed
    for record in records:
        plain = ArtifactStore(tiny_root).load(record.run_id)
        same = {name: metric for name, metric in plain.metrics.items() if metric.unit != "s"}
        assert {n: m for n, m in record.metrics.items() if n in same} == same


@pytest.mark.skipif("tensorboard" not in HERE, reason="the extra 'tensorboard' is not installed")
def test_tensorboard_holds_the_figures(followed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root, records, _ = followed
    for record in records:
        (folder,) = (root / ".logs" / "tensorboard").glob(f"*-{record.run_id[-8:]}")
        assert folder.name.startswith(f"{record.config.method}-seed-0")
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        held = {
            (name, scalar.step): scalar.value
            for name in events.Tags()["scalars"]
            for scalar in events.Scalars(name)
        }
        _agrees(held, root, record)


def _log_records(data: bytes):
    """Give the records of LevelDB's log format, behind the seven bytes of wandb's own header."""
    place, begun = 7, b""
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        begun += data[place + 7 : place + 7 + length]
        place += 7 + length
        # 1 is a whole record, 2 to 4 are the first, middle and last part of one.
        if kind in (1, 4):
            yield begun
            begun = b""


@pytest.mark.skipif("wandb" not in HERE, reason="the extra 'wandb' is not installed")
def test_wandb_holds_the_figures(followed):
    from wandb.proto.wandb_internal_pb2 import Record

    root, records, _ = followed
    seen = {}
    for path in (root / ".logs" / "wandb").glob("offline-run-*/*.wandb"):
        held, config = {}, {}
        for line in map(Record.FromString, _log_records(path.read_bytes())):
            if line.HasField("run"):
                config |= {u.key: json.loads(u.value_json) for u in line.run.config.update}
                config["name"] = line.run.display_name
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in line.history.item}
            if "_step" in items:
                step = int(items["_step"])
                held |= {(n, step): json.loads(v) for n, v in items.items() if n[0] != "_"}
        seen[config["run_id"]] = config
        (record,) = [record for record in records if record.run_id == config["run_id"]]
        _agrees(held, root, record)
    names = {run_id: config["name"] for run_id, config in seen.items()}
    assert names == {r.run_id: f"{r.variant} seed 0 {r.run_id[-8:]}" for r in records}
    assert all(config["training.steps"] == 6 for config in seen.values())


@pytest.mark.skipif("trackio" not in HERE, reason="the extra 'trackio' is not installed")
def test_trackio_holds_the_figures(followed):
    root, records, _ = followed
    (file,) = (root / ".logs" / "trackio").glob("*.db")
    with sqlite3.connect(file) as base:
        rows = base.execute("select run_name, step, metrics from metrics").fetchall()
    for record in records:
        held = {
            (name, step): value
            for run, step, metrics in rows
            if run == f"{record.variant} seed 0 {record.run_id[-8:]}"
            for name, value in json.loads(metrics).items()
        }
        _agrees(held, root, record)


def test_a_tracker_that_fails_later_costs_no_run(tmp_path, tiny_folder, monkeypatch):
    import cwac.runner.tracking as module

    class Failing:
        def log(self, _values, step):
            raise OSError(f"no room at step {step}")

    _stay_here(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "_started", lambda *_: Failing())
    (config,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    sentences: list[str] = []
    with Tracking(["wandb"], tmp_path, [config], sentences.append) as tracking:
        for step in (1, 2):
            steps = ({"step": step, "task_loss": 1.0},)
            tracking.listen(
                Event(config.run_id, "SFT", 0, "training", 0.2, f"step {step}", steps=steps)
            )
    assert sentences == [f"wandb follows {config.run_id} no more: no room at step 1."]


def test_a_tracker_that_cannot_be_opened_ends_the_run_first(tmp_path, tiny_folder, monkeypatch):
    import cwac.runner.tracking as module

    def refuse(*_):
        raise RuntimeError("no key is configured.\nmore")

    _stay_here(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "_started", refuse)
    (config,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    tracking = Tracking(["wandb"], tmp_path, [config])
    with pytest.raises(ConfigError, match="--log-to wandb cannot be opened: no key is configured"):
        tracking.listen(Event(config.run_id, "SFT", 0, "training", 0.1, "probe", row={"step": 0}))


def test_a_process_that_does_not_train_itself_may_log(tmp_path, tiny_folder, monkeypatch):
    _stay_here(monkeypatch, tmp_path)
    (config,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    AcceleratorState._reset_state(reset_partial_state=True)
    with Tracking(HERE[:1], tmp_path, [config], pytest.fail) as tracking:
        tracking.listen(Event(config.run_id, "SFT", 0, "training", 0.1, "probe", row={"step": 0}))
    assert list((tmp_path / ".logs").rglob("*"))


@pytest.mark.parametrize(
    ("name", "missing", "sentence"),
    [
        ("mlflow", (), "unknown tracker 'mlflow'; known: tensorboard, trackio, wandb."),
        ("trackio", ("trackio",), "--log-to trackio needs the package trackio"),
        ("wandb", (), "--log-to wandb cannot be opened: No API key configured"),
    ],
)
def test_one_sentence_where_it_cannot_be(
    name, missing, sentence, tiny_folder, tmp_path, monkeypatch, capsys
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *rest: None if n in missing else find(n, *rest)
    )
    if name == "wandb":
        # Nowhere is a key, and there is no terminal to ask for one.
        pytest.importorskip("wandb").teardown()
        for place in ("NETRC", "WANDB_CONFIG_DIR"):
            monkeypatch.setenv(place, str(tmp_path / "none"))
        for known in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SILENT"):
            monkeypatch.delenv(known, raising=False)
    root = tmp_path / "runs"
    with pytest.raises(SystemExit) as ended:
        main(["run", "--model", str(tiny_folder), "--method", "sft", "--root", str(root),
              "--log-to", name])  # fmt: skip
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not root.exists(), "something was prepared"
