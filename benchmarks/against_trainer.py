"""Our SFT loop against ``transformers.Trainer``: same model, data, order and settings.

    python benchmarks/against_trainer.py [--model FOLDER] [--check]

A step is timed from the end of one step to the end of the next, whatever either loop does in
between; the totals beside it hold the whole call, preparation of the batches included.
"""

import statistics
import tempfile
from collections.abc import Callable
from typing import Any

from bench import Bench, Verdict, describe, differences, interleaved, open_bench, parser, ratio
from torch.utils.data import SequentialSampler
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from cwac.interfaces import MethodSettings
from cwac.methods import METHODS


class _Ticks(TrainerCallback):
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.ends: list[float] = []

    def on_train_begin(self, *_arguments: Any, **_more: Any) -> None:
        self.ends.append(self.clock())

    def on_step_end(self, *_arguments: Any, **_more: Any) -> None:
        self.ends.append(self.clock())


class _InOrder(Trainer):
    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)


class _Peer:
    """The Trainer's side of the comparison."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.totals: list[float] = []
        self.last_loss = 0.0

    def __call__(self) -> list[float]:
        bench, training = self.bench, self.bench.config.training
        bench.reset()
        started = bench.clock()
        rows = []
        for example in bench.examples:
            ids, mask = bench.loaded.chat.example_ids(example.prompt, example.answer)
            labels = [token if learned else -100 for token, learned in zip(ids, mask, strict=True)]
            rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
        ticks = _Ticks(bench.clock)
        with tempfile.TemporaryDirectory() as folder:
            trainer = _InOrder(
                model=bench.loaded.model,
                args=TrainingArguments(
                    output_dir=folder,
                    max_steps=training.steps,
                    per_device_train_batch_size=training.batch_size,
                    learning_rate=training.learning_rate,
                    weight_decay=training.weight_decay,
                    warmup_steps=training.warmup_fraction,
                    lr_scheduler_type="cosine",
                    max_grad_norm=training.clip_norm,
                    optim="adamw_torch_fused",
                    use_cpu=bench.loaded.device.type == "cpu",
                    report_to="none",
                    logging_strategy="no",
                    save_strategy="no",
                    disable_tqdm=True,
                    seed=0,
                ),
                train_dataset=rows,
                data_collator=DataCollatorForSeq2Seq(bench.loaded.tokenizer),
                callbacks=[ticks],
            )
            self.last_loss = trainer.train().training_loss
        self.totals.append(bench.clock() - started)
        return differences(ticks.ends)


class _Ours:
    """Our side."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.totals: list[float] = []
        self.last_loss = 0.0

    def __call__(self) -> list[float]:
        fitted = self.bench.fit(METHODS["sft"](MethodSettings()))
        self.totals.append(fitted.total)
        self.last_loss = fitted.mean_loss
        return fitted.seconds


def main() -> None:
    """Measure, print, judge."""
    logging.set_verbosity_error()
    given = parser(__doc__ or "").parse_args()
    bench = open_bench(given)
    describe(bench)
    ours, peer = _Ours(bench), _Peer(bench)
    medians = interleaved(given.rounds, {"ours": ours, "Trainer": peer})
    for name, side in (("ours", ours), ("Trainer", peer)):
        print(
            f"{name}: {1000 * statistics.median(medians[name]):.2f} ms per step, "
            f"{statistics.median(side.totals):.2f} s in all, mean loss {side.last_loss:.4f}"
        )
    middle, low, high = ratio(medians, "ours", "Trainer")
    print(f"ours / Trainer: {middle:.3f}, rounds from {low:.3f} to {high:.3f}")
    totals = [a / b for a, b in zip(ours.totals[1:], peer.totals[1:], strict=True)]
    print(f"whole call, tokenising included: {statistics.median(totals):.3f}")
    verdict = Verdict(given.check)
    verdict.line("our time per step over the Trainer's", middle, 1.0)
    verdict.leave()


if __name__ == "__main__":
    main()
