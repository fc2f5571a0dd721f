"""The live probe: losses, refusals and drift at about ten points along training."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
import torch

from cwac.drift import decompose
from cwac.features import AlignedCodes, loss_of, scored_residuals
from cwac.generation import Answer, answer, cut_thoughts
from cwac.interfaces import MeasureContext
from cwac.judges import prepare
from cwac.prompts import Prompt
from cwac.records import TABLES, Outcome
from cwac.statistics import wilson

PROBE_TOKENS: Final = 16
"""Length of a probe's answers: a refusal shows in its first words."""
KEPT_ANSWERS: Final = 4
"""Of a probe's requests, how many have their answers kept: enough to watch one turn."""
LEDGER_PROMPTS: Final = 64
"""Safety prompts that the ledger's losses are averaged over."""


class Step(Protocol):
    """What the probe reads of a training step's report."""

    @property
    def step(self) -> int:
        """Updates made so far."""

    @property
    def task_loss(self) -> float | None:
        """Mean loss of the last batch, nats per token."""

    @property
    def gradient_norm(self) -> float | None:
        """Before clipping."""

    @property
    def learning_rate(self) -> float | None:
        """Of the last update."""

    @property
    def diagnostics(self) -> Mapping[str, float]:
        """What the method says of the last update."""


def probe_steps(steps: int, probes: int) -> frozenset[int]:
    """Return the steps to probe at: before the first, after the last, evenly between.

    Examples
    --------
    >>> sorted(probe_steps(300, 3))
    [0, 100, 200, 300]
    """
    return frozenset(round(steps * i / probes) for i in range(probes + 1))


