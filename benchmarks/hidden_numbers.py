"""The evidence of `docs/review.md`, section "Numbers that hide", from the shipped runs.

python benchmarks/hidden_numbers.py intervals|claims|interaction|margins|seeds|tokens
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cwac.analysis import coupling
from cwac.analysis.claims import Setting, claims
from cwac.analysis.hidden import margin_rows
from cwac.analysis.outcomes import rate_table
from cwac.analysis.refusals import with_aligned
from cwac.artifacts import ArtifactStore, shipped_runs
from cwac.config import ExperimentConfig
from cwac.records import RunRecord

SHOWN = ("safer_cwac", "coupling_weight_only", "coupling_activation_only", "dominated")


def experiments(store: ArtifactStore) -> dict[str, list[RunRecord]]:
    """Return the shipped runs by experiment."""
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for run in store.list_runs():
        if run.record is not None:
            found[run.record.experiment_id].append(run.record)
    return found


def answers(store: ArtifactStore, records: list[RunRecord]) -> pd.DataFrame:
    """Return their answers and the aligned model's."""
    parts = [
        store.table(r.run_id, "responses").assign(variant=r.arm.label, seed=r.config.seed)
        for r in records
    ]
    aligned = store.fit_table(records[0].fits["reference"], "responses")
    return with_aligned(pd.concat(parts, ignore_index=True), aligned)


def largest(store: ArtifactStore) -> list[RunRecord]:
    """Return the runs of the experiment that has the most of them, among those of several seeds."""

    def size(records: list[RunRecord]) -> tuple[bool, int]:
        return len({record.config.seed for record in records}) > 1, len(records)

    return max(experiments(store).values(), key=size)


def intervals(store: ArtifactStore) -> None:
    """Print SFT's refusal rate by itself, and whether it has the same interval among all arms."""
    for name, records in experiments(store).items():
        table = answers(store, records)
        alone = rate_table(table[table["variant"].isin(["sft", "aligned"])])
        every = rate_table(table)
        both = alone.merge(every, on=["variant", "rate"], suffixes=("", "_every"))
        one, other = both[["low", "high"]], both[["low_every", "high_every"]]
        same = bool((one.to_numpy() == other.to_numpy()).all())
        row = alone[(alone["variant"] == "sft") & (alone["rate"] == "refusal_rate")].iloc[0]
        text = f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        print(f"{name}: SFT refuses {text}; the same among all arms: {same}")


def stated(store: ArtifactStore) -> None:
    """Print what is claimed of the largest experiment: the planned family and dominance."""
    records = largest(store)
    table = answers(store, records)
    began = time.process_time()
    rates = rate_table(table)
    middle = time.process_time()
    found = claims(table, Setting("instruct", 0.1, 300), [r.arm for r in records], rates)
    print(f"{len(records)} runs: rates {middle - began:.1f} s, "
          f"claims {time.process_time() - middle:.1f} s of processor time")  # fmt: skip
    for claim in found:
        if claim.name in SHOWN:
            print(f"{claim.verdict}: {claim.title}\n  {claim.numbers}\n  {claim.evidence}")


def interaction(store: ArtifactStore) -> None:
    """Print the 2 x 2 on stored refusal log-odds, per experiment that has the four arms."""
    for name, records in experiments(store).items():
        margins = coupling.margins_of(records)
        result = coupling.margin_coupling(margins)
        if result is not None:
            sentence = coupling.margin_sentence(result, coupling.margin_table(margins))
            print(f"{name}, {result.seeds} seeds: {sentence}")


def margins(store: ArtifactStore) -> None:
    """Print the refusal log-odds of every arm of the largest experiment."""
    records = largest(store)
    aligned = store.fit_record(records[0].fits["reference"])
    rows = margin_rows(records, aligned).sort_values("value", ascending=False)
    print(rows[["variant", "value", "low", "high", "n", "seeds"]].round(2).to_string(index=False))


def seeds(store: ArtifactStore) -> None:
    """Print which seeds of the largest experiment hold the tables that mechanism figures draw."""
    records = largest(store)
    drawn = ("weight_drift", "outer_drift", "subspace_overlap", "features", "prompt_lenses")
    for name in (*drawn, "responses"):
        held = [r for r in records if name in r.tables]
        print(f"{name}: {len(held)} of {len(records)} runs, "
              f"seeds {sorted({r.config.seed for r in held})}")  # fmt: skip


def tokens(_store: ArtifactStore) -> None:
    """Print held-out energy outside the subspace, on prompt tokens and on those of the fit."""
    # Here alone: the other sections need no model.
    import tempfile  # noqa: PLC0415

    from cwac.models.loading import load_model  # noqa: PLC0415
    from cwac.preparation.fits import fit_subspace  # noqa: PLC0415
    from cwac.runner import resolve  # noqa: PLC0415
    from cwac.runner.inputs import load_prompts  # noqa: PLC0415

    (config,) = resolve({"model": "organism"}, ["sft"], [0])
    assert isinstance(config, ExperimentConfig)
    loaded = load_model(config.model.source)
    prompts = load_prompts(loaded.folder, loaded.card, config.prompts)
    with tempfile.TemporaryDirectory() as folder:
        # An empty root, so that nothing stored is read.
        new = ArtifactStore(Path(folder))
        fit_subspace(loaded, prompts, config.measurement, new)
        (place,) = (Path(folder) / "fits").glob("subspace-*")
        quality = new.fit_table(place.name, "subspace_quality")
    columns = [name for name in quality if str(name).startswith("outside_energy")]
    print(f"tokens of the fit: {config.measurement.tokens}; means over {len(quality)} maps")
    print(quality[columns].mean().to_string())


PARTS: dict[str, Callable[[ArtifactStore], None]] = {
    "intervals": intervals, "claims": stated, "interaction": interaction, "margins": margins,
    "seeds": seeds, "tokens": tokens,
}  # fmt: skip


def main() -> None:
    """Print the parts that are asked for, all of them by default."""
    named = sys.argv[1:] or list(PARTS)
    unknown = [name for name in named if name not in PARTS]
    if unknown:
        sys.exit(f"unknown part {unknown[0]!r}; allowed: {', '.join(PARTS)}.")
    store = ArtifactStore(shipped_runs() or Path("cached_artifacts/runs"))
    for name in named:
        print(f"== {name}")
        PARTS[name](store)


if __name__ == "__main__":
    main()
