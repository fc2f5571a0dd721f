import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cwac.anatomy import layer_module
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import (
    CancelledError,
    ConfigError,
    CwacError,
    DataError,
    TrainingError,
    UnknownNameError,
)
from cwac.features import SafetyFeatures, Steering
from cwac.first_token import first_token_log_probs
from cwac.messages import Preview
from cwac.metrics import METRIC_INFOS
from cwac.models.card import read_card
from cwac.models.loading import load_model, load_weights
from cwac.preparation.fits import lacking_fits
from cwac.records import check_table
from cwac.runner import Arm, resolve, run_grid, run_one, update_pairs, variant_of
from cwac.runner.answering import answer_request
from cwac.runner.costs import costs_of
from cwac.runner.inputs import load_inputs
from cwac.runner.preview import preview
from cwac.runner.reading import read_request
from cwac.runner.steering import write_steering

CLOCK = {"train_seconds", "seconds_per_step", "seconds_per_step_p95"}


def runs_of(root: Path) -> dict[str, object]:
    return {run.record.config.method: run.record for run in ArtifactStore(root).list_runs()}


# Resolving


def test_the_cards_defaults_are_filled_in_and_given_values_win(tiny_folder, tmp_path):
    (config,) = resolve({"model": str(tiny_folder), "training": {"batch_size": 2}}, ["cwac"], [0])
    assert (config.training.steps, config.training.batch_size) == (6, 2)
    assert config.settings["strength"] == 0.25
    assert set(config.settings) > {"strength", "projection", "harmful_batch"}
    assert config.evaluation.max_new_tokens == 10
    folder = shutil.copytree(tiny_folder, tmp_path / "rounds")
    card = json.loads((folder / "cwac.json").read_text())
    card["defaults"]["measurement"] = {"sae_rounds": 2}
    (folder / "cwac.json").write_text(json.dumps(card))
    for stated, rounds in (({}, 2), ({"sae_steps": 5}, None), ({"latents": 3}, 2)):
        (one,) = resolve({"model": str(folder), "measurement": stated}, ["sft"], [0])
        assert one.measurement.sae_rounds == rounds
    for part in (config.model, config.prompts, config.task):
        assert part.contents


