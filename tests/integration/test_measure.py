"""`cwac measure`: a finished checkpoint becomes an ordinary run, with the numbers of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from cwac.artifacts import ArtifactStore
from cwac.cli import _status
from cwac.cli.measure import stored_record
from cwac.errors import ArtifactError, CancelledError, ConfigError, CwacError, DataError, ModelError
from cwac.models.loading import load_model, load_tokenizer, load_weights
from cwac.records import check_table
from cwac.runner import resolve, run_one
from cwac.runner.claims import Claims
from cwac.runner.dissect import dissect
from cwac.runner.measure import measure_one, resolve_measured
from cwac.runner.tuned import load_tuned

CLOCK = ("train_seconds", "seconds_per_step", "seconds_per_step_p95")
OF_TRAINING = {"trajectory", "probe_answers", "feature_ledger", "method_diagnostics"}
ALIGNMENT = {"alignment_reversal", "alignment_cosine"}


def kept(root: Path, method: str = "cwac"):
    """A stored arm and the folder of its weights."""
    store = ArtifactStore(root)
    record = next(r.record for r in store.list_runs() if r.record.config.method == method)
    return record, store.model_folder(record.run_id)


@pytest.fixture(scope="module")
def measured(tiny_root, tiny_folder, tmp_path_factory):
    """Both stored arms' weights, measured by the command line into a root of their own."""
    root = tmp_path_factory.mktemp("measured")
    shutil.copytree(tiny_root / "fits", root / "fits")
    for method in ("sft", "cwac"):
        _, folder = kept(tiny_root, method)
        command = ["measure", "--aligned", str(tiny_folder), "--tuned", str(folder)]
        assert _status([*command, "--name", method, "--root", str(root)]) == 0
    return root


def the_measured(root: Path):
    """The one measured record among others."""
    (record,) = (r.record for r in ArtifactStore(root).list_runs() if r.record.config.is_measured)
    return record


def records(root: Path):
    return {
        run.record.config.settings["name"]: run.record for run in ArtifactStore(root).list_runs()
    }


def test_the_numbers_are_those_of_the_run_that_made_the_checkpoint(tiny_root, measured):
    store, other = ArtifactStore(tiny_root), ArtifactStore(measured)
    for method in ("sft", "cwac"):
        own, _ = kept(tiny_root, method)
        found = records(measured)[method]
        for name, value in own.metrics.items():
            if name in CLOCK:
                assert found.metrics[name].value is None
            else:
                assert found.metrics[name] == value
        assert set(found.metrics) == set(own.metrics) | ALIGNMENT
        assert set(own.tables) - set(found.tables) <= OF_TRAINING
        for table in found.tables:
            theirs = check_table(table, other.table(found.run_id, table))
            ours = store.table(own.run_id, table)
            pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
        for name, array in store.arrays(own.run_id, "update_bases").items():
            np.testing.assert_array_equal(array, other.arrays(found.run_id, "update_bases")[name])
        assert found.fits == own.fits
        assert found.protocol == own.protocol


def test_on_the_organism_too(tmp_path):
    small = ["evaluation.prompt_limit=10", "task.test_limit=8", "evaluation.max_new_tokens=4"]
    rest = [part for each in small for part in ("--set", each)] + ["--root", str(tmp_path)]
    train = ["run", "--steps", "2", "--method", "sft", "--save-model"]
    assert _status([*train, *rest]) == 0
    own, folder = kept(tmp_path, "sft")
    assert _status(["measure", "--aligned", "organism", "--tuned", str(folder), *rest]) == 0
    found = the_measured(tmp_path)
    assert own.value("relative_weight_drift") > 0
    for name, value in own.metrics.items():
        if name not in CLOCK:
            assert found.metrics[name] == value
    # The organism ships the model that it was before it was aligned.
    assert found.value("alignment_reversal") is not None


