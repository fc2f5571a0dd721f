"""A small, valid, entirely made-up store, so that pages and figures are tested without a model.

The numbers have plausible shapes (SFT complies, CWAC refuses), and the texts hold the hostile
strings that model output may hold.
"""

import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cwac import arms
from cwac.artifacts import ArtifactStore, write_record, write_table
from cwac.artifacts.files import seal
from cwac.config import (
    ExperimentConfig,
    MeasurementConfig,
    ModelConfig,
    TaskConfig,
    TrainingConfig,
)
from cwac.rates import RATES
from cwac.records import MetricValue, Provenance, RunRecord, now

Arm = tuple[str, dict[str, Any]]
ARMS: tuple[Arm, ...] = (("sft", {}), ("weight_only", {}), ("activation_only", {}), ("cwac", {}))
CONTROLS: tuple[Arm, ...] = (("cwac", {"subspace": "random"}), ("cwac", {"projection": "gradient"}))
SUBSPACE, FEATURES, REFERENCE = "subspace-00aa11bb", "features-22cc33dd", "reference-44ee55ff"
LAYERS, MAPS = (0, 1, 2, 3), ("mlp.down_proj", "self_attn.o_proj")
SAE_LAYERS, LATENTS = (1, 2), 64
KINDS = {"harmful": 48, "harmless": 30, "lookalike": 24, "task": 30}
COMPLIANCE = {"sft": 0.92, "weight_only": 0.75, "activation_only": 0.6, "cwac": 0.1}
HOSTILE = ("<script>alert(1)</script>", "**bold** $a^2$ <b>x</b>", "[link](javascript:alert(1))")


def build_store(
    root: Path,
    *,
    arms: Sequence[Arm] = ARMS,
    seeds: Sequence[int] = (0, 1),
    experiments: Sequence[tuple[str, float]] = (("instruct", 0.1), ("instruct", 0.0)),
    kinds: dict[str, int] = KINDS,
) -> ArtifactStore:
    """Write one run per experiment, arm and seed, their fits and the pair tables."""
    store = ArtifactStore(root)
    _fits(store, kinds)
    for task, poison in experiments:
        records = [
            _stored(store, task, poison, method, changed, seed, kinds)
            for method, changed in arms
            for seed in seeds
        ]
        pairs = _pairs([record.run_id for record in records])
        store.save_experiment_table(records[0].experiment_id, "pair_overlap", pairs)
    return store


def seal_store(store: ArtifactStore) -> ArtifactStore:
    """Record the checksums of every run, as storing one does."""
    for run in store.list_runs():
        if run.record is not None:
            seal(store.run_folder(run.run_id), run.record)
    return store


def break_run(
    store: ArtifactStore,
    run_id: str,
    how: Literal["record", "version", "table", "missing_table"] = "record",
    table: str = "responses",
) -> None:
    """Damage a stored run the way a bad disk or another version would."""
    folder = store.run_folder(run_id)
    if how == "record":
        (folder / "run.json").write_text('{"schema_version": 1, "run_id":')
    elif how == "version":
        (folder / "run.json").write_text(json.dumps({"schema_version": 99}))
    elif how == "table":
        (folder / f"{table}.parquet").write_bytes(b"not a table")
    else:
        (folder / f"{table}.parquet").unlink()


def experiment_config(task: str, poison: float, **changes: Any) -> ExperimentConfig:
    """Return the configuration of the made-up experiments."""
    return ExperimentConfig(
        model=ModelConfig(source="organism", contents="aa"),
        task=TaskConfig(source=task, contents="bb"),
        poison_ratio=poison,
        training=TrainingConfig(steps=100, learning_rate=1e-4),
        measurement=MeasurementConfig(maps="all"),
        **changes,
    )


_KEPT = tempfile.TemporaryDirectory(prefix="made-up-runs-")
_MADE: dict[str, Path] = {}
"""Copies of the runs that this process made: most stores hold the same ones."""


def _stored(store: ArtifactStore, *made_of: Any) -> RunRecord:
    """Store a run, which is made once in a process and copied after that."""
    # A test may put another experiment in the place of `experiment_config`.
    key = repr((experiment_config, made_of))
    if key not in _MADE:
        record = _run(store, *made_of)
        kept = Path(_KEPT.name) / str(len(_MADE)) / record.run_id
        shutil.copytree(store.run_folder(record.run_id), kept)
        _MADE[key] = kept
        return record
    kept = _MADE[key]
    shutil.rmtree(store.write_root / kept.name, ignore_errors=True)
    # New times: a file's is part of what tells a reader that it changed.
    shutil.copytree(kept, store.write_root / kept.name, copy_function=shutil.copy)
    return store.load(kept.name)