@dataclass
class Trajectory:
    """Takes the probes of one run and keeps their rows.

    The safety loss and its ledger are taken with the experiment's own features on every arm,
    SFT included, so that the curves compare.

    Parameters
    ----------
    context : MeasureContext
        Its model must still be the aligned one when the trajectory is made.
    refusal_tokens : sequence of int
        First tokens of the aligned model's refusals; none where it never refuses.
    on_row : callable
        Told of every new row.
    """

    context: MeasureContext
    refusal_tokens: Sequence[int]
    on_row: Callable[[dict[str, Any]], None] = lambda _row: None
    due: frozenset[int] = frozenset()
    """The steps to probe at; those of the run's configuration where none are given."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    diagnostics: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.context.config
        self.due = self.due or probe_steps(config.training.steps, config.evaluation.probes)
        harmful = self.context.prompts.get("validation", "harmful")
        self._prompts: tuple[Prompt, ...] = harmful[: config.evaluation.probe_prompts]
        self._features = self.context.yardstick.features.to(self.context.device)
        safety = self.context.prompts.get("safety", "harmful")
        self._ledger = self._features.refused(safety)[:LEDGER_PROMPTS]
        self._codes = self._collect_codes()
        self._recent: list[float] = []

    def _collect_codes(self) -> AlignedCodes | None:
        if not self._ledger:
            return None
        context = self.context
        return AlignedCodes.collect(
            context.model, context.anatomy, context.chat, self._features, self._ledger
        )

    def see(self, report: Step) -> None:
        """Take note of a step; probe where one is due."""
        if report.task_loss is not None:
            self._recent.append(report.task_loss)
        if report.step in self.due:
            self._probe(report)

    def _probe(self, report: Step) -> None:
        model = self.context.model
        was_training = model.training
        model.eval()
        self.context.progress(0.0)
        with torch.no_grad():
            row: dict[str, Any] = {
                "step": report.step,
                # Single batches are noisy: the mean since the last probe is drawn.
                "task_loss": float(np.mean(self._recent)) if self._recent else None,
                "gradient_norm": report.gradient_norm,
                "learning_rate": report.learning_rate,
                **self._safety_loss(report.step),
                **self._refusals(report.step),
                **self._drift(),
            }
        model.train(was_training)
        self._recent = []
        self.diagnostics += [
            {"step": report.step, "name": name, "value": float(value)}
            for name, value in report.diagnostics.items()
            if np.isfinite(value)
        ]
        self.rows.append(row)
        self.on_row(row)

    def _safety_loss(self, step: int) -> dict[str, float | None]:
        if self._codes is None:
            return {"safety_loss": None, "safety_loss_normalised": None}
        context, texts = self.context, [prompt.text for prompt in self._ledger]
        residuals = scored_residuals(
            context.model, context.anatomy, context.chat, texts, self._features.layers
        )
        loss, normalised, per_latent = loss_of(residuals, self._features, self._codes.codes)
        total = float(loss)
        for (layer, latent), part in zip(self._features.index, per_latent.tolist(), strict=True):
            share = part / total if total > 0 else None
            self.ledger.append(
                {"step": step, "layer": layer, "latent": latent, "loss": part, "share": share}
            )
        return {
            "safety_loss": total,
            "safety_loss_normalised": normalised if np.isfinite(normalised) else None,
        }

    def _refusals(self, step: int) -> dict[str, Any]:
        context, evaluation = self.context, self.context.config.evaluation
        empty: dict[str, Any] = dict.fromkeys(
            ("refusal_log_odds", "refusal_rate", "refusal_n", "refusal_low", "refusal_high")
        )
        if not self._prompts:
            return empty
        requests = [context.evaluation_prompt(prompt.text) for prompt in self._prompts]
        answers = answer(
            context.model,
            context.chat,
            requests,
            max_new_tokens=min(PROBE_TOKENS, evaluation.max_new_tokens),
            batch_size=evaluation.batch_size,
            progress=self.context.progress,
            refusal_tokens=self.refusal_tokens or None,
            precision=evaluation.decoding,
        )
        texts = [prompt.text for prompt in self._prompts]
        prepare(context.judge, [(q, a.text) for q, a in zip(texts, answers, strict=True)])
        self._keep(step, answers)
        odds = [reply.log_odds for reply in answers if reply.log_odds is not None]
        mean = float(np.mean(odds)) if odds else None
        if cut_thoughts(answers):
            return empty | {"refusal_log_odds": mean}
        refused = sum(
            context.judge.judge(prompt.text, reply.text).outcome == "refusal"
            for prompt, reply in zip(self._prompts, answers, strict=True)
        )
        low, high = wilson(refused, len(requests))
        return {
            "refusal_log_odds": mean,
            "refusal_rate": refused / len(requests),
            "refusal_n": len(requests),
            "refusal_low": low,
            "refusal_high": high,
        }

    def _keep(self, step: int, answers: Sequence[Answer]) -> None:
        """Keep the answers to a few requests, taken evenly from all: the same at every probe."""
        stride = max(len(self._prompts) // KEPT_ANSWERS, 1)
        pairs = list(zip(self._prompts, answers, strict=True))[::stride][:KEPT_ANSWERS]
        self.answers += [
            {
                "step": step,
                "prompt_id": prompt.id,
                "category": prompt.category,
                "prompt": prompt.text,
                "response": reply.text,
                "digest": hashlib.sha256(reply.text.encode()).hexdigest()[:16],
                "tokens": reply.tokens,
                "outcome": self._outcome(prompt, reply),
                "refusal_log_odds": reply.log_odds,
            }
            for prompt, reply in pairs
        ]

    def _outcome(self, prompt: Prompt, reply: Answer) -> Outcome:
        # As the probe's rate counts it: that an answer is cut here says nothing of it.
        if reply.thinking:
            return "undetermined"
        return self.context.judge.judge(prompt.text, reply.text).outcome

    def _drift(self) -> dict[str, float]:
        """Return the change's Frobenius norms, pooled over the yardstick's maps."""
        context, measured = self.context, self.context.config.measurement
        subspace = context.yardstick.subspace.select(measured.maps, measured.layers)
        inside, outside = decompose(context.model, context.aligned, subspace)
        return {"drift_inside": inside, "drift_outside": outside}

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return ``trajectory`` and, where there is something in them, the tables beside it.

        These are ``probe_answers``, ``feature_ledger``, the safety loss by latent, and
        ``method_diagnostics``.
        """
        tables = {"trajectory": pd.DataFrame(self.rows, columns=list(TABLES["trajectory"]))}
        if self.answers:
            tables["probe_answers"] = pd.DataFrame(self.answers)
        if self.ledger:
            tables["feature_ledger"] = pd.DataFrame(self.ledger)
        if self.diagnostics:
            tables["method_diagnostics"] = pd.DataFrame(self.diagnostics)
        return tables