def test_it_is_an_ordinary_run_of_an_experiment_of_its_own(tiny_root, measured, capsys):
    found = records(measured)
    assert found["sft"].variant == "measured: sft"
    assert found["sft"].run_id.startswith("tiny-instruct-measured-sft-")
    assert len({record.experiment_id for record in found.values()}) == 1
    assert found["sft"].experiment_id != kept(tiny_root, "sft")[0].experiment_id
    assert _status(["check", "--root", str(measured)]) == 0
    pairs = ArtifactStore(measured).experiment_table(found["sft"].experiment_id, "pair_overlap")
    assert set(pairs["run_a"]) | set(pairs["run_b"]) == {r.run_id for r in found.values()}
    capsys.readouterr()
    assert _status(["table", "--root", str(measured)]) == 0
    table = capsys.readouterr().out.splitlines()
    rows = pd.DataFrame([line.split(",") for line in table[1:]], columns=table[0].split(","))
    assert set(rows["variant"]) == {"measured: sft", "measured: cwac"}
    assert _status(["list", "runs", "--root", str(measured), "--json"]) == 0
    assert {row["steps"] for row in json.loads(capsys.readouterr().out)} == {None}
    # Not measured is empty, never 0 and never a default that nobody trained with.
    for column in ("steps", "poison_ratio", "train_seconds", "seconds_per_step"):
        assert set(rows[column]) == {""}


def test_what_is_complete_is_not_measured_again(tiny_root, tiny_folder, measured, capsys):
    before = records(measured)["sft"].provenance
    folder = kept(tiny_root, "sft")[1]
    command = ["measure", "--aligned", str(tiny_folder), "--tuned", str(folder), "--name", "sft"]
    assert _status([*command, "--root", str(measured)]) == 0
    assert "complete already" in capsys.readouterr().err
    assert _status([*command, "--root", str(measured), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["run"]["run_id"] == records(measured)["sft"].run_id
    assert result["warnings"] == list(records(measured)["sft"].warnings)
    assert records(measured)["sft"].provenance == before


def test_what_another_process_measures_is_waited_for_and_not_measured_again(
    tiny_root, tiny_folder, measured, tmp_path, monkeypatch
):
    config = resolve_measured({"model": str(tiny_folder)}, kept(tiny_root, "sft")[1], name="sft")
    stored = records(measured)["sft"]
    assert config.run_id == stored.run_id
    folder, aside = measured / config.run_id, tmp_path / config.run_id
    folder.rename(aside)
    held = Claims(measured).take(config.run_id)
    heard = []

    class Watcher:
        def listen(self, event):
            heard.append(event)
            # The other process stores the run, then gives up its claim.
            aside.rename(folder)
            held.__exit__(None, None, None)

        def stopped(self):
            return False

    monkeypatch.setattr("cwac.runner.worker.measure_one", lambda *_, **__: pytest.fail("twice"))
    assert stored_record(config, measured, Watcher(), again=False) == stored
    assert "another process" in heard[0].message
    # A reader who stops waiting is not kept.
    held = Claims(measured).take(config.run_id)
    impatient = Watcher()
    impatient.stopped = lambda: True
    with pytest.raises(CancelledError):
        stored_record(config, measured, impatient, again=True)


def test_contents_name_and_place_are_part_of_the_id(tiny_root, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(kept(tiny_root)[1], tmp_path / "mine"))
    raw = {"model": str(tiny_folder)}
    config = resolve_measured(raw, folder)
    assert config.settings["name"] == "mine"
    assert resolve_measured(raw, folder).run_id == config.run_id
    assert resolve_measured(raw, folder, name="other").run_id != config.run_id
    weights = load_file(folder / "model.safetensors")
    name = min(weights)
    save_file(weights | {name: weights[name] + 1}, folder / "model.safetensors", {"format": "pt"})
    assert resolve_measured(raw, folder).run_id != config.run_id
    assert resolve_measured(raw, kept(tiny_root)[1]).settings["name"] == kept(tiny_root)[0].run_id
    with pytest.raises(ConfigError, match="is not allowed"):
        resolve_measured(raw, folder, name="a @ b")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_adapter_is_measured_like_the_model_it_makes(tiny_folder, fitted_root, tmp_path):
    from peft import LoraConfig, get_peft_model

    from cwac.models.loading import load_model, load_weights

    model = load_weights(tiny_folder, torch.device("cpu"))
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["down_proj", "q_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(tmp_path / "lora")
    merged = tuned.merge_and_unload()
    merged.save_pretrained(tmp_path / "whole")
    load_model(tiny_folder).tokenizer.save_pretrained(tmp_path / "whole")
    store, raw = ArtifactStore(fitted_root), {"model": str(tiny_folder)}
    one, other = (
        measure_one(resolve_measured(raw, tmp_path / part), store) for part in ("lora", "whole")
    )
    assert one.value("relative_weight_drift") > 0
    for name, value in other.metrics.items():
        assert one.value(name) == (
            value.value if value.value is None else pytest.approx(value.value)
        )
    # Taken apart, the merged adapter is the whole model too.
    names = ["ends", "restore", "spectral_split"]
    rows, theirs = (
        dissect(store, run.run_id, names, sample=2).drop(columns="run_id") for run in (one, other)
    )
    pd.testing.assert_frame_equal(rows, theirs, rtol=1e-3, atol=1e-3)
    (tmp_path / "lora/adapter_model.safetensors").rename(tmp_path / "lora/x.bin")
    with pytest.raises(CwacError, match=r"has no adapter_model\.safetensors"):
        resolve_measured(raw, tmp_path / "lora", name="x")


def test_with_the_base_model_the_alignment_step_is_compared(tiny_folder, fitted_root):
    store, raw = ArtifactStore(fitted_root), {"model": str(tiny_folder)}
    base = tiny_folder / "base"
    record = measure_one(resolve_measured(raw, base, name="undone", base=base), store)
    assert record.value("alignment_reversal") == pytest.approx(1.0)
    assert record.value("alignment_cosine") == pytest.approx(-1.0)
    assert record.config.settings["base_contents"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_checkpoint_computes_in_the_precision_of_the_aligned_model(
    tiny_root, tiny_folder, precision
):
    aligned = load_model(tiny_folder, device="cpu", precision=precision)
    tuned = load_tuned(kept(tiny_root)[1], aligned).model
    path, seen = aligned.anatomy.maps[0].path, []
    for model in (aligned.model, tuned):
        model.get_submodule(path).register_forward_hook(lambda _m, _a, out: seen.append(out.dtype))
        model(input_ids=torch.zeros((1, 2), dtype=torch.long))
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert seen == [getattr(torch, precision)] * 2


def test_the_aligned_model_itself_has_not_moved(tiny_folder, fitted_root, tmp_path):
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "same"))
    record = measure_one(
        resolve_measured({"model": str(tiny_folder)}, copy), ArtifactStore(fitted_root)
    )
    assert record.value("relative_weight_drift") == 0.0
    assert record.value("protected_energy") is None
    assert any("equal the aligned model's" in text for text in record.warnings)


def test_a_model_without_tasks_is_measured_without_one(tiny_root, tiny_folder, tmp_path):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "aligned"))
    card = json.loads((folder / "cwac.json").read_text())
    (folder / "cwac.json").write_text(json.dumps({k: v for k, v in card.items() if k != "tasks"}))
    store = ArtifactStore(tmp_path / "runs")
    record = measure_one(resolve_measured({"model": str(folder)}, kept(tiny_root)[1]), store)
    assert record.config.task.source == "none"
    assert record.value("task_accuracy") is None
    assert record.value("refusal_rate") is not None
    (config,) = resolve({"model": str(folder), "task": "none"}, ["sft"], [0])
    with pytest.raises(DataError, match="the task has no training examples"):
        run_one(config, store)


