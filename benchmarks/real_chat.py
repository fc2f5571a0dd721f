"""The bars for a real chat model, as ratios measured in one run.

    python benchmarks/real_chat.py --model FOLDER --task FILE --harmful FILE --harmless FILE \
        --steps 4 --rounds 2 --sae-steps 10 [--check]
    python benchmarks/real_chat.py --stored ROOT [--check]

The first form times steps: ours against ``transformers.Trainer``'s, CWAC's extra time against what
its tokens cost, bfloat16 against float32, and the leak of a trained CWAC update into the protected
subspace. The second reads what finished runs of an experiment recorded: the share of the time that
was not training, all arms' time together, peak memory. Seconds are of use on quiet cores alone;
on busy ones take ``--clock cpu --threads 1``. What a machine cannot measure is said, not guessed.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from against_trainer import _Peer
from bench import Bench, Verdict, describe, interleaved, open_bench, parser, ratio

from cwac.anatomy import weight_of
from cwac.artifacts import ArtifactStore
from cwac.chat import collate
from cwac.methods import METHODS
from cwac.models.loading import compute_in
from cwac.precision import multiplies_bfloat16
from cwac.runner.resolve import Arm, method_settings

EXTRA, TRAINER, BFLOAT16, LEAK = 1.15, 0.95, 0.6, 1e-6
"""Bounds: CWAC's extra time over its tokens' cost, our step over the Trainer's, bfloat16 over
float32, and the share of a trained update's energy inside the subspace."""
ELSEWHERE, MINUTES, MEMORY = 0.4, 15.0, 6.0
"""Bounds: share of the time outside training, minutes of all arms, peak memory in GiB."""


def main() -> None:
    """Measure, print, judge."""
    options = parser(__doc__ or "")
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--stored", type=Path, help="root of finished runs to read instead")
    given = options.parse_args()
    verdict = Verdict(given.check)
    if given.stored:
        _stored(given.stored, verdict)
    else:
        bench = open_bench(given)
        describe(bench)
        _steps(bench, given.rounds, verdict)
    verdict.leave()


def _steps(bench: Bench, rounds: int, verdict: Verdict) -> None:
    runs: dict[str, Callable[[], list[float]]] = {
        "sft": partial(_fit, bench, "sft"),
        "cwac": partial(_fit, bench, "cwac"),
        "Trainer": _Peer(bench),
    }
    fast = multiplies_bfloat16(bench.loaded.device)
    if fast:
        runs["bfloat16"] = partial(_in_bfloat16, bench)
    medians = interleaved(rounds, runs)
    for name, seconds in medians.items():
        print(f"{name}: {statistics.median(seconds):.3f} s per step")
    share = _cost_of_tokens(bench)
    extra = [c / s - 1 for c, s in zip(medians["cwac"], medians["sft"], strict=True)]
    print(f"cwac / sft: {1 + statistics.median(extra):.3f}; its tokens cost {share:.3f} of a step")
    verdict.line("CWAC's extra time over its tokens' cost", statistics.median(extra) / share, EXTRA)
    verdict.line("our step over the Trainer's", ratio(medians, "sft", "Trainer")[0], TRAINER)
    if fast:
        verdict.line("bfloat16 over float32", ratio(medians, "bfloat16", "sft")[0], BFLOAT16)
    else:
        print("bfloat16 over float32: not measured, this machine does not multiply bfloat16")
    _fit(bench, "cwac")
    verdict.line("update inside the subspace, of its energy", _leak(bench), LEAK)


def _fit(bench: Bench, name: str) -> list[float]:
    kind = METHODS[name]
    settings = kind.settings_type.build(method_settings(Arm(name), bench.loaded.card))
    return bench.fit(kind(settings)).seconds


def _in_bfloat16(bench: Bench) -> list[float]:
    model = bench.loaded.model
    before = model.__class__
    compute_in(model, "bfloat16", bench.loaded.device)
    try:
        return _fit(bench, "sft")
    finally:
        model.__class__ = before


def _cost_of_tokens(bench: Bench) -> float:
    """Return what CWAC's harmful tokens cost, of an SFT step: tokens times the layers they pass."""
    loaded, training = bench.loaded, bench.config.training
    assert bench.yardstick is not None
    features = bench.yardstick.features
    prompts = features.refused(bench.prompts.get("safety", "harmful"))
    harmful = statistics.mean(len(loaded.chat.prompt_ids(prompt.text)) for prompt in prompts)
    batch = METHODS["cwac"].settings_type().harmful_batch
    rows = [loaded.chat.example_ids(one.prompt, one.answer) for one in bench.examples]
    limit = training.max_length
    task = collate(rows, loaded.chat.pad_id, max_length=limit).attention_mask.sum(dim=1)
    tokens = float(task.double().mean()) * training.batch_size
    depth = (max(features.layers) + 1) / loaded.anatomy.n_layers
    print(f"{tokens:.0f} task tokens and {harmful * batch:.0f} harmful ones a step")
    return harmful * batch / tokens * depth


@torch.no_grad()
def _leak(bench: Bench) -> float:
    """Return the largest share of a constrained map's change, in energy, inside its subspace."""
    assert bench.yardstick is not None
    measured = bench.config.measurement
    subspace = bench.yardstick.subspace.select(measured.maps, measured.layers)
    shares = []
    for entry in subspace.maps:
        change = weight_of(bench.loaded.model, entry) - weight_of(bench.initial, entry)
        if bool(change.any()):
            shares.append(subspace.inside_energy(entry.path, change))
    return max(shares)


def _stored(root: Path, verdict: Verdict) -> None:
    records = [run.record for run in ArtifactStore(root).list_runs() if run.record is not None]
    if not records:
        raise SystemExit(f"there are no runs in {root}.")
    # Arms of one session share its set-up, and each of them says what it took.
    setup = max(record.provenance.durations.get("setup", 0.0) for record in records)
    training = sum(record.provenance.durations["training"] for record in records)
    whole = setup + sum(
        seconds
        for record in records
        for name, seconds in record.provenance.durations.items()
        if name != "setup"
    )
    for record in records:
        print(record.run_id, {k: round(v, 1) for k, v in record.provenance.durations.items()})
    verdict.line("share of the time that was not training", 1 - training / whole, ELSEWHERE)
    verdict.line("minutes for all arms", whole / 60, MINUTES)
    peaks = [r.provenance.peak_memory_bytes for r in records if r.provenance.peak_memory_bytes]
    if peaks:
        verdict.line("peak memory, GiB", max(peaks) / 2**30, MEMORY)


if __name__ == "__main__":
    main()