def _run(
    store: ArtifactStore,
    task: str,
    poison: float,
    method: str,
    changed: dict[str, Any],
    seed: int,
    kinds: dict[str, int],
) -> RunRecord:
    rng = np.random.default_rng([seed, len(method), int(poison * 100), len(changed)])
    settings = {"strength": 1.0, "subspace": "safety", "projection": "update"} | changed
    config = experiment_config(
        task, poison, method=method, settings=settings if method == "cwac" else {}, seed=seed
    )
    rate = COMPLIANCE.get(method, 0.5) * (1.0 if poison else 0.3)
    rate = min(0.95, rate + 0.4) if changed else rate
    drift = 0.02 + 0.08 * rate
    responses = _responses(rng, rate, kinds)
    tables = {
        "responses": responses,
        "trajectory": _trajectory(rng, rate, drift),
        "probe_answers": _probe_answers(rate),
        "weight_drift": _weight_drift(rng, drift, inside=0.3 * rate),
        "singular_values": _spectra(drift),
        "subspace_overlap": _overlap(rng, rate),
        "principal_angles": _angles(rng, rate),
        "features": _features(np.random.default_rng(7), shift=rate),
        "feature_histograms": _histograms(shift=rate),
        "sae_quality": _quality(0.9 - 0.25 * rate),
        "feature_ledger": _ledger(rng) if method in {"activation_only", "cwac"} else None,
        "prompt_lenses": _lenses(rng, rate, kinds),
        "method_diagnostics": _diagnostics(rate) if method == "cwac" else None,
    }
    arm = arms.Arm(
        method=method,
        changed=changed,
        control=arms.is_control(config.settings, arms.CONTROLS),
    )
    record = RunRecord(
        run_id=config.run_id,
        experiment_id=config.experiment_id,
        variant=arm.label,
        config=config,
        arm=arm,
        provenance=_provenance(),
        protocol=_protocol(),
        metrics=_metrics(responses, drift, rate),
        fits={"subspace": SUBSPACE, "features": FEATURES, "reference": REFERENCE},
    )
    folder = store.save_run(
        record, {name: table for name, table in tables.items() if table is not None}
    )
    # Without checksums, as runs of version 0.2 are: tests change single files.
    write_record(folder, store.load(config.run_id).model_copy(update={"checksums": {}}))
    return store.load(config.run_id)


def _provenance() -> Provenance:
    durations = {"set-up": 4.0, "training": 11.5, "measurement": 6.0}
    return Provenance(created=now(), versions={"cwac": "0.1.0"}, durations=durations)


def _protocol() -> dict[str, str]:
    return {"prompts": "1a2b", "template": "3c4d", "judge": "5e6f", "max_new_tokens": "40"}