# One sentence and exit 2 for what cannot be measured


def _refused(capsys, tiny_folder, root, tuned, *more) -> str:
    command = ["measure", "--aligned", str(tiny_folder), "--tuned", str(tuned)]
    assert _status([*command, *more, "--root", str(root)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("Error: ")
    return said


def test_what_cannot_be_measured_is_said_in_one_sentence(
    tiny_root, tiny_folder, fitted_root, tmp_path, capsys
):
    def broken(name: str) -> Path:
        return Path(shutil.copytree(kept(tiny_root)[1], tmp_path / name))

    def rewrite(folder: Path, change) -> Path:
        weights = load_file(folder / "model.safetensors")
        save_file(change(weights), folder / "model.safetensors", {"format": "pt"})
        return folder

    refuse = (capsys, tiny_folder, fitted_root)
    assert "it is not a folder" in _refused(*refuse, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "config.json is missing" in _refused(*refuse, tmp_path / "empty")
    cut = broken("cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    assert "cannot be read" in _refused(*refuse, cut)
    lost = "model.layers.1.mlp.down_proj.weight"
    few = rewrite(broken("few"), lambda w: {k: v for k, v in w.items() if k != lost})
    assert f"lacks 1 weights, {lost} among them" in _refused(*refuse, few)

    from builders import make_chat, make_model

    make_model(intermediate_size=64).save_pretrained(tmp_path / "wide")
    assert "gate_proj.weight has shape (64, 32), the aligned model's (48, 32)" in _refused(
        *refuse, tmp_path / "wide"
    )
    make_model(num_hidden_layers=3).save_pretrained(tmp_path / "deep")
    assert "which has no model.layers.2" in _refused(*refuse, tmp_path / "deep")
    nowhere = str(tmp_path / "no")
    assert "it is not a folder" in _refused(*refuse, kept(tiny_root)[1], "--base", nowhere)
    # Before anything is fitted, as all that a file tells.
    shutil.rmtree(fitted_root)
    for base, sentence in (("deep", "which has no model.layers.2"), ("empty", "is missing")):
        more = ("--base", str(tmp_path / base))
        assert sentence in _refused(*refuse, kept(tiny_root)[1], *more)
    for key, value, sentence in (
        ("measurement.sae_release", tmp_path / "empty", "has no SAE"),
        ("evaluation.judge", f"classifier:{tmp_path / 'empty'}", "config.json is missing"),
        ("evaluation.judge", f"classifier:{tiny_folder}", "do not tell what they mean"),
    ):
        assert sentence in _refused(*refuse, kept(tiny_root)[1], "--set", f"{key}={value}")
    assert not list(fitted_root.rglob("*.parquet"))
    other = broken("tokens")
    make_chat()
    text = json.loads((other / "tokenizer.json").read_text())
    vocabulary = text["model"]["vocab"]
    one, two = "steal", "bomb"
    a, b = (next(k for k in vocabulary if w in k) for w in (one, two))
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (other / "tokenizer.json").write_text(json.dumps(text))
    assert "numbers its tokens differently" in _refused(*refuse, other)


def test_a_folder_without_a_model_is_refused_before_anything_is_fitted(tiny_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        resolve_measured({"model": str(tiny_folder)}, tmp_path / "empty")


def test_a_model_that_computes_nothing_is_refused_before_anything_is_fitted(
    tiny_root, tiny_folder, tmp_path
):
    folder = Path(shutil.copytree(kept(tiny_root)[1], tmp_path / "nothing"))
    for value, sentence in ((torch.nan, "no finite numbers"), (0.0, "all its values are zero")):
        weights = load_file(folder / "model.safetensors")
        save_file({k: torch.full_like(w, value) for k, w in weights.items()},
                  folder / "model.safetensors", {"format": "pt"})  # fmt: skip
        with pytest.raises(ArtifactError, match=sentence):
            resolve_measured({"model": str(tiny_folder)}, folder)


def test_another_vocabulary_is_refused_before_anything_is_fitted(tiny_root, tiny_folder, tmp_path):
    raw, folder = {"model": str(tiny_folder)}, tmp_path / "tuned"
    shutil.copytree(kept(tiny_root)[1], folder)
    tuned = load_weights(folder, torch.device("cpu"))
    rows, width = tuned.get_input_embeddings().weight.shape

    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["<further>"])
    assert max(tokenizer.get_vocab().values()) == rows
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=f"it has {rows + 1} tokens, the aligned model's {rows}"):
        resolve_measured(raw, folder)

    tuned.resize_token_embeddings(rows + 1)
    tuned.save_pretrained(folder)
    sizes = f"its vocabulary has {rows + 1} tokens, the aligned model's {rows}"
    with pytest.raises(ModelError, match=sizes):
        resolve_measured(raw, folder)

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    factor = {"base_model.model.model.layers.1.mlp.up_proj.lora_A.weight": torch.ones(2, width)}
    name, d_in = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight", width + 8
    for key, shape, message in (
        ("base_model.model.model.embed_tokens.weight", (rows + 1, width), sizes),
        ("base_model.model.model.embed_tokens.lora_embedding_A", (2, rows + 1), sizes),
        (name, (2, d_in), rf"lora_A.weight has shape \(2, {d_in}\)"),
    ):
        save_file(factor | {key: torch.ones(shape)}, adapter / "adapter_model.safetensors")
        with pytest.raises(ModelError, match=message):
            resolve_measured(raw, adapter)
    save_file({name: torch.ones(2, width)}, adapter / "adapter_model.safetensors")
    assert resolve_measured(raw, adapter).settings["name"] == tmp_path.name
