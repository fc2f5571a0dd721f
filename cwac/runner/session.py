"""What the runs of one experiment share: model, prompts, task, yardstick and reference."""

import hashlib
import json
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore, write_record, write_table
from cwac.config import ExperimentConfig
from cwac.first_token import tokens_of_refused
from cwac.interfaces import MeasureContext, Measurement, Task, Yardstick
from cwac.judges import RULES, Judge, tells_evasion, tells_hybrids
from cwac.metrics import METRICS
from cwac.metrics.behaviour import thought_notes
from cwac.metrics.features import TOKENS, token_activations
from cwac.models.judge_models import judge_named
from cwac.models.loading import LoadedModel, load_configured
from cwac.precision import rounded_once
from cwac.preparation.fits import prepare_yardstick, yardstick_warnings
from cwac.preparation.progress import Progress, report_part, silent
from cwac.prompts import PromptSets
from cwac.provenance import collect
from cwac.records import RunRecord
from cwac.runner.checks import check_memory, check_refuses
from cwac.runner.inputs import input_notes, load_inputs
from cwac.runner.relearning import relearn
from cwac.seeding import seed_everything


@dataclass
class Session:
    """One experiment, opened: everything that its arms have in common.

    The model is loaded once and its weights are put back before every run, so that a run's
    numbers do not depend on what ran before it.
    """

    config: ExperimentConfig
    loaded: LoadedModel
    judge: Judge
    """Who judges what is measured; fits rest on the model folder's own judge."""
    prompts: PromptSets
    task: Task
    yardstick: Yardstick
    aligned: dict[str, Tensor]
    trainable: dict[str, bool]
    reference_fit: str = ""
    reference: dict[str, pd.DataFrame] = field(default_factory=dict)
    refusal_tokens: list[int] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    """What opening it took; the runs share it."""
    known: dict[Hashable, Any] = field(default_factory=dict)
    """What measuring an arm leaves to the next, all of it about the aligned model."""

    @property
    def model(self) -> nn.Module:
        """The model that is trained and measured."""
        return self.loaded.model

    def serves(self, config: ExperimentConfig) -> bool:
        """Whether a run of this configuration belongs to the experiment."""
        return config.experiment_id == self.config.experiment_id

    def reset(self) -> None:
        """Put the aligned weights back."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.aligned[name])
                parameter.requires_grad_(self.trainable[name])
                parameter.grad = None
        self.model.eval()

    @contextmanager
    def standing_in(self, model: nn.Module) -> Iterator[None]:
        """Measure another model of the same shape in the aligned model's place."""
        aligned = self.loaded.model
        self.loaded.model = model
        try:
            yield
        finally:
            self.loaded.model = aligned

    def measure_context(
        self,
        config: ExperimentConfig,
        *,
        evaluation_prompt: Callable[[str], str] = str,
        reference: Mapping[str, pd.DataFrame] | None = None,
    ) -> MeasureContext:
        """Return what a metric may see of the model as it is now."""
        return MeasureContext(
            config=config,
            model=self.model,
            anatomy=self.loaded.anatomy,
            chat=self.loaded.chat,
            aligned=self.aligned,
            prompts=self.prompts,
            task=self.task,
            judge=self.judge,
            yardstick=self.yardstick,
            device=self.loaded.device,
            evaluation_prompt=evaluation_prompt,
            aligned_tables=reference,
            asked=self.loaded.asked if reference is None else None,
            known=self.known,
        )

    def protocol(self, config: ExperimentConfig) -> dict[str, str]:
        """Return what a rate depends on besides the weights."""
        evaluation = config.evaluation
        return {
            "prompts": self.prompts.contents,
            "template": self.loaded.chat.template_hash,
            "judge": self.judge.contents,
            "max_new_tokens": str(evaluation.max_new_tokens),
            "prompt_limit": str(evaluation.prompt_limit or "all"),
            **({"hybrids": "told"} if tells_hybrids(self.judge) else {}),
            **({"evasion": "told"} if tells_evasion(self.judge) else {}),
            **({"decoding": evaluation.decoding} if evaluation.decoding != "float32" else {}),
        }