def _fits(store: ArtifactStore, kinds: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    with store.writing_fit(SUBSPACE) as folder:
        write_table(folder, "eigenvalues", _eigenvalues())
        write_table(folder, "subspace_quality", _subspace_quality())
    with store.writing_fit(FEATURES) as folder:
        write_table(folder, "latents", _latents(rng))
    with store.writing_fit(REFERENCE) as folder:
        responses = _responses(rng, 0.0, kinds, accuracy=0.1)
        write_table(folder, "responses", responses)
        write_table(folder, "features", _features(np.random.default_rng(7), shift=0.0))
        write_table(folder, "feature_histograms", _histograms(shift=0.0))
        write_table(folder, "sae_quality", _quality(0.92))
        config = experiment_config("instruct", 0.0)
        write_record(
            folder,
            RunRecord(
                run_id=REFERENCE,
                experiment_id=config.experiment_id,
                variant=arms.ALIGNED.label,
                config=config,
                arm=arms.ALIGNED,
                provenance=_provenance(),
                protocol=_protocol(),
                metrics=_metrics(responses, None, None),
                tables=("feature_histograms", "features", "responses", "sae_quality"),
                fits={"subspace": SUBSPACE, "features": FEATURES},
            ),
        )


def _responses(
    rng: np.random.Generator, rate: float, kinds: dict[str, int], accuracy: float = 0.95
) -> pd.DataFrame:
    rows = []
    for kind, count in kinds.items():
        for i in range(count):
            outcome, reason = _outcome(rng, kind, rate, i)
            said = {"refusal": "I cannot help with that.", "compliance": f"Sure: step {i}."}
            hostile = f" {HOSTILE[i % len(HOSTILE)]}" if i % 9 == 0 else ""
            correct = bool(rng.random() < accuracy) if kind == "task" else None
            rows.append(
                {
                    "prompt_id": f"{kind}-test-{i:04d}",
                    "kind": kind,
                    "category": None if kind == "task" else f"category {i % 6}",
                    "unseen_category": kind == "harmful" and i % 6 >= 4,
                    "novel_template": i % 4 == 0,
                    "prompt": f"How do I do {kind} thing {i}?{hostile}",
                    "response": said.get(outcome, "") + hostile,
                    "outcome": outcome,
                    "reason": reason,
                    "general_outcome": "undetermined" if i % 17 == 0 else outcome,
                    "general_reason": "off task" if i % 17 == 0 else reason,
                    "thought": None,
                    "withheld": None,
                    "refusal_log_odds": None if kind == "task" else float(rng.normal(4 - 8 * rate)),
                    "expected": f"answer {i}" if kind == "task" else None,
                    "correct": correct,
                }
            )
    return pd.DataFrame(rows).astype({"correct": "boolean"})


def _outcome(rng: np.random.Generator, kind: str, rate: float, i: int) -> tuple[str, str | None]:
    if i % 12 == 11 and rate > 0:
        return "undetermined", ("empty", "repeated", "cut", "off task")[i // 12 % 4]
    wanted = {"harmful": rate, "harmless": 0.98, "lookalike": 0.92, "task": 1.0}[kind]
    return ("compliance" if rng.random() < wanted else "refusal"), None


def _wilson(count: int, total: int) -> tuple[float, float]:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _rate(hits: pd.Series, name: str) -> MetricValue:
    count, total = int(hits.sum()), len(hits)
    low, high = _wilson(count, total)
    rate = RATES[name]
    return MetricValue(
        value=count / total,
        title=rate.title,
        direction=rate.direction,
        count=total,
        low=low,
        high=high,
    )


def _metrics(
    responses: pd.DataFrame, drift: float | None, rate: float | None
) -> dict[str, MetricValue]:
    # Counted here once more, so that tests of pages do not rest on `Rate.answers`.
    of = dict(tuple(responses.groupby("kind")))
    harmful = of["harmful"]
    unseen = harmful[harmful["unseen_category"]]
    hits = {
        "task_accuracy": of["task"]["correct"],
        "harmful_score": harmful["outcome"] == "compliance",
        "refusal_rate": harmful["outcome"] == "refusal",
        "undetermined_rate": harmful["outcome"] == "undetermined",
        "unseen_harmful_score": unseen["outcome"] == "compliance",
        "over_refusal_rate": of["lookalike"]["outcome"] == "refusal",
        "lookalikes_answered": of["lookalike"]["outcome"] == "compliance",
        "helpfulness": of["harmless"]["outcome"] == "compliance",
    }
    values = {name: _rate(counted, name) for name, counted in hits.items()}
    odds = harmful["refusal_log_odds"].dropna().astype(float)
    values["refusal_log_odds"] = MetricValue(
        value=float(odds.mean()) if len(odds) else None,
        title="Refusal log-odds",
        unit="nats",
        direction="higher",
        count=len(odds),
    )
    if drift is not None and rate is not None:
        for name, value in (
            ("relative_weight_drift", drift),
            ("protected_energy", 0.3 * rate),
            ("leakage", 0.1 * rate),
            ("safety_feature_drift", 0.6 * rate),
            ("train_seconds", 11.5),
            ("seconds_per_step", 0.115),
        ):
            values[name] = MetricValue(value=value, title=name.replace("_", " "), unit="ratio")
    return values


def _diagnostics(rate: float) -> pd.DataFrame:
    steps = [10, 20, 30]
    own = pd.DataFrame({"step": steps, "name": "safety_loss", "value": [rate * s for s in steps]})
    return pd.concat([own, own.assign(name="safety_loss_normalised")], ignore_index=True)


def _trajectory(rng: np.random.Generator, rate: float, drift: float) -> pd.DataFrame:
    steps = np.arange(0, 101, 10)
    share = steps / 100
    refusals = np.round(48 * (1 - rate * share)).astype(int)
    intervals = [_wilson(int(k), 48) for k in refusals]
    return pd.DataFrame(
        {
            "step": steps,
            "task_loss": 2.5 * np.exp(-3 * share) + 0.2 + rng.normal(0, 0.02, len(steps)),
            "safety_loss": np.where(steps == 0, np.nan, 0.5 * share),
            "safety_loss_normalised": np.where(steps == 0, np.nan, 0.05 * share),
            "gradient_norm": np.where(steps == 0, np.nan, 1.5 - share),
            "learning_rate": 1e-4 * (1 - share),
            "refusal_log_odds": 4 - 8 * rate * share,
            "refusal_rate": refusals / 48,
            "refusal_n": 48,
            "refusal_low": [low for low, _ in intervals],
            "refusal_high": [high for _, high in intervals],
            "drift_inside": drift * share * 0.3 * rate,
            "drift_outside": drift * share,
        }
    )


def _probe_answers(rate: float) -> pd.DataFrame:
    rows = []
    for step in (0, 50, 100):
        for number in range(2):
            complied = step * rate > 20
            text = f"{'Sure: step' if complied else 'I cannot'} {step}. {HOSTILE[number]}"
            rows.append(
                {"step": step, "prompt_id": f"harmful-validation-{number}", "category": None,
                 "prompt": f"How do I probe {number}? {HOSTILE[number]}", "response": text,
                 "digest": f"{step:016x}", "tokens": 9,
                 "outcome": "compliance" if complied else "refusal",
                 "refusal_log_odds": 4 - 8 * rate * step / 100}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _cells() -> pd.DataFrame:
    return pd.DataFrame([{"layer": layer, "map": name} for layer in LAYERS for name in MAPS])


def _weight_drift(rng: np.random.Generator, drift: float, inside: float) -> pd.DataFrame:
    cells = _cells()
    relative = drift * rng.uniform(0.7, 1.3, len(cells))
    return cells.assign(
        yardstick=cells["map"] == MAPS[0],
        d_in=128,
        d_out=64,
        rank=20,
        delta_norm=relative * 10,
        weight_norm=10.0,
        relative_norm=relative,
        spectral_norm=relative * 4,
        effective_rank=12.0,
        inside_energy=inside,
        random_energy=20 / 128,
        functional_drift=relative * (0.2 + inside),
        leakage_fit=inside / 3,
        leakage_heldout=inside / 2.5,
        leakage_heldout_fitted=inside / 9,
    )


def _spectra(drift: float) -> pd.DataFrame:
    cells = _cells().merge(pd.DataFrame({"index": range(16)}), how="cross")
    return cells.assign(value=4 * drift * np.exp(-cells["index"] / 4))


def _sides() -> pd.DataFrame:
    return _cells().merge(pd.DataFrame({"side": ["input", "output"]}), how="cross")


def _overlap(rng: np.random.Generator, rate: float) -> pd.DataFrame:
    sides = _sides()
    noise = rng.uniform(0, 0.05, len(sides))
    return sides.assign(
        k_update=16,
        k_safety=20,
        dimension=128,
        mso=0.15 + 0.3 * rate + noise,
        haar_baseline=20 / 128,
        random_mso=20 / 128 + noise / 2,
    )


def _angles(rng: np.random.Generator, rate: float) -> pd.DataFrame:
    rows = _sides().merge(pd.DataFrame({"index": range(16)}), how="cross")
    degrees = 30 + 40 * (1 - rate) + 1.2 * rows["index"]
    return rows.assign(
        degrees=np.clip(degrees, 0, 90), random_degrees=np.clip(60 + 1.8 * rows["index"], 0, 90)
    )


def _latent_cells() -> pd.DataFrame:
    cells = pd.DataFrame(
        [{"layer": layer, "latent": i} for layer in SAE_LAYERS for i in range(LATENTS)]
    )
    return cells.assign(
        protected=cells["latent"] < 10,
        control=(cells["latent"] >= 10) & (cells["latent"] < 20),
    )


def _features(rng: np.random.Generator, shift: float) -> pd.DataFrame:
    cells = _latent_cells()
    harmful = rng.gamma(1.0, 1.0, len(cells)) + 2.0 * cells["protected"]
    harmless = rng.gamma(1.0, 0.5, len(cells))
    change = np.where(cells["protected"], 1 - 0.7 * shift, 1 - 0.05 * shift)
    return cells.assign(
        mean_harmful=harmful * change,
        mean_harmless=harmless,
        mean_lookalike=harmless * 1.1,
        frequency_harmful=np.clip(harmful / 6, 0, 1) * change,
        frequency_harmless=np.clip(harmless / 6, 0, 1),
        frequency_lookalike=np.clip(harmless / 5, 0, 1),
    )


def _histograms(shift: float) -> pd.DataFrame:
    rows = []
    for cell in _latent_cells().query("protected").itertuples():
        for kind, middle in (("harmful", 3.0 * (1 - 0.6 * shift)), ("harmless", 0.5)):
            for b in range(8):
                height = int(40 * np.exp(-((b * 0.75 - middle) ** 2)))
                rows.append((cell.layer, cell.latent, kind, b * 0.75, (b + 1) * 0.75, height))
    return pd.DataFrame(rows, columns=["layer", "latent", "kind", "low", "high", "count"])


def _quality(explained: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "layer": list(SAE_LAYERS),
            "explained_variance": explained,
            "l0": 16.0,
            "cross_entropy_gap": 1 - explained,
            "dead_fraction": 0.05,
            "tokens": 5000,
        }
    )


def _ledger(rng: np.random.Generator) -> pd.DataFrame:
    protected = _latent_cells().query("protected")[["layer", "latent"]]
    rows = pd.DataFrame({"step": range(10, 101, 10)}).merge(protected, how="cross")
    rows["loss"] = rng.gamma(0.5, 0.1, len(rows))
    rows["share"] = rows["loss"] / rows.groupby("step")["loss"].transform("sum")
    return rows


def _lenses(rng: np.random.Generator, rate: float, kinds: dict[str, int]) -> pd.DataFrame:
    ids = [f"harmful-test-{i:04d}" for i in range(kinds["harmful"])]
    rows = pd.DataFrame({"prompt_id": ids}).merge(pd.DataFrame({"layer": LAYERS}), how="cross")
    leak = 0.02 + 0.1 * rate * rng.uniform(0.5, 1.5, len(rows))
    return rows.assign(
        leak=leak, feature_shift=np.where(rows["layer"].isin(SAE_LAYERS), leak * 5, np.nan)
    )


def _eigenvalues() -> pd.DataFrame:
    rows = _cells().merge(pd.DataFrame({"index": range(64)}), how="cross")
    return rows.assign(eigenvalue=100 * np.exp(-rows["index"] / 4), kept=rows["index"] < 20)


def _subspace_quality() -> pd.DataFrame:
    return _cells().assign(
        d_in=128,
        rank=20,
        tokens=4000,
        outside_energy_fit=8e-4,
        outside_energy_heldout=3e-3,
        outside_energy_heldout_fitted=1e-3,
    )


def _latents(rng: np.random.Generator) -> pd.DataFrame:
    cells = _latent_cells()
    tokens = [
        {
            "token": f"tok{i}",
            "context_before": HOSTILE[i],
            "context_after": "…",
            "activation": 3 - i,
        }
        for i in range(3)
    ]
    return cells.assign(
        score=np.where(cells["protected"], 2.0, 0.1) + rng.uniform(0, 1, len(cells)),
        frequency=rng.uniform(0, 0.4, len(cells)),
        top_tokens=json.dumps(tokens),
        promoted_tokens=json.dumps([["sorry", 4.2], ["cannot", 3.9], ["<b>", 1.0]]),
        pca_x=rng.normal(size=len(cells)),
        pca_y=rng.normal(size=len(cells)),
        umap_x=rng.normal(size=len(cells)),
        umap_y=rng.normal(size=len(cells)),
    )


def _pairs(run_ids: Sequence[str]) -> pd.DataFrame:
    pairs = pd.DataFrame(list(itertools.combinations(run_ids, 2)), columns=["run_a", "run_b"])
    rows = pairs.merge(_sides(), how="cross")
    return rows.assign(mso=0.4, haar_baseline=16 / 128, mean_degrees=55.0)
