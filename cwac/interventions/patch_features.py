"""Patch features: protected latents of the tuned model set to the aligned model's values."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from cwac.features import SafetyFeatures
from cwac.interfaces import DissectContext
from cwac.interventions._streams import Edit, Patch, StreamTrial, StreamTrials, Where
from cwac.interventions.bench import Part

_PLACES: dict[Where, str] = {
    "last": "last prompt token",
    "prompt": "prompt",
    "all": "prompt and answer",
}


class PatchFeatures(StreamTrials):
    """In the stream, the decoder's part of some latents moves to the aligned model's codes.

    What the SAE does not explain stays the tuned model's. The reverse sets the tuned model's
    values in the aligned one. Controls at each place: as many random active latents, and the whole
    stream of the SAEs' layers, which is the most that any latents there could return. While the
    model answers, where log-odds of the first token say no more than those of the patched prompt,
    both are answered too.
    """

    name = "patch_features"
    version = 2

    def trials(self, context: DissectContext) -> list[StreamTrial]:
        """Return protected latents at each place, each layer alone, the reverse, the controls."""
        features = context.yardstick.features.to(context.device)
        everywhere = Part("layers with an SAE")
        protected = partial(latents_set, features, features.protected)
        random = partial(latents_set, features, features.controls)
        edits: list[tuple[str, Edit]] = [
            ("protected latents", protected),
            ("random active latents", random),
            ("whole residual", whole),
        ]
        trials = [
            StreamTrial(everywhere, f"{name}, {text}", Patch(features.layers, where, edit),
                        control=edit is not protected,
                        answers=edit is protected or where == "all")
            for name, edit in edits
            for where, text in _PLACES.items()
        ]  # fmt: skip
        trials += [
            StreamTrial(Part(f"layer {layer}", layer), f"{name}, prompt",
                        Patch((layer,), "prompt", edit), control=edit is not protected)
            for layer in features.layers
            for name, edit in edits
        ]  # fmt: skip
        trials += [
            StreamTrial(everywhere, f"tuned's {name} in the aligned model, prompt",
                        Patch(features.layers, "prompt", edit),
                        control=edit is not protected, reverse=True)
            for name, edit in (edits[0], ("random latents", random), edits[2])
        ]  # fmt: skip
        return trials


def latents_set(
    features: SafetyFeatures,
    chosen: Mapping[int, Tensor],
    layer: int,
    stream: Tensor,
    given: Tensor | None,
) -> Tensor:
    """Return the stream with some latents at the giving pass's values, ``(n, d_model)``."""
    assert given is not None
    sae, latents = features.saes[layer], chosen[layer]
    if not len(latents):
        return stream
    codes = sae.encode(stream)
    wanted = codes.clone()
    wanted[:, latents] = sae.encode(given)[:, latents]
    # Decoding is linear but for its bias, which the difference is rid of.
    return stream + (sae.decode(wanted) - sae.decode(codes)).to(stream)


def whole(_layer: int, _stream: Tensor, given: Tensor | None) -> Tensor:
    """Return the giving pass's stream."""
    assert given is not None
    return given
