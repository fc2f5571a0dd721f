"""One safety subspace: the leading directions of what conversations send into the linear maps."""

from collections.abc import Sequence

from cwac.anatomy import LinearMap
from cwac.config import Directions, MeasurementConfig, TokenSet
from cwac.models.loading import LoadedModel
from cwac.passes import Beginning
from cwac.preparation.progress import Progress, counted, report_part, telling
from cwac.preparation.safety_text import (
    MAX_LENGTH,
    Conversation,
    aligned_refusals,
    conversation_batches,
)
from cwac.prompts import Prompt
from cwac.subspace import SafetySubspace, SecondMoments, collect_second_moments, token_mask


def fit_directions(
    loaded: LoadedModel,
    conversations: Sequence[Conversation],
    heldout: Sequence[Prompt],
    measurement: MeasurementConfig,
    progress: Progress,
    *,
    directions: Directions,
) -> SafetySubspace:
    """Fit a subspace with bases for all linear maps.

    Parameters
    ----------
    conversations : sequence of Conversation
        What it is fitted on.
    heldout : sequence of Prompt
        Requests that serve only to say how much of them lies outside; may be empty.
    directions : str
        As for :func:`cwac.preparation.fits.fit_subspace`.
    """
    maps = loaded.anatomy.maps
    if measurement.outer_maps:
        maps = (*maps, loaded.anatomy.output)
    # Prompt tokens alone were measured first, and stay what the column means; like for like
    # are the tokens of the fit, in the model's refusals of the requests held out.
    asked = [Conversation(prompt, "") for prompt in heldout]
    refused = aligned_refusals(
        loaded, heldout, report_part(progress, 0.0, 0.4), keep_first=True
    ).conversations

    def moments(
        talks: Sequence[Conversation], tokens: TokenSet, low: float, high: float
    ) -> SecondMoments:
        return _moments(loaded, talks, tokens, maps, report_part(progress, low, high))

    return SafetySubspace.from_moments(
        moments(conversations, measurement.tokens, 0.4, 0.55),
        maps,
        tail_energy=measurement.tail_energy,
        rank=measurement.rank,
        heldout=moments(asked, "prompt", 0.55, 0.6) if asked else None,
        heldout_fitted=moments(refused, measurement.tokens, 0.6, 0.7) if refused else None,
        directions=directions,
        progress=counted(
            report_part(progress, 0.7, 1.0), len(maps), "finding the protected directions, map"
        ),
    )


def _moments(
    loaded: LoadedModel,
    conversations: Sequence[Conversation],
    tokens: TokenSet,
    maps: Sequence[LinearMap],
    progress: Progress,
) -> SecondMoments:
    talks = conversation_batches(loaded, conversations)
    masks = [
        token_mask(
            tokens,
            prompt_lengths,
            batch.attention_mask.sum(dim=1).tolist(),
            closing_tokens=loaded.chat.closing_tokens,
            width=batch.input_ids.shape[1],
        )
        for _, batch, prompt_lengths in talks
    ]
    report = counted(progress, len(conversations), "reading the maps' inputs, conversation")
    batches = [batch for _, batch, _ in talks]
    beginning = Beginning.of_batches(loaded.model, batches, MAX_LENGTH)
    return collect_second_moments(loaded.model, maps, telling(batches, report), masks, beginning)
