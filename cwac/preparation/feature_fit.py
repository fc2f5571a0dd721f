"""One set of safety features: SAEs trained on a model's own words or read, latents chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from cwac.config import MeasurementConfig
from cwac.features import Sae, SafetyFeatures
from cwac.models.loading import LoadedModel
from cwac.preparation.latents import choose_latents, latents_table
from cwac.preparation.progress import Progress, report_part
from cwac.preparation.public_saes import read_public_saes
from cwac.preparation.sae_training import (
    SaeScore,
    SaeShape,
    collect_residuals,
    score_sae,
    seconds_per_step,
    split_by_prompt,
    train_sae,
    training_steps,
)
from cwac.preparation.safety_text import Conversation, Refusals, chat_text
from cwac.prompts import PromptSets


@dataclass(frozen=True)
class FittedFeatures:
    """What one fit of features leaves.

    Attributes
    ----------
    latents : DataFrame
        The ``latents`` table.
    scores : dict of int to SaeScore
        Per layer, on residuals that its SAE was not trained on.
    """

    features: SafetyFeatures
    latents: pd.DataFrame
    scores: dict[int, SaeScore]

    def shortfalls(self, d_model: int) -> list[str]:
        """Return a sentence for each part of the quality gate that an SAE misses."""
        return [
            text
            for layer, score in self.scores.items()
            for text in score.shortfalls(layer, d_model)
        ]


def fit_features(
    loaded: LoadedModel,
    prompts: PromptSets,
    refusals: Refusals,
    shape: SaeShape | None,
    measurement: MeasurementConfig,
    progress: Progress,
) -> FittedFeatures:
    """Train one SAE per layer, or read public ones, and choose the safety-critical latents.

    Parameters
    ----------
    loaded : LoadedModel
        Its weights must be the aligned ones.
    prompts : PromptSets
        ``safety`` and ``alignment`` requests are read, the other splits never.
    refusals : Refusals
        What the aligned model says to the harmful safety requests.
    shape : SaeShape or None
        Layers and sizes of the SAEs that are trained; None where the measurement names public
        ones.
    measurement : MeasurementConfig
        How long to train, and which latents count as safety-critical.
    progress : callable
        Called with the share that is done and what is being done.
    """
    text = chat_text(loaded, prompts, refusals, report_part(progress, 0.0, 0.05))
    training, heldout = split_by_prompt(text, measurement.seed)
    progress(0.05, "reading the residual stream")
    making = report_part(progress, 0.05, 0.84)
    if shape is None:
        saes, scores = _read(loaded, measurement, heldout, making)
    else:
        saes, scores = _train(loaded, shape, measurement, training, heldout, making)
    refused = refusals.conversations
    choosing = report_part(progress, 0.84, 0.86)
    choice = choose_latents(loaded, saes, refused, prompts, measurement, choosing)
    ids = tuple(talk.prompt.id for talk in refused)
    features = SafetyFeatures(saes, choice.protected, choice.controls, ids)
    describing = report_part(progress, 0.86, 1.0)
    table = latents_table(
        loaded, features.to(loaded.device), choice, text, measurement.seed, describing
    )
    return FittedFeatures(features, table, scores)


def _read(
    loaded: LoadedModel,
    measurement: MeasurementConfig,
    heldout: Sequence[Conversation],
    progress: Progress,
) -> tuple[dict[int, Sae], dict[int, SaeScore]]:
    progress(0.0, "reading public SAEs")
    saes = read_public_saes(loaded, measurement)
    progress(0.5, "measuring the SAEs on this model")
    unseen = collect_residuals(loaded, heldout, tuple(saes), report_part(progress, 0.5, 1.0))
    scores = {layer: score_sae(sae, unseen[layer]) for layer, sae in saes.items()}
    return {layer: sae.to(loaded.device) for layer, sae in saes.items()}, scores


def _train(
    loaded: LoadedModel,
    shape: SaeShape,
    measurement: MeasurementConfig,
    training: Sequence[Conversation],
    heldout: Sequence[Conversation],
    progress: Progress,
) -> tuple[dict[int, Sae], dict[int, SaeScore]]:
    seen = collect_residuals(loaded, training, shape.layers, report_part(progress, 0.0, 0.09))
    unseen = collect_residuals(loaded, heldout, shape.layers, report_part(progress, 0.09, 0.1))
    saes, scores = {}, {}
    count = len(shape.layers)
    tokens = len(seen[shape.layers[0]])
    steps = training_steps(measurement, tokens)
    seconds = count * steps * seconds_per_step(shape, loaded.anatomy.d_model, loaded.device)
    progress(
        0.1,
        f"training {count} SAEs of {shape.width:,} latents, {steps:,} steps each on {tokens:,} "
        f"residuals: about {max(seconds / 60, 0.1):.1f} min",
    )
    progress = report_part(progress, 0.1, 1.0)
    for number, layer in enumerate(shape.layers):
        saes[layer] = train_sae(
            seen[layer],
            layer=layer,
            hook_name=f"{loaded.anatomy.layers_path}.{layer}",
            shape=shape,
            steps=steps,
            seed=measurement.seed,
            device=loaded.device,
            progress=report_part(progress, number / count, (number + 1) / count),
        )
        scores[layer] = score_sae(saes[layer], unseen[layer])
        saes[layer] = saes[layer].to(loaded.device)
    return saes, scores
