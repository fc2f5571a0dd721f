"""`MonitorCallback`: the training stays as it is, the figures are those of ``cwac measure``."""

import copy
import random
import shutil

import numpy as np
import pytest
import torch
from builders import make_chat, make_model
from trainers import make_trainer

from cwac.artifacts import ArtifactStore
from cwac.cli import _status
from cwac.errors import ConfigError, ModelError, TrainingError
from cwac.models.loading import load_model
from cwac.records import TABLES, check_table
from cwac.seeding import seed_everything
from cwac.trainer import MonitorCallback
from cwac.trainer.weights import inner_model


@pytest.fixture(scope="module")
def root(tiny_root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("monitored")
    shutil.copytree(tiny_root / "fits", folder / "fits")
    return folder


def _with_dropout(model):
    """Let a step draw at random, as a probe must not change."""
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.3
    return model


@pytest.fixture(scope="module")
def watched(root, tiny_folder, tmp_path_factory):
    """A monitored training: the monitor, its trainer, the rows that were told, the folder."""
    out = tmp_path_factory.mktemp("out") / "tuned"
    told: list[dict] = []
    monitor = MonitorCallback.fit(tiny_folder, root=root, probes=3, on_row=told.append)
    trainer = make_trainer(_with_dropout(monitor.model), make_chat(), out, callbacks=[monitor])
    trainer.train()
    trainer.save_model(str(out))
    monitor.tokenizer.save_pretrained(str(out))
    return monitor, trainer, told, out


def test_the_training_is_the_same_bit_for_bit(watched, tiny_folder, tmp_path):
    monitor, trainer, _, _ = watched
    plain = _with_dropout(load_model(tiny_folder).model)
    alone = make_trainer(plain, make_chat(), tmp_path)
    alone.train()
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, monitor.model.get_parameter(name)), name
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (trainer, alone)]
    assert losses[0] == losses[1]


def _share(row):
    """The share of the change's energy inside the subspace."""
    inside, outside = row["drift_inside"] ** 2, row["drift_outside"] ** 2
    return inside / (inside + outside)


def test_its_figures_are_those_of_measure_on_the_checkpoint(watched, root, tiny_folder):
    monitor, _, _, out = watched
    store, record = ArtifactStore(root), monitor.record
    command = ["measure", "--aligned", str(tiny_folder), "--tuned", str(out), "--name", "again"]
    assert _status([*command, "--root", str(root)]) == 0
    (again,) = (
        run.record for run in store.list_runs() if run.record.config.settings["name"] == "again"
    )
    timeless = [name for name in record.metrics if name in again.metrics]
    assert len(timeless) > 20
    assert {n: record.metrics[n] for n in timeless} == {n: again.metrics[n] for n in timeless}
    assert again.experiment_id == record.experiment_id
    assert (record.fits, record.protocol) == (again.fits, again.protocol)
    # The last probe's drift is that of the checkpoint.
    assert _share(monitor.rows[-1]) == pytest.approx(again.value("protected_energy"), rel=1e-6)


def test_the_table_is_stored_where_pages_read_it(watched, root):
    monitor, trainer, told, _ = watched
    store = ArtifactStore(root)
    table = check_table("trajectory", store.table(monitor.record.run_id, "trajectory"))
    assert list(table["step"]) == [0, 2, 4, 6]
    assert list(table.columns) == list(TABLES["trajectory"])
    assert table["drift_outside"].iloc[0] == 0.0
    assert (np.diff(table["drift_outside"]) > 0).all()
    assert table["refusal_n"].gt(0).all()
    assert table["safety_loss_normalised"].iloc[-1] > table["safety_loss_normalised"].iloc[0]
    assert monitor.record.variant == "measured: tuned"
    logged = [e for e in trainer.state.log_history if "cwac/refusal_rate" in e]
    assert [e["step"] for e in logged] == [0, 2, 4, 6]
    inside = [e["cwac/drift_inside"] for e in logged]
    assert inside == pytest.approx(list(table["drift_inside"]), rel=1e-6)
    assert [{**row, "step": s} for row, s in zip(told, (0, 2, 4, 6), strict=True)] == logged
    assert _status(["check", "--root", str(root)]) == 0


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lora_is_watched_and_measured_merged(root, tiny_folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    monitor = MonitorCallback.fit(tiny_folder, root=root, name="with LoRA", probes=1)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(copy.deepcopy(monitor.model), lora)
    make_trainer(model, make_chat(), tmp_path, callbacks=[monitor]).train()
    assert monitor.rows[-1]["drift_outside"] > 0
    measured = monitor.record.value("protected_energy")
    assert _share(monitor.rows[-1]) == pytest.approx(measured, rel=1e-3)
    assert monitor.record.variant == "measured: with LoRA"
    # What was trained still has its adapters.
    assert any("lora_A" in name for name, _ in inner_model(model).named_parameters())


def test_random_streams_are_put_back(root, tiny_folder):
    seed_everything(3)
    expected = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    seed_everything(3)
    torch.use_deterministic_algorithms(False)
    MonitorCallback.fit(tiny_folder, root=root)
    strict = torch.are_deterministic_algorithms_enabled()
    drawn = random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002
    assert drawn == expected
    assert not strict


def test_what_cannot_be_watched_is_refused(watched, root, tiny_folder, tmp_path):
    first = watched[0]
    monitor = MonitorCallback(first._session, first._store, measure=False)
    with pytest.raises(ModelError, match="does not fit the aligned model"):
        make_trainer(
            make_model(intermediate_size=64), make_chat(), tmp_path, callbacks=[monitor]
        ).train()
    with pytest.raises(ConfigError, match="is not allowed"):
        MonitorCallback.fit(tiny_folder, root=root, name="a @ b")

    class Sharded:
        deepspeed, fsdp = None, ["full_shard"]

    with pytest.raises(TrainingError, match="whole weights in one process"):
        monitor.on_train_begin(Sharded(), None, None)