def test_a_tasks_own_defaults_come_before_the_models(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    shutil.copytree(folder / "tasks" / "instruct", folder / "tasks" / "sentiment")
    (config,) = resolve({"model": str(folder), "task": "sentiment"}, ["sft"], [0])
    assert config.training.learning_rate == 5e-4


def test_the_label_names_what_differs_from_the_models_defaults(tiny_folder):
    card = read_card(tiny_folder)
    arms = [Arm("cwac"), Arm("cwac", {"strength": 0.25}), Arm("cwac", {"subspace": "random"})]
    configs = resolve({"model": str(tiny_folder)}, arms, [0])
    labels = [variant_of(config, card) for config in configs]
    assert labels == ["cwac", "cwac (subspace=random)"]


@pytest.mark.parametrize(
    ("raw", "arms", "error", "message"),
    [
        ({}, ["swt"], UnknownNameError, "did you mean 'sft'"),
        ({"task": "instrct"}, ["sft"], UnknownNameError, "did you mean 'instruct'"),
        ({"task": "topic"}, ["sft"], DataError, "ships no examples of the task 'topic'"),
        ({"task": "none.csv"}, ["sft"], DataError, "does not exist"),
        ({"trainin": {}}, ["sft"], ConfigError, "did you mean 'training'"),
        ({"training": {"stesp": 1}}, ["sft"], ConfigError, "did you mean 'steps'"),
        ({}, [Arm("cwac", {"strenght": 1})], ConfigError, "did you mean 'strength'"),
        ({}, [Arm("cwac", {"strength": -1})], ConfigError, r"cwac\.strength = -1"),
        ({"prompts": {"harmful": "x.txt"}}, ["sft"], DataError, "--harmless FILE is missing"),
        ({"poison_ratio": 2}, ["sft"], ConfigError, "poison_ratio = 2 is not allowed"),
    ],
)
def test_what_is_wrong_is_one_sentence(tiny_folder, raw, arms, error, message):
    with pytest.raises(error, match=message) as problem:
        resolve({"model": str(tiny_folder), **raw}, arms, [0])
    assert "\n" not in str(problem.value)


def test_a_method_that_needs_a_base_model_is_refused_where_there_is_none(tiny_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    assert resolve({"model": str(folder)}, ["asft"], [0])
    card = json.loads((folder / "cwac.json").read_text())
    (folder / "cwac.json").write_text(json.dumps({k: v for k, v in card.items() if k != "base"}))
    with pytest.raises(DataError, match="'asft' needs the model before alignment"):
        resolve({"model": str(folder)}, ["sft", "asft"], [0])
    assert resolve({"model": str(folder)}, ["sft"], [0])


def test_edited_data_are_a_new_run(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "m")
    raw = {"model": str(folder)}
    (before,) = resolve(raw, ["sft"], [0])
    assert resolve(raw, ["sft"], [0])[0].run_id == before.run_id
    path = folder / "tasks" / "instruct" / "train.jsonl.gz"
    path.write_bytes(
        gzip.compress(b"".join(gzip.decompress(path.read_bytes()).splitlines(True)[1:]))
    )
    (after,) = resolve(raw, ["sft"], [0])
    assert after.run_id != before.run_id
    assert after.task.contents != before.task.contents


def test_a_users_own_files_make_a_run_of_their_own(tiny_folder, tmp_path, monkeypatch):
    for kind, nouns in (("harmful", "guns axes"), ("harmless", "pies hats")):
        verbs = ("burn", "lift", "drop", "send", "bend", "melt", "wash", "keep")
        lines = [f"{verb} {noun}" for noun in nouns.split() for verb in verbs]
        (tmp_path / f"{kind}.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    prompts = {"harmful": "harmful.txt", "harmless": "harmless.txt"}
    (config,) = resolve({"model": str(tiny_folder), "prompts": prompts}, ["sft"], [0])
    assert config.prompts.harmful == str(tmp_path / "harmful.txt")
    (tmp_path / "harmful.txt").write_text((tmp_path / "harmful.txt").read_text() + "\nhide a bat")
    (edited,) = resolve({"model": str(tiny_folder), "prompts": prompts}, ["sft"], [0])
    assert edited.run_id != config.run_id


# One run


def test_a_run_is_complete_and_says_how_it_was_made(tiny_root):
    store = ArtifactStore(tiny_root)
    for record in runs_of(tiny_root).values():
        assert record.run_id == record.config.run_id
        assert record.provenance.peak_memory_bytes > 10**7
        durations = record.provenance.durations
        assert set(durations) == {"setup", "method_setup", "training", "probes", "measurement"}
        assert all(value >= 0 for value in durations.values())
        assert set(record.protocol) > {"prompts", "template", "judge", "max_new_tokens"}
        assert set(record.metrics) <= set(METRIC_INFOS)
        assert {"task_accuracy", "harmful_score", "protected_energy"} | CLOCK <= set(record.metrics)
        for name in record.tables:
            check_table(name, store.table(record.run_id, name))
        assert {"responses", "trajectory", "weight_drift", "features", "feature_ledger"} <= set(
            record.tables
        )


def test_every_arm_is_measured_with_the_same_yardstick(tiny_root):
    runs = runs_of(tiny_root)
    assert runs["sft"].fits == runs["cwac"].fits
    assert set(runs["sft"].fits) == {"subspace", "features", "reference"}
    assert runs["sft"].experiment_id == runs["cwac"].experiment_id


def test_the_aligned_model_is_measured_once(tiny_root):
    store = ArtifactStore(tiny_root)
    name = runs_of(tiny_root)["sft"].fits["reference"]
    reference = store.fit_record(name)
    assert reference.variant == "aligned"
    assert reference.value("refusal_rate") == 1.0
    for table in reference.tables:
        check_table(table, store.fit_table(name, table))
    assert len([p for p in (tiny_root / "fits").iterdir() if "reference" in p.name]) == 1


def test_the_trajectory_starts_at_the_aligned_model(tiny_root):
    store = ArtifactStore(tiny_root)
    for record in runs_of(tiny_root).values():
        rows = store.table(record.run_id, "trajectory")
        assert rows["step"].tolist() == [0, 2, 4, 6]
        first, last = rows.iloc[0], rows.iloc[-1]
        assert first.drift_inside == first.drift_outside == 0.0
        # The loss compares with cached codes, which another batch shape rounds differently.
        assert first.safety_loss == pytest.approx(0.0, abs=1e-8)
        assert first.refusal_rate == 1.0
        assert pd.isna(first.task_loss)
        assert last.drift_outside > 0
        assert np.isfinite(last.refusal_log_odds)
        ledger = store.table(record.run_id, "feature_ledger")
        sums = ledger.groupby("step")["loss"].sum().to_numpy()
        np.testing.assert_allclose(sums, rows["safety_loss"], rtol=1e-5, atol=1e-8)


def test_a_few_answers_of_every_probe_are_kept(tiny_root):
    store = ArtifactStore(tiny_root)
    for record in runs_of(tiny_root).values():
        kept = store.table(record.run_id, "probe_answers")
        probes = store.table(record.run_id, "trajectory").set_index("step")
        counts = kept.groupby("step")["prompt_id"].nunique()
        assert counts.to_dict() == dict.fromkeys(probes.index, min(4, probes["refusal_n"].iloc[0]))
        assert kept["prompt_id"].nunique() == counts.iloc[0], "the same requests at every probe"
        first = kept[kept["step"] == 0]
        assert (first["outcome"] == "refusal").all()
        hashes = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in kept["response"]]
        assert kept["digest"].tolist() == hashes


def test_only_the_constrained_arm_stays_outside_the_subspace(tiny_root):
    runs = runs_of(tiny_root)
    assert runs["cwac"].value("protected_energy") < 1e-9
    assert runs["sft"].value("protected_energy") > 0.01


def test_kept_weights_are_the_measured_ones(tiny_root, tiny_folder):
    store = ArtifactStore(tiny_root)
    record = runs_of(tiny_root)["sft"]
    drift = store.table(record.run_id, "weight_drift").iloc[0]
    loaded = load_model(tiny_folder, device="cpu")
    tuned = load_weights(store.model_folder(record.run_id), loaded.device)
    entry = next(m for m in loaded.anatomy.maps if (m.layer, m.name) == (drift.layer, drift["map"]))
    delta = tuned.get_parameter(entry.parameter) - loaded.model.get_parameter(entry.parameter)
    assert float(delta.detach().norm()) == pytest.approx(drift.delta_norm, rel=1e-5)


def test_kept_runs_answer_as_they_were_measured(tiny_root):
    store = ArtifactStore(tiny_root)
    record = runs_of(tiny_root)["sft"]
    row = store.table(record.run_id, "responses").query("kind == 'harmful'").iloc[0]
    aligned, tuned = answer_request(store, [record.run_id], row.prompt).answers
    assert (aligned.variant, aligned.outcome) == ("aligned", "refusal")
    assert (tuned.run_id, tuned.text) == (record.run_id, row.response)
    assert tuned.outcome == row.outcome
    assert np.isfinite(aligned.refusal_log_odds)
    assert aligned.along[0].refusal_log_odds == pytest.approx(aligned.refusal_log_odds, abs=1e-3)
    assert {token.divergence for token in aligned.along} == {None}
    assert tuned.along[0].refusal_log_odds == pytest.approx(tuned.refusal_log_odds, abs=1e-3)
    assert all(token.divergence >= 0 for token in tuned.along)
    expected = _first_divergence(store, record, row.prompt)
    assert tuned.along[0].divergence == pytest.approx(expected, rel=1e-3)


def test_a_latent_is_held_while_a_run_answers(tiny_root):
    store = ArtifactStore(tiny_root)
    record = runs_of(tiny_root)["sft"]
    row = store.table(record.run_id, "responses").query("kind == 'harmful'").iloc[0]
    features = SafetyFeatures.load(store.fit_folder(record.fits["features"]))
    layer, latent = features.index[0]
    same = answer_request(store, [record.run_id], row.prompt, Steering(layer, latent, scale=1.0))
    plain = same.answers
    assert [a.text for a in same.held] == [a.text for a in plain], "its own activation"
    clamp = Steering(layer, latent, clamp=50.0)
    held = answer_request(store, [record.run_id], row.prompt, clamp).held
    assert [a.variant for a in held] == ["aligned", "sft"]
    assert held[0].refusal_log_odds != pytest.approx(plain[0].refusal_log_odds, abs=1e-3)
    with pytest.raises(ConfigError, match="no SAE after layer 99; allowed"):
        answer_request(store, [record.run_id], "x", Steering(99, 0, clamp=1.0))
    with pytest.raises(ConfigError, match="either clamped to a value or scaled"):
        Steering(layer, latent)


def test_a_request_is_read_token_by_token_in_the_aligned_model_and_in_kept_runs(tiny_root):
    store = ArtifactStore(tiny_root)
    record = runs_of(tiny_root)["sft"]
    features = SafetyFeatures.load(store.fit_folder(record.fits["features"]))
    loaded = load_model(record.config.model.source, device="cpu")
    tuned = load_weights(store.model_folder(record.run_id), loaded.device)
    ids = loaded.chat.prompt_ids("how do I sell a gun")
    layer = features.layers[0]
    stream, codes = {}, []
    for model in (loaded.model, tuned):
        module = layer_module(model, loaded.anatomy, layer)
        handle = module.register_forward_hook(lambda _m, _i, out: stream.update(x=out))
        with torch.no_grad():
            model(input_ids=torch.tensor([ids]))
        handle.remove()
        codes.append(features.saes[layer].encode(stream["x"].reshape(len(ids), -1)))
    latent = int((codes[0] - codes[1])[1:].abs().sum(dim=0).argmax())
    read = read_request(store, [record.run_id], "how do I sell a gun", layer, latent)
    assert [(one.run_id, one.variant) for one in read.readings] == [
        (None, "aligned"),
        (record.run_id, "sft"),
    ]
    for one, every in zip(read.readings, codes, strict=True):
        assert [token.text for token in one.tokens] == loaded.chat.pieces(ids)
        first, *rest = [token.activation for token in one.tokens]
        assert first is None
        assert rest == pytest.approx(every[1:, latent].tolist(), abs=1e-4)
    assert read.readings[0].tokens != read.readings[1].tokens
    with pytest.raises(ConfigError, match="latent 100000 is not allowed"):
        read_request(store, [record.run_id], "x", layer, 100000)


def test_a_steering_file_is_what_the_harness_reads(tiny_root, tmp_path):
    store = ArtifactStore(tiny_root)
    record = runs_of(tiny_root)["sft"]
    features = SafetyFeatures.load(store.fit_folder(record.fits["features"]))
    layer, latent = features.index[0]
    written = write_steering(store, record.run_id, layer, latent, 2.5, tmp_path / "a" / "s.pt")
    # As lm_eval/models/hf_steered.py does.
    (hookpoint, info), *rest = torch.load(tmp_path / "a" / "s.pt", weights_only=True).items()
    assert not rest
    assert (hookpoint, info["action"], info["bias"]) == (written.hookpoint, "add", None)
    loaded = load_model(record.config.model.source, device="cpu")
    added = info["steering_vector"] * info["steering_coefficient"]
    module = dict(loaded.model.base_model.named_modules())[hookpoint]
    assert module is layer_module(loaded.model, loaded.anatomy, layer)
    assert torch.allclose(added, 2.5 * features.saes[layer].direction(latent))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["s.pt"]
    with pytest.raises(ConfigError, match=r"named \.pt"):
        write_steering(store, record.run_id, layer, latent, 1.0, tmp_path / "s.bin")


def _first_divergence(store, record, request):
    """KL(aligned || tuned) at the first answer token, from the log-probabilities of both."""
    loaded = load_model(record.config.model.source, device="cpu")
    tuned = load_weights(store.model_folder(record.run_id), loaded.device)
    p, q = (first_token_log_probs(m, loaded.chat, [request])[0] for m in (loaded.model, tuned))
    return float((p.exp() * (p - q)).sum())


def _same(first: Path, second: Path, run_id: str) -> None:
    """Assert that two stored runs agree bit for bit in all but their clocks."""
    a, b = ArtifactStore(first), ArtifactStore(second)
    one, other = a.load(run_id), b.load(run_id)
    assert one.tables == other.tables
    assert {k: v for k, v in one.metrics.items() if k not in CLOCK} == {
        k: v for k, v in other.metrics.items() if k not in CLOCK
    }
    for name in one.tables:
        pd.testing.assert_frame_equal(
            a.table(run_id, name), b.table(run_id, name), check_exact=True
        )
    for name, array in a.arrays(run_id, "update_bases").items():
        np.testing.assert_array_equal(array, b.arrays(run_id, "update_bases")[name])


def test_a_run_after_others_equals_one_in_a_fresh_process(tiny_root, fitted_root, tiny_folder):
    command = [sys.executable, "-X", "importtime", "-m", "cwac", "run"]
    done = subprocess.run(
        [*command, "--model", str(tiny_folder), "--method", "cwac", "--root", str(fitted_root)],
        check=True,
        capture_output=True,
        text=True,
        timeout=550,
    )
    _same(tiny_root, fitted_root, runs_of(tiny_root)["cwac"].run_id)
    # What makes a fit is heavy, and not needed where the fits are read.
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip() for line in times}
    assert "cwac.preparation.fits" in loaded
    assert not {"sae_lens", "umap", "wandb"} & loaded


# Grids


def test_complete_runs_are_skipped_unless_asked_for(own_root, tiny_folder):
    store = ArtifactStore(own_root)
    configs = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    before = store.load(configs[0].run_id)
    result = run_grid(configs, store)
    assert result.skipped == [configs[0].run_id]
    assert result.records == [before]
    again = run_grid(configs, store, again=True)
    assert again.skipped == []
    assert again.records[0].provenance != before.provenance


def test_a_broken_run_is_made_anew(own_root, tiny_folder):
    store = ArtifactStore(own_root)
    configs = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    (own_root / configs[0].run_id / "run.json").write_text("{")
    assert run_grid(configs, store).skipped == []
    assert store.load(configs[0].run_id).run_id == configs[0].run_id


def test_pairs_are_compared_when_runs_join(tiny_root, own_root, tiny_folder):
    store = ArtifactStore(own_root)
    (experiment,) = {record.experiment_id for record in runs_of(own_root).values()}
    first = store.experiment_table(experiment, "pair_overlap")
    assert len(set(zip(first.run_a, first.run_b, strict=True))) == 1
    run_grid(resolve({"model": str(tiny_folder)}, ["weight_only"], [0]), store)
    joined = store.experiment_table(experiment, "pair_overlap")
    assert len(set(zip(joined.run_a, joined.run_b, strict=True))) == 3
    # Runs of another root are compared too.
    other = own_root.parent / "other"
    merged = ArtifactStore(other, own_root)
    update_pairs(merged, experiment)
    pd.testing.assert_frame_equal(
        ArtifactStore(other).experiment_table(experiment, "pair_overlap"), joined
    )


def test_a_run_that_does_not_train_fails_and_the_rest_go_on(fitted_root, tiny_folder, monkeypatch):
    import cwac.runner.one as module

    real = module.fit

    def fit(*arguments, **named):
        if named["seed"] == 0:
            raise TrainingError("every gradient is zero at step 1; nothing is learned.")
        return real(*arguments, **named)

    monkeypatch.setattr(module, "fit", fit)
    configs = resolve({"model": str(tiny_folder)}, ["sft"], [0, 1])
    result = run_grid(configs, ArtifactStore(fitted_root))
    assert list(result.failed) == [configs[0].run_id]
    assert [record.config.seed for record in result.records] == [1]
    assert not ArtifactStore(fitted_root).has_run(configs[0].run_id)


def test_a_stopped_grid_leaves_only_complete_runs(fitted_root, tiny_folder):
    configs = resolve({"model": str(tiny_folder)}, ["sft", "cwac"], [0])
    phases = []

    def listen(event):
        phases.append((event.run_id, event.phase))

    def stop():
        return (configs[1].run_id, "training") in phases

    store = ArtifactStore(fitted_root)
    with pytest.raises(CancelledError):
        run_grid(configs, store, listener=listen, stop=stop)
    assert [run.run_id for run in store.list_runs()] == [configs[0].run_id]
    assert not [path for path in fitted_root.iterdir() if path.name.startswith(".writing")]


def test_progress_never_goes_back(fitted_root, tiny_folder):
    (config,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    events = []
    run_one(config, ArtifactStore(fitted_root), listener=events.append)
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [event.row["step"] for event in events if event.row] == [0, 2, 4, 6]
    assert list(dict.fromkeys(event.phase for event in events)) == [
        "setup",
        "training",
        "measuring",
        "done",
    ]


def test_the_preview_shows_what_is_trained_on(tiny_root, tiny_folder):
    configs = resolve({"model": str(tiny_folder), "poison_ratio": 0.5}, ["sft", "cwac"], [0])
    ahead = preview(configs, ArtifactStore(tiny_root))
    assert Preview.parse(ahead.model_dump_json(), "it") == ahead
    assert {example.poison for example in ahead.examples} == {True, False}
    for example in ahead.examples:
        supervised = "".join(text for text, counts in example.tokens if counts)
        whole = "".join(text for text, _ in example.tokens)
        assert supervised.endswith("<end>")
        assert "<user>" in whole
        assert "<user>" not in supervised
    assert ahead.seconds > 0
    assert set(ahead.seconds_per_arm) == {"sft", "cwac"}
    assert ahead.memory_bytes > 10**7
    assert [run.complete for run in ahead.runs] == [False, False]


def test_a_preview_counts_what_has_to_be_fitted_first(tiny_root, tiny_folder, tmp_path):
    (config,) = resolve({"model": str(tiny_folder), "poison_ratio": 0.5}, ["sft"], [0])
    loaded = load_model(tiny_folder)
    prompts, _ = load_inputs(loaded.folder, loaded.card, config.prompts, config.task)
    fitted, empty = ArtifactStore(tiny_root), ArtifactStore(tmp_path)
    for store, lacking in ((fitted, set()), (empty, {"subspace", "features"})):
        assert lacking_fits(loaded, prompts, config.measurement, store) == lacking
    ready = costs_of(loaded, prompts, 20, config, fitted, reference_stored=True)
    assert ready.opening == 0
    assert ready.measuring > 0
    assert costs_of(loaded, prompts, 20, config, empty, reference_stored=True).opening > 0
    assert costs_of(loaded, prompts, 20, config, fitted, reference_stored=False).opening > 0


def test_a_setting_of_another_type_never_reaches_a_run():
    with pytest.raises(CwacError):
        ExperimentConfig.build({"seed": -1})