def open_session(
    config: ExperimentConfig, store: ArtifactStore, report: Progress = silent
) -> Session:
    """Load what the experiment's runs share; fit the yardstick and measure the aligned model.

    Fits and the reference are read where they are stored, made and stored where they are not.

    Raises
    ------
    CwacError
        The model, the prompts or the task cannot be used.
    """
    started = time.perf_counter()
    seed_everything(config.measurement.seed)
    report(0.0, "loading the model")
    check_memory(config)
    loaded = load_configured(config.model)
    prompts, task = load_inputs(loaded.folder, loaded.card, config.prompts, config.task)
    loaded.asked.reach = config.evaluation.max_new_tokens
    loaded.asked.precision = config.evaluation.decoding
    # A judging model that cannot be loaded is heard of before the fits, which take minutes.
    judge = judge_named(config.evaluation.judge, loaded.judge, loaded.device)
    asking = report_part(report, 0.03, 0.1)
    unaligned = check_refuses(loaded, prompts, config.model, store, reference_name(config), asking)
    fitting = report_part(report, 0.1, 0.65)
    with rounded_once(loaded.model, loaded.precision):
        yardstick = prepare_yardstick(loaded, prompts, config.measurement, store, fitting)
    session = Session(
        config=config,
        loaded=loaded,
        judge=judge,
        prompts=prompts,
        task=task,
        yardstick=yardstick,
        aligned={n: p.detach().clone() for n, p in loaded.model.named_parameters()},
        trainable={n: p.requires_grad for n, p in loaded.model.named_parameters()},
        warnings=(
            *loaded.warnings,
            *unaligned,
            *input_notes(config, prompts, task),
            *yardstick_warnings(store, yardstick),
        ),
    )
    session.reset()
    _find_reference(session, store, report_part(report, 0.65, 1.0))
    session.seconds = time.perf_counter() - started
    report(1.0, "the experiment is prepared")
    return session


def reference_name(config: ExperimentConfig) -> str:
    """Return the name of the aligned model's measurement: all that its numbers depend on."""
    parts = {
        "model": config.model.contents,
        "prompts": config.prompts.contents,
        "task": json.loads(config.canonical_json())["task"],
        "evaluation": config.evaluation.model_dump(mode="json"),
        "measurement": config.measurement.model_dump(mode="json"),
    }
    if config.model.precision != "float32":
        parts["precision"] = config.model.precision
    if config.evaluation.relearning_steps:
        # All else is measured on the model as it is; this trains it.
        ways = {"learning_rate", "batch_size", "max_length"}
        parts["relearning"] = config.training.model_dump(mode="json", include=ways)
    # Measured by a later rule it is another measurement; the first rule's name has no number.
    parts["judging"] = RULES
    text = json.dumps(parts, sort_keys=True)
    return f"reference-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _find_reference(session: Session, store: ArtifactStore, report: Progress) -> None:
    name = reference_name(session.config)
    session.reference_fit = name
    if store.find_fit(name) is None:
        _make_reference(session, store, name, report)
    elif store.owns_fit(name) and not store.fit_has(name, TOKENS):
        # References of earlier versions get it where they may be written to.
        context = session.measure_context(session.config)
        store.extend_fit(name, {TOKENS: token_activations(context)})
    record = store.fit_record(name)
    session.reference = {table: store.fit_table(name, table) for table in record.tables}
    session.refusal_tokens = _refusal_tokens(session)


def _make_reference(session: Session, store: ArtifactStore, name: str, report: Progress) -> None:
    config = session.config.model_copy(update={"method": ALIGNED.method, "settings": {}, "seed": 0})
    seed_everything(config.measurement.seed)
    context = session.measure_context(config)
    measurement = measure_all(
        context, lambda share, text: report(share, f"measuring the aligned model: {text}")
    )
    again = relearn(context)
    measurement.values |= again.values
    measurement.tables |= again.tables
    record = RunRecord(
        run_id=name,
        experiment_id=config.experiment_id,
        variant=ALIGNED.label,
        config=config,
        arm=ALIGNED,
        provenance=collect({}, device=session.loaded.device, weights=session.loaded.origin),
        protocol=session.protocol(config),
        metrics=measurement.values,
        tables=tuple(sorted(measurement.tables)),
        fits={
            "subspace": session.yardstick.subspace_fit,
            "features": session.yardstick.features_fit,
        },
        warnings=(*session.warnings, *thought_notes(measurement.tables)),
    )
    session.loaded.asked.forget_first()
    with store.writing_fit(name) as folder:
        for table, rows in measurement.tables.items():
            write_table(folder, table, rows)
        write_record(folder, record)


def measure_all(context: MeasureContext, report: Progress) -> Measurement:
    """Take every measurement of the registry and put the results together."""
    whole = Measurement()
    effort = sum(kind.effort for kind in METRICS.values())
    start = 0.0
    for name, kind in METRICS.items():
        mine = report_part(report, start, start + kind.effort / effort)
        start += kind.effort / effort

        def inner(share: float, mine: Progress = mine, name: str = name) -> None:
            mine(share, f"{name.replace('_', ' ')}, {share:.0%}")

        inner(0.0)
        context.progress = inner
        with rounded_once(context.model, context.config.model.precision):
            part = kind().measure(context)
        whole.values |= part.values
        whole.tables |= part.tables
        whole.arrays |= part.arrays
    return whole


def _refusal_tokens(session: Session) -> list[int]:
    """Return the first tokens of the aligned model's own refusals; none where it never refuses."""
    responses = session.reference.get("responses")
    return [] if responses is None else tokens_of_refused(session.loaded.chat, responses)
