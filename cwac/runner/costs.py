"""What a run will take besides its steps: passes that are counted, and timed once.

Stands alone, because a preview and nobody else has to know what is read how often. Of a chat
model most of an experiment's first run goes into such passes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from cwac.anatomy import SMALL
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.drift import singular_values
from cwac.generation import answer
from cwac.metrics.sae_quality import PROMPTS
from cwac.metrics.trajectory import LEDGER_PROMPTS, PROBE_TOKENS
from cwac.models.loading import LoadedModel
from cwac.passes import Beginning, right_padded
from cwac.preparation.fits import lacking_fits
from cwac.preparation.sae_training import TOKENS, SaeShape, seconds_per_step, training_steps
from cwac.preparation.safety_text import ANSWER_TOKENS, TEXT_SPLITS
from cwac.prompts import KINDS, PromptSets
from cwac.scores import no_scores

_SCORES: Final = 1.6
"""A pass with the vocabulary's scores over one without: measured on SmolLM2-135M."""
_SPECTRA: Final = 2.5
"""What a map's spectrum and overlap take, in spectra of it."""
_DESCRIBING: Final = 3
"""Passes over the safety text for what a fit says of latents, besides its residuals."""


@dataclass(frozen=True)
class Costs:
    """Seconds of an experiment besides its steps.

    Attributes
    ----------
    opening : float
        Of what is not stored yet: subspace, SAEs, the aligned model's measurement.
    measuring : float
        Of one run: its answers, its other measurements, its probes.
    """

    opening: float
    measuring: float


def costs_of(
    loaded: LoadedModel,
    prompts: PromptSets,
    task_tests: int,
    config: ExperimentConfig,
    store: ArtifactStore,
    *,
    reference_stored: bool,
) -> Costs:
    """Return what an experiment takes besides its steps, from one timed batch of each kind.

    Parameters
    ----------
    task_tests : int
        Test examples of the task.
    reference_stored : bool
        Whether the aligned model's measurement is stored.
    """
    evaluation = config.evaluation
    limit = evaluation.prompt_limit
    texts = {kind: [p.text for p in prompts.get("test", kind)[:limit]] for kind in KINDS}
    harmful = texts["harmful"] or [p.text for p in prompts.get("safety", "harmful")]
    if not harmful:
        return Costs(0.0, 0.0)
    each = _seconds_per_answer(loaded, harmful, config)
    token = _seconds_per_token(loaded, harmful)
    asked = sum(map(len, texts.values())) + min(task_tests, config.task.test_limit)
    depth = _depth(loaded, config)
    # The update is multiplied with what is read, and what it reads of refusals comes besides.
    drift = 2 * (2 * _tokens(loaded, texts["harmful"]) + 12 * len(texts["harmful"]))
    features = depth * sum(_tokens(loaded, part) for part in texts.values())
    quality = 2 * _SCORES * sum(_tokens(loaded, part[:PROMPTS], 16) for part in texts.values())
    watched = min(evaluation.probe_prompts, len(prompts.get("validation", "harmful")))
    safety = [p.text for p in prompts.get("safety", "harmful")]
    probe = each * watched * min(
        PROBE_TOKENS / evaluation.max_new_tokens, 1.0
    ) + token * depth * _tokens(loaded, safety[:LEDGER_PROMPTS])
    reading = each * asked + token * (features + quality)
    measuring = reading + token * drift + _spectra(loaded) + (evaluation.probes + 1) * probe
    opening = 0.0 if reference_stored else reading
    opening += _fits(loaded, prompts, config, store, token, each)
    return Costs(opening, measuring)


def _seconds_per_answer(
    loaded: LoadedModel, texts: Sequence[str], config: ExperimentConfig
) -> float:
    evaluation = config.evaluation
    batch = list(texts[: evaluation.batch_size])
    began = time.perf_counter()
    answer(
        loaded.model,
        loaded.chat,
        batch,
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        precision=evaluation.decoding,
    )
    return (time.perf_counter() - began) / len(batch)


@torch.inference_mode()
def _seconds_per_token(loaded: LoadedModel, texts: Sequence[str]) -> float:
    """Return what a token of a pass takes, without the vocabulary's scores."""
    ids = [loaded.chat.prompt_ids(text) for text in texts]
    beginning = Beginning(loaded.model, ids)
    # The middle of them is of a usual length.
    batches = list(right_padded(beginning, loaded.anatomy, loaded.chat, ids))
    _, batch = batches[len(batches) // 2]
    inputs = beginning.inputs(batch)
    began = time.perf_counter()
    with no_scores(loaded.model):
        loaded.model(**inputs)
    return (time.perf_counter() - began) / max(int(batch.attention_mask.sum()), 1)


def _tokens(
    loaded: LoadedModel, texts: Sequence[str], answers: int = 0, *, whole: bool = False
) -> int:
    """Return the tokens that passes over requests read, `answers` more of each.

    What all begin with is read once, and counts in each where the `whole` texts are asked for.
    """
    ids = [loaded.chat.prompt_ids(text) for text in texts]
    shared = 0 if whole else len(Beginning(loaded.model, ids))
    return sum(len(one) - shared + answers for one in ids)


def _depth(loaded: LoadedModel, config: ExperimentConfig) -> float:
    """Return the share of the layers up to the highest SAE; public SAEs are taken to be deep."""
    if config.measurement.sae_release is not None:
        return 1.0
    shape = SaeShape.of(loaded, config.measurement)
    return (max(shape.layers) + 1) / loaded.anatomy.n_layers


def _spectra(loaded: LoadedModel) -> float:
    """Return the seconds of all maps' spectra, from one map of each size."""
    seconds: dict[tuple[int, int], float] = {}
    for entry in loaded.anatomy.maps:
        size = (entry.d_out, entry.d_in)
        if size not in seconds:
            noise = torch.randn(size, dtype=torch.float64)
            began = time.perf_counter()
            singular_values(noise)
            seconds[size] = time.perf_counter() - began
    return _SPECTRA * sum(seconds[entry.d_out, entry.d_in] for entry in loaded.anatomy.maps)


def _fits(
    loaded: LoadedModel,
    prompts: PromptSets,
    config: ExperimentConfig,
    store: ArtifactStore,
    token: float,
    each: float,
) -> float:
    """Return the seconds of the subspace and of the SAEs, as far as they are not stored."""
    measurement = config.measurement
    lacking = lacking_fits(loaded, prompts, measurement, store)
    safety = [p.text for p in prompts.get("safety", "harmful")]
    seconds = 0.0
    if lacking:
        answered = ANSWER_TOKENS / config.evaluation.max_new_tokens
        seconds += each * answered * len(safety)
    if "subspace" in lacking:
        # What is read is summed in float64, which takes about as long as the pass.
        seconds += 4 * token * _tokens(loaded, safety, ANSWER_TOKENS) + _spectra(loaded)
    if "features" in lacking and measurement.sae_release is None:
        text = [p.text for split in TEXT_SPLITS for kind in KINDS for p in prompts.get(split, kind)]
        there = _tokens(loaded, text, ANSWER_TOKENS, whole=True)
        tokens = min(there, TOKENS)
        shape = SaeShape.of(loaded, measurement)
        steps = training_steps(measurement, tokens)
        per_step = seconds_per_step(shape, loaded.anatomy.d_model, loaded.device)
        seconds += len(shape.layers) * steps * per_step
        read = tokens * _tokens(loaded, text, ANSWER_TOKENS) / max(there, 1)
        seconds += (1 + _DESCRIBING * (loaded.anatomy.d_model > SMALL)) * token * read
    return seconds
